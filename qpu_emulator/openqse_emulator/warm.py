"""The command openqse-emulator: compile the kernels ahead of time, list the profiles."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from time import perf_counter

import numpy as np

from openqse.errors import OpenQSEError
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import density, noise
from openqse_emulator import profile as profiles
from openqse_emulator.dynamic import compile, paths
from openqse_emulator.profile import Precision, Profile
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import branches, execute, measure, program
from openqse_emulator.trajectories import Prepared as Trajectories

log = logging.getLogger("openqse-emulator")

#: Called with what was compiled (or loaded), the seconds it took, and whether it was in the cache.
Report = Callable[[str, float, bool], None]


def compile_kernels(precision: Precision, report: Report | None = None) -> None:
    """Runs a small program of every kind, so that all kernels are compiled, or loaded.

    Args:
        report: told of each step; None logs the steps if the cache is cold.
    """
    report = report or _Cold()
    for name, step in _steps(precision):
        misses, begun = _misses(), perf_counter()
        step()
        report(name, perf_counter() - begun, _misses() == misses)


class _Cold:
    """Logs the progress of a compilation, and nothing where all is in the cache."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, name: str, took: float, cached: bool) -> None:
        if cached and not self._told:
            return
        if not self._told:
            log.warning(
                "numba's cache has no machine code for this processor: compiling, which takes "
                "minutes. Do it ahead with: openqse-emulator warm"
            )
        self._told = True
        log.warning("compiled: %s (%.1f s)", name, took)


def _misses() -> int:
    """How often something was compiled so far."""
    return sum(
        sum(found.stats.cache_misses.values())
        for module in _modules()
        for found in vars(module).values()
        if hasattr(found, "stats") and hasattr(found, "py_func")
    )


def _modules() -> list[object]:
    """The emulator's modules that have kernels."""
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("openqse_emulator.")
    ]


def _steps(precision: Precision) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is to be compiled, and a run of it."""
    engine = execute.Engine(execute.DTYPES[precision], 1)
    wide = _program(measure.TABLE + 1)
    narrow = _program(1)
    angles = wide.bind()[0]
    uniforms = Uniforms(1)

    def never() -> bool:
        return False

    yield "reading programs", lambda: program.read(wide)
    prepared = engine.prepare(wide)
    yield "planning", lambda: prepared.planned(angles, True)
    yield "evolving", lambda: engine.evolve(prepared, angles, never)
    memory = np.zeros((1, 2), dtype=np.uint8)

    def sample(each: Circuit) -> None:
        found = engine.distribution(engine.prepare(each), angles, never)
        found.sample(uniforms, memory, engine.team, never)

    yield "sampling a state", lambda: sample(wide)
    yield "sampling a table", lambda: sample(narrow)
    observable = PauliSum.from_terms({"X0 Y1": 1.0, "Z0": 1.0}, wide.num_qubits)
    yield (
        "expectations",
        lambda: engine.expectation(engine.evolve(prepared, angles, never), observable, never),
    )
    dynamic = CircuitBuilder(1).h(0).measure(0, 0).reset(0).h(0).measure(0, 1).build()
    yield (
        "collapses",
        lambda: branches.sample(engine, engine.prepare(dynamic), angles, uniforms, memory, never),
    )
    stays = noise.Channel(noise.Kind.KRAUS, (0,), operators=np.eye(2, dtype=complex)[np.newaxis])
    gates = list(narrow.operations())
    flips = noise.Channel(noise.Kind.PAULI, (0,), (0.5, 0.0, 0.0))
    for name, channel in (("trajectories", flips), ("Kraus operators", stays)):
        sequence = [gates[0], channel, *gates[1:]]
        yield (
            name,
            lambda sequence=sequence: Trajectories(engine, narrow, sequence).sample(  # type: ignore[misc]
                angles, uniforms, memory, never
            ),
        )
    mixed = CircuitBuilder(6).h(5).cx(0, 1).append(Op.X, range(5), controls=4).build()
    yield "density matrices", lambda: density.evolve(mixed.operations(), 6, angles, never)
    yield "classical control", lambda: _control(observable, never)


def _control(observable: PauliSum, never: Callable[[], bool]) -> None:
    """Runs a program with classical control, on amplitudes and on a tableau."""
    builder = CircuitBuilder(observable.num_qubits).h(0).measure(0, 0)
    with builder.if_(builder.bits(0)):
        builder.x(0)
    made = compile.compiled(builder.build(), noise.NoiseModel.of(profiles.load()))
    for each in (made, made.stabilizer):
        sampled = paths.Sampled.none(each, 1)
        paths.sample(each, np.zeros(0), (1, 0), 0, sampled, 2**20, never)
    paths.mean(made, observable, np.zeros(0), (1, 0), 1, 2**20, never)


def _program(num_qubits: int) -> Circuit:
    builder = CircuitBuilder(num_qubits)
    for q in range(num_qubits):
        builder.append(Op.H, (q,))
    return builder.measure_all().build()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="openqse-emulator", description="Prepare and describe the emulated QPU."
    )
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser(
        "warm",
        help="compile all kernels into numba's cache",
        description="Compiles all kernels into numba's cache (NUMBA_CACHE_DIR, or numba's own "
        "choice), so that no agent waits for it. Run it once for each kind of processor.",
    )
    listing = commands.add_parser(
        "profiles",
        help="list the packaged profiles with their figures",
        description="Lists the packaged profiles: qubits, native gates, noise, and the durations "
        "that QPU time is made of.",
    )
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return made


def main(arguments: list[str] | None = None) -> int:
    """The command ``openqse-emulator``; returns its exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "warm":
            _warm()
        else:
            _profiles(options.json)
    except OpenQSEError as error:
        print(f"openqse-emulator: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads has had enough; nothing more is to be flushed there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _warm() -> None:
    begun = perf_counter()

    def report(name: str, took: float, cached: bool) -> None:
        print(f"{precision} {name:<17} {took:6.2f} s{'  (was there)' * cached}", flush=True)

    precision: Precision
    for precision in ("double", "single"):
        compile_kernels(precision, report)
    path = program._fates.stats.cache_path
    where = f"in {path}" if path else "nowhere: numba found no directory that it may write"
    print(f"ready after {perf_counter() - begun:.2f} s; machine code is kept {where}")


def _noise(profile: Profile) -> str:
    """What goes wrong, by the names of the profile's keys."""
    given = [
        f"{name} {value:g}" if isinstance(value, float) else name
        for name, value in asdict(profile.noise).items()
        if value
    ]
    return f"noise: {', '.join(given)}" if given else "no noise"


def _profiles(as_json: bool) -> None:
    loaded = [profiles.load(name) for name in profiles.names()]
    if as_json:
        table = {profile.name: asdict(profile) for profile in loaded}
        print(json.dumps(table, indent=2, default=lambda z: [z.real, z.imag]))
        return
    for profile in loaded:
        default = " (default)" if profile.name == profiles.DEFAULT else ""
        print(
            f"{profile.name}{default}: {profile.max_qubits} qubits, at most {profile.max_shots} "
            f"shots, {profile.expectation_shots} for each group of an expectation; native gates: "
            f"{', '.join(profile.native_gates)}"
        )
        engine = profile.engine
        print(f"  method {engine.method}, {engine.precision} precision; {_noise(profile)}")
        for name, ns in asdict(profile.durations_ns).items():
            print(f"  {name:<15} {ns:>12,} ns")
