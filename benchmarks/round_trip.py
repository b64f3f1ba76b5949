"""Round trip of a prepared one-qubit, one-shot task from a rank, beside the bare chain.

srun --qpu=emu0 python round_trip.py HOST:PORT [--quick]
"""

import json
import sys
import time

import bare_chain
import numpy as np

import openqse


def main():
    endpoint, blocks = sys.argv[1], 5 if "--quick" in sys.argv else 30
    program = openqse.CircuitBuilder(1).h(0).measure_all().build()
    ours, bare = [], []
    with openqse.connect() as qpu, bare_chain.client(endpoint) as socket:

        def task():
            qpu.run(program, shots=1)

        def echo():
            socket.send_multipart(bare_chain.FRAMES)
            socket.recv_multipart()

        for measured, times in ((task, []), (echo, [])):  # prepare the program, make connections
            _time(measured, times, 200)
        for _ in range(blocks):  # in turn, so that both see the same machine
            _time(task, ours, 100)
            _time(echo, bare, 100)
    for name, percent in (("p50", 50), ("p99", 99)):
        value, peer = np.percentile(ours, percent), np.percentile(bare, percent)
        line = {
            "name": f"round_trip.{name}",
            "value": round(1e6 * value, 1),
            "unit": "us",
            "peer": round(1e6 * peer, 1),
            "ratio": round(peer / value, 3),
        }
        print(json.dumps(line), flush=True)


def _time(measured, times, repeats):
    for _ in range(repeats):
        began = time.perf_counter()
        measured()
        times.append(time.perf_counter() - began)


if __name__ == "__main__":
    main()
