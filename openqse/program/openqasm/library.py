"""The gates of OpenQASM's own libraries, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openqse.program.gates import Op
from openqse.program.openqasm.steps import Gate, Step, Value, controlled, plain, u_steps


def _cu(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    theta, phi, lam, gamma = angles
    return controlled(u_steps((theta, phi, lam), qubits[1], gamma), qubits[:1])


def _relative_phase(gates: str) -> Gate:
    """A gate of ``h``, ``t``, ``T`` (``tdg``) on its last qubit and ``cx`` onto it; a digit is the
    control of a ``cx``."""
    ops = {"h": Op.H, "t": Op.T, "T": Op.TDG}
    target = 1 + max(int(gate) for gate in gates if gate.isdigit())

    def steps(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
        return [
            Step(ops[gate], (qubits[target],))
            if gate in ops
            else Step(Op.X, (qubits[int(gate)], qubits[target]), (), 1)
            for gate in gates
        ]

    return Gate(0, target + 1, steps)


#: OpenQASM 3 gives its U the phase exp(i theta / 2), which makes it periodic in 2 pi.
U3 = Gate(3, 1, lambda angles, qubits: u_steps(angles, qubits[0], angles[0] / 2))
#: The phase of OpenQASM 2's U cannot be observed, for nothing there controls it.
U2 = Gate(3, 1, lambda angles, qubits: u_steps(angles, qubits[0], 0.0))

_COMMON_GATES: dict[str, Gate] = {
    "p": plain(Op.P),
    "u1": plain(Op.P),
    "id": plain(Op.ID),
    "x": plain(Op.X),
    "y": plain(Op.Y),
    "z": plain(Op.Z),
    "h": plain(Op.H),
    "s": plain(Op.S),
    "sdg": plain(Op.SDG),
    "t": plain(Op.T),
    "tdg": plain(Op.TDG),
    "sx": plain(Op.SX),
    "rx": plain(Op.RX),
    "ry": plain(Op.RY),
    "rz": plain(Op.RZ),
    "cx": plain(Op.X, 1),
    "cy": plain(Op.Y, 1),
    "cz": plain(Op.Z, 1),
    "cp": plain(Op.P, 1),
    "crx": plain(Op.RX, 1),
    "cry": plain(Op.RY, 1),
    "crz": plain(Op.RZ, 1),
    "ch": plain(Op.H, 1),
    "swap": plain(Op.SWAP),
    "ccx": plain(Op.X, 2),
    "cswap": plain(Op.SWAP, 1),
    "cu": Gate(4, 2, _cu),
}

STDGATES: dict[str, Gate] = {
    **_COMMON_GATES,
    "CX": plain(Op.X, 1),
    "phase": plain(Op.P),
    "cphase": plain(Op.P, 1),
    # u2 and u3 have determinant 1.
    "u2": Gate(2, 1, lambda a, q: u_steps((math.pi / 2, *a), q[0], -(a[0] + a[1]) / 2)),
    "u3": Gate(3, 1, lambda a, q: u_steps(a, q[0], -(a[1] + a[2]) / 2)),
}

QELIB1: dict[str, Gate] = {
    **_COMMON_GATES,
    "u2": Gate(2, 1, lambda a, q: u_steps((math.pi / 2, *a), q[0], 0.0)),
    "u3": U2,
    "u": U2,
    # u0's angle is a waiting time in units that the circuit form does not know; its unitary is I.
    "u0": Gate(1, 1, lambda angles, qubits: [Step(Op.ID, qubits)]),
    "sxdg": plain(Op.SXDG),
    "csx": plain(Op.SX, 1),
    "cu1": plain(Op.P, 1),
    "cu3": Gate(3, 2, lambda angles, qubits: _cu((*angles, 0.0), qubits)),
    "rxx": plain(Op.RXX),
    "rzz": plain(Op.RZZ),
    "rccx": _relative_phase("ht1T0t1Th"),
    "rc3x": _relative_phase("ht2Th0t1T0t1Tht2Th"),
    "c3x": plain(Op.X, 3),
    "c3sqrtx": plain(Op.SX, 3),
    "c4x": plain(Op.X, 4),
}

#: What the paper on OpenQASM 2 (arXiv:1707.03429) has. Programs were written that include the file
#: and define one of the gates that came to it later.
FIRST_QELIB1 = {
    *("u1", "u2", "u3", "id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "rx", "ry", "rz"),
    *("cx", "cy", "cz", "ch", "ccx", "crz", "cu1", "cu3"),
}

#: Gates that each version knows without an include.
BUILTIN: dict[int, dict[str, Gate]] = {3: {"U": U3}, 2: {"U": U2, "CX": plain(Op.X, 1)}}
