"""Scripted devices, for tests of what stands in front of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse import device
from openqse.errors import LimitExceeded, TaskCancelled
from openqse.program import circuit
from openqse.program.program import Program

#: QPU time of a shot, nanoseconds.
SHOT_NS = 1000


def spelled(parameters: NDArray[np.float64], shots: int, width: int) -> NDArray[np.uint8]:
    """Samples of ``width`` bits: each set's first parameter, as a whole number, in every shot."""
    size = (width + 7) // 8
    rows = [
        np.frombuffer(int(row[0] if row.size else 0).to_bytes(8, "little")[:size], np.uint8)
        for row in parameters
    ]
    return np.repeat(np.stack(rows)[:, None, :], shots, axis=1)


class ScriptedDevice:
    """A blocking driver that answers every shot with the bits of the set's first parameter, as a
    whole number, at once.

    ``hold`` makes runs wait until it is set or they are told to stop; ``prepared`` counts programs,
    ``runs`` those runs that began, ``sets`` their sets of parameters. Programs whose ids are in
    ``broken`` cannot be prepared.
    """

    SHOT_NS = SHOT_NS

    def __init__(self, max_shots: int = 10_000) -> None:
        self._max_shots = max_shots
        self.hold = threading.Event()
        self.hold.set()
        self.started = threading.Semaphore(0)
        self.prepared = 0
        self.stopped = 0
        self.runs = self.sets = 0
        self.broken: set[str] = set()

    @property
    def capabilities(self) -> device.Capabilities:
        """What it offers: all that there is, on 4 qubits."""
        return device.Capabilities(
            num_qubits=4,
            formats=(circuit.FORMAT,),
            max_shots=self._max_shots,
            dynamic_circuits=True,
            expectation=True,
            seeds=True,
            slices=True,
        )

    def prepare(self, program: Program) -> circuit.Circuit:
        self.prepared += 1
        if program.id in self.broken:
            raise ValueError("a driver's own exception")
        return circuit.Circuit.of(program)

    def _wait(self, parameters: Any, stopped: Any) -> None:
        self.runs += 1
        self.sets += len(parameters)
        self.started.release()
        while not self.hold.wait(0.01):
            if stopped():
                self.stopped += 1
                raise TaskCancelled("stopped", layer="device")

    def run(
        self,
        prepared: circuit.Circuit,
        parameters: Any,
        shots: int,
        seed: Any,
        stopped: Any,
        first_set: int = 0,
        first_shot: int = 0,
        of_shots: int | None = None,
    ) -> device.Samples:
        self._wait(parameters, stopped)
        memory = spelled(parameters, shots, prepared.program.width)
        return device.Samples(memory, self.SHOT_NS * shots * len(parameters))

    def expectation(
        self,
        prepared: Any,
        observable: Any,
        parameters: Any,
        seed: Any,
        stopped: Any,
        first_set: int = 0,
    ) -> device.Expectations:
        self._wait(parameters, stopped)
        return device.Expectations(parameters.sum(axis=1), self.SHOT_NS * len(parameters))

    def estimate(self, prepared: Any, shots: int, sets: int, observable: Any = None) -> int:
        return self.SHOT_NS * sets * (1 if observable else shots)

    def calibration(self) -> device.Calibration:
        return device.Calibration("scripted-1")

    def status(self) -> device.DeviceStatus:
        return device.READY

    def close(self) -> None:
        pass


@dataclass(eq=False)
class Job:
    """A task at a ``ScriptedService``.

    Attributes:
        outcome: how it ended; an exception is raised to who waits.
    """

    program: Program
    work: device.Work
    ended: threading.Event = field(default_factory=threading.Event)
    outcome: Any = None


class ScriptedService:
    """A device that has several tasks under way, as a vendor's service does; they end when and how
    the test says, in any order.

    Attributes:
        jobs: what is under way, in the order of submission.
        submitted: all jobs so far. most: how many were under way at once, at most.
    """

    def __init__(self, capacity: int = 4, slices: bool = False) -> None:
        self.capacity = capacity
        self.capabilities = device.Capabilities(
            num_qubits=4,
            formats=(circuit.FORMAT,),
            max_shots=10_000_000,
            expectation=True,
            slices=slices,
        )
        self.jobs: list[Job] = []
        self.submitted: list[Job] = []
        self.most = 0
        self._lock = threading.Lock()
        self._dead = False

    def prepare(self, program: Program) -> Program:
        """As in the contract."""
        self._answer()
        return program

    def submit(self, prepared: Program, work: device.Work) -> Job:
        """As in the contract; one more than its capacity is refused."""
        self._answer()
        job = Job(prepared, work)
        with self._lock:
            if len(self.jobs) >= self.capacity:
                raise LimitExceeded("the service is full", layer="device", limit="capacity")
            self.jobs.append(job)
            self.submitted.append(job)
            self.most = max(self.most, len(self.jobs))
        return job

    def wait(self, handle: Job, timeout: float | None = None) -> device.Outcome | None:
        """As in the contract."""
        if not handle.ended.wait(timeout):
            return None
        if isinstance(handle.outcome, Exception):
            raise handle.outcome
        outcome: device.Outcome = handle.outcome
        return outcome

    def cancel(self, handle: Job) -> None:
        """As in the contract."""
        self.end(handle, TaskCancelled("cancelled", layer="device"))

    def end(self, job: Job, outcome: Any = None) -> None:
        """Ends a job: rightly or, with an outcome or an exception given, so."""
        with self._lock:
            if job not in self.jobs:
                return
            self.jobs.remove(job)
        job.outcome = self.right(job) if outcome is None else outcome
        job.ended.set()

    def right(self, job: Job) -> device.Outcome:
        """What a job gives."""
        work = job.work
        if work.observable is not None:
            values = work.parameters.sum(axis=1)
            return device.Outcome(device.Expectations(values, SHOT_NS * len(values)), "service-1")
        memory = spelled(work.parameters, work.shots, job.program.width)
        samples = device.Samples(memory, SHOT_NS * work.shots * len(memory), {"job": str(id(job))})
        return device.Outcome(samples, "service-1")

    def die(self) -> None:
        """Ends all that is under way with an error of its own, and answers no more."""
        self._dead = True
        for job in list(self.jobs):
            self.end(job, ConnectionError("the service is gone"))

    def revive(self) -> None:
        """Answers again."""
        self._dead = False

    def _answer(self) -> None:
        if self._dead:
            raise ConnectionError("the service is gone")

    def estimate(self, prepared: Program, work: device.Work) -> int:
        """As in the contract."""
        return SHOT_NS * len(work.parameters) * (1 if work.observable else work.shots)

    def calibration(self) -> device.Calibration:
        """As in the contract."""
        return device.Calibration("service-1")

    def status(self) -> device.DeviceStatus:
        """As in the contract."""
        if self._dead:
            return device.DeviceStatus(device.Operation.OFFLINE, False, "the service is gone")
        return device.READY

    def close(self) -> None:
        """As in the contract."""
        self.die()
