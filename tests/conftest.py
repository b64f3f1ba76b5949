"""Which unit tests are slow, by what they use. Single tests have ``@pytest.mark.slow``."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Folders and files whose tests are slow, and why.
SLOW = {
    "unit/emulator": "compiles the kernels",
    "unit/program/collections": "simulates collections of programs",
    "unit/program/test_openqasm_powers.py": "synthesises many gates",
    "unit/program/test_openqasm_writer.py": "writes and reads many random programs",
    "unit/program/test_openqasm_writer_classical.py": "writes and reads many random programs",
    "unit/test_slices.py": "compiles the kernels",
    "unit/agent/slurm/test_slurm_client.py": "starts Slurm's commands",
    "unit/agent/test_attach.py": "starts agents",
    "unit/agent/test_attach_crashes.py": "kills processes",
    "unit/agent/test_crashes.py": "kills processes",
    "unit/agent/test_malformed.py": "starts agents",
    "unit/agent/test_probe.py": "starts processes",
    "unit/agent/test_secrets.py": "starts processes",
    "unit/agent/test_units.py": "starts processes, as root",
}
#: Fixtures that start agents: whoever uses one is slow.
STARTING = {"make_stack", "shared"}
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what ``ci/check`` leaves out."""
    slow = [HERE / name for name in SLOW]
    for item in items:
        place = [item.path, *item.path.parents]
        started = STARTING & set(getattr(item, "fixturenames", ()))
        if started or any(each in place for each in slow):
            item.add_marker(pytest.mark.slow)
