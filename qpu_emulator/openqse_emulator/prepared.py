"""A program that the emulator has checked, as each of its engines reads it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from openqse.errors import NotSupported
from openqse.program.circuit import Circuit, Values, parameter_sets
from openqse.program.observable import PauliSum
from openqse.program.straight import Straight
from openqse_emulator import choice, noise, stabilizer, timing
from openqse_emulator.choice import Choice, Task
from openqse_emulator.layout import layout, with_bits
from openqse_emulator.noise import NoiseModel, Sequenced
from openqse_emulator.profile import Engine
from openqse_emulator.statevector import execute
from openqse_emulator.trajectories import Prepared as Trajectories

#: Choices that are kept.
_MOST_CHOICES = 64


class Prepared:
    """A program without control flow.

    There are two of everything: for a run, and (``observed``) for an expectation, which has no
    final measurements and in which every qubit waits for the end.

    Attributes:
        circuit: the program.
        shot_ns: QPU time of one shot of a run.
        errors: float64, how often bits are misread, as ``noise.readout_errors`` gives it.
    """

    def __init__(self, straight: Straight, model: NoiseModel, engine: execute.Engine) -> None:
        """
        Raises:
            NotSupported: a delay depends on parameters.
            ProgramError: see ``timing.schedule``.
        """
        self.circuit = straight.source
        self._straight = straight
        self._timed = with_bits(straight.circuit)
        if timing.timed_by_parameters(self._timed):
            raise NotSupported(
                "a delay or box whose duration depends on parameters",
                layer="device",
                remedy="Write a number in its place, and a program for each",
            )
        self.shot_ns = timing.shot_ns(self._timed, model.profile)
        self.errors = noise.readout_errors(self._timed, model.profile)
        self._model = model
        self._engine = engine
        self._layout = layout(self._timed, lambda: [self._whole, self._whole_observed])
        #: The program as engines compute it.
        self.computed: Circuit = self._layout.circuit
        self._choices: dict[Task, Choice] = {}
        self._samplers: dict[bytes, stabilizer.Program] = {}

    # --- what the client gives and gets ----------------------------------------------------------

    def bind(self, parameters: Values | None) -> NDArray[np.float64]:
        """The angles of ``computed`` for each set of parameters (see ``Circuit.bind``)."""
        if not self.circuit.reads_cells:
            return self.computed.bind(parameters)
        sets, _ = parameter_sets(parameters, self.circuit.parameters)
        return self.computed.bind(self._straight.parameters(sets))

    def finish(self, memory: NDArray[np.uint8], parameters: Values | None) -> NDArray[np.uint8]:
        """Samples of all bits, which are written to, as those of the program's results."""
        if not self._straight.fixed and self.computed.num_clbits == self.circuit.num_outputs:
            return memory
        sets, _ = parameter_sets(parameters, self.circuit.parameters)
        return self._straight.finish(memory, sets)

    def observable(self, observable: PauliSum) -> PauliSum:
        """An observable of the program's qubits on those that are computed."""
        return self._layout.observable(observable)

    @cached_property
    def expectation_shot_ns(self) -> int:
        """QPU time of one shot of an expectation."""
        return timing.expectation_shot_ns(self._timed, self._model.profile)

    # --- what happens to the qubits --------------------------------------------------------------

    @cached_property
    def _whole(self) -> Sequenced:
        return noise.sequence(self._timed, self._model)

    @cached_property
    def _whole_observed(self) -> Sequenced:
        return noise.sequence(self._timed, self._model, measurements=False)

    @cached_property
    def sequence(self) -> Sequenced:
        """The operations and what goes wrong between them."""
        return self._layout.sequence(self._whole)

    @cached_property
    def observed_sequence(self) -> Sequenced:
        """The same for an expectation."""
        return self._layout.sequence(self._whole_observed)

    @cached_property
    def noisy(self) -> bool:
        """Whether anything goes wrong in a run but in reading out."""
        return next(noise.channels(self.sequence), None) is not None

    # --- the engines' programs -------------------------------------------------------------------

    @cached_property
    def dense(self) -> execute.Prepared:
        """The program of the state-vector engine."""
        return self._engine.prepare(self.computed)

    @cached_property
    def observed_dense(self) -> execute.Prepared:
        """The same for an expectation."""
        return self._engine.prepare(self.computed, observed=True)

    @cached_property
    def trajectories(self) -> Trajectories:
        """The program of the trajectories."""
        return Trajectories(self._engine, self.computed, self.sequence)

    @cached_property
    def observed_trajectories(self) -> Trajectories:
        """The same for an expectation."""
        return Trajectories(self._engine, self.computed, self.observed_sequence, observed=True)

    def clifford(self, angles: NDArray[np.float64]) -> stabilizer.Program:
        """The program of the stabilizer engine; the last one is kept."""
        key = angles.tobytes()
        if key not in self._samplers:
            made = stabilizer.translate(self.sequence, self.computed.num_clbits, angles)
            self._samplers = {key: made}
        return self._samplers[key]

    # --- which engine ----------------------------------------------------------------------------

    def choose(self, task: Task, engine: Engine, angles: NDArray[np.float64]) -> Choice:
        """The engine for a task, decided once, whatever its parameters are.

        Only if there is none for all parameters is one sought for each of these sets: at quarter
        turns a program may be Clifford that is too large otherwise.

        Args:
            angles: float64 ``(k, n_angles)``.

        Raises:
            NotSupported: see ``choice.choose``.
        """
        if not (task.observed or self.noisy or self.dense.program.collapses):
            task = Task(1)  # how many shots there are changes nothing
        found = self._choices.get(task)
        if found is None:
            sequence = self.observed_sequence if task.observed else self.sequence
            try:
                found = choice.choose(self.computed, engine, sequence, task)
            except NotSupported:
                if not self.circuit.parameters:
                    raise
                first, *_ = [
                    choice.choose(self.computed, engine, sequence, task, angles=row)
                    for row in angles
                ]
                return first
            if len(self._choices) > _MOST_CHOICES:
                self._choices.clear()
            self._choices[task] = found
        return found
