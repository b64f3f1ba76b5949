"""The command openqse-emulator: compile the kernels ahead of time, list the profiles."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter

import numpy as np

from openqse.errors import OpenQSEError
from openqse_emulator import profile as profiles
from openqse_emulator.statevector import kernels


def compile_kernels(report: Callable[[str, float], None] | None = None) -> None:
    """Calls the kernels once, with the types of a run: compiles them, or loads them from the cache.

    What kernels alone call is part of their code.

    Args:
        report: told each kernel's name and the seconds it took.
    """
    state = np.array([1, 0, 0, 0], dtype=np.complex128)
    gates = np.zeros(1, dtype=np.int64)
    reals = np.zeros(4)
    memory = np.zeros((1, 1), dtype=np.uint8)
    calls = (
        (kernels.scale, (state, 1, 0, 1 + 0j)),
        (kernels.exchange, (state, 1, 0, 1)),
        (kernels.mix, (state, 1, 0, 1, 1 + 0j, 0j, 0j, 1 + 0j)),
        (kernels.weight, (state, 1, 0)),
        (kernels.evolve, (state, gates, gates, gates, gates, gates, reals, 0, 1)),
        (kernels.cumulate, (state, reals)),
        (kernels.read_out, (reals, reals[:1], gates, gates, memory)),
        (kernels.pauli_sum, (state, reals[:1], gates, gates, 0, 1)),
    )
    for kernel, arguments in calls:
        begun = perf_counter()
        kernel(*arguments)
        if report is not None:
            report(kernel.__name__, perf_counter() - begun)


def main(arguments: list[str] | None = None) -> int:
    """The command ``openqse-emulator``; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="openqse-emulator", description="Prepare and describe the emulated QPU."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "warm",
        help="compile all kernels into numba's cache",
        description="Compiles all kernels into numba's cache (NUMBA_CACHE_DIR, or numba's own "
        "choice), so that no agent waits for it. Run it once for each kind of processor.",
    )
    listing = commands.add_parser("profiles", help="list the packaged profiles with their figures")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    try:
        if options.command == "warm":
            _warm()
        else:
            _profiles(options.json)
    except OpenQSEError as error:
        print(f"openqse-emulator: {error}", file=sys.stderr)
        return 1
    return 0


def _warm() -> None:
    begun = perf_counter()
    compile_kernels(lambda name, took: print(f"{name:<10} {took:6.2f} s", flush=True))
    path = kernels.evolve.stats.cache_path
    where = f"in {path}" if path else "nowhere: numba found no directory that it may write"
    print(f"ready after {perf_counter() - begun:.2f} s; machine code is kept {where}")


def _profiles(as_json: bool) -> None:
    loaded = [profiles.load(name) for name in profiles.names()]
    if as_json:
        print(json.dumps({profile.name: asdict(profile) for profile in loaded}, indent=2))
        return
    for profile in loaded:
        default = " (default)" if profile.name == profiles.DEFAULT else ""
        print(
            f"{profile.name}{default}: {profile.max_qubits} qubits, at most {profile.max_shots} "
            f"shots, {profile.expectation_shots} for each group of an expectation; native gates: "
            f"{', '.join(profile.native_gates)}"
        )
        for name, ns in asdict(profile.durations_ns).items():
            print(f"  {name:<15} {ns:>12,} ns")
