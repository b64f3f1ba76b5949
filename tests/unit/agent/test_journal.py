"""What survives the QPU agent: leases and charges."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from test_leases import lease

from openqse.errors import ConfigurationError
from openqse_agent.qpu.journal import Charge, JobUsage, Journal
from openqse_agent.qpu.leases import Mode


def charge(task: bytes, job_id: int = 1, **changed: Any) -> Charge:
    values: dict[str, Any] = {
        "lease": "lease-1",
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
    journal.end_lease(lease(1), "released")
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
    assert journal.usage() == [JobUsage(1, "chem", "alice", 2, 20, 2000)]


def test_usage_sums_each_job(path: Path) -> None:
    journal = Journal(path)
    assert journal.usage() == []
    journal.charge(
        [
            charge(b"t3", 2, account="ml", user="bob", shots=1, qpu_time_ns=2**40),
            charge(b"t1"),
            charge(b"t2", shots=5, qpu_time_ns=500),
        ]
    )
    one = JobUsage(1, "chem", "alice", 2, 15, 1500)
    two = JobUsage(2, "ml", "bob", 1, 1, 2**40)
    assert journal.usage() == [one, two]
    assert journal.usage(2) == [two]
    assert journal.usage(9) == []


def test_charges_of_one_call_are_recorded_all_or_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = Journal(path), os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="No space left"):
        journal.charge([charge(b"t1"), charge(b"t2")])
    monkeypatch.undo()
    assert journal.usage() == []
    journal.charge([charge(b"t3")])
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000)]


def test_charges_outlive_a_process_that_dies_before_it_settles_them(path: Path) -> None:
    Journal(path).charge([charge(b"t1"), charge(b"t2")])
    successor = Journal(path)
    assert successor.usage() == [JobUsage(1, "chem", "alice", 2, 20, 2000)]
    assert path.with_suffix(".charges").stat().st_size == 0


def test_a_charge_whose_writing_was_cut_short_was_never_handed_over(path: Path) -> None:
    Journal(path).charge([charge(b"t1"), charge(b"t2")])
    log = path.with_suffix(".charges")
    log.write_bytes(log.read_bytes()[:-3])
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000)]


def test_charges_settled_twice_count_once(path: Path) -> None:
    journal, log = Journal(path), path.with_suffix(".charges")
    journal.charge([charge(b"t1")])
    unsettled = log.read_bytes()
    journal.settle()
    log.write_bytes(unsettled)  # as if the process had died between the two
    assert Journal(path).usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000)]


def test_a_database_that_takes_no_more_leaves_charges_in_the_log(path: Path) -> None:
    journal = Journal(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    journal._db.execute("PRAGMA busy_timeout=0")
    journal.charge([charge(b"t1")])
    with pytest.raises(sqlite3.Error):
        journal.settle()
    blocker.close()
    assert journal.usage() == [JobUsage(1, "chem", "alice", 1, 10, 1000)]


def test_the_journal_is_for_the_agent_alone(path: Path) -> None:
    Journal(path)
    assert path.parent.stat().st_mode & 0o777 == 0o700


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


def test_the_journal_of_another_release_is_refused_and_left_as_it_is(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 2")
    newer.close()
    refuse(path, "schema 2; this release has 1")


def test_a_journal_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Journal(tmp_path / "file" / "emu0.sqlite")


def test_a_charge_cut_short_alone_in_the_log_does_not_spoil_the_next(path: Path) -> None:
    journal = Journal(path)
    journal.charge([charge(b"t1")])
    log = path.with_suffix(".charges")
    cut = log.read_bytes()[:-4]
    journal.close()
    log.write_bytes(cut)
    Journal(path).charge([charge(b"t2")])  # never closed
    assert [u.tasks for u in Journal(path).usage()] == [2]
