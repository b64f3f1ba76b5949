"""Credit: what a session may have unanswered, and what it has to acknowledge."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openqse.client.window import Receipts, Window
from openqse.wire import limits


def test_a_window_has_so_many_places() -> None:
    window = Window(2)
    assert [window.take_place() for _ in range(3)] == [True, True, False]
    window.free()
    assert window.has_place()
    assert [window.take_place() for _ in range(2)] == [True, False]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BYTES_IN_FLIGHT", 100)


def test_a_task_alone_may_be_of_any_size_and_others_wait_for_room() -> None:
    window = Window(9)
    assert window.take_room(500)
    assert not window.take_room(1)
    window.free(500)
    assert window.take_room(60)
    assert not window.take_room(41)
    assert window.take_room(40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60))
def test_a_window_is_never_overdrawn_and_never_stuck(steps: list[tuple[bool, int]]) -> None:
    window = Window(4)
    held: list[int] = []
    for ends, size in steps:
        if ends and held:
            window.free(held.pop(0))
        elif window.take_place():
            if window.take_room(size):
                held.append(size)
            else:
                window.free()
        assert window.tasks == len(held) <= 4
        assert window.size == sum(held)
        assert len(held) < 2 or sum(held) <= 100
    for size in held:
        window.free(size)
    assert (window.tasks, window.size) == (0, 0)
    assert window.take_place()
    assert window.take_room(10**9)


def test_answers_are_acknowledged_once_and_soon_where_they_are_large() -> None:
    receipts = Receipts()
    assert not receipts
    assert not receipts.add(1, 100)
    assert not receipts.add(2, limits.ACKNOWLEDGE_BYTES - 101)
    assert receipts.add(3, 1)
    assert receipts.take() == (1, 2, 3)
    assert not receipts
    assert (receipts.size, receipts.take()) == (0, ())
