"""Profiles: what an emulated QPU offers and how long its operations take, read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path
from typing import Any

from openqse.errors import ConfigurationError
from openqse.program.gates import NON_UNITARY, Op

DEFAULT = "superconducting"

#: State vectors are indexed with signed 64-bit integers; no machine comes near this.
_MOST_QUBITS = 40
_GATE_NAMES = [op.name.lower() for op in Op if op not in NON_UNITARY] + ["cx", "cy", "cz"]


@dataclass(frozen=True)
class Durations:
    """Nanoseconds that operations take on the emulated hardware.

    Attributes:
        z_rotation: rotations about z (Z, S, T, P, RZ).
        one_qubit, two_qubit: any other gate on one qubit; one native gate on two.
        readout, reset: a measurement; a reset in the course of a program.
        initialisation, shot_overhead: before and after each shot.
    """

    z_rotation: int
    one_qubit: int
    two_qubit: int
    readout: int
    reset: int
    initialisation: int
    shot_overhead: int


@dataclass(frozen=True)
class Profile:
    """An emulated QPU.

    Attributes:
        name: the packaged profile's name, or the path of the file.
        max_qubits, max_shots: most qubits of a program; most shots of a task.
        expectation_shots: shots that hardware would take for each group of an observable's terms.
        native_gates: names of the gates that cost one native operation.
        durations_ns: durations of operations.
    """

    name: str
    max_qubits: int
    max_shots: int
    expectation_shots: int
    native_gates: tuple[str, ...]
    durations_ns: Durations


def names() -> tuple[str, ...]:
    """Names of the packaged profiles."""
    return tuple(sorted(_stem(file) for file in _packaged() if file.name.endswith(".toml")))


def load(profile: str | None = None) -> Profile:
    """The profile of this name, or in the file at this path; None is the default profile.

    Raises:
        ConfigurationError: no such profile or file; the file is not TOML, lacks a key, has an
            unknown one, or one with a value that cannot be.
    """
    name = profile or DEFAULT
    if name.endswith(".toml") or "/" in name:
        source: Traversable | Path = Path(name)
    else:
        found = [file for file in _packaged() if file.name == f"{name}.toml"]
        if not found:
            raise ConfigurationError(
                f"the emulator knows no profile {name!r} (it has: {', '.join(names())})",
                layer="device",
                remedy="Give one of these names, or the path of a .toml file",
            )
        source = found[0]
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(name, f"cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _wrong(name, f"is not TOML: {error}") from error
    return _profile(name, table)


def _packaged() -> list[Traversable]:
    return list((resources.files("openqse_emulator") / "profiles").iterdir())


def _stem(file: Traversable) -> str:
    return file.name.removesuffix(".toml")


def _wrong(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"profile {name}: {reason}",
        layer="device",
        remedy="Compare it with the packaged profiles: openqse-emulator profiles",
    )


def _profile(name: str, table: dict[str, Any]) -> Profile:
    expected = {field.name for field in fields(Profile)} - {"name"}
    _check_keys(name, table, expected, "")
    gates, durations = table["native_gates"], table["durations_ns"]
    if not isinstance(durations, dict):
        raise _wrong(name, "'durations_ns' is not a table")
    _check_keys(name, durations, {field.name for field in fields(Durations)}, "durations_ns.")
    for key, value in durations.items():
        _check_number(name, f"durations_ns.{key}", value, 0, 10**12)
    _check_number(name, "max_qubits", table["max_qubits"], 1, _MOST_QUBITS)
    _check_number(name, "max_shots", table["max_shots"], 1, 10**9)
    _check_number(name, "expectation_shots", table["expectation_shots"], 1, 10**9)
    if not isinstance(gates, list) or not gates:
        raise _wrong(name, "'native_gates' is not a list of gates' names")
    for gate in gates:
        if gate not in _GATE_NAMES:
            raise _wrong(name, f"'native_gates' names an unknown gate {gate!r}")
    return Profile(
        name,
        table["max_qubits"],
        table["max_shots"],
        table["expectation_shots"],
        tuple(gates),
        Durations(**durations),
    )


def _check_keys(name: str, table: dict[str, Any], expected: set[str], prefix: str) -> None:
    for key in sorted(table.keys() - expected):
        raise _wrong(name, f"unknown key {prefix + key!r}")
    for key in sorted(expected - table.keys()):
        raise _wrong(name, f"key {prefix + key!r} is missing")


def _check_number(name: str, key: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise _wrong(name, f"{key!r} must be a whole number from {least} to {most}, not {value!r}")
