"""Keeps the job's QPU busy until it is told to stop: tasks of so many shots, so many at once.

saturate.py FOLDER SHOTS,SHOTS,... IN_FLIGHT

Each process makes the file FOLDER/began-JOB-RANK once it has a first result, and ends when
FOLDER/stop exists.
"""

import os
import random
import sys
from collections import deque
from pathlib import Path

import openqse

QUBITS = 20  # so many that a task takes much longer than its way to the QPU and back


def circuit():
    """A program of fixed size whose every run, by its parameter, is one of its own."""
    builder = openqse.CircuitBuilder(QUBITS)
    angle = builder.parameter("angle")
    for layer in range(6):
        for qubit in range(QUBITS):
            builder.rx(angle, qubit)
        for qubit in range(layer % 2, QUBITS - 1, 2):
            builder.cx(qubit, qubit + 1)
    return builder.measure_all().build()


def main():
    folder, sizes, in_flight = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
    began = folder / f"began-{os.environ['SLURM_JOB_ID']}-{os.environ['SLURM_PROCID']}"
    program, waiting = circuit(), deque()
    with openqse.connect() as qpu:
        while not (folder / "stop").exists():
            while len(waiting) < in_flight:
                shots = int(random.choice(sizes))
                waiting.append(qpu.submit(program, parameters=[random.random()], shots=shots))
            waiting.popleft().result(600)
            began.touch()
        for future in waiting:
            future.cancel()


main()
