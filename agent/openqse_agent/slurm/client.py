"""The Slurm client: the questions that agents ask, and the choice of who asks them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from openqse.errors import ConfigurationError, SlurmError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What slurmctld says of a job.

    Attributes:
        id: the job id; a component of a heterogeneous job has its own.
        running: whether it holds its allocation now (running, suspended or being configured).
        state: Slurm's word for its state, upper case.
        uid, user, account: whose it is.
        licences: number held by name, such as ``{"qpu_emu0": 2}``.
        end_time: when its time limit ends, seconds since the epoch; None without a limit.
        restart_count: how often it was requeued.
        leader: of a component of a heterogeneous job, the first component's id, which alone can
            hold licences; else the job's own.
    """

    id: int
    running: bool
    state: str
    uid: int
    user: str
    account: str
    licences: Mapping[str, int]
    end_time: float | None
    restart_count: int
    leader: int


class SlurmClient(Protocol):
    """Asks slurmctld. Every call blocks for at most the client's timeout; none is retried.

    Every method raises ``SlurmError`` if slurmctld does not answer or its answer cannot be read.
    """

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """The jobs that slurmctld knows among ``ids``, by id, in one question."""
        ...

    def shares(self) -> dict[str, float]:
        """Normalised shares (0 to 1) of each account in the fair tree, root left out."""
        ...


def connect(kind: str, timeout: float) -> SlurmClient:
    """The client that a site's configuration asks for.

    Args:
        kind: ``pyslurm``, ``commands``, or ``auto``: pyslurm where it is installed and both
            questions are answered through it now, else Slurm's commands.
        timeout: seconds that a question may take.

    Raises:
        ConfigurationError: ``kind`` is none of these.
        SlurmError: ``pyslurm`` is asked for and cannot be imported here.
    """
    # Imported here because both import this module's Job.
    from openqse_agent.slurm.binding import Binding
    from openqse_agent.slurm.commands import Commands

    if kind not in ("auto", "pyslurm", "commands"):
        raise ConfigurationError(
            f"[slurm] client is {kind!r}",
            layer="slurmctld",
            remedy='Write "auto", "pyslurm" or "commands"',
        )
    if kind == "commands":
        log.info("slurmctld is asked by Slurm's commands, as configured")
        return Commands(timeout)
    if kind == "pyslurm":
        binding = Binding(timeout)
        log.info("slurmctld is asked by pyslurm %s, as configured", binding.version)
        return binding
    try:
        binding = Binding(timeout)
        try:
            binding.jobs([1])  # Whether there is such a job does not matter.
            binding.shares()
        except SlurmError:
            binding.close()
            raise
    except SlurmError as error:
        log.info("slurmctld is asked by Slurm's commands; pyslurm does not serve here: %s", error)
        return Commands(timeout)
    log.info("slurmctld is asked by pyslurm %s, which answers here", binding.version)
    return binding
