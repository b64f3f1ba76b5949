"""Scripted stand-ins for tests: devices here, a Slurm in ``openqse.testing.slurm``.

Nothing imports this package but tests.
"""

from openqse.testing.device import ScriptedDevice, ScriptedService

__all__ = ["ScriptedDevice", "ScriptedService"]
