"""The circuit form: a program as flat arrays, cheap to send, to hash and to bind.

Form 2 is one stream of operations on qubits, on classical bits and on *cells*, which hold 64-bit
integers and floats. Control flow is structured, as in WebAssembly: ``IF`` … ``ELSE`` … ``END``,
``LOOP`` … ``END``, ``BREAK`` and ``CONTINUE``. ``docs/programs.md`` has every operation;
``machine`` says what they do. Form 1, which had neither registers nor cells, is still read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import msgpack
import numpy as np
from numpy.typing import ArrayLike, NDArray

from openqse.errors import ArgumentError, ProgramError
from openqse.program.gates import Op
from openqse.program.program import Output, Program

#: Names of the forms in a device's list of accepted formats and in a program's envelope.
FORMAT = "openqse.circuit.2"
FORMAT_1 = "openqse.circuit.1"

#: The arrays of form 1, and with those of cells those of form 2, in the order of the encoding.
ARRAYS_1: dict[str, Any] = {
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
ARRAYS: dict[str, Any] = {**ARRAYS_1, "cells": np.int64, "cell_types": np.uint8}

#: Types of cells.
INTEGER, FLOAT = 0, 1


class Operation(NamedTuple):
    """One operation, for reading.

    Attributes:
        controls: how many of the qubits are controls; they come first.
        qubits: of a quantum operation its qubits, else its cells and plain numbers.
        angles: indices of its angles.
        clbit: the classical bit (of ``PARAMETER`` the parameter) that it names, or -1.
    """

    op: Op
    controls: int
    qubits: tuple[int, ...]
    angles: range
    clbit: int


def _no_cells() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


def _no_types() -> NDArray[np.uint8]:
    return np.empty(0, np.uint8)


@dataclass(frozen=True, eq=False)
class Circuit:
    """A program of ``n`` operations on qubits, classical bits and cells, with free parameters.

    Operation ``i`` has code ``opcodes[i]``; its operands are
    ``operands[operand_offsets[i]:operand_offsets[i + 1]]``, of which the first ``controls[i]`` are
    controls (active on 1); its angles are ``angle_offsets[i]:angle_offsets[i + 1]`` of all angles.
    An angle is affine in the free parameters and in float cells: ``angle_constants[a]`` plus, for
    every term ``t`` with ``term_angles[t] == a``, ``term_coefficients[t]`` times parameter
    ``term_parameters[t]`` or, from ``len(parameters)`` on, times the value that cell
    ``term_parameters[t] - len(parameters)`` has when the operation takes place.
    A measurement writes classical bit ``clbits[i]``, or none where that is -1.

    Attributes:
        num_qubits, num_clbits: numbers of qubits and classical bits.
        parameters: names of the free parameters, in the order in which values are given.
        opcodes, controls: uint8 ``(n,)``. clbits: int32 ``(n,)``.
        operand_offsets, angle_offsets: int32 ``(n + 1,)``. operands: int32.
        angle_constants: float64, radians (of ``DELAY`` and ``BOX`` nanoseconds).
        term_*: int32, int32, float64, one length.
        cells: int64 ``(v,)``, the values that the cells have at the start; of a float its bits.
        cell_types: uint8 ``(v,)``: ``INTEGER`` or ``FLOAT``.
        registers: the results' registers; they have the first classical bits, in order. What bits
            remain are the program's own. None means one register ``c`` of all bits.
        messages: what ``FAIL`` says.

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
    cells: NDArray[np.int64] = field(default_factory=_no_cells)
    cell_types: NDArray[np.uint8] = field(default_factory=_no_types)
    registers: tuple[Output, ...] | None = None
    messages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from openqse.program.verify import verify  # it knows this module

        for name, dtype in ARRAYS.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            if array.ndim != 1:
                raise ProgramError(f"circuit array {name!r} is not flat")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.registers is None:
            every = (Output("c", self.num_clbits),) if self.num_clbits > 0 else ()
            object.__setattr__(self, "registers", every)
        else:
            object.__setattr__(self, "registers", tuple(Output(*r) for r in self.registers))
        verify(self)

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

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The results' registers, the one with the lowest bits first."""
        return self.registers or ()

    @cached_property
    def num_outputs(self) -> int:
        """Bits of all registers together: what one shot gives."""
        return sum(width for _, width in self.outputs)

    def operations(self) -> Iterator[Operation]:
        """The operations in order, as Python values."""
        operands = self.operands.tolist()
        ends, angle_ends = self.operand_offsets.tolist(), self.angle_offsets.tolist()
        controls, clbits = self.controls.tolist(), self.clbits.tolist()
        for i, code in enumerate(self.opcodes.tolist()):
            yield Operation(
                Op(code),
                controls[i],
                tuple(operands[ends[i] : ends[i + 1]]),
                range(angle_ends[i], angle_ends[i + 1]),
                clbits[i],
            )

    def bind(self, parameters: Values | None = None) -> NDArray[np.float64]:
        """The angles for each set of parameters.

        Args:
            parameters: ``(n_parameters,)`` or a batch ``(k, n_parameters)``; may be left out where
                the circuit has none.

        Returns:
            float64 ``(k, n_angles)`` in radians; ``k`` is 1 for a single set.

        Raises:
            ArgumentError: wrong shape, or a value that is not a finite number.
            ProgramError: an angle depends on cells, so that it is known while the program runs
                alone (see ``straight.straightened``).
        """
        values, _ = parameter_sets(parameters, self.parameters)
        if self.reads_cells:
            raise ProgramError("angles of this circuit are known only while it runs")
        angles = np.repeat(self.angle_constants[np.newaxis], len(values), axis=0)
        if len(self.term_angles):
            terms = values[:, self.term_parameters] * self.term_coefficients
            np.add.at(angles.T, self.term_angles, terms.T)
        return angles

    @cached_property
    def reads_cells(self) -> bool:
        """Whether an angle depends on a cell."""
        return bool((self.term_parameters >= len(self.parameters)).any())

    @cached_property
    def classical(self) -> bool:
        """Whether it has operations on cells or classical bits, or control flow."""
        return bool((self.opcodes >= Op.MOVE).any())

    @cached_property
    def measures_last(self) -> bool:
        """Whether every measurement comes after all that touches its qubit (so one state serves all
        shots), each bit is written once and there is no reset."""
        if self.classical:
            return False
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
    def program(self) -> Program:
        """The circuit in its envelope."""
        return Program(FORMAT, self.encoded, self.parameters, self.outputs)

    @property
    def id(self) -> str:
        """Hash of the content (SHA-256, hex): the program's name on every QPU."""
        return self.program.id

    @property
    def digest(self) -> bytes:
        """``id`` as bytes."""
        return self.program.digest

    @cached_property
    def encoded(self) -> bytes:
        """The circuit as bytes, the same for equal circuits everywhere (little-endian arrays)."""
        registers = [list(register) for register in self.outputs]
        body = [
            FORMAT, self.num_qubits, self.num_clbits, list(self.parameters), registers,
            list(self.messages),
        ]  # fmt: skip
        for name, dtype in ARRAYS.items():
            body.append(getattr(self, name).astype(np.dtype(dtype).newbyteorder("<")).tobytes())
        packed: bytes = msgpack.packb(body)
        return packed

    @staticmethod
    def of(program: Program) -> Circuit:
        """The circuit in an envelope.

        Raises:
            ProgramError: not a circuit, or the envelope says other than what is in it.
        """
        if program.format not in (FORMAT, FORMAT_1):
            raise ProgramError(
                f"a program of format {program.format!r} where a circuit is needed",
                remedy=f"Translate it to {FORMAT!r} first",
            )
        circuit = Circuit.decode(program.data)
        if (circuit.parameters, circuit.outputs) != (program.parameters, program.outputs):
            raise ProgramError("the envelope names other parameters or outputs than its circuit")
        return circuit

    @staticmethod
    def decode(data: bytes) -> Circuit:
        """The circuit that ``encoded`` wrote, of form 1 or 2, checked as one from a stranger.

        Raises:
            ProgramError: not a circuit of these formats, or an inconsistent one.
        """
        try:
            form, num_qubits, num_clbits, parameters, *rest = msgpack.unpackb(data)
            registers: tuple[Output, ...] | None = None
            messages: tuple[str, ...] = ()
            wanted = ARRAYS_1
            if form == FORMAT:
                given, said, *rest = rest
                pairs = [_list(pair) for pair in _list(given)]
                registers = tuple(Output(_text(name), _whole(width)) for name, width in pairs)
                messages = tuple(map(_text, _list(said)))
                wanted = ARRAYS
            elif form != FORMAT_1:
                raise ProgramError(
                    f"a program of format {form!r}; this version reads {FORMAT!r} and {FORMAT_1!r}"
                )
            if len(rest) != len(wanted):
                raise ProgramError(f"a circuit of {len(rest)} arrays instead of {len(wanted)}")
            decoded = {
                name: np.frombuffer(raw, dtype=np.dtype(dtype).newbyteorder("<"))
                for (name, dtype), raw in zip(wanted.items(), rest, strict=True)
            }
            return Circuit(
                _whole(num_qubits), _whole(num_clbits), tuple(map(_text, _list(parameters))),
                **decoded,
                registers=registers, messages=messages,
            )  # fmt: skip
        except ProgramError:
            raise
        except Exception as error:
            raise ProgramError(f"not a program in format {FORMAT!r}: {error}") from error


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ProgramError(f"{value!r} where the circuit needs a whole number")
    return value


def _list(value: object) -> list[Any]:
    if type(value) is not list:
        raise ProgramError(f"{value!r} where the circuit needs a list")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ProgramError(f"{value!r} where the circuit needs a name")
    return value


#: Values of free parameters: in order, or by name.
Values: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"


def parameter_sets(
    parameters: Values | None, names: Sequence[str]
) -> tuple[NDArray[np.float64], bool]:
    """``parameters`` as a float64 batch ``(k, len(names))`` of its own, and whether they were given
    as one.

    Args:
        parameters: ``(n,)`` or ``(k, n)``, in the order of ``names``; or a mapping from each name
            to a number or ``(k,)`` numbers. Elements ``p[0]``, ``p[1]`` … of an array may be given
            together as ``p``, ``(m,)`` or ``(k, m)``.

    Raises:
        ArgumentError: wrong shape or not finite.
    """
    count = len(names)
    if parameters is None and count == 0:
        return _NO_PARAMETERS, False
    if isinstance(parameters, Mapping):
        parameters = _by_name(parameters, names)
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


def _by_name(values: Mapping[str, ArrayLike], names: Sequence[str]) -> NDArray[np.float64]:
    """Values by name as ``(n,)`` or ``(k, n)`` in the order of the names."""
    wanted = dict.fromkeys(names)
    columns: dict[str, NDArray[np.float64]] = {}
    for name, value in values.items():
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"parameter {name!r} is not a number: {error}") from None
        elements = [other for other in names if other.startswith(f"{name}[")]
        if name in wanted:
            columns[name] = array
        elif elements and array.ndim and array.shape[-1] == len(elements):
            columns |= {element: array[..., i] for i, element in enumerate(elements)}
        else:
            raise ArgumentError(
                f"the program has no parameter {name!r} of shape {array.shape}",
                remedy=f"Its parameters are: {', '.join(names) or 'none'}",
            )
    missing = [name for name in names if name not in columns]
    if missing:
        raise ArgumentError(
            f"no value for parameter {missing[0]!r}",
            remedy=f"The program's parameters are: {', '.join(names)}",
        )
    try:
        ordered = np.broadcast_arrays(*(columns[name] for name in names))
    except ValueError:
        raise ArgumentError("parameters are batches of different lengths") from None
    return np.stack(ordered, axis=-1) if names else np.empty(0)


_NO_PARAMETERS = np.empty((1, 0))
