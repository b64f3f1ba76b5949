"""Tasks in the QPU agent: whose turn it is, and their way through the device."""
