"""Who may use the QPU: its leases, and how node agents come to them."""

from openqse.wire.leases import Mode
from openqse_agent.qpu.leases.table import TRANSITIONS, Lease, LeaseTable, State

__all__ = ["TRANSITIONS", "Lease", "LeaseTable", "Mode", "State"]
