"""What it costs to run a task in 20 slices on the emulator, beside running it whole, in CPU time.

python slices.py [--quick]

Prints a JSON line for each program: the median of pairs run in turn, as ratio of sliced to whole
(goal: no more than 1.03), its quartiles, and the median CPU seconds of the whole task.
"""

import json
import sys
import time
from dataclasses import replace

import numpy as np

from openqse import device
from openqse.program.builder import CircuitBuilder
from openqse_emulator import profile
from openqse_emulator.device import Emulator, make
from openqse_emulator.profile import Noise

SLICES = 20
WEAK = Noise(one_qubit=1e-4, two_qubit=1e-3)
STRONG = Noise(one_qubit=1e-3, two_qubit=1e-2, t1_ns=(50_000,), zero_as_one=(0.02,))


def layers(qubits, depth, measured=(), bits=0):
    """Rotations by a free angle and CX gates in turn, with measurements after some layers."""
    builder = CircuitBuilder(qubits, qubits + bits)
    angle = builder.parameter("angle")
    for layer in range(depth):
        for q in range(qubits):
            builder.ry(angle + layer + 0.3 * q, q)
        for q in range(layer % 2, qubits - 1, 2):
            builder.cx(q, q + 1)
        for bit in measured if layer % 3 == 1 else ():
            builder.measure(bit, qubits + bit)
    return builder.measure_all().build()


def clifford(qubits):
    builder = CircuitBuilder(qubits)
    for q in range(qubits - 1):
        builder.h(q).s(q).cx(q, q + 1)
    return builder.measure_all().build()


#: Program, shots, noise and method.
PROGRAMS = {
    "20 qubits": (layers(20, 10), 100_000, Noise(), "statevector"),
    "stabilizer, 100 qubits": (clifford(100), 100_000, WEAK, "stabilizer"),
    "density matrix, 7 qubits": (layers(7, 10), 100_000, STRONG, "density"),
    "trajectories, 12 qubits": (layers(12, 10), 20_000, STRONG, "trajectories"),
    "trajectories, weak noise": (layers(8, 6), 100_000, WEAK, "trajectories"),
    "few measurements on the way": (layers(16, 8, (0,), 1), 100_000, Noise(), "statevector"),
    "many measurements on the way": (
        layers(8, 30, range(4), 4), 20_000, Noise(), "statevector"
    ),
}  # fmt: skip


def never():
    return False


def pairs(name, blocks):
    """CPU seconds in slices and whole, float64 ``(blocks, 2)``."""
    circuit, shots, noise, method = PROGRAMS[name]
    loaded = profile.load()
    engine = replace(loaded.engine, method=method)
    emulator = Emulator(replace(loaded, max_qubits=100, noise=noise, engine=engine))
    prepared = emulator.prepare(circuit)
    draw = np.random.default_rng(1)

    def whole(work):
        device.perform(emulator, prepared, work, never)

    def sliced(work):
        join = device.Join(work)
        total = emulator.estimate(prepared, shots, 1)
        for part in device.slices(work, total, -(-total // SLICES)):
            join.add(device.perform(emulator, prepared, part, never))
        join.outcome()

    found = []
    for block in range(blocks + 1):
        seconds = {}
        for run in (whole, sliced) if block % 2 else (sliced, whole):
            # An angle of its own, or the second would find what the first has kept.
            angles = draw.uniform(-3, 3, (1, len(circuit.parameters)))
            work = device.Work(circuit.digest, angles, shots, 1)
            began = time.process_time()
            run(work)
            seconds[run] = time.process_time() - began
        if block:  # the first plans the program
            found.append((seconds[sliced], seconds[whole]))
        print(name, {r.__name__: round(s, 3) for r, s in seconds.items()}, file=sys.stderr)
    emulator.close()
    return np.array(found)


def main():
    make().close()
    blocks = 3 if "--quick" in sys.argv else 9
    for name in PROGRAMS:
        sliced, whole = pairs(name, blocks).T
        first, median, third = np.percentile(sliced / whole, [25, 50, 75]).round(3).tolist()
        line = {
            "name": "slices.cost",
            "program": name,
            "value": median,
            "unit": "sliced/whole",
            "quartiles": [first, third],
            "whole": round(float(np.median(whole)), 4),
            "slices": SLICES,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
