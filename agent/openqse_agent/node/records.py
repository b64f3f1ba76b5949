"""What a node agent remembers of its jobs on disk, so that they outlive it.

One file for each attached job, for root alone, beside the jobs' directories. They lie where a
reboot, which ends the jobs, clears them away.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openqse.wire.leases import Mode
from openqse.wire.versions import Versions
from openqse_agent.files import PART, write_whole
from openqse_agent.node.jobs import Holding, Job

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
        write_whole(self._path(job.id), json.dumps(asdict(job)), synced=False)

    def remove(self, job_id: int) -> None:
        """Forgets a job; one that is not recorded is none the worse."""
        self._path(job_id).unlink(missing_ok=True)

    def read(self) -> Iterator[Job]:
        """The jobs that an earlier run of the agent had attached."""
        for part in self._directory.glob(f"*{PART}"):
            part.unlink()
        for path in sorted(self._directory.glob("*.json")):
            try:
                values = json.loads(path.read_text())
                held = values.pop("holdings").items()
                yield Job(**values, holdings={name: _holding(**each) for name, each in held})
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                # Its job's ranks are told that their sockets are gone; Slurm ends what is left.
                log.error("the record %s cannot be read and is dropped: %s", path, error)
                path.unlink()

    def _path(self, job_id: int) -> Path:
        return self._directory / f"{job_id}.json"


def _holding(mode: str, versions: dict[str, int], **values: Any) -> Holding:
    return Holding(**values, mode=Mode(mode), versions=Versions(**versions))
