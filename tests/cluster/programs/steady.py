"""Runs small tasks until one fails; prints when it began, and then what failed and how late."""

import json
import os
import socket
import sys
import time

import openqse

program = openqse.CircuitBuilder(1).x(0).measure_all().build()
rank, node = int(os.environ["SLURM_PROCID"]), socket.gethostname()


def say(**what):
    os.write(
        1, (json.dumps({"rank": rank, "node": node, "pid": os.getpid(), **what}) + "\n").encode()
    )


with openqse.connect() as qpu:
    qpu.run(program, shots=1)
    say(event="began")
    last = time.monotonic()
    try:
        while True:
            result = qpu.run(program, shots=10)
            assert result.counts == {"1": 10}, result.counts
            last = time.monotonic()
    except openqse.OpenQSEError as error:
        say(
            event="failed",
            error=type(error).__name__,
            layer=error.layer,
            remedy=error.remedy,
            message=error.message,
            silence=time.monotonic() - last,
        )
        sys.exit(3)
