"""The QPU agent's memory on disk: leases that outlive it, and what each task was charged."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from openqse.errors import ConfigurationError, DeviceError
from openqse_agent.qpu.leases import Lease, Mode

SCHEMA_VERSION = 1

#: Charges in the log after which it is settled at once.
_SETTLE_AFTER = 4096

_SCHEMA = """
CREATE TABLE lease (
    id TEXT PRIMARY KEY, job_id INTEGER NOT NULL, uid INTEGER NOT NULL, user TEXT NOT NULL,
    account TEXT NOT NULL, slots INTEGER NOT NULL, mode TEXT NOT NULL,
    restart_count INTEGER NOT NULL, generation INTEGER NOT NULL, ends_at REAL,
    nodes TEXT NOT NULL, jobs TEXT NOT NULL, granted_at REAL NOT NULL, ended_at REAL,
    end_reason TEXT
) STRICT;
CREATE INDEX lease_active ON lease (id) WHERE ended_at IS NULL;
CREATE TABLE charge (
    task BLOB PRIMARY KEY, lease TEXT NOT NULL, job_id INTEGER NOT NULL, account TEXT NOT NULL,
    user TEXT NOT NULL, shots INTEGER NOT NULL, qpu_time_ns INTEGER NOT NULL,
    charged_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
"""


class Charge(NamedTuple):
    """What a task cost: the unit of accounting.

    Attributes:
        task: task id. shots: of all parameter sets together. qpu_time_ns: QPU time, nanoseconds.
    """

    task: bytes
    lease: str
    job_id: int
    account: str
    user: str
    shots: int
    qpu_time_ns: int


@dataclass(frozen=True)
class JobUsage:
    """A job's record: tasks charged, their shots and QPU time in nanoseconds."""

    job_id: int
    account: str
    user: str
    tasks: int
    shots: int
    qpu_time_ns: int

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)


class Journal:
    """An SQLite file in write-ahead mode, and a log of charges on their way into it.

    One process may have it open; several of its threads may use it.

    Raises:
        ConfigurationError: the file is damaged, foreign or of another schema; it is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # one thread's transaction must not take in another's
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, isolation_level=None, timeout=5.0, check_same_thread=False
            )
            self._prepare()
            self._db.execute("PRAGMA journal_mode=WAL")  # after: a foreign file must not change
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._open_log()
        except (OSError, sqlite3.Error, msgpack.UnpackException, ValueError) as error:
            raise ConfigurationError(
                f"the journal {path} cannot be used: {error}",
                layer="QPU agent",
                remedy="Look at the file; move it away to begin an empty one",
            ) from error

    def _prepare(self) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == 0 and tables == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise ConfigurationError(
                    f"the journal {self._path} has schema {version}; this release has "
                    f"{SCHEMA_VERSION}",
                    layer="QPU agent",
                    remedy="Start the release that wrote it, or move the file away",
                )

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
            "ends_at, nodes, jobs FROM lease WHERE ended_at IS NULL"
        )
        columns = [column[0] for column in rows.description]
        leases = []
        for row in rows:
            values = dict(zip(columns, row, strict=True))
            values["mode"] = Mode(values["mode"])
            values["nodes"] = set(json.loads(values["nodes"]))
            values["jobs"] = set(json.loads(values["jobs"]))
            leases.append(Lease(**values, renewed_at=now))
        return leases

    def write_lease(self, lease: Lease) -> None:
        """Records a new lease, or its nodes and generation.

        Raises:
            DeviceError: the journal cannot be written; so for ``end_lease``.
        """
        nodes = json.dumps(sorted(lease.nodes))
        self._write(
            "INSERT INTO lease VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,NULL,NULL) "
            "ON CONFLICT (id) DO UPDATE SET nodes=excluded.nodes, "
            "jobs=excluded.jobs, generation=excluded.generation",
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
                nodes,
                json.dumps(sorted(lease.jobs)),
                time.time(),
            ),
        )

    def end_lease(self, lease: Lease, reason: str) -> None:
        """Records that a lease was released or revoked."""
        self._write(
            "UPDATE lease SET ended_at=?, end_reason=? WHERE id=?", (time.time(), reason, lease.id)
        )

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with self._lock:
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise DeviceError(
                f"the journal {self._path} cannot be written: {error}",
                layer="QPU agent",
                remedy="Ask the administrator to look at the journal's disk",
            ) from error

    def charge(self, charges: Iterable[Charge]) -> None:
        """Records charges, all or none; a task charged before is not charged again.

        They go to the log beside the database, in one write that no death of this process undoes, a
        tenth of the price of a transaction; ``settle`` carries them over.

        Raises:
            OSError: the log cannot be written. sqlite3.Error: it is full and cannot be settled.
        """
        now = time.time()
        rows = [(*charge, now) for charge in charges]
        with self._lock:
            if len(self._unsettled) >= _SETTLE_AFTER:
                self._settle()
            record = b"".join(map(msgpack.packb, rows))
            written = os.write(self._log, record)
            if written < len(record):
                os.ftruncate(self._log, os.fstat(self._log).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._unsettled.extend(rows)

    def settle(self) -> None:
        """Carries the charges of the log over into the database.

        Raises:
            sqlite3.Error: the database cannot be written; the log keeps them.
        """
        with self._lock:
            if self._unsettled:
                self._settle()

    def _settle(self) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR IGNORE INTO charge VALUES (?,?,?,?,?,?,?,?)", self._unsettled
            )
        os.ftruncate(self._log, 0)  # a death before this settles them again, which changes nothing
        self._unsettled.clear()

    def _open_log(self) -> None:
        """Opens the log and settles what an earlier run left in it."""
        path = self._path.with_suffix(".charges")
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._log = os.open(path, flags, 0o600)
        unpacker = msgpack.Unpacker(use_list=False)
        unpacker.feed(path.read_bytes())
        # A record cut short was never handed over: its write had not returned.
        self._unsettled = list(unpacker)
        self.settle()
        os.ftruncate(self._log, 0)  # what was cut short must not run into the next record

    def usage(self, job_id: int | None = None) -> list[JobUsage]:
        """What jobs were charged, in the order of their ids; one job's alone where given."""
        self.settle()
        rows = self._db.execute(
            "SELECT job_id, account, user, count(*), sum(shots), sum(qpu_time_ns) FROM charge "
            "WHERE ?1 IS NULL OR job_id = ?1 GROUP BY job_id, account, user ORDER BY job_id",
            (job_id,),
        )
        return [JobUsage(*row) for row in rows]

    def close(self) -> None:
        self.settle()
        os.close(self._log)
        self._db.close()
