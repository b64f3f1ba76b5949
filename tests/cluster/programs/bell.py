"""Runs a Bell circuit on each QPU named, or on the job's only one, and prints a line for each.

With --hold it then stays until it is killed.
"""

import argparse
import json
import os
import signal
import socket

import openqse

parser = argparse.ArgumentParser()
parser.add_argument("qpu", nargs="*", default=[None])
parser.add_argument("--hold", action="store_true")
arguments = parser.parse_args()

program = openqse.CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
for name in arguments.qpu:
    with openqse.connect(name) as qpu:
        counts = qpu.run(program, shots=200).counts
        line = {
            "rank": int(os.environ["SLURM_PROCID"]),
            "node": socket.gethostname(),
            "qpu": qpu.name,
            "lease": qpu.lease.id,
            "mode": qpu.lease.mode,
            "slots": qpu.lease.slots,
            "correlated": set(counts) == {"00", "11"} and sum(counts.values()) == 200,
            "array_task": os.environ.get("SLURM_ARRAY_TASK_ID"),
        }
        # One write for each line: the lines of several ranks go to one file.
        os.write(1, (json.dumps(line) + "\n").encode())
if arguments.hold:
    signal.pause()
