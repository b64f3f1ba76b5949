"""Programs for trying devices, written in the gates and for the coupling that one declares."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

from openqse.device.contract import Capabilities
from openqse.program.angle import Angle
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op

#: Ways to flip a qubit, and to turn it half way, by the gates that they take.
_FLIPS: tuple[tuple[tuple[Op, tuple[float, ...]], ...], ...] = (
    ((Op.X, ()),),
    ((Op.RX, (pi,)),),
    ((Op.RY, (pi,)),),
    ((Op.SX, ()), (Op.SX, ())),
    ((Op.U, (pi, 0.0, pi)),),
    ((Op.H, ()), (Op.Z, ()), (Op.H, ())),
)
_HALVES: tuple[tuple[tuple[Op, tuple[float, ...]], ...], ...] = (
    ((Op.H, ()),),
    ((Op.RX, (pi / 2,)),),
    ((Op.RY, (pi / 2,)),),
    ((Op.SX, ()),),
    (
        (
            Op.U,
            (pi / 2, 0.0, pi),
        ),
    ),
)
#: Gates that turn a qubit by an angle from 0 (nothing) to π (a flip), and the angles after it.
_TURNS: tuple[tuple[Op, tuple[float, ...]], ...] = (
    (Op.RX, ()),
    (Op.RY, ()),
    (Op.U, (0.0, 0.0)),
)


@dataclass(frozen=True)
class Trials:
    """Writes programs for a device with certain capabilities."""

    offered: Capabilities

    def has(self, gate: str) -> bool:
        """Whether a gate may be used."""
        return self.offered.gates is None or gate in self.offered.gates

    def _first(
        self, ways: tuple[tuple[tuple[Op, tuple[float, ...]], ...], ...]
    ) -> tuple[tuple[Op, tuple[float, ...]], ...] | None:
        """The first way of which the device has every gate."""
        for way in ways:
            if all(self.has(op.name.lower()) for op, _ in way):
                return way
        return None

    def word(self, num_qubits: int, ones: frozenset[int]) -> Circuit | None:
        """A program that flips some qubits and measures all; None without a gate for it."""
        builder = self._flipped(num_qubits, ones)
        return None if builder is None else builder.measure_all().build()

    def last(self) -> Circuit | None:
        """A program of all qubits that flips and measures the last one."""
        last = self.offered.num_qubits - 1
        builder = self._flipped(last + 1, frozenset({last}))
        return None if builder is None else builder.measure(last, 0).build()

    def _flipped(self, num_qubits: int, ones: frozenset[int]) -> CircuitBuilder | None:
        flip = self._first(_FLIPS)
        if flip is None:
            return None
        builder = CircuitBuilder(num_qubits)
        for q in sorted(ones):
            for op, angles in flip:
                builder.append(op, (q,), angles)
        return builder

    def halves(self, num_qubits: int) -> Circuit | None:
        """A program whose every bit is as often 0 as 1."""
        half = self._first(_HALVES)
        if half is None:
            return None
        builder = CircuitBuilder(num_qubits)
        for q in range(num_qubits):
            for op, angles in half:
                builder.append(op, (q,), angles)
        return builder.measure_all().build()

    def turned(self, num_qubits: int) -> Circuit | None:
        """A program that turns each qubit by a parameter of its own: 0 gives 0, π gives 1."""
        for op, after in _TURNS:
            if self.has(op.name.lower()):
                builder = CircuitBuilder(num_qubits)
                for q in range(num_qubits):
                    angles: tuple[Angle | float, ...] = (builder.parameter(f"turn{q}"), *after)
                    builder.append(op, (q,), angles)
                return builder.measure_all().build()
        return None

    def pair(self) -> Circuit | None:
        """A program whose two bits are random and equal, on qubits that are coupled."""
        half = self._first(_HALVES)
        if half is None or self.offered.num_qubits < 2 or not self.has("cx"):
            return None
        a, b = self.offered.coupling[0] if self.offered.coupling else (0, 1)
        builder = CircuitBuilder(max(a, b) + 1)
        for op, angles in half:
            builder.append(op, (a,), angles)
        return builder.cx(a, b).measure(a, 0).measure(b, 1).build()

    def again(self) -> Circuit | None:
        """A program that measures a 1, resets the qubit and measures a 0."""
        flip = self._first(_FLIPS)
        if flip is None:
            return None
        builder = CircuitBuilder(1)
        for op, angles in flip:
            builder.append(op, (0,), angles)
        return builder.measure(0, 0).reset(0).measure(0, 1).build()

    def fed_forward(self) -> Circuit | None:
        """A program that flips a second qubit if the first was measured to be 1, which it is, and a
        third if it was measured to be 0."""
        flip = self._first(_FLIPS)
        if flip is None or self.offered.num_qubits < 3:
            return None
        builder = CircuitBuilder(3)
        for op, angles in flip:
            builder.append(op, (0,), angles)
        seen = builder.measure(0, 0).bits(0)
        with builder.if_(seen):
            for op, angles in flip:
                builder.append(op, (1,), angles)
        with builder.else_():
            for op, angles in flip:
                builder.append(op, (2,), angles)
        return builder.measure(1, 1).measure(2, 2).build()

    def refused(self) -> list[tuple[str, Circuit]]:
        """Programs that the device does not offer to run, and what they have."""
        found = [("one qubit too many", _measured(CircuitBuilder(self.offered.num_qubits + 1)))]
        if self.offered.gates is not None:
            missing = next((op for op in _PLAIN if not self.has(op.name.lower())), None)
            if missing is not None:
                builder = CircuitBuilder(1).append(missing, (0,))
                found.append((f"the gate {missing.name.lower()}", _measured(builder)))
        if self.offered.coupling is not None:
            coupled = {frozenset(pair) for pair in self.offered.coupling}
            n = self.offered.num_qubits
            pairs = ((a, b) for a in range(n) for b in range(a + 1, n))
            apart = next((pair for pair in pairs if frozenset(pair) not in coupled), None)
            if apart is not None:
                builder = CircuitBuilder(n).cx(*apart)
                found.append((f"a gate on qubits {apart}, not coupled", _measured(builder)))
        if not self.offered.dynamic_circuits:
            builder = CircuitBuilder(1).measure(0, 0).reset(0)
            found.append(("a reset after a measurement", _measured(builder)))
        return found


_PLAIN = (Op.T, Op.SX, Op.S, Op.H, Op.Z, Op.Y, Op.X)


def _measured(builder: CircuitBuilder) -> Circuit:
    return builder.measure_all().build()
