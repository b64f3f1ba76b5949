"""Group commit: nothing goes out that is not recorded, and nothing waits that need not."""

from __future__ import annotations

import select
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_executor import task

from openqse import device
from openqse.errors import StorageError, TaskCancelled
from openqse_agent.qpu.charges.commit import Ended, GroupCommit
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.tasks.dispatch import charge_of
from openqse_agent.qpu.tasks.task import Task
from tests.support.agents.stack import eventually


class ScriptedJournal(Journal):
    """A journal whose disk can be made to fail, and to take its time.

    Attributes:
        disk: its writes wait until this is set. batches: tasks of each, as they were begun.
    """

    failing = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.disk = threading.Event()
        self.disk.set()
        self.batches: list[list[bytes]] = []

    def charge(self, charges: Any) -> None:
        self.batches.append([charge.task for charge in charges])
        assert self.disk.wait(10)
        if self.failing:
            raise sqlite3.OperationalError("database or disk is full")
        super().charge(charges)

    def recorded(self) -> int:
        return sum(used.tasks for used in self.usage())


@pytest.fixture
def journal(tmp_path: Path) -> ScriptedJournal:
    return ScriptedJournal(tmp_path / "emu0.sqlite")


@pytest.fixture
def charging(journal: ScriptedJournal) -> Iterator[GroupCommit[Task]]:
    made: GroupCommit[Task] = GroupCommit(journal)
    yield made
    journal.disk.set()
    made.stop(5)


def add(charging: GroupCommit[Task], *numbers: int, shots: int = 2) -> None:
    for number in numbers:
        samples = device.Samples(np.zeros((3, shots, 1), np.uint8), 6000)
        outcome, one = device.Outcome(samples, "c"), task(number)
        charging.add(Ended(one, outcome, charge_of(one, outcome)))


def ids(ended: list[Any]) -> list[bytes]:
    return [one.id for one, *_ in ended]


def all_out(charging: GroupCommit[Task], count: int, busy: bool = True) -> list[Any]:
    """Turns until ``count`` tasks have come out."""
    out: list[Any] = []
    eventually(lambda: out.extend(charging.turn(busy)) or len(out) >= count)
    assert len(out) == count
    return out


@pytest.mark.parametrize("busy", [False, True])
def test_tasks_come_out_in_order_when_they_are_in_the_journal(
    charging: GroupCommit[Task], journal: ScriptedJournal, busy: bool
) -> None:
    out: list[bytes] = []

    def turned() -> bool:
        out.extend(ids(charging.turn(busy)))
        assert journal.recorded() >= len(out)
        return len(out) == 50

    for first in range(0, 50, 5):
        add(charging, *range(first, first + 5))
        turned()
    eventually(turned)
    assert out == [b"%d" % number for number in range(50)]
    assert journal.recorded() == 50


def test_a_loop_with_nothing_else_to_do_writes_by_itself(
    charging: GroupCommit[Task], journal: ScriptedJournal
) -> None:
    add(charging, 1, 2)
    assert ids(charging.turn(busy=False)) == [b"1", b"2"]
    assert journal.recorded() == 2


def test_a_busy_loop_goes_on_and_what_ends_meanwhile_is_one_batch(
    charging: GroupCommit[Task], journal: ScriptedJournal
) -> None:
    journal.disk.clear()
    for number in range(1, 6):
        add(charging, number)
        assert charging.turn(busy=number < 4) == []  # idle later on, it does not overtake
    journal.disk.set()
    assert ids(all_out(charging, 5)) == [b"1", b"2", b"3", b"4", b"5"]
    assert journal.batches == [[b"1"], [b"2", b"3", b"4", b"5"]]


def test_the_loop_is_woken_when_a_batch_is_written(charging: GroupCommit[Task]) -> None:
    add(charging, 1)
    charging.turn(busy=True)
    readable, _, _ = select.select([charging.ready], [], [], 10)
    assert readable
    assert ids(charging.turn(busy=True)) == [b"1"]


@pytest.mark.parametrize(("shots", "most"), [(1, 64), (5_000, 2)])
def test_no_more_is_run_than_may_wait_for_the_disk(
    charging: GroupCommit[Task], journal: ScriptedJournal, shots: int, most: int
) -> None:
    journal.disk.clear()
    count = 0
    while charging.has_room:
        add(charging, count, shots=shots)
        charging.turn(busy=True)
        count += 1
    assert most / 2 < count <= most
    journal.disk.set()
    all_out(charging, count)
    assert charging.has_room


@pytest.mark.parametrize("busy", [False, True])
def test_a_result_whose_charge_cannot_be_recorded_is_not_given_away(
    charging: GroupCommit[Task], journal: ScriptedJournal, busy: bool
) -> None:
    journal.failing = True
    stopped = TaskCancelled("gone")
    charging.add(Ended(task(8), stopped))
    add(charging, *range(5))
    (_, reason, _), *ran = all_out(charging, 6, busy)
    assert reason is stopped  # it costs nothing, and says why it ended
    for _, outcome, _ in ran:
        assert isinstance(outcome, StorageError)
        assert outcome.layer == "QPU agent"
        assert "charge could not be recorded: database or disk is full" in outcome.message
        assert "journal" in outcome.remedy
    journal.failing = False
    add(charging, 9)
    ((_, outcome, _),) = all_out(charging, 1, busy)
    assert isinstance(outcome, device.Outcome)
    assert journal.recorded() == 1


def test_a_failed_task_costs_no_write(
    charging: GroupCommit[Task], journal: ScriptedJournal
) -> None:
    failure = TaskCancelled("gone")
    charging.add(Ended(task(1), failure))
    ((_, outcome, _),) = charging.turn(busy=False)
    assert outcome is failure
    assert journal.batches == []


def test_what_has_ended_is_recorded_before_charging_stops(
    charging: GroupCommit[Task], journal: ScriptedJournal
) -> None:
    add(charging, 1)
    charging.turn(busy=True)
    add(charging, 2)
    charging.stop(5)
    assert journal.recorded() == 2
