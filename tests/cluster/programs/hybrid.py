"""A hybrid job: rounds of QStone's variational loop, half of it on the job's QPU.

hybrid.py ROUNDS SHOTS CLASSICAL_MS SPREAD SEED

A round of QStone's VQE makes a circuit, has the QPU run it, and computes, for which QStone sleeps.
Shots and computing of each round are drawn within ± SPREAD, a part of both.

Prints one JSON line: when the first task was sent and when the last round ended, in seconds since
1970, and the seconds of that time that went by from sending a task to having its result.
"""

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import MagicMock

#: What QStone imports for its other workloads and for other QPUs, and is not installed.
ABSENT = """pygsti pygsti.processors pymatching pyquil qcs_sdk qcs_sdk.compiler.quilc qcs_sdk.qvm
requests waiting"""
sys.modules |= {name: MagicMock() for name in ABSENT.split()}
os.environ["DISABLE_PANDERA_IMPORT_WARNING"] = "True"

from qstone.apps.VQE import VQE  # noqa: E402

import openqse  # noqa: E402


class JobsQPU:
    """The job's QPU as a connector of QStone; counts the seconds that it is waited for."""

    def __init__(self, qpu):
        self.qpu = qpu
        self.first, self.seconds = 0.0, 0.0

    def run(self, qasm, reps):
        began = time.time()
        result = self.qpu.run(Path(qasm), shots=reps)
        self.first = self.first or began
        self.seconds += time.time() - began
        return {"counts": result.counts, "measurements": result.memory.tolist()}


def main():
    rounds, shots, classical_ms = map(int, sys.argv[1:4])
    spread, random_numbers = float(sys.argv[4]), random.Random(int(sys.argv[5]))

    def about(value):
        return round(value * random_numbers.uniform(1 - spread, 1 + spread))

    with tempfile.TemporaryDirectory() as folder, openqse.connect() as qpu:
        os.environ |= {"JOB_ID": os.environ["SLURM_JOB_ID"], "PROG_ID": "0", "NUM_QUBITS": "4"}
        os.environ |= {"QS_USER": os.environ["SLURM_JOB_USER"], "PROFILE_PATH": folder}
        # One round in a run: how many there are QStone draws from 1 to iterations - 1.
        vqe = VQE({"iterations": 2, "repetitions": shots, "compute_duration": classical_ms})
        connector = JobsQPU(qpu)
        for _ in range(rounds):
            vqe.num_shots, vqe.compute_duration = about(shots), about(classical_ms)
            vqe.run(folder, connector)
        ended = time.time()
    line = {"first": connector.first, "ended": ended, "quantum": connector.seconds}
    print(json.dumps(line), flush=True)


main()
