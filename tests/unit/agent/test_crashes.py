"""The journal's process is killed, at every step of its writing and at any moment: what was said to
be recorded is there, once."""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_executor import task as task_of
from test_journal import charge
from test_leases import lease

from openqse import device
from openqse_agent.qpu.charges.commit import Ended, GroupCommit
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.journal import log as chargelog
from openqse_agent.qpu.leases import State
from openqse_agent.qpu.tasks.dispatch import charge_of

Say = Callable[[str], None]
NEVER = 10**6


def life(path: Path, say: Say, rounds: int = 4) -> None:
    """What a QPU agent does with its journal; ``say`` hears what has been recorded."""
    journal = Journal(path)
    journal.restore(0.0)
    say("opened")
    for number in range(rounds):
        granted = lease(number)
        granted.state = State.ACTIVE
        journal.write_lease(granted)
        say(f"lease {number}")
        for batch in range(3):
            tasks = [b"%d.%d.%d" % (number, batch, task) for task in range(3)]
            journal.charge([charge(task, number, lease=granted.id) for task in tasks])
            for task in tasks:
                say(f"charge {task.decode()}")
            # One of them again, as after a restart: its result was lost.
            journal.charge([charge(tasks[0], number, lease=granted.id, qpu_time_ns=7)])
        if number % 2:
            journal.settle()
            say("settled")
            journal.end_lease(granted.id, State.RELEASED, "its job has ended")
            say(f"ended {number}")
    journal.close()


class Steps:
    """Counts the steps of writing, and kills the process at one of them."""

    def __init__(self, at: int, when: str) -> None:
        self.at = at
        self.when = when
        self.count = 0

    def step(self, whole: Callable[[], Any], half: Callable[[], Any]) -> Any:
        self.count += 1
        if self.count != self.at:
            return whole()
        {"before": lambda: None, "halfway": half, "after": whole}[self.when]()
        os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        steps, write = self, os.pwrite

        def pwrite(file: int, data: bytes, at: int) -> Any:
            # What begins an epoch lies within one sector, which disks write whole or not at all.
            half = data[: len(data) // 2] if len(data) > 20 else b""
            return steps.step(lambda: write(file, data, at), lambda: write(file, half, at))

        class Database(sqlite3.Connection):
            def execute(self, *args: Any) -> Any:
                whole = super().execute
                return steps.step(lambda: whole(*args), lambda: None)

            def executemany(self, statement: str, rows: Any) -> Any:
                whole, rows = super().executemany, list(rows)
                return steps.step(
                    lambda: whole(statement, rows),
                    lambda: whole(statement, rows[: len(rows) // 2]),
                )

            def __exit__(self, *args: Any) -> Any:
                whole = super().__exit__
                return steps.step(lambda: whole(*args), lambda: None)

        connect = sqlite3.connect
        os.pwrite = pwrite  # type: ignore[assignment]
        sqlite3.connect = lambda *args, **options: connect(  # type: ignore[assignment]
            *args, factory=Database, **options
        )


def in_a_child(work: Callable[[Say], None]) -> tuple[int, int]:
    """Starts ``work`` in a process of its own: its id, and a pipe of what it says."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            work(lambda line: os.write(write, line.encode() + b"\n") and None)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    return child, read


def said_by(read: int) -> list[str]:
    """All that a child said, which has ended by then."""
    with os.fdopen(read) as pipe:
        return pipe.read().splitlines()


def ended(child: int) -> int:
    """Signal by which a child ended, or 0."""
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def check(path: Path, said: list[str]) -> None:
    """All that was said is in the journal, and nothing twice; what follows can be recorded."""
    journal = Journal(path)
    held = {x.job_id for x in journal.restore(0.0)}
    charged = {line.split()[1] for line in said if line.startswith("charge")}
    granted = {int(line.split()[1]) for line in said if line.startswith("lease")}
    over = {int(line.split()[1]) for line in said if line.startswith("ended")}
    assert granted - over <= held | {number for number in granted if number % 2}
    assert not over & held
    for task in charged:
        assert journal.charged(f"lease-{task.split('.')[0]}", task.encode()) is not None
    for used in journal.usage():
        assert used.qpu_time_ns == 1000 * used.tasks  # the first charge counts, and no other
        assert used.tasks <= 9
    at_least = dict.fromkeys(granted, 0)
    for task in charged:
        at_least[int(task.split(".")[0])] += 1
    recorded = {used.job_id: used.tasks for used in journal.usage()}
    assert all(recorded.get(number, 0) >= least for number, least in at_least.items())
    journal.charge([charge(b"next", 99, lease="lease-99")])
    journal.close()
    assert {used.job_id for used in Journal(path).usage()} >= {99}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log so small that it begins anew several times, and is cheap to make."""
    monkeypatch.setattr(chargelog, "SIZE", 1500)
    monkeypatch.setattr("openqse_agent.qpu.journal.database._ROOM", 500)
    monkeypatch.setattr("openqse_agent.qpu.charges.commit.AHEAD", 1000)


@pytest.mark.parametrize("when", ["before", "halfway", "after"])
def test_a_journal_whose_process_is_killed_at_any_step(
    tmp_path: Path, small: None, when: str
) -> None:
    at = 0
    while True:
        at += 1
        path = tmp_path / str(at) / "emu0.sqlite"
        steps = Steps(at, when)

        def work(say: Say, steps: Steps = steps, path: Path = path) -> None:
            steps.install()
            life(path, say)

        child, read = in_a_child(work)
        said = said_by(read)
        killed = ended(child)
        check(path, said)
        if not killed:
            break
    assert at > 50  # there were steps to be killed at


def test_a_journal_whose_process_is_killed_at_any_moment(tmp_path: Path, small: None) -> None:
    """SQLite's own steps among them, and each run begins with what the last one left."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for number in range(25):
        path = tmp_path / str(number) / "emu0.sqlite"
        child, read = in_a_child(lambda say, path=path: life(path, say, rounds=NEVER))  # type: ignore
        time.sleep(moments.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        said = said_by(read)
        assert ended(child) == signal.SIGKILL
        check(path, said)


def serve(path: Path, say: Say) -> None:
    """What a QPU agent does with tasks that have ended; ``say`` hears whose results go out."""
    journal = Journal(path)
    charging: GroupCommit[Any] = GroupCommit(journal)
    outcome = device.Outcome(device.Samples(np.zeros((1, 1, 1), np.uint8), 1000), "c")

    def turn(busy: bool) -> None:
        for one, *_ in charging.turn(busy):
            say(one.id.decode())

    for number in range(60):
        while not charging.has_room:  # no further task is run
            select.select([charging.ready], [], [], 0.1)
            turn(busy=True)
            if not journal.has_room:
                journal.settle()
        one = task_of(number)
        charging.add(Ended(one, outcome, charge_of(one, outcome)))
        turn(busy=number % 4 > 0)
    charging.stop(5)
    journal.close()


@pytest.mark.parametrize("when", ["before", "halfway", "after"])
def test_a_result_that_went_out_is_charged_whenever_the_process_is_killed(
    tmp_path: Path, small: None, when: str
) -> None:
    for at in count(1):
        path = tmp_path / str(at) / "emu0.sqlite"
        steps = Steps(at, when)

        def work(say: Say, steps: Steps = steps, path: Path = path) -> None:
            steps.install()
            serve(path, say)

        child, read = in_a_child(work)
        out = said_by(read)
        killed = ended(child)
        journal = Journal(path)
        for number in out:
            assert journal.charged("L", number.encode()) == 1
        charged = sum(used.tasks for used in journal.usage())
        journal.close()
        assert len(out) <= charged <= 60
        if not killed:
            break
    assert charged == 60
    assert at > 20  # there were steps to be killed at
