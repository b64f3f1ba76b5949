"""Runs 1,000 tasks, each a parameterised program that must answer with its task's own number."""

import json
import os

import numpy as np
from mpi4py import MPI

import openqse

TASKS, BITS, SHOTS = 1000, 10, 4

comm = MPI.COMM_WORLD
builder = openqse.CircuitBuilder(BITS)
for bit in range(BITS):
    builder.rx(builder.parameter(f"bit{bit}"), bit)
program = builder.measure_all().build()

with openqse.connect() as qpu:
    futures = {}
    for number in range(comm.rank, TASKS, comm.size):
        bits = number >> np.arange(BITS) & 1
        futures[qpu.submit(program, parameters=np.pi * bits, shots=SHOTS)] = number
    answers = []
    for future in openqse.as_completed(futures, timeout=120):
        result = future.result()
        expected = format(futures[future], f"0{BITS}b")
        right = result.counts == {expected: SHOTS}
        answers.append((futures[future], right, result.task_id, result.qpu_time_ns))

gathered = comm.gather((os.uname().nodename, answers))
if comm.rank == 0:
    flat = [answer for _, part in gathered for answer in part]
    print(
        json.dumps(
            {
                "ranks": comm.size,
                "nodes": sorted({node for node, _ in gathered}),
                "numbers": sorted(answer[0] for answer in flat),
                "wrong": [answer[0] for answer in flat if not answer[1]],
                "task_ids": len({answer[2] for answer in flat}),
                "qpu_time_ns": sum(answer[3] for answer in flat),
            }
        ),
        flush=True,
    )
