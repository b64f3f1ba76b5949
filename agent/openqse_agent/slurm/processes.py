"""Slurm's commands as processes: their environment, their deadline, what their failures mean."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import NoReturn

from openqse.errors import SlurmError

# The only variables of Slurm that say where slurmctld is; all others (SQUEUE_STATES,
# SLURM_CLUSTERS, SLURM_TIME_FORMAT, ...) change what the commands answer.
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER"})
_SLURM = ("SLURM_", "SQUEUE_", "SSHARE_", "SCONTROL_", "SACCT_", "SACKD_")

_SLURMCTLD = "Check with `scontrol ping` that slurmctld answers from this host"
_SLURMDBD = "Check with `sacctmgr show cluster` that slurmdbd answers from this host"


def layer(command: str) -> str:
    """Whom a command asks: slurmctld or slurmdbd."""
    return "slurmdbd" if command.startswith("sacct") else "slurmctld"


def run(command: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, whatever its exit code; times are seconds since the epoch.

    Args:
        timeout: seconds after which it is killed.

    Raises:
        SlurmError: it was killed, or cannot be started.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not name.startswith(_SLURM)
    }
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=max(timeout, 0),
            env=environment | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"},
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"{command[0]} did not end within {timeout:.3g} s and was killed",
            layer=layer(command[0]),
            remedy=_remedy(command[0]),
        ) from None
    except OSError as error:
        raise SlurmError(
            f"{command[0]} cannot be started: {error.strerror}",
            layer=layer(command[0]),
            remedy=f"Install Slurm's client commands and put {command[0]} on the agent's PATH",
        ) from error


def output(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that succeeded wrote.

    Raises:
        SlurmError: it failed; the message has its own words.
    """
    if not done.returncode:
        return done.stdout
    said = " ".join(done.stderr.split())[-500:] or "no message"
    command = done.args[0]
    raise SlurmError(
        f"{command} failed with exit code {done.returncode}: {said}",
        layer=layer(command),
        remedy=f"{_remedy(command)}, and that munged and slurm.conf here are the cluster's",
    )


def unreadable(what: str, error: Exception, text: str) -> NoReturn:
    """Raises the SlurmError that tells of an answer that cannot be read."""
    raise SlurmError(
        f"the answer of {what} cannot be read ({type(error).__name__}: {error}); it begins"
        f" {text[:80]!r}",
        layer=layer(what),
        remedy="Run the command by hand as the agent's user; Slurm 22.05 to 26.05 are understood",
    ) from error


def _remedy(command: str) -> str:
    return _SLURMDBD if layer(command) == "slurmdbd" else _SLURMCTLD
