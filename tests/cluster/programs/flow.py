"""Keeps tasks flowing until a file named stop is there, and writes what became of each.

flow.py FOLDER: every rank writes FOLDER/JOB.RANK, one JSON line for each event and each result.
Every task must answer with its own number.
"""

import json
import os
import socket
import sys
import time
from collections import deque
from functools import partial

import numpy as np

import openqse
from openqse.errors import TaskCancelled

IN_FLIGHT, BITS, SHOTS = 250, 14, 4
#: Seconds without an answer after which a rank says that it waited in vain.
PATIENCE = 90

folder = sys.argv[1]
job, rank = int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_PROCID"])
file = os.open(f"{folder}/{job}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

builder = openqse.CircuitBuilder(BITS)
for bit in range(BITS):
    builder.rx(builder.parameter(f"bit{bit}"), bit)
program = builder.measure_all().build()


def write(line):
    """One write for each line: what a rank had is known even if it is killed."""
    os.write(file, (json.dumps(line) + "\n").encode())


def say(event, **what):
    write({"event": event, **what})


def flow(qpu):
    """Sends task after task; gives how many, once all are answered."""
    number, looked, stopping = 0, 0.0, False
    waiting = deque()
    while not stopping or waiting:
        while len(waiting) < IN_FLIGHT and not stopping:
            expected = (number * 8 + rank) % 2**BITS
            future = qpu.submit(
                program, parameters=np.pi * (expected >> np.arange(BITS) & 1), shots=SHOTS
            )
            future.add_done_callback(partial(take, number, expected))
            waiting.append(future)
            number += 1
        waiting[0].result(PATIENCE)
        while waiting and waiting[0].done():
            waiting.popleft().result()
        if time.monotonic() - looked > 0.1:
            looked = time.monotonic()
            stopping = os.path.exists(f"{folder}/stop")
    return number


def take(number, expected, future):
    """Notes what became of a task at the moment that it is known."""
    now, error = time.time(), future.exception()
    if error is None:
        result = future.result()
        right = result.counts == {format(expected, f"0{BITS}b"): SHOTS}
        write([number, future.task_id, result.qpu_time_ns, now, right])
    elif not isinstance(error, TaskCancelled):  # as those are that the end of a rank leaves behind
        what = {"number": number, "task": future.task_id, "code": error.code, "text": str(error)}
        say("refused", **what)


try:
    with openqse.connect() as qpu:
        say("began", node=socket.gethostname(), pid=os.getpid())
        sent = flow(qpu)
    say("done", sent=sent)
except openqse.OpenQSEError as error:
    say("failed", code=error.code, text=str(error))
    sys.exit(3)
except Exception as error:
    say("broke", text=repr(error))
    raise
