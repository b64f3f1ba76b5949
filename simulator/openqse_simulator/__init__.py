"""A discrete-event simulator of sites that share QPUs, driving the policies of the QPU agent."""
