"""Prepared one-shot tasks a second, 1,000 in flight from all ranks together, beside a bare chain.

srun --qpu=emu0 -n 4 --mpi=pmix python throughput.py HOST:PORT [--quick]
"""

import json
import sys
import time

import bare_chain
from mpi4py import MPI

import openqse

IN_FLIGHT = 1000


def main():
    comm = MPI.COMM_WORLD
    endpoint, blocks = sys.argv[1], 2 if "--quick" in sys.argv else 8
    window, tasks = IN_FLIGHT // comm.size, 4 * IN_FLIGHT // comm.size
    program = openqse.CircuitBuilder(1).h(0).measure_all().build()
    with openqse.connect() as qpu, bare_chain.client(endpoint) as socket:

        def ours():
            for future in qpu.map(program, [[]] * tasks, shots=1):
                future.result(60)

        def bare():
            sent = received = 0
            while received < tasks:
                while sent < tasks and sent - received < window:
                    socket.send_multipart(bare_chain.FRAMES)
                    sent += 1
                socket.recv_multipart()
                received += 1

        rates = {"ours": [], "bare": []}
        for block in range(blocks + 1):
            for name, measured in (("ours", ours), ("bare", bare)):
                comm.barrier()
                began = time.perf_counter()
                measured()
                comm.barrier()
                if block:  # the first prepares the program and makes the connections
                    rates[name].append(comm.size * tasks / (time.perf_counter() - began))
    if comm.rank == 0:
        value, peer = (sorted(r)[len(r) // 2] for r in rates.values())
        line = {
            "name": "throughput.tasks",
            "value": round(value),
            "unit": "1/s",
            "peer": round(peer),
            "ratio": round(value / peer, 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
