"""The agent of a compute node: brokers between the ranks of its jobs and the QPU agents."""
