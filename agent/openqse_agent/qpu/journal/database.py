"""The journal: an SQLite file of the leases that outlive the agent, and of all charges."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from openqse.errors import ConfigurationError, StorageError
from openqse.wire.leases import Mode
from openqse_agent.clock import SYSTEM, Clock
from openqse_agent.qpu.journal.log import ChargeLog
from openqse_agent.qpu.leases.table import Lease, State

SCHEMA_VERSION = 1

#: Marks an SQLite file as a journal ("oQSE").
_APPLICATION = 0x6F515345
#: Bytes that the log of charges must have left for tasks to be run: many times what a batch needs.
_ROOM = 2**17

_SCHEMA = """
CREATE TABLE lease (
    id TEXT PRIMARY KEY, job_id INTEGER NOT NULL, uid INTEGER NOT NULL, user TEXT NOT NULL,
    account TEXT NOT NULL, slots INTEGER NOT NULL, mode TEXT NOT NULL,
    restart_count INTEGER NOT NULL, generation INTEGER NOT NULL, ends_at REAL,
    nodes TEXT NOT NULL, jobs TEXT NOT NULL, state TEXT NOT NULL, granted_at REAL NOT NULL,
    ended_at REAL, end_reason TEXT, reported INTEGER NOT NULL
) STRICT;
CREATE INDEX lease_held ON lease (id) WHERE ended_at IS NULL;
CREATE INDEX lease_of_job ON lease (job_id);
CREATE INDEX lease_unreported ON lease (ended_at) WHERE reported = 0;
CREATE TABLE charge (
    lease TEXT NOT NULL, task BLOB NOT NULL, generation INTEGER NOT NULL, job_id INTEGER NOT NULL,
    account TEXT NOT NULL, user TEXT NOT NULL, shots INTEGER NOT NULL,
    qpu_time_ns INTEGER NOT NULL, waited_ns INTEGER NOT NULL, charged_at REAL NOT NULL,
    PRIMARY KEY (lease, task)
) STRICT, WITHOUT ROWID;
"""

#: The statements that bring a file of a former schema to the next one, by its version. None yet.
_MIGRATIONS: Mapping[int, str] = {}


class Charge(NamedTuple):
    """What a task cost: the unit of accounting.

    Attributes:
        lease, task: their ids; a task is charged to its lease once.
        generation: of the lease when the task ran.
        shots: of all parameter sets together. qpu_time_ns: QPU time, nanoseconds.
        waited_ns: from its arrival to the beginning of its run, nanoseconds.
    """

    lease: str
    task: bytes
    generation: int
    job_id: int
    account: str
    user: str
    shots: int
    qpu_time_ns: int
    waited_ns: int = 0


@dataclass(frozen=True)
class JobUsage:
    """A job's record: tasks charged, their shots, QPU time, and the time for which they waited."""

    job_id: int
    account: str
    user: str
    tasks: int
    shots: int
    qpu_time_ns: int
    waited_ns: int


class Journal:
    """An SQLite file in write-ahead mode, and a log of charges on their way into it.

    Whatever a method has recorded when it returns outlives the process and a power cut. One process
    may have it open; several of its threads may use it.

    Raises:
        ConfigurationError: a file is damaged, foreign or of a later schema; it is left as it is,
            and so the agent starts when somebody has looked at it and not before.
    """

    def __init__(self, path: Path, clock: Clock = SYSTEM) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()  # one thread's transaction must not take in another's
        self._reading = threading.Lock()
        self._unsettled: dict[tuple[str, bytes], tuple[Any, ...]] = {}
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before SQLite makes it readable by all; its other files take over this one's mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(
                path, isolation_level=None, timeout=5.0, check_same_thread=False
            )
            self._db.execute("PRAGMA synchronous=FULL")
            self._prepare()
            self._db.execute("PRAGMA journal_mode=WAL")  # after: a foreign file must not change
            ((sound,),) = self._db.execute("PRAGMA quick_check(lease)").fetchall()
            if sound != "ok":
                raise ValueError(sound)
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._reader = sqlite3.connect(uri, uri=True, check_same_thread=False)
            self._read("SELECT 1 FROM lease LIMIT 1", ())  # now it has all files that it needs
            self._log = ChargeLog(path.with_suffix(".charge-log"))
            for batch in self._log.batches:
                self._keep(msgpack.unpackb(batch, use_list=False))
            self.settle()
        except (OSError, sqlite3.Error, msgpack.UnpackException, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"the journal {path} cannot be used: {error}",
                layer="QPU agent",
                remedy="Look at the file; move it away, with those beside it, to begin an empty "
                "one without the leases and charges that it holds",
            ) from error

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (mark,) = self._db.execute("PRAGMA application_id").fetchone()
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if (version, mark) == (SCHEMA_VERSION, _APPLICATION):
            return
        if version == 0 and not tables:
            self._change(_SCHEMA, SCHEMA_VERSION)
        elif mark == _APPLICATION and _leads_here(version):
            self._copy_aside(version)
            for former in range(version, SCHEMA_VERSION):
                self._change(_MIGRATIONS[former], former + 1)
        else:
            raise ConfigurationError(
                f"the journal {self._path} has schema {version}; this release has {SCHEMA_VERSION}",
                layer="QPU agent",
                remedy="Start the release that wrote it, or move the file away",
            )

    def _change(self, script: str, version: int) -> None:
        """Brings the file to a schema, all or nothing."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in script.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {version}")

    def _copy_aside(self, version: int) -> None:
        """Keeps a file as it was before its schema changes."""
        copy = self._path.with_suffix(f".v{version}.sqlite")
        making = copy.with_suffix(".part")
        making.unlink(missing_ok=True)
        os.close(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(making)) as target:
            self._db.backup(target)
        os.replace(making, copy)

    def restore(self, now: float) -> list[Lease]:
        """The leases that had not ended, each one generation on: their holders must learn that the
        agent was restarted.

        Args:
            now: monotonic seconds, as their last renewal.
        """
        with self._db:
            self._db.execute("UPDATE lease SET generation = generation + 1 WHERE ended_at IS NULL")
        rows = self._db.execute(
            "SELECT id, job_id, uid, user, account, slots, mode, restart_count, generation, "
            "ends_at, nodes, jobs, state FROM lease WHERE ended_at IS NULL"
        )
        columns = [column[0] for column in rows.description]
        leases = []
        for row in rows:
            values = dict(zip(columns, row, strict=True))
            values["mode"], values["state"] = Mode(values["mode"]), State(values["state"])
            values["nodes"] = set(json.loads(values["nodes"]))
            values["jobs"] = set(json.loads(values["jobs"]))
            leases.append(Lease(**values, renewed_at=now))
        return leases

    def write_lease(self, lease: Lease) -> None:
        """Records a new lease, or what has changed of it.

        Raises:
            StorageError: the journal cannot be written; so for ``end_lease``.
        """
        self._write(
            "INSERT INTO lease VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,NULL,NULL,0) "
            "ON CONFLICT (id) DO UPDATE SET nodes=excluded.nodes, jobs=excluded.jobs, "
            "generation=excluded.generation, ends_at=excluded.ends_at, state=excluded.state",
            (
                lease.id,
                lease.job_id,
                lease.uid,
                lease.user,
                lease.account,
                lease.slots,
                lease.mode,
                lease.restart_count,
                lease.generation,
                lease.ends_at,
                json.dumps(sorted(lease.nodes)),
                json.dumps(sorted(lease.jobs)),
                lease.state,
                self._clock.time(),
            ),
        )

    def end_lease(self, lease_id: str, state: State, reason: str) -> None:
        """Records how a lease has ended."""
        self._write(
            "UPDATE lease SET state=?, ended_at=?, end_reason=? WHERE id=?",
            (state, self._clock.time(), reason, lease_id),
        )

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with self._lock:
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception, done: str = "written") -> StorageError:
        return StorageError(
            f"the journal {self._path} cannot be {done}: {error}",
            layer="QPU agent",
            remedy="Ask the administrator to look at the journal's disk",
        )

    @property
    def has_room(self) -> bool:
        """Whether what tasks are charged can be recorded; false while the disk is full and the log
        as good as full. ``settle`` changes that."""
        return self._log.fits(_ROOM)

    def charge(self, charges: Iterable[Charge]) -> None:
        """Records charges, all or none; a task charged before is not charged again.

        They go to the log, in one write to the disk, half the price of a transaction; ``settle``
        carries them over.

        Raises:
            StorageError: the disk failed, or is full and so is the log.
        """
        now = self._clock.time()
        rows = [(*charge, now) for charge in charges]
        batch: bytes = msgpack.packb(rows)
        try:
            with self._lock:
                if not self._log.fits(len(batch)):
                    self._settle()
                self._log.append(batch)
                self._keep(rows)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def _keep(self, rows: Iterable[tuple[Any, ...]]) -> None:
        for row in rows:
            known = self._unsettled.setdefault((row[0], row[1]), row)
            if known is not row:  # as in the database: charged once, run again
                self._unsettled[row[0], row[1]] = (*known[:2], row[2], *known[3:])

    def charged(self, lease: str, task: bytes) -> int | None:
        """The generation of its lease in which a task ran last, if it was charged at all."""
        with self._lock:
            row = self._unsettled.get((lease, task))
            if row is not None:
                return int(row[2])
            found = self._db.execute(
                "SELECT generation FROM charge WHERE lease=? AND task=?", (lease, task)
            ).fetchone()
            return None if found is None else int(found[0])

    def settle(self) -> None:
        """Carries the charges of the log over into the database.

        Raises:
            StorageError: the database cannot be written; the log keeps them.
        """
        try:
            with self._lock:
                if self._unsettled:
                    self._settle()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _settle(self) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO charge VALUES (?,?,?,?,?,?,?,?,?,?) "
                "ON CONFLICT (lease, task) DO UPDATE SET generation=excluded.generation",
                self._unsettled.values(),
            )
        # A death before this settles them again, which changes nothing.
        self._log.begin_anew()
        self._unsettled.clear()

    def usage(self, job_id: int | None = None) -> list[JobUsage]:
        """What jobs were charged, in the order of their ids; one job's alone where given.

        It looks through all charges, or all of the job, a second for each million, and holds up
        nothing else.

        Raises:
            StorageError: the database cannot be written, so that it lacks the latest charges, or
                not be read.
        """
        self.settle()
        # By its leases, which charges are kept by: those of others are not looked through.
        of_job = "WHERE lease IN (SELECT id FROM lease WHERE job_id = ?) "
        try:
            rows = self._read(
                "SELECT job_id, account, user, count(*), sum(shots), sum(qpu_time_ns), "
                f"sum(waited_ns) FROM charge {'' if job_id is None else of_job}"
                "GROUP BY job_id, account, user ORDER BY job_id",
                () if job_id is None else (job_id,),
            )
        except sqlite3.Error as error:
            raise self._failure(error, "read") from error
        return [JobUsage(*row) for row in rows]

    def _read(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        """Rows by the connection for what takes long; one thread at a time."""
        with self._reading:
            return self._reader.execute(statement, values).fetchall()

    def past(self, since: float, until: float) -> list[tuple[str, str, float, int]]:
        """What was charged in a span of time and is in the database, summed up by the hour:
        account, user, when (the mean, seconds since the epoch) and QPU time in nanoseconds.

        It looks through all charges, a second for each million, and holds up nothing else.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        return self._read(
            "SELECT account, user, avg(charged_at), sum(qpu_time_ns) FROM charge "
            "WHERE charged_at >= ? AND charged_at < ? "
            "GROUP BY CAST(charged_at / 3600 AS INTEGER), account, user",
            (since, until),
        )

    def unreported(self, limit: int) -> list[int]:
        """Jobs whose leases have ended and of whose use Slurm has not been told, the oldest first.

        Raises:
            StorageError: the journal cannot be read.
        """
        rows = self._db.execute(
            "SELECT job_id FROM lease WHERE reported = 0 AND ended_at IS NOT NULL "
            "GROUP BY job_id ORDER BY max(ended_at) LIMIT ?",
            (limit,),
        )
        return [int(job_id) for (job_id,) in rows]

    def mark_reported(self, job_id: int) -> None:
        """Notes that Slurm has been told of what a job used under its leases that have ended.

        Raises:
            StorageError: the journal cannot be written.
        """
        self._write(
            "UPDATE lease SET reported=1 WHERE job_id=? AND ended_at IS NOT NULL", (job_id,)
        )

    def close(self) -> None:
        """Settles what it can; what it cannot stays in the log."""
        try:
            self.settle()
        finally:
            self._log.close()
            self._reader.interrupt()  # whoever reads gets an error
            with self._reading:
                self._reader.close()
            self._db.close()


def _leads_here(version: int) -> bool:
    """Whether there are steps from a former schema to this one."""
    former = range(version, SCHEMA_VERSION)
    return len(former) > 0 and all(step in _MIGRATIONS for step in former)
