"""Runs COUNT short tasks on each rank and prints how many came back right.

short.py COUNT
"""

import json
import os
import sys

import openqse

program = openqse.CircuitBuilder(1).x(0).measure_all().build()
with openqse.connect() as qpu:
    futures = [qpu.submit(program, shots=1) for _ in range(int(sys.argv[1]))]
    right = sum(future.result(timeout=120).counts == {"1": 1} for future in futures)
    tasks = len({future.task_id for future in futures})
line = {"rank": int(os.environ["SLURM_PROCID"]), "right": right, "tasks": tasks}
os.write(1, (json.dumps(line) + "\n").encode())
