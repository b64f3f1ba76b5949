"""The agents: one on each compute node, one for each QPU, and the administrator's commands."""
