"""Profiles: what an emulated QPU offers and how long its operations take, read from TOML."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from openqse.errors import ConfigurationError
from openqse.program.gates import NON_UNITARY, SIGNATURES, Op

DEFAULT = "superconducting"

#: How a program is computed; ``choice`` says which of them can do what.
Method = Literal["statevector", "stabilizer", "density", "trajectories"]
Precision = Literal["double", "single"]
#: One figure for every qubit, or one for each; empty where there is none.
PerQubit = tuple[float, ...]
#: A square matrix by rows.
Matrix = tuple[tuple[complex, ...], ...]

#: For the stabilizer engine; what a state takes is checked for each program (see ``choice``).
_MOST_QUBITS = 10_000
_GATE_NAMES = [op.name.lower() for op in Op if op not in NON_UNITARY] + ["cx", "cy", "cz"]
_ONE_QUBIT_GATES = [
    op.name.lower() for op in Op if op not in NON_UNITARY and SIGNATURES[op].targets == 1
]
#: How many qubits the gates act on that may have an error of their own.
_QUBITS = {
    **dict.fromkeys(_ONE_QUBIT_GATES, 1),
    **dict.fromkeys([f"c{gate}" for gate in _ONE_QUBIT_GATES], 2),
    **{op.name.lower(): 2 for op, takes in SIGNATURES.items() if takes.targets == 2},
}
#: How exactly probabilities must sum to one at most, and Kraus operators to the identity.
_TOLERANCE = 1e-9


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
class Engine:
    """How programs are computed.

    Attributes:
        method: a ``Method``, or ``auto``: whichever suits the program.
        precision: of state vectors.
        threads: 0 means all cores that the process may use.
        memory_bytes: most that one program may take; 0 means three quarters of the machine's.
    """

    method: Method | Literal["auto"] = "auto"
    precision: Precision = "double"
    threads: int = 0
    memory_bytes: int = 0

    def on_this_machine(self) -> Engine:
        """The same with numbers in place of zeros."""
        cores = getattr(os, "sched_getaffinity", None)  # Linux alone can tell which may be used
        usable = len(cores(0)) if cores else os.cpu_count() or 1
        return replace(
            self,
            threads=self.threads or usable,
            memory_bytes=self.memory_bytes or _memory() * 3 // 4,
        )


@dataclass(frozen=True)
class Noise:
    """What goes wrong on the emulated hardware; without arguments, nothing does.

    Attributes:
        one_qubit, two_qubit: probability that a native gate is followed by a Pauli error; all are
            equally likely.
        t1_ns, t2_ns: relaxation and coherence times; T2 is at most 2 T1, and is that where only T1
            is given.
        leakage_per_ns: rate at which an idle qubit leaves its two levels.
        zero_as_one, one_as_zero: probability that a measurement reports the other value.
        pauli: by gate, in place of the errors above, the probabilities of X, Y, Z, or of IX, IY
            and so on to ZZ; the first letter is for the gate's first qubit (its control).
        kraus: likewise the Kraus operators; a gate's first qubit is the least significant bit of
            their indices.
    """

    one_qubit: float = 0.0
    two_qubit: float = 0.0
    t1_ns: PerQubit = ()
    t2_ns: PerQubit = ()
    leakage_per_ns: float = 0.0
    zero_as_one: PerQubit = ()
    one_as_zero: PerQubit = ()
    pauli: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)
    kraus: Mapping[str, tuple[Matrix, ...]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Profile:
    """An emulated QPU.

    Attributes:
        name: the packaged profile's name, or the path of the file.
        max_qubits, max_shots: most qubits of a program; most shots of a task.
        expectation_shots: shots that hardware would take for each group of an observable's terms.
        native_gates: names of the gates that cost one native operation.
        durations_ns: durations of operations.
        engine, noise: how programs are computed, and what goes wrong.
        real_time: whether a task takes as long as on hardware, not only as long as computing does.
    """

    name: str
    max_qubits: int
    max_shots: int
    expectation_shots: int
    native_gates: tuple[str, ...]
    durations_ns: Durations
    engine: Engine = Engine()
    noise: Noise = Noise()
    real_time: bool = False


def _memory(root: Path = Path("/")) -> int:
    """Bytes of memory that the process may have: the machine's, or its control groups' if less."""
    amounts = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        groups = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            for name in ("memory.max", "memory.limit_in_bytes"):
                with suppress(OSError, ValueError):  # there is none, or it says "max"
                    amounts.append(int((folder / name).read_text()))
            if folder == top:
                break
    return min(amounts)


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
    optional = {"engine", "noise", "real_time"}
    _check_keys(name, table, _names(Profile) - optional - {"name"}, "", optional)
    gates, durations = table["native_gates"], _table(name, table, "durations_ns")
    real_time = table.get("real_time", False)
    _check_keys(name, durations, _names(Durations), "durations_ns.")
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
    if not isinstance(real_time, bool):
        raise _wrong(name, f"'real_time' must be true or false, not {real_time!r}")
    return Profile(
        name,
        table["max_qubits"],
        table["max_shots"],
        table["expectation_shots"],
        tuple(gates),
        Durations(**durations),
        _engine(name, _table(name, table, "engine")),
        _noise(name, _table(name, table, "noise"), table["max_qubits"]),
        real_time,
    )


def _engine(name: str, table: dict[str, Any]) -> Engine:
    _check_keys(name, table, set(), "engine.", _names(Engine))
    engine = Engine(**table)
    choices = {"method": ("auto", *get_args(Method)), "precision": get_args(Precision)}
    for key, known in choices.items():
        if getattr(engine, key) not in known:
            given = repr(getattr(engine, key))
            raise _wrong(name, f"'engine.{key}' must be one of {', '.join(known)}, not {given}")
    _check_number(name, "engine.threads", engine.threads, 0, 4096)
    _check_number(name, "engine.memory_bytes", engine.memory_bytes, 0, 2**60)
    return engine


def _noise(name: str, table: dict[str, Any], qubits: int) -> Noise:
    misread = {"zero_as_one", "one_as_zero"}
    _check_keys(name, table, set(), "noise.", _names(Noise) - misread | {"readout"})
    readout = _table(name, table, "readout", "noise.")
    _check_keys(name, readout, set(), "noise.readout.", misread)
    for key in ("one_qubit", "two_qubit", "leakage_per_ns"):
        _check_real(name, f"noise.{key}", table.get(key, 0.0), 0.0, 1.0)
    t1_ns = _per_qubit(name, "noise.t1_ns", table.get("t1_ns"), qubits, 1e-3, 1e18)
    t2_ns = _per_qubit(name, "noise.t2_ns", table.get("t2_ns"), qubits, 1e-3, 1e18)
    if t1_ns and t2_ns:
        for qubit in np.flatnonzero(np.array(t2_ns) > 2 * np.array(t1_ns)):
            raise _wrong(name, f"'noise.t2_ns' is more than twice 'noise.t1_ns' (qubit {qubit})")
    pauli = _table(name, table, "pauli", "noise.")
    kraus = _table(name, table, "kraus", "noise.")
    for gate in pauli.keys() & kraus.keys():
        raise _wrong(name, f"'noise.pauli' and 'noise.kraus' both have the gate {gate!r}")
    return Noise(
        one_qubit=table.get("one_qubit", 0.0),
        two_qubit=table.get("two_qubit", 0.0),
        t1_ns=t1_ns,
        t2_ns=t2_ns,
        leakage_per_ns=table.get("leakage_per_ns", 0.0),
        **{
            key: _per_qubit(name, f"noise.readout.{key}", readout.get(key), qubits, 0.0, 1.0)
            for key in sorted(misread)
        },
        pauli={gate: _pauli(name, gate, value) for gate, value in pauli.items()},
        kraus={gate: _kraus(name, gate, value) for gate, value in kraus.items()},
    )


def _per_qubit(
    name: str, key: str, value: object, qubits: int, least: float, most: float
) -> PerQubit:
    if value is None:
        return ()
    if isinstance(value, list) and len(value) != qubits:
        raise _wrong(name, f"{key!r} has {len(value)} values for {qubits} qubits")
    values = value if isinstance(value, list) else [value]
    for each in values:
        _check_real(name, key, each, least, most)
    return tuple(values)


def _pauli(name: str, gate: str, value: object) -> tuple[float, ...]:
    key = f"noise.pauli.{gate}"
    count = 4 ** _arity(name, key, gate) - 1
    if not isinstance(value, list) or len(value) != count:
        raise _wrong(name, f"{key!r} is not a list of {count} probabilities")
    for each in value:
        _check_real(name, key, each, 0.0, 1.0)
    if sum(value) > 1 + _TOLERANCE:
        raise _wrong(name, f"the probabilities of {key!r} sum to {sum(value)}, more than 1")
    return tuple(value)


def _kraus(name: str, gate: str, value: object) -> tuple[Matrix, ...]:
    key = f"noise.kraus.{gate}"
    size = 2 ** _arity(name, key, gate)
    try:
        pairs = np.array(value)
    except ValueError:  # ragged
        pairs = np.empty(0)
    if pairs.shape[1:] != (size, size, 2) or pairs.dtype.kind not in "if":
        raise _wrong(name, f"{key!r} is not a list of {size} x {size} matrices of [re, im] pairs")
    operators = pairs[..., 0] + 1j * pairs[..., 1]
    total = np.einsum("kji,kjl->il", operators.conj(), operators)
    if not np.abs(total - np.eye(size)).max() <= _TOLERANCE:
        raise _wrong(name, f"the operators K of {key!r} do not fulfil sum(K^† K) = 1")
    return tuple(tuple(map(tuple, operator)) for operator in operators.tolist())


def _arity(name: str, key: str, gate: str) -> int:
    if gate not in _QUBITS:
        raise _wrong(name, f"{key!r} names an unknown gate")
    return _QUBITS[gate]


def _names(cls: type[Profile | Durations | Engine | Noise]) -> set[str]:
    return {field.name for field in fields(cls)}


def _table(name: str, table: dict[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise _wrong(name, f"{prefix + key!r} is not a table")
    return found


def _check_keys(
    name: str,
    table: dict[str, Any],
    expected: set[str],
    prefix: str,
    optional: set[str] | frozenset[str] = frozenset(),
) -> None:
    for key in sorted(table.keys() - expected - optional):
        raise _wrong(name, f"unknown key {prefix + key!r}")
    for key in sorted(expected - table.keys()):
        raise _wrong(name, f"key {prefix + key!r} is missing")


def _check_number(name: str, key: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise _wrong(name, f"{key!r} must be a whole number from {least} to {most}, not {value!r}")


def _check_real(name: str, key: str, value: Any, least: float, most: float) -> None:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not least <= value <= most:
        raise _wrong(name, f"{key!r} must be a number from {least:g} to {most:g}, not {value!r}")
