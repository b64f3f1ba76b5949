"""Sends short interactive tasks, one after the other, and prints how long each took.

glance.py FOLDER PAUSE COUNT

Prints one JSON line, seconds of each task, after so many or when FOLDER/stop exists.
"""

import json
import sys
import time
from pathlib import Path

import openqse


def main():
    folder, pause, count = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    program = openqse.CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
    taken = []
    with openqse.connect() as qpu:
        qpu.run(program, shots=10, latency="interactive")
        while len(taken) < count and not (taken and (folder / "stop").exists()):
            time.sleep(pause)  # a person's, not a wait for something
            began = time.perf_counter()
            qpu.run(program, shots=10, latency="interactive", timeout=600)
            taken.append(time.perf_counter() - began)
    print(json.dumps({"seconds": taken}), flush=True)


main()
