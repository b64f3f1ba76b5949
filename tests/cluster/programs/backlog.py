"""Sends 200 tasks of some tens of milliseconds each, and prints a line once all are sent."""

import numpy as np

import openqse

QUBITS, LAYERS, TASKS = 20, 10, 200

builder = openqse.CircuitBuilder(QUBITS)
for layer in range(LAYERS):
    for q in range(QUBITS):
        builder.ry(builder.parameter(f"y{layer}_{q}"), q)
    for q in range(QUBITS - 1):
        builder.cx(q, q + 1)
program = builder.measure_all().build()
angles = np.random.default_rng(1).uniform(-3, 3, (TASKS, LAYERS * QUBITS))

with openqse.connect() as qpu:
    futures = [qpu.submit(program, parameters=row, shots=10) for row in angles]
    print('{"event": "sent"}', flush=True)
    for future in futures:
        future.result()
