"""The command, and machine code that is compiled once and read by others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openqse_emulator import profile, warm

#: The kernels that are called from Python; what they call in turn is part of their code.
CALLED = ["scale", "exchange", "mix", "weight", "evolve", "cumulate", "read_out", "pauli_sum"]

BELL = """
import numpy as np
from openqse.program.circuit import CircuitBuilder
from openqse_emulator.device import create
from openqse_emulator.statevector import kernels
emulator = create()
bell = emulator.prepare(CircuitBuilder(2).h(0).cx(0, 1).measure_all().build())
found = emulator.run(bell, np.zeros((1, 0)), 100, 1, lambda: False)
assert set(np.unique(found.memory)) == {0, 3}
found = {name: k.stats for name, k in vars(kernels).items() if hasattr(k, "stats")}
assert not any(stats.cache_misses for stats in found.values())
print(*(name for name, stats in found.items() if stats.cache_hits))
"""


def python(*arguments: str, cache: Path, home: Path, privileged: bool = True) -> str:
    """Runs the interpreter, for root without the right to write where the modes forbid it."""
    command = [sys.executable, *arguments]
    if not privileged and os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NUMBA_CACHE_DIR": str(cache),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cache_of_an_image_is_read_by_users_who_may_not_write_it(tmp_path: Path) -> None:
    cache, home = tmp_path / "numba", tmp_path / "home"
    command = "import sys; from openqse_emulator.warm import main; sys.exit(main(['warm']))"
    shown = python("-c", command, cache=cache, home=home)
    for name in CALLED:
        assert re.search(rf"^{name} +\d+\.\d\d s$", shown, re.MULTILINE)
    assert f"machine code is kept in {cache}" in shown

    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    before = sorted(cache.rglob("*"))
    for folder in folders:
        folder.chmod(0o555)
    try:
        loaded = python("-c", BELL, cache=cache, home=home, privileged=False).split()
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert sorted(loaded) == sorted(CALLED)
    assert sorted(cache.rglob("*")) == before
    assert not home.exists()


def test_profiles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert warm.main(["profiles"]) == 0
    shown = capsys.readouterr().out
    assert "superconducting (default): 20 qubits" in shown
    assert re.search(r"two_qubit +200,000 ns", shown)

    assert warm.main(["profiles", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert tuple(listed) == profile.names()
    assert listed["superconducting"]["durations_ns"]["two_qubit"] == 68
