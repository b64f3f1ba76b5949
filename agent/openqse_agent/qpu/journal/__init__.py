"""What outlives a QPU agent: its leases, and what each task was charged."""

from openqse_agent.qpu.journal.database import Charge, JobUsage, Journal

__all__ = ["Charge", "JobUsage", "Journal"]
