"""What a node agent remembers of its jobs on disk, so that they outlive it.

One file for each attached job, for root alone, beside the jobs' directories. They lie where a
reboot, which ends the jobs, clears them away.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from openqse_agent.node.sessions import Holding, Job

log = logging.getLogger("node-agent")


class Records:
    """The records under ``directory``, which is made where there is none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)

    def write(self, job: Job) -> None:
        """Records a job, all of it or nothing.

        Raises:
            OSError: it cannot be written.
        """
        path = self._path(job.id)
        making = path.with_suffix(".part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(making, flags, 0o600), "w") as file:
            json.dump(asdict(job), file)
        os.replace(making, path)

    def remove(self, job_id: int) -> None:
        """Forgets a job; one that is not recorded is none the worse."""
        self._path(job_id).unlink(missing_ok=True)

    def read(self) -> Iterator[Job]:
        """The jobs that an earlier run of the agent had attached."""
        for part in self._directory.glob("*.part"):
            part.unlink()
        for path in sorted(self._directory.glob("*.json")):
            try:
                values = json.loads(path.read_text())
                held = values.pop("holdings").items()
                yield Job(**values, holdings={name: Holding(**each) for name, each in held})
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                # Its job's ranks are told that their sockets are gone; Slurm ends what is left.
                log.error("the record %s cannot be read and is dropped: %s", path, error)
                path.unlink()

    def _path(self, job_id: int) -> Path:
        return self._directory / f"{job_id}.json"
