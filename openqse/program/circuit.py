"""The circuit form: a program as flat arrays, cheap to send, to hash and to bind."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import ArrayLike, NDArray

from openqse.errors import ArgumentError, ProgramError
from openqse.program.gates import NON_UNITARY, SIGNATURES, Op

#: Name of the form in a device's list of accepted formats and in a program message.
FORMAT = "openqse.circuit.1"

_ARRAYS: dict[str, Any] = {
    "opcodes": np.uint8,
    "controls": np.uint8,
    "clbits": np.int32,
    "operand_offsets": np.int32,
    "operands": np.int32,
    "angle_offsets": np.int32,
    "angle_constants": np.float64,
    "term_angles": np.int32,
    "term_parameters": np.int32,
    "term_coefficients": np.float64,
}


class Operation(NamedTuple):
    """One operation, for reading: in ``qubits`` controls come first; ``angles`` are indices."""

    op: Op
    controls: int
    qubits: tuple[int, ...]
    angles: range
    clbit: int


@dataclass(frozen=True, eq=False)
class Circuit:
    """A program of ``n`` operations on qubits and classical bits, with free parameters.

    Operation ``i`` has code ``opcodes[i]``; its operands are
    ``operands[operand_offsets[i]:operand_offsets[i + 1]]``, of which the first ``controls[i]`` are
    controls (active on 1); its angles are ``angle_offsets[i]:angle_offsets[i + 1]`` of all angles.
    An angle is affine in the free parameters: ``angle_constants[a]`` plus, for every term ``t``
    with ``term_angles[t] == a``, ``term_coefficients[t] * parameters[term_parameters[t]]``.
    A measurement writes classical bit ``clbits[i]`` (-1 for every other operation).

    Attributes:
        num_qubits, num_clbits: sizes of the registers.
        parameters: names of the free parameters, in the order in which values are given.
        opcodes, controls: uint8 ``(n,)``. clbits: int32 ``(n,)``.
        operand_offsets, angle_offsets: int32 ``(n + 1,)``. operands: int32.
        angle_constants: float64, radians. term_*: int32, int32, float64, one length.

    Raises:
        ProgramError: the arrays contradict each other or name what does not exist.
    """

    num_qubits: int
    num_clbits: int
    parameters: tuple[str, ...]
    opcodes: NDArray[np.uint8]
    controls: NDArray[np.uint8]
    clbits: NDArray[np.int32]
    operand_offsets: NDArray[np.int32]
    operands: NDArray[np.int32]
    angle_offsets: NDArray[np.int32]
    angle_constants: NDArray[np.float64]
    term_angles: NDArray[np.int32]
    term_parameters: NDArray[np.int32]
    term_coefficients: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, dtype in _ARRAYS.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            if array.ndim != 1:
                raise ProgramError(f"circuit array {name!r} is not flat")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        _check(self)

    def __len__(self) -> int:
        return len(self.opcodes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Circuit) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return (
            f"Circuit({self.num_qubits} qubits, {self.num_clbits} bits, {len(self)} operations, "
            f"{len(self.parameters)} parameters, id {self.id[:12]})"
        )

    def operations(self) -> Iterator[Operation]:
        """The operations in order, as Python values."""
        operands = self.operands.tolist()
        ends, angle_ends = self.operand_offsets.tolist(), self.angle_offsets.tolist()
        for i, code in enumerate(self.opcodes.tolist()):
            yield Operation(
                Op(code),
                int(self.controls[i]),
                tuple(operands[ends[i] : ends[i + 1]]),
                range(angle_ends[i], angle_ends[i + 1]),
                int(self.clbits[i]),
            )

    def bind(self, parameters: ArrayLike | None = None) -> NDArray[np.float64]:
        """The angles for each set of parameters.

        Args:
            parameters: ``(n_parameters,)`` or a batch ``(k, n_parameters)``; may be left out where
                the circuit has none.

        Returns:
            float64 ``(k, n_angles)`` in radians; ``k`` is 1 for a single set.

        Raises:
            ArgumentError: wrong shape, or a value that is not a finite number.
        """
        values, _ = parameter_sets(parameters, self.parameters)
        angles = np.repeat(self.angle_constants[np.newaxis], len(values), axis=0)
        if len(self.term_angles):
            terms = values[:, self.term_parameters] * self.term_coefficients
            np.add.at(angles.T, self.term_angles, terms.T)
        return angles

    @cached_property
    def measures_last(self) -> bool:
        """Whether every measurement comes after all that touches its qubit (so one state serves all
        shots), each bit is written once and there is no reset."""
        measured: set[int] = set()
        written: set[int] = set()
        for operation in self.operations():
            if operation.op is Op.BARRIER:
                continue
            if operation.op is Op.RESET or measured.intersection(operation.qubits):
                return False
            if operation.op is Op.MEASURE:
                if operation.clbit in written:
                    return False
                measured.update(operation.qubits)
                written.add(operation.clbit)
        return True

    @cached_property
    def id(self) -> str:
        """Hash of the content (SHA-256, hex): the program's name on every QPU."""
        return self.digest.hex()

    @cached_property
    def digest(self) -> bytes:
        """``id`` as bytes."""
        return hashlib.sha256(self.encoded).digest()

    @cached_property
    def encoded(self) -> bytes:
        """The circuit as bytes, the same for equal circuits everywhere (little-endian arrays)."""
        body = [FORMAT, self.num_qubits, self.num_clbits, list(self.parameters)]
        for name, dtype in _ARRAYS.items():
            body.append(getattr(self, name).astype(np.dtype(dtype).newbyteorder("<")).tobytes())
        packed: bytes = msgpack.packb(body)
        return packed

    @staticmethod
    def decode(data: bytes) -> Circuit:
        """The circuit that ``encoded`` wrote, checked as one from a stranger.

        Raises:
            ProgramError: not a circuit of this format, or an inconsistent one.
        """
        try:
            form, num_qubits, num_clbits, parameters, *arrays = msgpack.unpackb(data)
            if form != FORMAT or len(arrays) != len(_ARRAYS):
                raise ProgramError(f"a program of format {form!r}; this version reads {FORMAT!r}")
            if not (isinstance(num_qubits, int) and isinstance(num_clbits, int)):
                raise ProgramError("register sizes are not whole numbers")
            if not isinstance(parameters, list) or not all(isinstance(n, str) for n in parameters):
                raise ProgramError("parameter names are not a list of text")
            decoded = {
                name: np.frombuffer(raw, dtype=np.dtype(dtype).newbyteorder("<"))
                for (name, dtype), raw in zip(_ARRAYS.items(), arrays, strict=True)
            }
            return Circuit(num_qubits, num_clbits, tuple(parameters), **decoded)
        except ProgramError:
            raise
        except Exception as error:
            raise ProgramError(f"not a program in format {FORMAT!r}: {error}") from error


def parameter_sets(
    parameters: ArrayLike | None, names: Sequence[str]
) -> tuple[NDArray[np.float64], bool]:
    """``parameters`` as a float64 batch ``(k, len(names))`` of its own, and whether they were given
    as one.

    Raises:
        ArgumentError: wrong shape or not finite.
    """
    count = len(names)
    if parameters is None and count == 0:
        return _NO_PARAMETERS, False
    try:
        values = np.array([] if parameters is None else parameters, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"parameters are not numbers: {error}") from error
    batched = values.ndim == 2
    sets = values[np.newaxis, :] if values.ndim == 1 else values
    if sets.ndim != 2 or sets.shape[1] != count or sets.shape[0] == 0:
        raise ArgumentError(
            f"parameters of shape {values.shape} for a program with {count} free parameters"
            + (f" ({', '.join(names[:8])}{', …' if count > 8 else ''})" if count else ""),
            remedy=f"Give an array of shape ({count},), or (k, {count}) for k sets",
        )
    if not np.isfinite(sets).all():
        raise ArgumentError("a parameter is not a finite number")
    return sets, batched


_NO_PARAMETERS = np.empty((1, 0))


def _check(circuit: Circuit) -> None:
    """Raises ProgramError unless the arrays are consistent; programs come from strangers."""
    n = len(circuit.opcodes)

    def refuse(reason: str) -> None:
        raise ProgramError(f"inconsistent circuit: {reason}")

    if circuit.num_qubits < 1 or circuit.num_clbits < 0:
        refuse("it needs at least one qubit and no negative number of bits")
    if max(circuit.num_qubits, circuit.num_clbits) > 2**24:
        refuse("more than 2^24 qubits or bits")
    if len(set(circuit.parameters)) != len(circuit.parameters):
        refuse("two free parameters share a name")
    for name in ("controls", "clbits"):
        if len(getattr(circuit, name)) != n:
            refuse(f"{name} does not have one entry for each operation")
    sizes = {
        "operand_offsets": len(circuit.operands),
        "angle_offsets": len(circuit.angle_constants),
    }
    for name, size in sizes.items():
        offsets = getattr(circuit, name)
        if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != size:
            refuse(f"{name} does not span its array")
        if (np.diff(offsets) < 0).any():
            refuse(f"{name} decreases")
    if not np.isin(circuit.opcodes, _KNOWN_CODES).all():
        refuse("unknown operation code")
    operand_counts = np.diff(circuit.operand_offsets)
    targets = operand_counts - circuit.controls
    expected = _TARGETS[circuit.opcodes]
    if ((expected >= 0) & (targets != expected)).any() or (targets < 0).any():
        refuse("an operation has the wrong number of operands")
    if (np.diff(circuit.angle_offsets) != _ANGLES[circuit.opcodes]).any():
        refuse("an operation has the wrong number of angles")
    if (circuit.controls[_NON_UNITARY[circuit.opcodes]] != 0).any():
        refuse("a measurement, reset or barrier has controls")
    if len(circuit.operands):
        if circuit.operands.min() < 0 or circuit.operands.max() >= circuit.num_qubits:
            refuse("an operand is not a qubit of the circuit")
        keys = np.repeat(np.arange(n, dtype=np.int64), operand_counts) * circuit.num_qubits
        if len(np.unique(keys + circuit.operands)) != len(keys):
            refuse("an operation names a qubit twice")
    measures = circuit.opcodes == Op.MEASURE
    written = circuit.clbits[measures]
    if (written < 0).any() or (written >= circuit.num_clbits).any():
        refuse("a measurement writes a bit that does not exist")
    if (circuit.clbits[~measures] != -1).any():
        refuse("only a measurement writes a bit")
    terms = len(circuit.term_angles)
    if len(circuit.term_parameters) != terms or len(circuit.term_coefficients) != terms:
        refuse("the terms of the angles have different lengths")
    bounds = (
        (circuit.term_angles, len(circuit.angle_constants)),
        (circuit.term_parameters, len(circuit.parameters)),
    )
    for indices, bound in bounds:
        if terms and (indices.min() < 0 or indices.max() >= bound):
            refuse("a term names an angle or parameter that does not exist")
    if not (
        np.isfinite(circuit.angle_constants).all() and np.isfinite(circuit.term_coefficients).all()
    ):
        refuse("an angle is not a finite number")


_KNOWN_CODES = np.array([int(op) for op in Op], dtype=np.uint8)
_TARGETS = np.full(256, -2, dtype=np.int64)
_ANGLES = np.zeros(256, dtype=np.int64)
_NON_UNITARY = np.zeros(256, dtype=bool)
for _op, _signature in SIGNATURES.items():
    _TARGETS[_op] = -1 if _signature.targets is None else _signature.targets
    _ANGLES[_op] = _signature.angles
    _NON_UNITARY[_op] = _op in NON_UNITARY


@dataclass(frozen=True)
class Angle:
    """An angle that is affine in free parameters: ``constant + sum(coefficient * parameter)``.

    Made by ``CircuitBuilder.parameter`` and by ``+``, ``-``, ``*`` and ``/`` with numbers.
    """

    constant: float = 0.0
    terms: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Angle | float) -> Angle:
        other = other if isinstance(other, Angle) else Angle(float(other))
        names = dict.fromkeys([*self.terms, *other.terms])
        terms = {name: self.terms.get(name, 0.0) + other.terms.get(name, 0.0) for name in names}
        return Angle(self.constant + other.constant, terms)

    def __mul__(self, factor: float) -> Angle:
        factor = float(factor)
        return Angle(self.constant * factor, {k: v * factor for k, v in self.terms.items()})

    def __truediv__(self, divisor: float) -> Angle:
        return self * (1.0 / float(divisor))

    def __neg__(self) -> Angle:
        return self * -1.0

    def __sub__(self, other: Angle | float) -> Angle:
        return self + (-other)

    def __rsub__(self, other: float) -> Angle:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__


class CircuitBuilder:
    """Writes a circuit operation by operation; every gate method returns the builder.

    >>> bell = CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
    """

    def __init__(self, num_qubits: int, num_clbits: int = 0) -> None:
        self.num_qubits = operator.index(num_qubits)
        self.num_clbits = operator.index(num_clbits)
        self._parameters: dict[str, int] = {}
        self._columns: dict[str, list[Any]] = {name: [] for name in _ARRAYS}
        self._columns["operand_offsets"].append(0)
        self._columns["angle_offsets"].append(0)

    def parameter(self, name: str) -> Angle:
        """A free parameter; its position among the values is the order of first mention."""
        self._parameters.setdefault(name, len(self._parameters))
        return Angle(0.0, {name: 1.0})

    def append(
        self,
        op: Op,
        qubits: Sequence[int],
        angles: Sequence[Angle | float] = (),
        *,
        controls: int = 0,
        clbit: int = -1,
    ) -> CircuitBuilder:
        """Adds one operation; the first ``controls`` of ``qubits`` are controls.

        Raises:
            ProgramError: a qubit does not exist or is named twice.
        """
        columns = self._columns
        for q in qubits:
            if not 0 <= operator.index(q) < self.num_qubits:
                raise ProgramError(
                    f"{op.name.lower()} on {q}, which is not a qubit of the circuit (it has "
                    f"{self.num_qubits}, from 0)"
                )
        if len(set(qubits)) < len(qubits):
            raise ProgramError(f"{op.name.lower()} names a qubit twice: {tuple(qubits)}")
        for angle in angles:
            index = len(columns["angle_constants"])
            angle = angle if isinstance(angle, Angle) else Angle(float(angle))
            columns["angle_constants"].append(angle.constant)
            for name, coefficient in angle.terms.items():
                if name not in self._parameters:
                    raise ArgumentError(f"parameter {name!r} belongs to another circuit")
                columns["term_angles"].append(index)
                columns["term_parameters"].append(self._parameters[name])
                columns["term_coefficients"].append(coefficient)
        columns["opcodes"].append(int(op))
        columns["controls"].append(controls)
        columns["clbits"].append(clbit)
        columns["operands"].extend(int(q) for q in qubits)
        columns["operand_offsets"].append(len(columns["operands"]))
        columns["angle_offsets"].append(len(columns["angle_constants"]))
        return self

    def x(self, q: int) -> CircuitBuilder:
        return self.append(Op.X, (q,))

    def y(self, q: int) -> CircuitBuilder:
        return self.append(Op.Y, (q,))

    def z(self, q: int) -> CircuitBuilder:
        return self.append(Op.Z, (q,))

    def h(self, q: int) -> CircuitBuilder:
        return self.append(Op.H, (q,))

    def s(self, q: int) -> CircuitBuilder:
        return self.append(Op.S, (q,))

    def t(self, q: int) -> CircuitBuilder:
        return self.append(Op.T, (q,))

    def p(self, angle: Angle | float, q: int) -> CircuitBuilder:
        return self.append(Op.P, (q,), (angle,))

    def rx(self, angle: Angle | float, q: int) -> CircuitBuilder:
        return self.append(Op.RX, (q,), (angle,))

    def ry(self, angle: Angle | float, q: int) -> CircuitBuilder:
        return self.append(Op.RY, (q,), (angle,))

    def rz(self, angle: Angle | float, q: int) -> CircuitBuilder:
        return self.append(Op.RZ, (q,), (angle,))

    def u(
        self, theta: Angle | float, phi: Angle | float, lam: Angle | float, q: int
    ) -> CircuitBuilder:
        return self.append(Op.U, (q,), (theta, phi, lam))

    def cx(self, control: int, target: int) -> CircuitBuilder:
        return self.append(Op.X, (control, target), controls=1)

    def cz(self, control: int, target: int) -> CircuitBuilder:
        return self.append(Op.Z, (control, target), controls=1)

    def cp(self, angle: Angle | float, control: int, target: int) -> CircuitBuilder:
        return self.append(Op.P, (control, target), (angle,), controls=1)

    def swap(self, a: int, b: int) -> CircuitBuilder:
        return self.append(Op.SWAP, (a, b))

    def rzz(self, angle: Angle | float, a: int, b: int) -> CircuitBuilder:
        return self.append(Op.RZZ, (a, b), (angle,))

    def measure(self, q: int, clbit: int) -> CircuitBuilder:
        self.num_clbits = max(self.num_clbits, operator.index(clbit) + 1)
        return self.append(Op.MEASURE, (q,), clbit=clbit)

    def measure_all(self) -> CircuitBuilder:
        """Measures every qubit into a new bit, qubit 0 first."""
        first = self.num_clbits
        for q in range(self.num_qubits):
            self.measure(q, first + q)
        return self

    def reset(self, q: int) -> CircuitBuilder:
        return self.append(Op.RESET, (q,))

    def barrier(self, *qubits: int) -> CircuitBuilder:
        return self.append(Op.BARRIER, qubits or range(self.num_qubits))

    def build(self) -> Circuit:
        """The circuit.

        Raises:
            ProgramError: an operation names a qubit that does not exist, or one twice.
        """
        arrays = {name: np.array(values, _ARRAYS[name]) for name, values in self._columns.items()}
        return Circuit(self.num_qubits, self.num_clbits, tuple(self._parameters), **arrays)
