"""What survives the QPU agent: leases and charges."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from test_leases import lease

from openqse.errors import ConfigurationError, StorageError
from openqse.testing.clock import ManualClock
from openqse_agent.qpu.journal import Charge, JobUsage, Journal, database
from openqse_agent.qpu.journal import log as chargelog
from openqse_agent.qpu.leases import Mode, State


def charge(task: bytes, job_id: int = 1, **changed: Any) -> Charge:
    values: dict[str, Any] = {
        "lease": "lease-1",
        "generation": 1,
        "account": "chem",
        "user": "alice",
        "shots": 10,
        "qpu_time_ns": 1000,
    }
    return Charge(task=task, job_id=job_id, **(values | changed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "emu0.sqlite"


def test_leases_are_restored_a_generation_on_and_renewed_now(path: Path) -> None:
    journal = Journal(path)
    first = lease(1, 2, mode=Mode.EXCLUSIVE, ends_at=123.5, generation=4, restart_count=3)
    first.nodes |= {"c1", "c2"}
    first.state = State.ACTIVE
    journal.write_lease(first)
    journal.write_lease(lease(2))
    journal.close()
    restored = Journal(path).restore(77.0)
    assert [x.job_id for x in restored] == [1, 2]
    first.generation, first.renewed_at = 5, 77.0
    assert restored[0] == first
    assert Journal(path).restore(0.0)[0].generation == 6


def test_a_lease_that_ended_is_not_restored(path: Path) -> None:
    journal = Journal(path)
    journal.write_lease(lease(1))
    journal.end_lease("lease-1", State.RELEASED, "its job has ended")
    assert journal.restore(0.0) == []


def test_writing_a_lease_again_keeps_its_nodes_and_generation(path: Path) -> None:
    journal, granted = Journal(path), lease(1)
    journal.write_lease(granted)
    granted.nodes.add("c7")
    granted.generation = 9
    journal.write_lease(granted)
    (restored,) = journal.restore(0.0)
    assert (restored.nodes, restored.generation) == ({"c7"}, 10)


def test_a_task_is_charged_once_however_often_it_is_recorded(path: Path) -> None:
    journal = Journal(path)
    journal.charge([charge(b"t1"), charge(b"t1", qpu_time_ns=5)])
    journal.charge([charge(b"t1", qpu_time_ns=7), charge(b"t2")])
    assert journal.usage() == [JobUsage(1, "chem", "alice", 2, 20, 2000, 0)]


def test_usage_sums_each_job(path: Path) -> None:
    journal = Journal(path)
    assert journal.usage() == []
    for job in (1, 2):
        journal.write_lease(lease(job))
    journal.charge(
        [
            charge(b"t3", 2, lease="lease-2", account="ml", user="bob", shots=1, qpu_time_ns=2**40),
            charge(b"t1"),
            charge(b"t2", shots=5, qpu_time_ns=500),
        ]
    )
    one = JobUsage(1, "chem", "alice", 2, 15, 1500, 0)
    two = JobUsage(2, "ml", "bob", 1, 1, 2**40, 0)
    assert journal.usage() == [one, two]
    assert journal.usage(2) == [two]
    assert journal.usage(9) == []


def test_a_task_id_is_its_leases_own(path: Path) -> None:
    """Else whoever learns a task's id could run tasks of that id for nothing."""
    journal = Journal(path)
    journal.charge([charge(b"t1"), charge(b"t1", 2, lease="lease-2", account="ml", user="bob")])
    assert [used.tasks for used in journal.usage()] == [1, 1]


def test_a_journal_says_in_which_generation_a_task_was_charged(path: Path) -> None:
    journal = Journal(path)
    assert journal.charged("lease-1", b"t1") is None
    for generation in (1, 2):
        journal.charge([charge(b"t1", generation=generation)])
        assert journal.charged("lease-1", b"t1") == generation
        journal.settle()
        assert journal.charged("lease-1", b"t1") == generation
    assert journal.charged("lease-2", b"t1") is None
    assert journal.usage()[0].tasks == 1


def log_of(path: Path) -> Path:
    return path.with_suffix(".charge-log")


def changed(path: Path, at: int, data: bytes) -> None:
    """Writes over a part of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_charges_outlive_a_process_that_dies_before_it_settles_them(path: Path) -> None:
    Journal(path).charge([charge(b"t1"), charge(b"t2")])
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 2, 20, 2000, 0)]
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 2, 20, 2000, 0)]


def test_a_batch_whose_writing_was_cut_short_was_never_handed_over(path: Path) -> None:
    journal = Journal(path)
    journal.charge([charge(b"t1")])
    end = journal._log._end
    journal.charge([charge(b"t2"), charge(b"t3")])
    changed(log_of(path), journal._log._end - 5, bytes(5))
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000, 0)]
    changed(log_of(path), end, bytes(200))
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000, 0)]


def test_a_batch_that_the_disk_does_not_take_is_not_charged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(StorageError, match=r"cannot be written: .*Input/output error"):
        journal.charge([charge(b"t1"), charge(b"t2")])
    monkeypatch.undo()
    journal.charge([charge(b"t3")])
    assert (
        journal.usage() == Journal(path).usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000, 0)]
    )


def test_charges_settled_twice_count_once(path: Path) -> None:
    journal = Journal(path)
    journal.charge([charge(b"t1")])
    unsettled = log_of(path).read_bytes()
    journal.settle()
    log_of(path).write_bytes(unsettled)  # as if the process had died between the two
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000, 0)]


def test_a_log_that_began_anew_does_not_bring_back_what_was_settled_before(path: Path) -> None:
    journal = Journal(path)
    journal.charge([charge(b"%d" % i) for i in range(20)])
    journal.settle()
    journal.charge([charge(b"last")])
    log = chargelog.ChargeLog(log_of(path))
    assert len(log.batches) == 1
    assert b"last" in log.batches[0]
    log.close()


def test_a_log_that_is_full_is_settled(path: Path) -> None:
    journal = Journal(path)
    for start in range(0, 30_000, 1000):
        journal.charge([charge(b"%d" % i) for i in range(start, start + 1000)])
    assert journal.usage()[0].tasks == 30_000
    assert log_of(path).stat().st_size == chargelog.SIZE


def test_a_batch_that_no_log_could_hold_is_refused(path: Path) -> None:
    """Else it would be lost at the next start: a log is read as far as it goes."""
    journal = Journal(path)
    with pytest.raises(StorageError, match="does not fit into the log"):
        journal.charge([charge(b"%d" % i) for i in range(30_000)])
    assert journal.usage() == []
    assert log_of(path).stat().st_size == chargelog.SIZE


@pytest.mark.slow
def test_a_full_disk_leaves_charges_in_the_log_until_that_is_full_too(path: Path) -> None:
    journal = Journal(path)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(1000):
        journal.charge([charge(b"%d" % number)])
    with pytest.raises(StorageError, match=r"cannot be written: .* disk is full"):
        journal.settle()
    with pytest.raises(StorageError, match="disk is full"):
        journal.usage()
    number = 1000
    while journal.has_room:
        journal.charge([charge(b"%d" % number)])
        number += 1
    journal._db.execute("PRAGMA max_page_count = 1000000")  # space is back
    journal.settle()
    assert journal.has_room
    assert journal.usage() == [JobUsage(1, "chem", "alice", number, 10 * number, 1000 * number, 0)]


def test_a_database_that_takes_no_more_leaves_charges_in_the_log(path: Path) -> None:
    journal = Journal(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    journal._db.execute("PRAGMA busy_timeout=0")
    journal.charge([charge(b"t1")])
    with pytest.raises(StorageError):
        journal.settle()
    blocker.close()
    assert journal.usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000, 0)]


def test_the_journal_is_for_the_agent_alone(path: Path) -> None:
    Journal(path)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def refuse(path: Path, complaint: str) -> None:
    """Opening fails, says why and what to do, and leaves the file as it was."""
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        Journal(path)
    assert caught.value.layer == "QPU agent"
    assert "move" in caught.value.remedy
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"a letter to my aunt, long enough to be read as a header of a page\n" * 20)
    refuse(path, "cannot be used")


def test_a_damaged_journal_is_refused_and_left_as_it_is(path: Path) -> None:
    Journal(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    refuse(path, "cannot be used")


def test_a_database_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE stamps (country TEXT)")
    other.close()
    refuse(path, "schema 0; this release has 1")


def test_the_journal_of_a_later_release_is_refused_and_left_as_it_is(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 2")
    newer.close()
    refuse(path, "schema 2; this release has 1")


@pytest.mark.parametrize("content", [b"Dear diary", b"oqse" + b"\1" * 30], ids=["foreign", "cut"])
def test_a_log_that_is_none_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    Journal(path).close()
    log_of(path).write_bytes(content)
    for _ in range(2):  # not replaced at the next start either
        with pytest.raises(ConfigurationError, match="damaged at its beginning, or no log"):
            Journal(path)
        assert log_of(path).read_bytes() == content


def test_a_log_that_is_damaged_before_its_end_is_refused(path: Path) -> None:
    journal = Journal(path)
    for number in range(3):
        journal.charge([charge(b"%d" % number)])
    changed(log_of(path), 60, b"\xff\xff")
    damaged = log_of(path).read_bytes()
    with pytest.raises(ConfigurationError, match="is damaged at byte 20: batches of charges"):
        Journal(path)
    assert log_of(path).read_bytes() == damaged


def of_schema(path: Path, script: str) -> None:
    """Changes a journal as another release would have made it."""
    journal = Journal(path)
    journal.write_lease(lease(1, id="L1"))
    journal.charge([charge(b"t1", lease="L1")])
    journal.close()
    with sqlite3.connect(path) as former:
        former.executescript(script)
    former.close()


def test_the_journal_of_a_former_schema_is_carried_over_step_by_step_and_kept_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_schema(path, "ALTER TABLE lease DROP COLUMN end_reason")
    monkeypatch.setattr(database, "SCHEMA_VERSION", 3)
    steps = {
        1: "ALTER TABLE lease ADD COLUMN reason TEXT",
        2: "ALTER TABLE lease RENAME COLUMN reason TO end_reason",
    }
    monkeypatch.setattr(database, "_MIGRATIONS", steps)
    for _ in range(2):  # the second time there is nothing left to do
        journal = Journal(path)
        journal.end_lease("L1", State.RELEASED, "its job has ended")
        assert journal.usage(1)[0].tasks == 1
        journal.close()
    with sqlite3.connect(path.with_suffix(".v1.sqlite")) as aside:
        columns = [name for _, name, *_ in aside.execute("PRAGMA table_info(lease)")]
    aside.close()
    assert "end_reason" not in columns


def test_a_schema_from_which_no_step_leads_is_refused_and_left_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(path).close()
    monkeypatch.setattr(database, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(database, "_MIGRATIONS", {1: "CREATE TABLE new (value TEXT)"})
    refuse(path, "schema 1; this release has 3")


def test_a_migration_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(path).close()
    monkeypatch.setattr(database, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(database, "_MIGRATIONS", {1: "DROP TABLE charge; DROP TABLE stamps"})
    refuse(path, "no such table: stamps")


def test_what_slurm_was_told_of_is_remembered(path: Path) -> None:
    journal = Journal(path)
    for job in (1, 2):
        journal.write_lease(lease(job, id=f"L{job}"))
    assert journal.unreported(9) == []
    for job in (2, 1):
        journal.end_lease(f"L{job}", State.RELEASED, "its job has ended")
    assert journal.unreported(9) == [2, 1]
    assert journal.unreported(1) == [2]
    journal.mark_reported(2)
    journal.close()
    assert Journal(path).unreported(9) == [1]


def test_what_was_charged_in_a_span_of_time_can_be_looked_up(path: Path) -> None:
    clock = ManualClock()
    journal = Journal(path, clock)
    for number, hour in enumerate((1, 5, 5, 9)):
        clock.set(3600.0 * hour + 20)
        journal.charge([charge(b"%d" % number)])
    journal.settle()
    assert journal.past(3600.0 * 2, 3600.0 * 9) == [("chem", "alice", 3600.0 * 5 + 20, 2000)]
    assert journal.past(0.0, 3600.0) == []


def test_a_journal_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Journal(tmp_path / "file" / "emu0.sqlite")
