"""The recorded answers that the fakes give, and the fault that they show instead."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

DIRECTORY = Path(os.environ["FAKE_SLURM"])


def fault() -> str:
    """What is wrong at this moment, or nothing.

    ``down``, ``slurmdbd down``, ``refused``, ``hang``, ``garbage`` or ``fatal``.
    """
    path = DIRECTORY / "fault"
    return path.read_text() if path.exists() else ""


def answer() -> dict[str, Any]:
    """The whole answer: jobs and, of releases that tell it, the time at which it was given."""
    found: dict[str, Any] = json.loads((DIRECTORY / "squeue.json").read_text())
    return found


def jobs() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer()["jobs"]
    return found


def number(value: Any) -> int | None:
    """A number of a job record, in the form of any release."""
    if isinstance(value, dict):
        return value["number"] if value["set"] else None
    return None if value is None else int(value)


def chosen(id: int) -> list[dict[str, Any]]:
    """What slurmctld answers for an id: that job, and the other jobs of its array or set."""
    keys = ("job_id", "array_job_id", "het_job_id")
    return [job for job in jobs() if id in [number(job[key]) for key in keys]]


# Reservations, as measured with Slurm 24.11.

YEAR = 365 * 86400
LICENSES = {"qpu_emu0": 4, "qpu_emu1": 1}


class Refused(Exception):
    """slurmctld's answer: its error number and words."""

    def __init__(self, errno: int, words: str) -> None:
        super().__init__(words)
        self.errno = errno


def reservations() -> list[dict[str, Any]]:
    """Name, licenses, start, end and flags of each."""
    path = DIRECTORY / "reservations.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return [each for each in found if each["end"] > time.time()]


def _write(all: list[dict[str, Any]]) -> None:
    (DIRECTORY / "reservations.json").write_text(json.dumps(all))


def reserve(name: str, licenses: str, start: int, end: int, flags: set[str]) -> None:
    """Keeps a reservation, or refuses as slurmctld does."""
    held = dict(item.split(":") for item in licenses.split(","))
    if flags != {"MAINT", "ANY_NODES"}:
        raise Refused(2014, "Requested node configuration is not available")
    if start < time.time() - 60 or end <= start:
        raise Refused(2054, "Invalid time specified")
    if any(each["name"] == name for each in reservations()):
        raise Refused(2062, "Duplicate reservation name")
    for license, count in held.items():
        taken = sum(
            int(dict(item.split(":") for item in each["licenses"].split(",")).get(license, 0))
            for each in reservations()
            if each["start"] < end and start < each["end"]
        )
        if int(count) + taken > LICENSES.get(license, 0):
            raise Refused(2048, "Invalid license specification")
    _write([*reservations(), {"name": name, "licenses": licenses, "start": start, "end": end}])


def release(name: str) -> None:
    left = [each for each in reservations() if each["name"] != name]
    if left == reservations():
        raise Refused(2053, "Requested reservation is invalid")
    _write(left)


# Accounting, as measured with Slurm 24.11.


def accounting() -> list[dict[str, str]]:
    """The records of slurmdbd, by sacct's columns."""
    found: list[dict[str, str]] = json.loads((DIRECTORY / "sacct.json").read_text())
    return found


def accounted(id: str) -> list[dict[str, str]]:
    """What slurmdbd finds by an id: a job, or all of an array or a heterogeneous job."""
    return [
        row
        for row in accounting()
        if id in (row["JobIDRaw"], row["JobID"], *re.split(r"[_+]", row["JobID"])[:1])
    ]


def comment(id: str, column: str, text: str) -> None:
    """Sets a comment; then another, who had read the records before, may write what it has."""
    rows = accounting()
    modified = [row for row in rows if row in accounted(id)]
    if not modified:
        raise SystemExit("sacctmgr: error: Request didn't affect anything")
    late = DIRECTORY / "overtaken"
    said = late.read_text() if late.exists() else text
    late.unlink(missing_ok=True)
    for row in modified:
        row[column] = re.sub("[\"']", "`", said)[:65535]
    (DIRECTORY / "sacct.json").write_text(json.dumps(rows))
