"""Scripted devices, for tests of what stands in front of them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from openqse import device
from openqse.errors import TaskCancelled
from openqse.program import circuit
from openqse.program.program import Program


class ScriptedDevice:
    """A blocking driver that answers every shot with the bits of the set's first parameter, as a
    whole number, at once.

    ``hold`` makes runs wait until it is set or they are told to stop; ``prepared`` counts programs,
    ``runs`` those runs that began, ``sets`` their sets of parameters. Programs whose ids are in
    ``broken`` cannot be prepared.
    """

    SHOT_NS = 1000

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
        width = (prepared.num_clbits + 7) // 8
        rows = [
            np.frombuffer(int(row[0] if row.size else 0).to_bytes(8, "little")[:width], np.uint8)
            for row in parameters
        ]
        memory = np.repeat(np.stack(rows)[:, None, :], shots, axis=1)
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
