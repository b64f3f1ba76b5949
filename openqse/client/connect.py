"""The ways in: to a QPU of this job, or to a device in this process."""

from __future__ import annotations

import os

from openqse import device as devices
from openqse.client import local, remote
from openqse.client.qpu import QPU
from openqse.errors import NoLease


def connect(name: str | None = None, *, timeout: float = 10.0) -> QPU:
    """Connects to a QPU of this job, or to a device in this process.

    Args:
        name: a QPU that the job asked for with ``--qpu`` (may be left out if there is one), or a
            device such as ``"emulator"`` or ``"emulator:PROFILE"``, which runs in this process.
        timeout: seconds to wait for the node agent.

    Raises:
        NoLease: the job holds no such QPU, or this is no job step with ``--qpu``.
        AgentUnavailable: the node agent does not answer.
        ConfigurationError: no such device is installed.
    """
    path = os.environ.get("OPENQSE_SOCKET")
    if path:
        qpu, names = remote.open_qpu(path, name, timeout)
        if qpu is not None:
            return qpu
    device, _, profile = (name or "").partition(":")
    if device in devices.names():
        return local.open_qpu(device, profile or None)
    if not path:
        raise NoLease(
            f"{name!r} is no installed device, and this process is not in a job step that has a QPU"
            if name
            else "this process is not in a job step that has a QPU",
            remedy="Start it with srun: srun --qpu=NAME, or srun within sbatch or salloc "
            "--qpu=NAME; or use a device in this process: "
            + (", ".join(f'connect("{name}")' for name in devices.names()) or "none"),
        )
    held = ", ".join(names)
    if name is None:
        raise NoLease(f"this job holds several QPUs ({held})", remedy="Name the one to connect to")
    raise NoLease(
        f"this job holds no QPU {name!r} (it holds {held})",
        remedy=f"Ask for it when the job is submitted: --qpu={held},{name}",
    )
