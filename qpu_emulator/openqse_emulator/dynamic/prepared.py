"""A program with classical control as the emulator runs it: which engine, samples, means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Event

import numpy as np
from numpy.typing import NDArray

from openqse.device import Expectations, Samples
from openqse.errors import NotSupported
from openqse.program.circuit import Circuit, parameter_sets
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import stabilizer, timing
from openqse_emulator.choice import Choice
from openqse_emulator.dynamic import density, paths
from openqse_emulator.dynamic.compile import Compiled, compiled
from openqse_emulator.dynamic.longest import longest_ns
from openqse_emulator.dynamic.paths import Sampled
from openqse_emulator.kept import LIMIT, Kept, Shots
from openqse_emulator.noise import NoiseModel
from openqse_emulator.profile import Engine, Method
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector.team import Stopped, Team

#: Bytes of a shot's time, which is kept behind its results.
_TIME = 8
#: Qubits and paths at once of a noisy program whose mean is computed exactly where the profile
#: leaves it open.
_FEW, _MOST_PATHS = 4, 64
#: Qubits up to which a Clifford program, too, is computed with amplitudes.
_DENSE = 8


@dataclass(frozen=True, slots=True)
class Part:
    """What is asked for: a run or expectation, or a slice of one.

    Attributes:
        parameters: float64 ``(k, n_parameters)``.
        shots: of each set, from number ``first_shot`` of ``of_shots``.
    """

    parameters: NDArray[np.float64]
    seed: int
    first_set: int
    stopped: Stopped
    shots: int = 0
    first_shot: int = 0
    of_shots: int = 0


class Prepared:
    """A program that the emulator has checked.

    Attributes:
        circuit: the program.
        compiled: what kernels run.
        around_ns: QPU time of a shot before and after the program.
    """

    def __init__(self, circuit: Circuit, model: NoiseModel, engine: Engine, team: Team) -> None:
        """
        Args:
            engine: with numbers in place of zeros (``Engine.on_this_machine``).

        Raises:
            NotSupported: see ``choose``.
        """
        self.circuit = circuit
        self.compiled: Compiled = compiled(circuit, model)
        self._model, self._engine, self._team = model, engine, team
        durations = model.profile.durations_ns
        self.around_ns = durations.initialisation + durations.shot_overhead
        self._measured_ns = durations.one_qubit + durations.readout
        self.choose(None)  # what cannot be computed is refused before it is run

    # --- time ------------------------------------------------------------------------------------

    @cached_property
    def shot_ns(self) -> int:
        """QPU time of one shot of a run, at most, where loops are taken once."""
        return self.around_ns + longest_ns(self.circuit, self.compiled.code)

    @cached_property
    def expectation_shot_ns(self) -> int:
        """The same of an expectation."""
        longest = longest_ns(self.circuit, self.compiled.observed)
        return self.around_ns + longest + self._measured_ns

    # --- which engine ----------------------------------------------------------------------------

    def choose(self, shots: int | None) -> Choice:
        """The engine for a run of so many shots; for an expectation, where that is None.

        Raises:
            NotSupported: the engine that the profile asks for cannot compute the program.
        """
        method = self._engine.method
        if method == "auto":
            return self._automatic(shots)
        obstacle = self._obstacle(method)
        if obstacle is not None:
            raise NotSupported(
                f'method = "{method}" for this program: {obstacle}',
                layer="device",
                remedy='Set method = "auto" in the profile',
                method=method,
            )
        return self._choice(method, "the profile asks for it")

    @cached_property
    def _clifford(self) -> bool:
        """Whether all gates are Clifford whose angles are known."""
        return stabilizer.is_clifford(self.circuit, self.circuit.angle_constants)

    @cached_property
    def _open_gates(self) -> bool:
        """Whether gates have angles that are not known yet."""
        circuit = self.circuit
        owners = np.searchsorted(circuit.angle_offsets, circuit.term_angles, side="right") - 1
        return bool((circuit.opcodes[owners] < Op.MEASURE).any())

    def _automatic(self, shots: int | None) -> Choice:
        pauli, many = self.compiled.pauli, self.circuit.num_qubits > _DENSE
        if many and pauli and not self._open_gates and self._clifford:
            errors = "has no noise" if self.compiled.quiet else "the noise is Pauli"
            return self._choice("stabilizer", f"the program is Clifford and {errors}")
        if self.compiled.quiet:
            return self._choice(
                "statevector", "the program has classical control and no noise in its course"
            )
        if shots is None and self.circuit.num_qubits <= _FEW:
            return self._choice("density", "a density matrix for each path is exact")
        return self._choice("trajectories", "the program has classical control and noise")

    def _obstacle(self, method: Method) -> str | None:
        n = self.circuit.num_qubits
        if method == "statevector" and not self.compiled.quiet:
            return "there is noise, which a single state cannot hold"
        if method == "density" and n > density.MOST_QUBITS:
            return f"it has {n} qubits, and density matrices at most {density.MOST_QUBITS}"
        if method == "stabilizer" and not self.compiled.pauli:
            return "the noise is more than Pauli errors"
        if method == "stabilizer" and not self._open_gates and not self._clifford:
            return "it is not Clifford"
        return None

    def _by(self, chosen: Choice) -> Compiled:
        """The program of an engine."""
        return self.compiled.stabilizer if chosen.method == "stabilizer" else self.compiled

    def _choice(self, method: Method, reason: str) -> Choice:
        if method == "density":
            return Choice(method, reason, 32 << 2 * self.circuit.num_qubits)
        return Choice(method, reason, paths.stack_bytes(self.compiled, 8, 12))

    # --- samples ---------------------------------------------------------------------------------

    def run(self, part: Part, kept: Kept) -> Samples:
        """Samples the program; the QPU time is that of each shot's own path.

        Raises:
            As ``choose``, ``paths.sample`` and ``density.distribution`` do.
        """
        chosen = self.choose(part.of_shots)
        sets, _ = parameter_sets(part.parameters, self.circuit.parameters)
        width = -(-self.circuit.num_outputs // 8)
        memory = np.zeros((len(sets), part.shots, width + _TIME), np.uint8)

        alone = len(sets) == 1 or part.shots < part.of_shots or chosen.method == "density"
        team = self._team if alone else None

        def job(i: int, stopped: Stopped) -> None:
            row = sets[i]
            if part.shots == part.of_shots or part.of_shots * (width + _TIME + 1) > LIMIT:
                left = np.ones(part.shots, np.bool_)
                self._sample(
                    chosen, part, i, row, part.first_shot, memory[i], left, kept, stopped, team
                )  # fmt: skip
                return
            of_set = part.seed, part.first_set + i, part.of_shots
            key = "dynamic", chosen, self.circuit.id, row.tobytes(), of_set
            shots = kept.get(key, lambda: Shots(part.of_shots, width + _TIME))
            last = part.first_shot + part.shots

            def ahead(begin: int, end: int, stopped: Stopped) -> None:
                rows, left = shots.memory[begin:end], shots.left[begin:end]
                self._sample(chosen, part, i, row, begin, rows, left, kept, stopped, team)

            alike = chosen.method == "density"
            memory[i] = shots.take(part.first_shot, last, ahead, stopped, alike=alike)
            if last == part.of_shots:
                kept.drop(key)

        if alone:
            for i in range(len(sets)):
                job(i, part.stopped)
        else:
            self._each(len(sets), job, part.stopped)
        ends = np.ascontiguousarray(memory[..., width:]).view(np.int64)
        taken = int(ends.sum()) + ends.size * self.around_ns
        return Samples(np.ascontiguousarray(memory[..., :width]), taken, chosen.metadata)

    def _each(self, count: int, job: _Job, stopped: Stopped) -> None:
        """Has threads do a job for every set; the caller's asks whether to stop."""
        halted = Event()

        def ask() -> bool:
            if stopped():
                halted.set()
            return halted.is_set()

        def work(thread: int, i: int) -> None:
            job(i, halted.is_set if thread else ask)

        try:
            self._team.each(count, work, ask)
        except BaseException:
            halted.set()
            raise

    def _sample(
        self,
        chosen: Choice,
        part: Part,
        i: int,
        row: NDArray[np.float64],
        first: int,
        memory: NDArray[np.uint8],
        left: NDArray[np.bool_],
        kept: Kept,
        stopped: Stopped,
        team: Team | None,
    ) -> None:
        """Writes those shots of a set that are left, with their times, and strikes them off.

        Args:
            memory: uint8 ``(shots, bytes)``, results and then the time, as eight bytes.
        """
        seed = part.seed, part.first_set + i
        width = memory.shape[1] - _TIME
        if chosen.method == "density":
            key = "dynamic density", self.circuit.id, row.tobytes()
            room = self._engine.memory_bytes
            exact = kept.get(
                key,
                lambda: density.distribution(self.compiled, self._model, row, room, stopped),
            )
            rows = exact.rows(Uniforms(*seed, first).draw(0, 0, len(memory)))
            memory[:, :width] = exact.memory[rows]
            memory[:, width:] = exact.ends[rows][:, np.newaxis].view(np.uint8)
            left[:] = False
            return
        sampled = Sampled(
            np.zeros((len(memory), width), np.uint8), np.zeros(len(memory), np.int64), left.copy()
        )
        try:
            paths.sample(
                self._by(chosen), row, seed, first, sampled, self._engine.memory_bytes, stopped,
                team,
            )  # fmt: skip
        finally:
            found = left & ~sampled.left
            memory[found, :width] = sampled.memory[found]
            memory[found, width:] = sampled.ends[found][:, np.newaxis].view(np.uint8)
            left[found] = False

    # --- expectations ----------------------------------------------------------------------------

    def expectation(self, observable: PauliSum, part: Part) -> Expectations:
        """The mean of an observable over all that may happen, for each set.

        It is exact where the paths are few enough to follow all, else the mean of as many shots as
        the profile's ``expectation_shots``, and says which. Readout errors enter where they decide
        what the program does.

        Raises:
            As ``choose``, ``paths.mean`` and ``density.mean`` do.
        """
        chosen = self.choose(None)
        shots = self._model.profile.expectation_shots
        sets, _ = parameter_sets(part.parameters, self.circuit.parameters)
        groups = timing.measurement_groups(observable.paulis.tobytes(), observable.num_qubits)
        values, taken = np.zeros(len(sets)), 0.0
        for i, row in enumerate(sets):
            values[i], ns, chosen = self._mean(chosen, observable, part, i, row, shots)
            taken += groups * shots * (self.around_ns + ns + self._measured_ns)
        return Expectations(values, round(taken), chosen.metadata)

    def _mean(
        self,
        chosen: Choice,
        observable: PauliSum,
        part: Part,
        i: int,
        row: NDArray[np.float64],
        shots: int,
    ) -> tuple[float, float, Choice]:
        room, seed = self._engine.memory_bytes, (part.seed, part.first_set + i)
        if chosen.method == "density":
            most = None if self._engine.method == "density" else _MOST_PATHS
            exact = density.mean(
                self.compiled, self._model, observable, row, room, part.stopped, most
            )
            if exact is not None:
                return *exact, chosen
            chosen = self._choice("trajectories", "the program's paths are too many to follow all")
        arguments = self._by(chosen), observable, row, seed
        if self.compiled.quiet:
            found = paths.mean(*arguments, 0, room, part.stopped)
            if found is not None:
                return found.value, found.ns, chosen
        found = paths.mean(*arguments, shots, room, part.stopped)
        assert found is not None
        reason = f"the mean of {shots} shots, as its paths are too many to follow all"
        if self.compiled.quiet:
            chosen = Choice(chosen.method, reason, chosen.bytes, exact=False)
        return found.value, found.ns, chosen


_Job = Callable[[int, Stopped], None]
