"""The emulator as a device: programs are sampled and charged with hardware's QPU time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from openqse.device import (
    READY,
    Calibration,
    Capabilities,
    DeviceStatus,
    Expectations,
    Operation,
    Samples,
    ThreadDevice,
)
from openqse.errors import ArgumentError, NotSupported, TaskCancelled
from openqse.program.circuit import FORMAT, FORMAT_1, Circuit
from openqse.program.observable import PauliSum
from openqse.program.program import Program
from openqse.program.straight import straightened
from openqse_emulator import density, noise, stabilizer, timing
from openqse_emulator import profile as profiles
from openqse_emulator.choice import Choice, Task
from openqse_emulator.dynamic import prepared as dynamic
from openqse_emulator.kept import LIMIT, Kept, Shots
from openqse_emulator.noise import NoiseModel
from openqse_emulator.prepared import Prepared
from openqse_emulator.profile import Profile
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import branches, execute
from openqse_emulator.warm import compile_kernels

#: Stream of the random numbers of readout errors, and shots that are read at a time.
_READOUT, _READ = 2**32, 2**12
#: Seconds between two looks at whether a task is to stop, while it takes hardware's time.
_LOOK = 0.01

Stopped = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Slice:
    """What is to be computed: a run or expectation, or a part of one.

    Attributes:
        angles: float64 ``(k, n_angles)``, as ``Circuit.bind`` gives them.
        first_set, first_shot, of_shots: where it lies in the whole.
    """

    prepared: Prepared
    chosen: Choice
    angles: NDArray[np.float64]
    seed: int
    first_set: int
    first_shot: int
    of_shots: int
    stopped: Stopped

    def uniforms(self, i: int) -> Uniforms:
        """The random numbers of the ``i``-th of these sets."""
        return Uniforms(self.seed, self.first_set + i, self.first_shot)

    @property
    def pure(self) -> bool:
        """Whether it is a state vector's that does not collapse on the way."""
        return self.chosen.method == "statevector" and not self.prepared.dense.program.collapses

    def alike(self, count: int) -> bool:
        """Whether so many shots visit every state that more would, so that more take no longer."""
        if self.chosen.method == "trajectories":
            return False
        outcomes = 1 << self.prepared.dense.program.collapses
        return self.chosen.method == "density" or outcomes <= count


class Emulator:
    """A ``Blocking`` driver that computes what its profile's hardware would sample.

    Any gate of the circuit form acts on any qubits under any number of controls.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._settings = profile.engine.on_this_machine()
        self._model = NoiseModel.of(profile)
        self._engine = execute.Engine(
            execute.DTYPES[profile.engine.precision], self._settings.threads
        )
        self._seeds = np.random.default_rng()
        self._kept = Kept()
        self._online = True
        durations, errors = asdict(profile.durations_ns), asdict(profile.noise)
        errors["kraus"] = sorted(errors["kraus"])  # complex numbers do not travel
        self._capabilities = Capabilities(
            num_qubits=profile.max_qubits,
            formats=(FORMAT, FORMAT_1),
            max_shots=profile.max_shots,
            dynamic_circuits=True,
            expectation=True,
            seeds=True,
            slices=True,
        )
        self._calibration = Calibration(
            id=sha256(repr(_figures(profile)).encode()).hexdigest()[:16],
            values={
                "profile": profile.name,
                "native_gates": list(profile.native_gates),
                "durations_ns": durations,
                "noise": errors,
            },
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def prepare(self, program: Program | Circuit) -> Prepared | dynamic.Prepared:
        """Checks a program.

        Args:
            program: a circuit, in its envelope or as it is.

        Raises:
            ProgramError: not a circuit, or one whose timing cannot be (see ``timing.schedule``).
            NotSupported: more qubits than the profile has, or no engine that the profile allows can
                compute it in the memory that it grants.
        """
        if isinstance(program, Program):
            program = Circuit.of(program)
        most = self._profile.max_qubits
        if program.num_qubits > most:
            raise NotSupported(
                f"the program has {program.num_qubits} qubits; profile {self._profile.name!r} has "
                f"{most}",
                layer="device",
                remedy="Use fewer qubits, or a QPU with a larger profile",
                num_qubits=program.num_qubits,
                max_qubits=most,
            )
        straight = straightened(program)
        if straight is None or timing.timed_by_parameters(straight.circuit):
            return dynamic.Prepared(program, self._model, self._settings, self._engine.team)
        prepared = Prepared(straight, self._model, self._engine)
        if not program.parameters:  # otherwise what it takes is known with its parameters
            self._check(prepared)
        return prepared

    def _check(self, prepared: Prepared) -> None:
        """Raises NotSupported if no engine can compute a program without parameters, neither a run
        nor an expectation: less may go wrong without final measurements."""
        angles = prepared.bind(None)
        try:
            self._choose(prepared, angles, 1)
        except NotSupported as error:
            try:
                self._choose(prepared, angles, None)
            except NotSupported:
                raise error from None

    def run(
        self,
        prepared: Prepared | dynamic.Prepared,
        parameters: NDArray[np.float64],
        shots: int,
        seed: int | None,
        stopped: Stopped,
        first_set: int = 0,
        first_shot: int = 0,
        of_shots: int | None = None,
    ) -> Samples:
        """Samples a prepared program.

        Args:
            parameters: float64 ``(k, n_parameters)``.
            shots: for each of the ``k`` sets.
            seed: from 0 to 2^64 - 1; equal seeds give equal samples, whatever the number of
                threads; None draws one.
            first_set, first_shot, of_shots: where a slice lies in the run, as in the contract.

        Raises:
            ArgumentError: parameters of the wrong shape, fewer than one shot, or a seed, a first
                set or a first shot out of range.
            NotSupported: more shots than the profile allows, or see ``prepare``.
            TaskCancelled: ``stopped`` was true.
            DeviceError: memory ran out.
        """
        began = time.monotonic()
        of_shots = first_shot + shots if of_shots is None else of_shots
        if not 0 <= first_shot < first_shot + shots <= of_shots or not 0 <= first_set < 2**62:
            raise ArgumentError(
                f"{shots} shots from number {first_shot} of {of_shots}, from set {first_set}",
                layer="device",
                remedy="Give at least one shot, and a slice that lies in its run",
            )
        if of_shots > self._profile.max_shots:
            raise NotSupported(
                f"{of_shots} shots; profile {self._profile.name!r} takes at most "
                f"{self._profile.max_shots} in a task",
                layer="device",
                remedy="Split the task",
                shots=of_shots,
                max_shots=self._profile.max_shots,
            )
        seed = self._seed(seed)
        if isinstance(prepared, dynamic.Prepared):
            asked = dynamic.Part(parameters, seed, first_set, stopped, shots, first_shot, of_shots)
            try:
                samples = prepared.run(asked, self._kept)
            except MemoryError as error:
                raise prepared.choose(of_shots).out_of_memory() from error
            self._take(samples.qpu_time_ns, began, stopped)
            return samples
        angles = prepared.bind(parameters)
        chosen = self._choose(prepared, angles, of_shots)
        part = _Slice(prepared, chosen, angles, seed, first_set, first_shot, of_shots, stopped)
        try:
            width = -(-prepared.computed.num_clbits // 8)
            memory = np.zeros((len(angles), shots, width), np.uint8)
            self._sample(part, memory)
            memory = prepared.finish(memory, parameters)
        except MemoryError as error:
            raise chosen.out_of_memory() from error
        taken = self.estimate(prepared, shots, len(angles))
        self._take(taken, began, stopped)
        return Samples(memory, taken, chosen.metadata)

    def _take(self, qpu_time_ns: int, began: float, stopped: Stopped) -> None:
        """Waits until a task has taken its QPU time since it began, if the profile asks for that.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        ends = began + qpu_time_ns * 1e-9
        while self._profile.real_time and (left := ends - time.monotonic()) > 0:
            if stopped():
                raise TaskCancelled("the task was stopped", layer="device")
            time.sleep(min(left, _LOOK))

    def _seed(self, given: int | None) -> int:
        """A seed, drawn if none is given."""
        if given is None:
            return int(self._seeds.integers(2**64, dtype=np.uint64))
        if not 0 <= given < 2**64:
            raise ArgumentError(
                f"a seed of {given}", layer="device", remedy="Give one from 0 to 2^64 - 1, or none"
            )
        return given

    def _sample(self, part: _Slice, memory: NDArray[np.uint8]) -> None:
        """Writes the samples of each set, readout errors included."""
        prepared, count = part.prepared, memory.shape[1]
        if part.chosen.method == "stabilizer":
            for i, row in enumerate(part.angles):
                program = prepared.clifford(row)
                memory[i] = stabilizer.sample(
                    program, prepared.errors, count, (part.seed, part.first_set + i),
                    part.stopped, part.first_shot,
                )  # fmt: skip
            return
        if count < part.of_shots:
            for i in range(len(part.angles)):
                self._sample_slice(part, i, memory[i])
        elif part.pure and len(part.angles) > 1:
            self._make_room(part.chosen)
            self._engine.samples(
                prepared.dense, part.angles, part.uniforms, memory, part.stopped
            )  # fmt: skip
        else:
            for i in range(len(part.angles)):
                self._sample_set(part, i, memory[i], np.ones(count, np.bool_))
        if prepared.errors.any():
            for i, all_rows in enumerate(memory):
                uniforms = part.uniforms(i)
                for begin in range(0, count, _READ):
                    rows = all_rows[begin : begin + _READ]
                    drawn = [
                        uniforms.draw(_READOUT + bit, begin, len(rows))
                        for bit in range(prepared.computed.num_clbits)
                    ]
                    noise.misread(rows, prepared.errors, np.stack(drawn, axis=1))

    def _sample_slice(self, part: _Slice, i: int, memory: NDArray[np.uint8]) -> None:
        """Writes some shots of a set, which the slices before may have found already."""
        count, width = memory.shape
        if part.of_shots * (width + 1) > LIMIT:  # too many to keep
            self._sample_set(part, i, memory, np.ones(count, np.bool_))
            return
        first, last = part.first_shot, part.first_shot + count
        row = part.angles[i].tobytes()
        of_set = part.seed, part.first_set + i, part.of_shots
        key = part.chosen, part.prepared.circuit.id, row, of_set
        kept = self._kept.get(key, lambda: Shots(part.of_shots, width))

        def sample(begin: int, end: int, stopped: Stopped) -> None:
            window = slice(begin, end)
            ahead = replace(part, first_shot=begin, stopped=stopped)
            self._sample_set(ahead, i, kept.memory[window], kept.left[window])

        memory[:] = kept.take(first, last, sample, part.stopped, alike=part.alike(count))
        if last == part.of_shots:
            self._kept.drop(key)

    def _sample_set(
        self, part: _Slice, i: int, memory: NDArray[np.uint8], left: NDArray[np.bool_]
    ) -> None:
        """Writes those shots of a set that are left, and strikes them off."""
        prepared, row, stopped, uniforms = (
            part.prepared,
            part.angles[i],
            part.stopped,
            part.uniforms(i),
        )
        circuit = prepared.computed
        key = part.chosen.method, prepared.circuit.id, row.tobytes()
        if key not in self._kept:
            self._make_room(part.chosen)
        if part.chosen.method == "trajectories":
            prepared.trajectories.sample(row, uniforms, memory, stopped, left)
        elif part.chosen.method == "density":
            exact = self._kept.get(
                key,
                lambda: density.distribution(
                    prepared.sequence, circuit.num_qubits, circuit.num_outputs, row, stopped,
                    self._engine.team,
                ),
            )  # fmt: skip
            drawn = density.sample(exact, uniforms.draw(0, 0, len(memory)))
            memory[:, : drawn.shape[1]] = drawn
            left[:] = False
        elif part.pure:
            found = self._kept.get(
                key, lambda: self._engine.distribution(prepared.dense, row, stopped)
            )
            found.sample(uniforms, memory, self._engine.team, stopped)
            left[:] = False
        else:
            branches.sample(self._engine, prepared.dense, row, uniforms, memory, stopped, left)

    def _make_room(self, chosen: Choice) -> None:
        """Drops of what is kept whatever would take, with a program, more than memory allows."""
        self._kept.trim(max(0, self._settings.memory_bytes - chosen.bytes))

    def expectation(
        self,
        prepared: Prepared | dynamic.Prepared,
        observable: PauliSum,
        parameters: NDArray[np.float64],
        seed: int | None,
        stopped: Stopped,
        first_set: int = 0,
    ) -> Expectations:
        """The observable's expectation for each of the ``k`` rows of ``parameters``.

        Measurements at the end of the program are left out: the observable stands in their place.
        Where the program measures or resets in its course, it is the mean over all outcomes. It is
        exact, except by trajectories, and where a state vector has too many outcomes on the way
        (``method`` says so): then it is the mean of as many trajectories as the profile's
        ``expectation_shots``, which the seed determines. Readout errors do not enter. The QPU time
        is that of hardware which samples ``expectation_shots`` shots for each group of terms (see
        ``timing.measurement_groups``).

        Args:
            seed, first_set: as in ``run``.

        Raises:
            ArgumentError: the observable has another number of qubits than the program, or
                parameters of the wrong shape, or a seed out of range.
            NotSupported: see ``prepare``.
            TaskCancelled: ``stopped`` was true.
            DeviceError: memory ran out.
        """
        began = time.monotonic()
        circuit = prepared.circuit
        if observable.num_qubits != circuit.num_qubits:
            raise ArgumentError(
                f"an observable on {observable.num_qubits} qubits for a program of "
                f"{circuit.num_qubits}",
                layer="device",
                remedy="Give the observable the program's number of qubits",
            )
        if isinstance(prepared, dynamic.Prepared):
            asked = dynamic.Part(parameters, self._seed(seed), first_set, stopped)
            try:
                means = prepared.expectation(observable, asked)
            except MemoryError as error:
                raise prepared.choose(None).out_of_memory() from error
            self._take(means.qpu_time_ns, began, stopped)
            return means
        angles = prepared.bind(parameters)
        chosen = self._choose(prepared, angles, None)
        part = _Slice(prepared, chosen, angles, self._seed(seed), first_set, 0, 0, stopped)
        self._make_room(chosen)
        try:
            values = self._expect(part, prepared.observable(observable))
        except MemoryError as error:
            raise chosen.out_of_memory() from error
        taken = self.estimate(prepared, 0, len(angles), observable)
        self._take(taken, began, stopped)
        return Expectations(values, taken, chosen.metadata)

    def _expect(self, part: _Slice, observable: PauliSum) -> NDArray[np.float64]:
        prepared, stopped = part.prepared, part.stopped
        method = part.chosen.method
        if part.chosen.exact and method == "statevector":
            program = prepared.observed_dense
            if not program.program.collapses:
                return self._engine.expectations(program, observable, part.angles, stopped)
            return np.array([
                branches.expectation(self._engine, program, observable, row, stopped)
                for row in part.angles
            ])  # fmt: skip
        if method in ("statevector", "trajectories"):
            shots = self._profile.expectation_shots
            return np.array([
                prepared.observed_trajectories.expectation(
                    observable, row, part.uniforms(i), shots, stopped
                )
                for i, row in enumerate(part.angles)
            ])  # fmt: skip
        sequence = prepared.observed_sequence
        if method == "stabilizer":
            return np.array([
                stabilizer.expectation(sequence, observable, row, stopped) for row in part.angles
            ])  # fmt: skip
        team = self._engine.team
        return np.array([
            density.expectation(sequence, observable, row, stopped, team) for row in part.angles
        ])  # fmt: skip

    def estimate(
        self,
        prepared: Prepared | dynamic.Prepared,
        shots: int,
        sets: int,
        observable: PauliSum | None = None,
    ) -> int:
        """The QPU time that ``run`` or ``expectation`` charges, nanoseconds; as in the contract."""
        if observable is None:
            return sets * shots * prepared.shot_ns
        groups = timing.measurement_groups(observable.paulis.tobytes(), observable.num_qubits)
        return sets * groups * self._profile.expectation_shots * prepared.expectation_shot_ns

    def _choose(self, prepared: Prepared, angles: NDArray[np.float64], shots: int | None) -> Choice:
        """The engine for a run of so many shots; for an expectation, where that is None."""
        task = (
            Task(self._profile.expectation_shots, observed=True) if shots is None else Task(shots)
        )
        return prepared.choose(task, self._settings, angles)

    def calibration(self) -> Calibration:
        """The profile's figures; the id changes when one of them does."""
        return self._calibration

    def status(self) -> DeviceStatus:
        """Ready until it is closed."""
        return READY if self._online else DeviceStatus(Operation.OFFLINE, False, "closed")

    def close(self) -> None:
        """Ends the threads and frees what is kept between runs."""
        self._online = False
        self._kept = Kept()
        self._engine.close()


def create(profile: str | None = None) -> ThreadDevice[Prepared | dynamic.Prepared]:
    """The emulator as a device; as ``make``."""
    return ThreadDevice(make(profile))


def make(profile: str | None = None) -> Emulator:
    """The emulator with a profile: a packaged one's name or a TOML file's path (None: the default).

    Compiles the kernels, or loads them from numba's cache, so that no task waits for that.

    Raises:
        ConfigurationError: the profile cannot be used (see ``profile.load``).
    """
    loaded = profiles.load(profile)
    compile_kernels(loaded.engine.precision)
    return Emulator(loaded)


def _figures(profile: Profile) -> Profile:
    """A profile without what changes no result: threads, memory, and whether it takes its time."""
    engine = replace(profile.engine, threads=0, memory_bytes=0)
    return replace(profile, engine=engine, real_time=False)
