"""The agent of a QPU: owns its leases, queue, journal and device."""
