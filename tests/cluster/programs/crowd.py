"""Forks COUNT clients on each rank; once those of all ranks are connected each runs a task.

Prints how many of a rank's clients got the right result, and when the last had it.

crowd.py COUNT
"""

import json
import os
import sys
import time
from pathlib import Path

import openqse

DEADLINE = 60

count, rank = int(sys.argv[1]), int(os.environ["SLURM_PROCID"])
program = openqse.CircuitBuilder(1).x(0).measure_all().build()
connected, go = os.pipe(), os.pipe()


def client():
    """A process of its own: connects, waits until all have, and runs a task."""
    os.close(go[1])
    with openqse.connect(timeout=DEADLINE) as qpu:
        os.write(connected[1], b".")
        os.read(go[0], 1)  # ends when the parent closes the pipe
        return qpu.run(program, shots=1, timeout=DEADLINE).counts == {"1": 1}


clients = []
for _ in range(count):
    if not (child := os.fork()):
        right = False
        try:
            right = client()
        finally:
            os._exit(not right)
    clients.append(child)
os.close(connected[1])
here = 0
while here < count and (more := os.read(connected[0], count)):
    here += len(more)
# Ranks wait for each other by files in the home that all nodes share.
folder = Path(f"cluster-tests/crowd-{os.environ['SLURM_JOB_ID']}")
folder.mkdir(exist_ok=True)
(folder / str(rank)).touch()
ends = time.monotonic() + DEADLINE
while len(list(folder.iterdir())) < int(os.environ["SLURM_NTASKS"]) and time.monotonic() < ends:
    time.sleep(0.05)
began = time.monotonic()
os.close(go[1])
right = sum(os.waitpid(child, 0)[1] == 0 for child in clients)
line = {"rank": rank, "connected": here, "right": right, "seconds": time.monotonic() - began}
os.write(1, (json.dumps(line) + "\n").encode())
