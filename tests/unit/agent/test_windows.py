"""A QPU's windows as values: what holds when, and what Slurm is to hold for it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import ArgumentError
from openqse_agent.qpu.service.windows import MAX_AHEAD, MAX_WINDOWS, Window, Windows, differences
from openqse_agent.slurm.client import Reservation

NOW = 1_800_000_000.0
LICENSES = {"qpu_emu0": 4}


def window(start: float, end: float | None, reason: str = "calibration") -> Window:
    return Window(NOW + start, None if end is None else NOW + end, reason, "root (key emu0)", NOW)


def planned(*spans: tuple[float, float | None]) -> Windows:
    windows = Windows("emu0")
    for start, end in spans:
        windows = windows.add(window(start, end), NOW)
    return windows


def test_a_drain_holds_from_now_until_it_is_resumed() -> None:
    drained = Windows("emu0").add(window(0, None), NOW)
    assert drained.in_force(NOW) == drained.in_force(NOW + 1e9) == window(0, None)
    assert drained.in_force(NOW - 1) is None
    assert drained.resume(NOW + 5).all == ()
    assert drained.expire(NOW + 1e9) is drained


def test_a_planned_window_holds_from_its_start_to_its_end() -> None:
    windows = planned((60, 120))
    states = [windows.in_force(NOW + t) is not None for t in (0, 59.9, 60, 119.9, 120)]
    assert states == [False, False, True, True, False]
    assert windows.expire(NOW + 119).all
    assert windows.expire(NOW + 120).all == ()


def test_a_planned_window_can_be_taken_back_by_its_start() -> None:
    windows = planned((60.5, 120), (600, 660))
    assert windows.cancel(NOW + 60, NOW) == planned((600, 660))
    with pytest.raises(ArgumentError, match=r"no window planned for .*openqse qpu windows emu0"):
        windows.cancel(NOW + 61, NOW)
    with pytest.raises(ArgumentError, match="no window planned"):
        windows.cancel(NOW + 60, NOW + 61)  # in force by now: resumed, not taken back


def test_what_is_not_drained_cannot_be_resumed() -> None:
    with pytest.raises(ArgumentError, match="emu0 is not drained"):
        planned((60, 120)).resume(NOW)


def test_who_drains_what_is_drained_learns_by_whom_and_why() -> None:
    drained = planned((0, None))
    message = r"drained already, since .* by root \(key emu0\): calibration.*openqse qpu resume"
    with pytest.raises(ArgumentError, match=message):
        drained.add(window(0, 60), NOW)
    assert len(drained.add(window(600, 660), NOW).all) == 2  # a plan stands beside it


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (-1, 60, "late"),
        (0, 0, "nothing"),
        (60, 30, "backwards"),
        (0, 60, ""),
        (0, 60, "x" * 201),
        (MAX_AHEAD + 1, None, "far"),
        (0, MAX_AHEAD + 1, "long"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(
    start: float, end: float | None, reason: str
) -> None:
    with pytest.raises(ArgumentError):
        Windows("emu0").add(window(start, end, reason), NOW)


def test_windows_are_bounded() -> None:
    full = planned(*((i * 60.0, i * 60.0 + 1) for i in range(1, MAX_WINDOWS + 1)))
    with pytest.raises(ArgumentError, match="64 windows already"):
        full.add(window(1e6, None), NOW)


def test_slurm_holds_all_licenses_for_each_window() -> None:
    assert planned((0, 60), (600, None)).reservations(LICENSES) == {
        "openqse_emu0_1800000000": Reservation("openqse_emu0_1800000000", LICENSES, NOW, NOW + 60),
        "openqse_emu0_1800000600": Reservation(
            "openqse_emu0_1800000600", LICENSES, NOW + 600, None
        ),
    }


def test_an_endless_drain_takes_in_what_is_planned_and_gives_it_back() -> None:
    plan = planned((600, 660))
    drained = plan.add(window(0, None), NOW)
    (only,) = drained.reservations(LICENSES).values()
    assert (only.start, only.end) == (NOW, None)
    held = plan.reservations(LICENSES)
    assert differences("emu0", drained.reservations(LICENSES), held) == (list(held), [only])
    assert differences("emu0", held, {only.name: only}) == ([only.name], list(held.values()))


spans = st.lists(
    st.tuples(st.integers(1, 500), st.integers(1, 200) | st.none()), min_size=1, max_size=8
)


@settings(max_examples=100, deadline=None)
@given(spans)
def test_reservations_cover_the_windows_exactly_and_never_meet(
    some: list[tuple[int, int | None]],
) -> None:
    windows = planned(*((s, None if length is None else s + length) for s, length in some))
    reserved = sorted(windows.reservations(LICENSES).values(), key=lambda each: each.start)
    for first, second in pairwise(reserved):
        assert first.end is not None
        assert first.end < second.start

    def covered(t: float) -> bool:
        return any(r.start <= t and (r.end is None or t < r.end) for r in reserved)

    for t in range(720):
        assert covered(NOW + t) == (windows.in_force(NOW + t) is not None)


def test_only_this_qpus_reservations_are_touched_and_only_where_they_differ() -> None:
    wanted = planned((0, 60)).reservations(LICENSES)
    name = "openqse_emu0_1800000000"
    right = Reservation(name, LICENSES, NOW + 5, NOW + 60)  # made a little late
    others = {
        n: Reservation(n, LICENSES, NOW, None)
        for n in ("openqse_emu_1800000000", "openqse_emu0_1_1800000000", "maintenance", "openqse_")
    }
    assert differences("emu0", wanted, others | {name: right}) == ([], [])
    assert differences("emu0", {}, others | {name: right}) == ([name], [])
    for wrong in (
        Reservation(name, {"qpu_emu0": 3}, NOW, NOW + 60),  # the site file has more slots now
        Reservation(name, LICENSES, NOW, NOW + 61),
        Reservation(name, LICENSES, NOW, None),
    ):
        assert differences("emu0", wanted, {name: wrong}) == ([name], [wanted[name]])
