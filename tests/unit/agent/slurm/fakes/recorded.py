"""The recorded answers that the fakes give, and the fault that they show instead."""

import json
import os
from pathlib import Path
from typing import Any

DIRECTORY = Path(os.environ["FAKE_SLURM"])


def fault() -> str:
    """``down``, ``slurmdbd down``, ``hang``, ``garbage``, ``fatal`` or nothing, at this moment."""
    path = DIRECTORY / "fault"
    return path.read_text() if path.exists() else ""


def jobs() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DIRECTORY / "squeue.json").read_text())["jobs"]
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
