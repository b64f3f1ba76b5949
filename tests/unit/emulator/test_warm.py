"""The command, and machine code that is compiled once and read by others."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from numba.core import caching

from openqse_emulator import profile, warm
from openqse_emulator.density import multiply
from openqse_emulator.statevector import compiled, execute, measure, program

#: A program of every kind, run through devices of both precisions as an agent would; printed is
#: what was compiled, and which kernels met new types once the device was there.
TASKS = """
import sys
from dataclasses import replace
import numpy as np
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse_emulator import profile, warm
from openqse_emulator.device import Emulator

def met():
    return sum(len(kernel.signatures) for module in warm._modules()
               for kernel in vars(module).values() if hasattr(kernel, "py_func"))

def never():
    return False

bell = CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
wide = CircuitBuilder(17)
for q in range(17):
    wide.rx(0.3, q).cx(q, (q + 1) % 17)
wide = wide.measure_all().build()
dynamic = CircuitBuilder(2).ry(0.4, 0).measure(0, 0).ry(0.4, 0).cx(0, 1).reset(0).measure_all()
noise = profile.Noise(one_qubit=0.1, t1_ns=(1e4,),
                      kraus={"ry": (((1, 0), (0, 0.8)), ((0, 0.6), (0, 0)))})
z = PauliSum.from_wire(PauliSum.from_terms({"Z0": 1.0, "X0 Y1": 2.0}, 2).to_wire())
for precision in ("double", "single"):
    warm.compile_kernels(precision)
before = met()
for precision in ("double", "single"):
    for method in ("statevector", "trajectories", "density"):
        engine = profile.Engine(method, precision, threads=2)
        noisy = noise if method != "statevector" else profile.Noise()
        emulator = Emulator(replace(profile.load(), engine=engine, noise=noisy))
        programs = [bell, dynamic.build()] + [wide] * (method == "statevector")
        for circuit in programs:
            prepared = emulator.prepare(Circuit.decode(circuit.encoded))
            found = emulator.run(prepared, np.zeros((2, 0)), 20, 1, never)
            emulator.run(prepared, np.zeros((1, 0)), 20, 1, never)
            if method == "statevector" and circuit is bell:
                assert set(np.unique(found.memory)) <= {0, 3}
        emulator.expectation(emulator.prepare(bell), z, np.zeros((1, 0)), 1, never)
        emulator.close()
print(warm._misses(), met() - before)
"""

COMMAND = "import sys; from openqse_emulator.warm import main; sys.exit(main(['warm']))"


def python(
    *arguments: str, cache: Path, home: Path, privileged: bool = True
) -> subprocess.CompletedProcess[str]:
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
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def copy_of_cache(to: Path, *, without: ModuleType) -> None:
    """Copies the machine code that these tests run with, but that of a module: to compile all of
    it would take a minute."""
    for precision in execute.DTYPES:
        warm.compile_kernels(precision)
    for module, kernel in ((program, program._fates), (multiply, multiply.on_two)):
        subpath = caching._CacheLocator.get_suitable_cache_subpath(module.__file__)
        (to / subpath).mkdir(parents=True)
        for file in Path(kernel.stats.cache_path).glob("*.nb*"):
            if not file.name.startswith(without.__name__.rsplit(".", 1)[1] + "."):
                shutil.copy(file, to / subpath)


def test_cache_of_an_image_is_read_by_users_who_may_not_write_it(tmp_path: Path) -> None:
    cache, home = tmp_path / "numba", tmp_path / "home"
    copy_of_cache(cache, without=multiply)
    shown = python("-c", COMMAND, cache=cache, home=home).stdout
    for precision in ("double", "single"):
        line = rf"^{precision} evolving +\d+\.\d\d s  \(was there\)$"
        assert re.search(line, shown, re.MULTILINE)
    assert re.search(r"^double density matrices +\d+\.\d\d s$", shown, re.MULTILINE)
    assert re.search(r"^single density matrices +\d+\.\d\d s  \(was there\)$", shown, re.MULTILINE)
    assert re.search(r"^ready after \d+\.\d\d s", shown, re.MULTILINE)
    assert f"machine code is kept in {cache}" in shown

    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    before = sorted(cache.rglob("*"))
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = python("-c", TASKS, cache=cache, home=home, privileged=False)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.stdout.split() == ["0", "0"], "tasks compiled what warm had not"
    assert "compil" not in done.stderr
    assert sorted(cache.rglob("*")) == before
    assert not home.exists()


def test_device_that_has_to_compile_tells_its_progress(tmp_path: Path) -> None:
    cache = tmp_path / "numba"
    copy_of_cache(cache, without=measure)
    create = "from openqse_emulator.device import create; create()"
    told = python("-c", create, cache=cache, home=tmp_path / "home").stderr
    assert "numba's cache has no machine code for this processor: compiling" in told
    assert "openqse-emulator warm" in told
    assert re.search(r"compiled: sampling a state \(\d+\.\d s\)", told)
    assert "compiled: density matrices" in told
    assert "compiled: planning" not in told  # it was there, and nothing had been told yet
    assert python("-c", create, cache=cache, home=tmp_path / "home").stderr == ""


def test_device_that_finds_all_in_the_cache_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warm.compile_kernels("double")
    with caplog.at_level(logging.DEBUG, logger="openqse-emulator"):
        warm.compile_kernels("double")
    assert caplog.messages == []


def test_every_module_with_kernels_is_in_the_stamp_of_machine_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(compiled.__file__).parent.parent
    copy = tmp_path / "openqse_emulator"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled, "__file__", str(copy / "statevector" / "compiled.py"))
    assert compiled._digest_of_sources() == compiled._SOURCES
    sources = {
        Path(kernel.py_func.__code__.co_filename).relative_to(package)
        for module in warm._modules()
        for kernel in vars(module).values()
        if hasattr(kernel, "py_func")
    }
    assert len(sources) >= 5
    for source in [*sources, Path("statevector", "simd.py")]:
        text = (copy / source).read_bytes()
        (copy / source).write_bytes(text + b"\n# another line\n")
        assert compiled._digest_of_sources() != compiled._SOURCES, source
        (copy / source).write_bytes(text)


def test_machine_code_of_other_sources_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "doubling.py"
    path.write_text(
        "from openqse_emulator.statevector.compiled import kernel\n\n\n"
        "@kernel\ndef double(x):\n    return 2 * x\n"
    )

    def loaded() -> Any:
        spec = importlib.util.spec_from_file_location("doubling", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.double(21) == 42
        return module.double.stats

    assert loaded().cache_misses
    assert loaded().cache_hits
    monkeypatch.setattr(compiled, "_SOURCES", "of another release")
    assert loaded().cache_misses
    assert loaded().cache_hits


def test_profiles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert warm.main(["profiles"]) == 0
    shown = capsys.readouterr().out
    assert "superconducting (default): 127 qubits" in shown
    assert re.search(r"two_qubit +200,000 ns", shown)

    assert warm.main(["profiles", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert tuple(listed) == profile.names()
    assert listed["superconducting"]["durations_ns"]["two_qubit"] == 68
