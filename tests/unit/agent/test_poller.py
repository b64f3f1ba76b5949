"""The loop that both agents share, and what a node's link to a QPU agent makes of time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from openqse.errors import StorageError
from openqse.site import SiteQPU
from openqse.testing.clock import ManualClock
from openqse.wire.frames import decode_header
from openqse.wire.messages import Kind
from openqse_agent import keys
from openqse_agent.clock import SYSTEM
from openqse_agent.node.qpu_link import HEARTBEAT_EVERY, LOST_AFTER, QPULink
from openqse_agent.poller import TICK, Poller
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.journal.settling import _PATIENCE, Settling


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller(SYSTEM)
    yield poller
    poller.stop()


def test_what_is_called_from_another_thread_runs_in_the_loop(poller: Poller) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=poller.run, args=(lambda now: None,))
    thread.start()
    done = threading.Event()
    poller.call(lambda: (seen.append(threading.get_ident()), done.set())[-1])
    assert done.wait(10)
    poller.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert seen == [thread.ident]


def test_a_handler_may_close_what_another_handler_of_the_round_would_read(poller: Poller) -> None:
    first, second = (os.eventfd(1, os.EFD_NONBLOCK) for _ in range(2))
    read: list[int] = []

    def handler(mine: int, other: int) -> None:
        read.append(mine)
        poller.unwatch(mine)
        poller.unwatch(other)
        poller.stop()

    poller.watch(first, lambda: handler(first, second))
    poller.watch(second, lambda: handler(second, first))
    poller.run(lambda now: None)
    assert len(read) == 1
    for descriptor in (first, second):
        os.close(descriptor)


def test_a_poller_that_has_been_closed_is_called_in_vain(poller: Poller) -> None:
    poller.close()
    poller.call(lambda: pytest.fail("called"))
    poller.stop()


def test_a_tick_comes_once_its_time_has_passed_however_often_the_loop_turns() -> None:
    clock = ManualClock()
    poller = Poller(clock)
    ticks: list[float] = []
    turns = iter(range(10))

    def turn() -> None:
        if next(turns) == 9:
            poller.stop()
        clock.pass_(TICK / 4)

    poller.run(ticks.append, turn, lambda: True)
    poller.close()
    assert len(ticks) == 3
    assert ticks == sorted(ticks)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now=100.0)


@pytest.fixture
def link(clock: ManualClock) -> Iterator[tuple[QPULink, zmq.Socket[bytes]]]:
    """A link, and the QPU agent's end of it."""
    context: zmq.Context[Any] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    qpu = SiteQPU("emu0", 4, f"tcp://127.0.0.1:{port}", "")
    yield QPULink(context, qpu, b"c1-0", keys.Pair.anonymous(), clock), router
    context.destroy(linger=0)


def heard(router: zmq.Socket[bytes]) -> Kind:
    assert router.poll(10_000)
    _, _, *frames = router.recv_multipart()
    return Kind(decode_header(frames).kind)


def test_a_qpu_agent_that_is_silent_for_long_is_lost_until_it_answers(
    link: tuple[QPULink, zmq.Socket[bytes]], clock: ManualClock
) -> None:
    mine, router = link
    mine.heartbeat(clock.monotonic(), {"L1": 1}, ())
    assert heard(router) == Kind.HEARTBEAT
    clock.pass_(LOST_AFTER - 0.1)
    assert not mine.check(clock.monotonic())
    clock.pass_(0.2)
    assert mine.check(clock.monotonic())
    assert mine.lost
    assert not mine.check(clock.monotonic() + 100)  # nothing was said since
    mine.heard()
    assert not mine.lost


def test_a_node_that_holds_nothing_says_so_until_it_is_heard_and_then_rests(
    link: tuple[QPULink, zmq.Socket[bytes]], clock: ManualClock
) -> None:
    mine, router = link

    def beats() -> bool:
        clock.pass_(HEARTBEAT_EVERY)
        before = mine._last_heartbeat
        mine.heartbeat(clock.monotonic(), {}, ())
        return mine._last_heartbeat > before

    assert beats()
    assert heard(router) == Kind.HEARTBEAT
    assert beats()  # its answer may be lost
    mine.heard()
    mine.acknowledged({})
    assert not beats()
    mine.mark_dirty()
    assert beats()


def test_no_heartbeat_follows_another_within_its_time(
    link: tuple[QPULink, zmq.Socket[bytes]], clock: ManualClock
) -> None:
    mine, router = link
    for _ in range(10):
        mine.heartbeat(clock.monotonic(), {"L1": 1}, ())
        clock.pass_(HEARTBEAT_EVERY / 5)
    assert [heard(router) for _ in range(2)] == [Kind.HEARTBEAT] * 2
    assert not router.poll(100)


def test_tasks_wait_for_a_journal_without_room_and_then_are_refused(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "emu0.sqlite", clock)
    settling = Settling(journal)

    def fail() -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "settle", fail)
        patch.setattr(Journal, "has_room", False)
        settling.tick(clock.monotonic())
        assert settling.refusal(clock.monotonic() + _PATIENCE) is None
        refusal = settling.refusal(clock.monotonic() + _PATIENCE + 1)
        assert isinstance(refusal, StorageError)
    settling.tick(clock.monotonic())
    assert (settling.error, settling.refusal(clock.monotonic() + 100)) == (None, None)
    journal.close()
