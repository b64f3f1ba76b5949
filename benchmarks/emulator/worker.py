"""An engine alone in a process: a JSON object a line comes in, one goes out.

python -m benchmarks.emulator.worker ENGINE PRECISION THREADS

First it says ``{"ready": true}``, or why not. Then it answers

    {"task": …}                                     {"settings": [{…}, …]}
    {"setting": {…}, "seconds": s, "probe": bool}   {"laps": [{phase: s, …}, …], "peak_bytes": n}

where the second runs the task for at least ``s`` seconds and at least once, each time anew, and
with ``probe`` adds ``"probe": [[re, im], …]``. What cannot be done is answered by
``{"unsupported": why}``, what went wrong by ``{"failed": why}``. It ends with its input.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from benchmarks.emulator import workloads
from benchmarks.emulator.engine import Engine, Laps, Probe, Setting, Task, Unsupported


def main() -> None:
    # The driver ends its workers; Ctrl-C on the terminal is for the driver.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, precision, threads = sys.argv[1:]
    for answer in _answers(name, precision, int(threads)):
        answers.write(json.dumps(answer) + "\n")


def _answers(name: str, precision: str, threads: int) -> Iterator[dict[str, Any]]:
    """The first answer, and one for each line that comes in."""
    try:
        engine = _engine(name, precision, threads)
        _rehearse(engine)
    except Exception as error:
        yield _reason(error)
        return
    resident = _memory("VmRSS")
    yield {"ready": True}
    task: Task | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "task" in request:
                task = Task.from_wire(request["task"])
                yield {"settings": engine.offered(task)}
            else:
                assert task is not None
                yield _run(engine, task, resident, **request)
        except Exception as error:
            yield _reason(error)


def _engine(name: str, precision: str, threads: int) -> Engine:
    if name == "ours":
        from benchmarks.emulator.ours import Ours

        return Ours(precision, threads)
    module = importlib.import_module(f"benchmarks.emulator.peers.{name}")
    engine: Engine = module.Peer(precision, threads)
    return engine


def _rehearse(engine: Engine) -> None:
    """Runs everything once at a small size, so that nothing is compiled or loaded later on."""
    for task in workloads.rehearsal():
        with suppress(Unsupported):
            for setting in engine.offered(task):
                engine.run(task, setting, Laps())()


def _run(
    engine: Engine, task: Task, resident: int, setting: Setting, seconds: float, probe: bool
) -> dict[str, Any]:
    gc.collect()
    _forget_peak()
    outcome: Probe | None = None
    laps: list[dict[str, float]] = []
    began = time.perf_counter()
    while not laps or time.perf_counter() - began < seconds:
        outcome = None  # frees a state before the next one is made
        lap = Laps()
        outcome = engine.run(task, setting, lap)
        laps.append(lap.seconds)
    answer: dict[str, Any] = {"laps": laps, "peak_bytes": max(0, _memory("VmHWM") - resident)}
    if probe and outcome is not None:
        values = np.asarray(outcome(), dtype=np.complex128)
        answer["probe"] = np.stack([values.real, values.imag], axis=-1).tolist()
    return answer


def _memory(field: str) -> int:
    """A figure of this process's memory, bytes: ``VmRSS`` is what it has, ``VmHWM`` the most it
    had. (The latter is ``ru_maxrss``, which cannot be set back and begins with the parent's.)"""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _forget_peak() -> None:
    """Sets VmHWM back to VmRSS, which is first rid of what malloc keeps of earlier tasks."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")


def _reason(error: Exception) -> dict[str, Any]:
    if isinstance(error, Unsupported):
        return {"unsupported": str(error)}
    traceback.print_exception(error)
    return {"failed": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
