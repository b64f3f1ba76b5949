"""``openqse-qpu-agent`` with a scripted device in place of whatever the site file names."""

import sys
from pathlib import Path
from typing import Any

from openqse import device
from openqse.testing import ScriptedDevice
from openqse_agent.qpu.loop import main


def load(name: str, profile: str | None = None, credentials: Path | None = None) -> Any:
    if credentials is not None:
        credentials.read_bytes()  # as a driver would, to speak with its provider
    return device.ThreadDevice(ScriptedDevice())


device.load = load
sys.exit(main())
