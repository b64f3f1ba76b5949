"""Opens COUNT sessions on each rank, past the library's rule of one for each process.

Once those of all ranks are open each runs a task; prints how many came back right, and the slowest.

crowd.py COUNT
"""

import json
import os
import sys
import time

from mpi4py import MPI

import openqse
from openqse.remote import Connection

comm = MPI.COMM_WORLD
program = openqse.CircuitBuilder(1).x(0).measure_all().build()
path, count = os.environ["OPENQSE_SOCKET"], int(sys.argv[1])
sessions = [Connection(path, timeout=30).open("emu0") for _ in range(count)]
comm.Barrier()
began = time.monotonic()
futures = [qpu.submit(program, shots=1) for qpu in sessions]
right = sum(future.result(timeout=60).counts == {"1": 1} for future in futures)
seconds = time.monotonic() - began
comm.Barrier()
for qpu in sessions:
    qpu.close()
right, slowest = comm.reduce(right), comm.reduce(seconds, MPI.MAX)
if comm.rank == 0:
    print(json.dumps({"sessions": count * comm.size, "right": right, "slowest": slowest}))
