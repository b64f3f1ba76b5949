"""The drivers that docs/devices.md shows are devices: the suite for devices passes them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from openqse.device import Capabilities
from openqse.device.conformance import Verdict, run

PAGE = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the page's programs define."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        exec(block, names)
    return names


def failed(device: Any) -> dict[str, str]:
    return {f.check: f.detail for f in run(device) if f.verdict is Verdict.FAILED}


def test_the_blocking_driver_passes(shown: dict[str, Any]) -> None:
    assert failed(shown["create"]()) == {}


class Client:
    """A service whose jobs are done when they have been looked at twice."""

    def __init__(self, tiny: Any) -> None:
        self.tiny = tiny
        self.jobs: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.numbers = itertools.count()

    def send(self, prepared: Any, parameters: Any, shots: int) -> str:
        samples = self.tiny.run(prepared, parameters, shots, None, lambda: False)
        job = f"job-{next(self.numbers)}"
        self.jobs[job] = {"state": "done", "memory": samples.memory, "ns": samples.qpu_time_ns}
        self.looks[job] = 0
        return job

    def look(self, job: str) -> dict[str, Any]:
        self.looks[job] += 1
        return self.jobs[job] if self.looks[job] > 2 else {"state": "queued"}

    def cancel(self, job: str) -> None:
        self.jobs[job] = {"state": "cancelled"}


def test_the_driver_of_a_service_passes(shown: dict[str, Any]) -> None:
    service = shown["Service"](Client(shown["Tiny"]()))
    assert service.capacity == 3
    assert failed(service) == {}


def test_the_page_has_each_field_of_the_descriptor() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == list(Capabilities.__dataclass_fields__)
