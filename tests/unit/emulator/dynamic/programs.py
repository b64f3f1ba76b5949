"""Programs with classical control: known ones with their distributions, and random ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from openqse.program.builder import Cell, CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op

#: Results by the registers' bits as one number, with their probabilities.
Known = tuple[Circuit, dict[int, float]]


def teleportation() -> Known:
    """A state goes from qubit 0 to qubit 2, and is turned back there: bit 2 is always 0."""
    b = CircuitBuilder(3).u(1.1, 0.4, -0.7, 0).h(1).cx(1, 2).cx(0, 1).h(0)
    b.measure(0, 0).measure(1, 1)
    with b.if_(b.bits(1)):
        b.x(2)
    with b.if_(b.bits(0)):
        b.z(2)
    circuit = b.u(-1.1, 0.7, -0.4, 2).measure(2, 2).build()
    return circuit, dict.fromkeys(range(4), 0.25)


def repeat_until_success() -> Known:
    """A qubit is turned until it is found in 1, at most 20 times, and the turns are counted."""
    p = math.sin(0.4) ** 2
    b = CircuitBuilder(1)
    count = b.register("count", 5)
    turns, one = b.integer(), b.constant(1)
    with b.loop():
        b.ry(0.8, 0).measure(0, 5)
        b.compute(Op.ADD, turns, turns, one)
        with b.if_(b.bits(5)):
            b.break_loop()
        late = b.integer()
        b.compute(Op.LE, late, b.constant(20), turns)
        with b.if_(late):
            b.break_loop()
        b.reset(0)
    b.compute(Op.SETBITS, turns, 5, clbit=count[0])
    found = {32 + k: p * (1 - p) ** (k - 1) for k in range(1, 21)}
    return b.build(), {**found, 20: (1 - p) ** 20}


def active_reset() -> Known:
    """A qubit is measured and turned to 0 by what was found, twice."""
    b = CircuitBuilder(2).ry(1.0, 0).cx(0, 1).measure(0, 0)
    with b.if_(b.bits(0)):
        b.x(0)
    circuit = b.measure(0, 1).measure(1, 2).build()
    p = math.sin(0.5) ** 2
    return circuit, {0: 1 - p, 0b101: p}


def phase_estimation(phase: float = 11 / 32, bits: int = 5) -> Known:
    """Iterative: each bit turns the next measurement's basis by an angle computed at run time."""
    b = CircuitBuilder(2)
    b.x(1)
    angle, as_float, half = b.real(), b.real(), b.constant(0.5)
    for k in range(bits):
        power = 1 << (bits - 1 - k)
        b.h(0).cp(2 * math.pi * phase * power, 0, 1)
        b.p(b.value(angle) * -math.pi, 0)
        b.h(0).measure(0, k)
        b.compute(Op.ITOF, as_float, b.bits(k))
        b.compute(Op.FADD, angle, angle, as_float)
        b.compute(Op.FMUL, angle, angle, half)
        b.reset(0)
    found = {}
    for value in range(1 << bits):
        delta = phase - value / (1 << bits)
        size = 1 << bits
        amplitude = sum(np.exp(2j * math.pi * delta * j) for j in range(size)) / size
        found[value] = float(abs(amplitude) ** 2)
    return b.build(), found


def repetition_code(flip: float = 0.9) -> Known:
    """Three qubits, each turned by an error; the syndrome says which one is flipped back."""
    b = CircuitBuilder(5)
    syndrome = b.register("s", 2)
    data = b.register("d", 3)
    for q in range(3):
        b.rx(flip, q)
    b.cx(0, 3).cx(1, 3).cx(1, 4).cx(2, 4)
    b.measure(3, syndrome[0]).measure(4, syndrome[1])
    value = b.bits(syndrome[0], 2)
    for q, pattern in enumerate((0b01, 0b11, 0b10)):
        equal = b.integer()
        b.compute(Op.EQ, equal, value, b.constant(pattern))
        with b.if_(equal):
            b.x(q)
    for q in range(3):
        b.measure(q, data[q])
    p = math.sin(flip / 2) ** 2
    found: dict[int, float] = {}
    for errors in range(8):
        bits = [errors >> q & 1 for q in range(3)]
        seen = (bits[0] ^ bits[1]) | (bits[1] ^ bits[2]) << 1
        left = 7 if sum(bits) >= 2 else 0
        weight = math.prod(p if bit else 1 - p for bit in bits)
        found[seen | left << 2] = found.get(seen | left << 2, 0.0) + weight
    return b.build(), found


def while_measured() -> Known:
    """As long as a coin shows 1 another one is thrown; the throws' parity is kept in a qubit."""
    b = CircuitBuilder(2)
    b.h(0).measure(0, 0)
    with b.loop():
        with b.if_(b.bits(0)):
            b.x(1).reset(0).h(0).measure(0, 0)
            b.continue_loop()
        b.break_loop()
    circuit = b.measure(1, 1).build()
    return circuit, {0b00: 2 / 3, 0b10: 1 / 3}


def dynamic_ghz(n: int = 5) -> Known:
    """A GHZ state of every other qubit, from pairs that measurements join."""
    b = CircuitBuilder(2 * n - 1)
    for q in range(0, 2 * n - 1, 2):
        b.h(q)
    for q in range(1, 2 * n - 1, 2):
        b.cx(q - 1, q).cx(q + 1, q).measure(q, q // 2)
    for k in range(n - 1):
        parity = b.integer()
        for j in range(k + 1):
            b.compute(Op.XOR, parity, parity, b.bits(j))
        with b.if_(parity):
            b.x(2 * k + 2)
    for q in range(n):
        b.measure(2 * q, n - 1 + q)
    high = ((1 << n) - 1) << (n - 1)
    found = {}
    for outcomes in range(1 << (n - 1)):
        found[outcomes] = found[outcomes | high] = 0.5**n
    return b.build(), found


def dynamic_fourier(value: int = 5, n: int = 4) -> Known:
    """The Fourier transform before measurements, its phases controlled by outcomes: of a Fourier
    state it gives the value back."""
    b = CircuitBuilder(n)
    for q in range(n):
        b.h(q).p(2 * math.pi * value * (1 << q) / (1 << n), q)
    for k in range(n):
        qubit = n - 1 - k
        for j in range(k):
            with b.if_(b.bits(j)):
                b.p(-math.pi / (1 << (k - j)), qubit)
        b.h(qubit).measure(qubit, k)
    return b.build(), {value: 1.0}


def classical_only() -> Known:
    """Three outcomes are counted and looked up in a table after the last measurement."""
    b = CircuitBuilder(3)
    b.h(0).h(1).h(2).measure(0, 0).measure(1, 1).measure(2, 2)
    out = b.register("out", 4)
    ones, found, bits = b.integer(), b.integer(), b.bits(0, 3)
    table = [b.integer(v) for v in (9, 4, 2, 7)]
    b.compute(Op.POPCOUNT, ones, bits)
    b.compute(Op.LOAD, found, table[0].number, 4, ones)
    b.compute(Op.SETBITS, found, 4, clbit=out[0])
    values = (9, 4, 2, 7)
    return b.build(), {v | values[v.bit_count()] << 3: 0.125 for v in range(8)}


KNOWN: dict[str, Callable[[], Known]] = {
    made.__name__: made
    for made in (
        teleportation, repeat_until_success, active_reset, phase_estimation, repetition_code,
        while_measured, dynamic_ghz, dynamic_fourier, classical_only,
    )
}  # fmt: skip

_GATES = (
    (Op.X, 1, 0), (Op.Y, 1, 0), (Op.Z, 1, 0), (Op.H, 1, 0), (Op.S, 1, 0), (Op.SDG, 1, 0),
    (Op.T, 1, 0), (Op.TDG, 1, 0), (Op.SX, 1, 0), (Op.SXDG, 1, 0), (Op.P, 1, 1), (Op.RX, 1, 1),
    (Op.RY, 1, 1), (Op.RZ, 1, 1), (Op.U, 1, 3), (Op.SWAP, 2, 0), (Op.RXX, 2, 1), (Op.RYY, 2, 1),
    (Op.RZZ, 2, 1), (Op.GPHASE, 0, 1), (Op.ID, 1, 0),
)  # fmt: skip
_CLIFFORD = (Op.X, Op.Y, Op.Z, Op.H, Op.S, Op.SDG, Op.SX, Op.SXDG, Op.SWAP)


class Writer:
    """Writes a random program."""

    def __init__(self, draw: st.DrawFn, qubits: int, *, clifford: bool, boxes: bool) -> None:
        self.draw, self.clifford, self.boxes = draw, clifford, boxes
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        self.nested = 0
        self.b = CircuitBuilder(qubits, 3)
        self.integers: list[Cell] = [self.b.integer(v) for v in (0, 1, 5)]
        self.floats: list[Cell] = [self.b.real(v) for v in (0.3, -1.2)]

    def gate(self) -> None:
        rng, b = self.rng, self.b
        op, targets, angles = _GATES[rng.integers(len(_GATES))]
        controls = int(rng.integers(3))
        if self.clifford:
            op = _CLIFFORD[rng.integers(len(_CLIFFORD))]
            targets, angles = 1 + (op is Op.SWAP), 0
            controls = int(rng.integers(2)) if op in (Op.X, Op.Y, Op.Z) else 0
        controls = min(controls, b.num_qubits - targets)
        if controls < 0 or (op is Op.ID and controls):
            return
        qubits = rng.permutation(b.num_qubits)[: controls + targets].tolist()
        given = [
            b.value(self.floats[rng.integers(len(self.floats))]) * float(rng.choice([1.0, 0.5]))
            if rng.random() < 0.3
            else float(rng.uniform(-7, 7))
            for _ in range(angles)
        ]
        b.append(op, qubits, given, controls=controls)

    def compute(self) -> None:
        rng, b = self.rng, self.b
        a, c = (self.integers[rng.integers(len(self.integers))] for _ in range(2))
        kind = rng.integers(5)
        if kind == 0:
            first = int(rng.integers(3))
            b.compute(Op.GETBITS, a, int(rng.integers(1, 4 - first)), clbit=first)
        elif kind == 1:
            b.compute(Op(rng.choice([Op.ADD, Op.XOR, Op.SUB, Op.LT, Op.AND])), a, a, c)
        elif kind == 2:
            d = self.floats[rng.integers(len(self.floats))]
            b.compute(Op.ITOF, d, a)
        elif kind == 3:
            d = self.floats[rng.integers(len(self.floats))]
            b.compute(Op.FMUL, d, d, self.floats[rng.integers(len(self.floats))])
            b.compute(Op.FSIN, d, d)
        else:
            first = int(rng.integers(3))
            b.compute(Op.SETBITS, a, 1, clbit=first)

    def block(self, depth: int) -> None:
        for _ in range(self.draw(st.integers(1, 5))):
            self.statement(depth)

    def statement(self, depth: int) -> None:
        rng, b = self.rng, self.b
        kind = rng.random()
        qubit = int(rng.integers(b.num_qubits))
        if kind < 0.4:
            self.gate()
        elif kind < 0.55:
            b.measure(qubit, int(rng.integers(3)) if rng.random() < 0.9 else None)
        elif kind < 0.62:
            b.reset(qubit)
        elif kind < 0.7:
            b.delay(float(rng.integers(0, 3000)), qubit)
        elif kind < 0.73:
            b.barrier()
        elif kind < 0.83:
            self.compute()
        elif kind < 0.93 and depth:
            with b.if_(b.bits(int(rng.integers(3)))):
                self.block(depth - 1)
            if rng.random() < 0.5:
                with b.else_():
                    self.block(depth - 1)
        elif kind < 0.97 and depth:
            rounds, one, late = b.integer(), b.constant(1), b.integer()
            b.compute(Op.MOVE, rounds, b.constant(0))
            with b.loop():
                b.compute(Op.ADD, rounds, rounds, one)
                b.compute(Op.LT, late, b.constant(2), rounds)
                with b.if_(late):
                    b.break_loop()
                self.block(0)
                with b.if_(b.bits(int(rng.integers(3)))):
                    b.break_loop()
        elif self.boxes and self.nested < 2:
            self.nested += 1
            with b.box(1e12 / 1000**self.nested):
                self.block(0)
            self.nested -= 1


@st.composite
def programs(
    draw: st.DrawFn, *, most_qubits: int = 4, clifford: bool = False, boxes: bool = True
) -> Circuit:
    """Small programs with everything: gates with run-time angles, measurements, resets, delays,
    boxes, branches and bounded loops that depend on outcomes, arithmetic."""
    writer = Writer(draw, draw(st.integers(1, most_qubits)), clifford=clifford, boxes=boxes)
    for _ in range(draw(st.integers(1, 4))):
        writer.block(2)
    writer.b.measure(0, 0)
    return writer.b.build()
