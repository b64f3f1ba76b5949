"""Numbers that kernels speak in: how a walk stands, and what can go wrong on a path."""

from __future__ import annotations

#: How a walk stands when its kernel returns.
DONE, PAUSED, MORE_FRAMES, MORE_AMPLITUDES, FAILED = 0, 1, 2, 3, 4

#: What went wrong.
FINE = 0
TOO_MANY_STEPS = 1
DIVIDES_BY_ZERO = 2
NOT_AN_INTEGER = 3
OUT_OF_RANGE = 4
FAILS = 5
NOT_FINITE = 6
BOX_OVERRUN = 7
NOT_A_DURATION = 8
NOT_CLIFFORD = 9

#: Operations of the circuit form that kernels tell apart by number, besides ``Op`` itself:
#: everything that does nothing but go on elsewhere, and the end of the program.
JUMP, HALT = 200, 255

#: Values of qubits that are not in superposition, where an active one has its bit of the index.
ZERO, ONE = -1, -2
