"""Reading of OpenQASM files of 10,000 gates, beside Qiskit's readers.

Prints one JSON line for each version: statements a second; beside it those of Qiskit in turn, and
the ratio. ``qiskit.qasm2`` is written in Rust, ``qiskit.qasm3`` in Python, over ANTLR. The figure
without operands in common has fresh angles in every statement, as files of tools have them.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

import qiskit.qasm2
import qiskit.qasm3

from openqse.program.openqasm import loads

GATES = 10_000
QUBITS = 20
ROUNDS = 5


def body(seed: int, gates: int) -> str:
    """Gate statements on qubits ``q[0]`` … of both versions."""
    draw = random.Random(seed)
    lines = []
    for _ in range(gates):
        a, b = draw.sample(range(QUBITS), 2)
        lines.append(
            draw.choice(
                (
                    f"cx q[{a}], q[{b}];",
                    f"rz({draw.uniform(-3, 3)!r}) q[{a}];",
                    f"h q[{a}];",
                    f"cp(pi/{draw.randint(2, 64)}) q[{a}], q[{b}];",
                )
            )
        )
    return "\n".join(lines)


def seconds(read: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    read(text)
    return time.process_time() - began


def main() -> int:
    quick = "--quick" in sys.argv
    gates = body(1, GATES // 10 if quick else GATES)
    count = gates.count("\n") + 1
    texts = {
        2: f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{QUBITS}];\n{gates}\n',
        3: f'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[{QUBITS}] q;\n{gates}\n',
    }
    custom = qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS
    peers: dict[int, Callable[[str], object]] = {
        2: lambda text: qiskit.qasm2.loads(text, custom_instructions=custom),
        3: qiskit.qasm3.loads,
    }
    for version, text in texts.items():
        assert len(loads(text)) == count
        ours, theirs = [], []
        for _ in range(2 if quick else ROUNDS):
            ours.append(seconds(loads, text))
            theirs.append(seconds(peers[version], text))
        value, beside = count / min(ours), count / min(theirs)
        line = {
            "name": f"reading.openqasm{version}",
            "value": round(value),
            "unit": "statements/s",
            "beside": {f"qiskit.qasm{version}": round(beside)},
            "ratio": round(value / beside, 2),
        }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
