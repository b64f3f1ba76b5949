"""The jobs that are attached on a node, and what they hold. Values, no I/O and no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openqse.errors import AgentUnavailable, LeaseDenied, NoLease
from openqse.site import Site, SiteQPU, format_request
from openqse.wire.leases import Mode
from openqse.wire.versions import FIRST, Versions
from openqse_agent.node.hooks import Attach


@dataclass
class Holding:
    """A job's lease of one QPU, as this node knows it.

    Attributes:
        ends_at: when the job's time limit ends, on this host's monotonic clock; None without one.
        capabilities: of the device, as its QPU agent sent them.
        slurm_us: microseconds that its QPU agent waited for slurmctld to grant it.
        versions: of the protocol, that its QPU agent speaks.
    """

    qpu: str
    lease: str
    generation: int
    slots: int
    mode: Mode
    ends_at: float | None
    capabilities: Mapping[str, Any]
    slurm_us: int
    versions: Versions = FIRST


@dataclass
class Job:
    """A job attached on this node.

    Attributes:
        holdings: by QPU. revoked: why leases that it held are no more, by their ids.
    """

    id: int
    uid: int
    gid: int
    restart_count: int
    holdings: dict[str, Holding] = field(default_factory=dict)
    revoked: dict[str, str] = field(default_factory=dict)

    def missing(self, request: Attach, site: Site) -> list[str]:
        """QPUs of a step's request that this node has not joined yet.

        Raises:
            LeaseDenied: the step asks for more than the job holds.
        """
        for qpu, slots in request.qpus.items():
            holding = self.holdings.get(qpu)
            if holding is not None and slots > holding.slots:
                raise LeaseDenied(
                    f"job {self.id} holds {holding.slots} slot(s) of {qpu} and its step asks for "
                    f"{slots}",
                    layer="node agent",
                    remedy=f"Ask for them when the job is submitted: --qpu={qpu}:{slots}",
                )
            all_slots = site.qpu(qpu).slots
            if holding is not None and request.mode == "exclusive" and holding.slots < all_slots:
                raise LeaseDenied(
                    f"job {self.id} holds {holding.slots} of the {all_slots} slots of {qpu}; "
                    "exclusive use takes all",
                    layer="node agent",
                    remedy="Ask for it when the job is submitted: --qpu-mode=exclusive",
                )
        return [qpu for qpu in request.qpus if qpu not in self.holdings]

    @property
    def leases(self) -> dict[str, str]:
        """Its leases by QPU."""
        return {name: holding.lease for name, holding in self.holdings.items()}

    def by_lease(self, lease: str) -> Holding:
        """The holding of that lease id.

        Raises:
            NoLease: the job has none such, or no longer.
        """
        if lease in self.revoked:
            raise NoLease(self.revoked[lease], layer="QPU agent", remedy="Submit the job again")
        for holding in self.holdings.values():
            if holding.lease == lease:
                return holding
        raise NoLease(
            f"job {self.id} does not hold the lease {lease!r} on this node",
            layer="node agent",
            remedy="It has ended or was revoked; see the QPU agent's log",
        )

    def environment(self, socket: str, site: Site, now: float) -> dict[str, str]:
        """What the job's tasks find in their environment; no secret among it."""
        names = ",".join(self.holdings)
        types = ",".join(site.qpu(name).type for name in self.holdings)
        variables = {
            "OPENQSE_SOCKET": socket,
            "OPENQSE_QPUS": format_request({name: h.slots for name, h in self.holdings.items()}),
            "OPENQSE_JOB_ID": str(self.id),
            "QRMI_JOB_ID": str(self.id),
            "QRMI_JOB_UID": str(self.uid),
            "QRMI_JOB_QPU_RESOURCES": names,
            "QRMI_JOB_QPU_TYPES": types,
            "SLURM_JOB_QPU_RESOURCES": names,
            "SLURM_JOB_QPU_TYPES": types,
        }
        waits = [holding.slurm_us for holding in self.holdings.values()]
        variables["OPENQSE_SLURMCTLD_US"] = str(max(waits, default=0))
        for name, holding in self.holdings.items():
            variables[f"{name}_QRMI_JOB_ACQUISITION_TOKEN"] = holding.lease
            if holding.ends_at is not None:
                left = max(0, int(holding.ends_at - now))
                variables[f"{name}_QRMI_JOB_TIMEOUT_SECONDS"] = str(left)
        return variables


def unavailable(qpu: SiteQPU) -> AgentUnavailable:
    """The error that says that a QPU's agent does not answer."""
    return AgentUnavailable(
        f"the QPU agent of {qpu.name} at {qpu.endpoint} does not answer",
        layer="QPU agent",
        remedy=f"Ask the administrator to check openqse-qpu-agent {qpu.name} on its host",
    )
