"""When the QPU is not to be used: windows of maintenance, and what holds them."""
