"""The processes in which engines work, each with a deadline for each answer."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.emulator.engine import Setting, Task

ROOT = Path(__file__).resolve().parents[2]
#: Ours runs with the packages that its users get; a peer may pin others (qibojit an old numba).
PYTHON = {"ours": ROOT / ".venv" / "bin" / "python"}
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
#: Seconds for an engine to load, compile and rehearse.
_START = 180.0


class Refused(Exception):
    """An engine cannot do what it was asked; the text says why."""


class Failed(Refused):
    """It should have been able to."""


class TooSlow(Failed):
    """No answer came in time."""


class Runs(NamedTuple):
    """A task's runs in a row.

    Attributes:
        laps: the seconds of each phase, for each run.
        peak_bytes: the most memory that the engine took beyond what it has at rest.
        probe: complex128, what the outcome is checked by, where this was asked for.
    """

    laps: list[dict[str, float]]
    peak_bytes: int
    probe: NDArray[np.complex128] | None

    @property
    def wholes(self) -> list[float]:
        """Seconds of each run, all phases together."""
        return [sum(phases.values()) for phases in self.laps]


class Worker:
    """An engine's process. One that died or hung is started again by the next task."""

    def __init__(self, name: str, precision: str, threads: int) -> None:
        self.name = name
        self._command = [
            *(str(PYTHON.get(name, PEER_PYTHON)), "-m", "benchmarks.emulator.worker"),
            *(name, precision, str(threads)),
        ]
        count = str(threads)
        pools = ("OMP", "OPENBLAS", "MKL", "NUMBA", "QULACS")
        self._environment = os.environ | {f"{pool}_NUM_THREADS": count for pool in pools}
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False
        self._refused: Refused | None = None
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, task: Task) -> list[Setting]:
        """Gives the engine a task; the settings to try.

        Raises:
            Refused: it cannot do it, or did not start.
        """
        if self._process is None and self._refused is None:
            self._start()
        self.wait()
        if self._refused is not None:
            raise self._refused
        settings: list[Setting] = self._ask({"task": task.to_wire()}, 60.0)["settings"]
        return settings

    def wait(self) -> None:
        """Waits until the engine has loaded; whether it could, ``begin`` says."""
        if not self._started and self._refused is None:
            self._started = True
            try:
                self._answer(_START)
            except Refused as error:
                self._refused = error
                self.close()

    def run(self, setting: Setting, seconds: float, limit: float, *, probe: bool = False) -> Runs:
        """Runs the task again and again for ``seconds``, at least once, within ``limit`` seconds.

        Raises:
            Failed: it went wrong, or took too long.
        """
        request = {"setting": setting, "seconds": seconds, "probe": probe}
        answer = self._ask(request, limit)
        found = None
        if probe:
            pairs = np.array(answer["probe"], np.float64).reshape(-1, 2)
            found = pairs[:, 0] + 1j * pairs[:, 1]
        return Runs(answer["laps"], answer["peak_bytes"], found)

    def close(self) -> None:
        """Ends the process, whatever it does."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        with process, self._errors:  # waits, and closes the pipes
            pass

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, as it ends with the process
        self._read = b""
        self._started = False
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )

    def _ask(self, request: dict[str, Any], limit: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise Failed(self._died()) from None
        return self._answer(limit)

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        end = time.monotonic() + limit
        while b"\n" not in self._read:
            if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
                self.close()
                raise TooSlow(f"no answer within {limit:.0f} s")
            read = os.read(source, 1 << 20)
            if not read:
                raise Failed(self._died())
            self._read += read
        # No thread of its spins or is woken while another engine is measured.
        self._process.send_signal(signal.SIGSTOP)
        line, self._read = self._read.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "unsupported" in answer:
            raise Refused(answer["unsupported"])
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def _died(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        return f"died with status {code}" + (f": {said[-1][:200]}" if said else "")
