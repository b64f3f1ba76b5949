"""Who asks slurmctld: pyslurm where it serves, else Slurm's own commands."""

from __future__ import annotations

import logging

from openqse.errors import ConfigurationError, SlurmError
from openqse_agent.slurm.binding import Binding
from openqse_agent.slurm.client import SlurmClient
from openqse_agent.slurm.commands import Commands

log = logging.getLogger(__name__)


def connect(kind: str, timeout: float) -> SlurmClient:
    """The client that a site's configuration asks for.

    Args:
        kind: ``pyslurm``, ``commands``, or ``auto``: pyslurm where it is installed and
            slurmctld answers through it now, else Slurm's commands.
        timeout: seconds that a question may take.

    Raises:
        ConfigurationError: ``kind`` is none of these.
        SlurmError: ``pyslurm`` is asked for and cannot be imported here.
    """
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
        except SlurmError:
            binding.close()
            raise
    except SlurmError as error:
        log.info("slurmctld is asked by Slurm's commands; pyslurm does not serve here: %s", error)
        return Commands(timeout)
    log.info("slurmctld is asked by pyslurm %s, which answers here", binding.version)
    return binding
