"""The emulator as a device: programs are sampled and charged with hardware's QPU time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from openqse.device import Calibration, Capabilities, DeviceStatus, Expectations, Samples
from openqse.errors import ArgumentError, DeviceError, NotSupported
from openqse.program.circuit import FORMAT, Circuit
from openqse.program.observable import PauliSum
from openqse_emulator import choice, density, noise, stabilizer, timing
from openqse_emulator import profile as profiles
from openqse_emulator.choice import Choice
from openqse_emulator.noise import NoiseModel
from openqse_emulator.profile import Profile
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import branches, execute
from openqse_emulator.trajectories import Prepared as Trajectories
from openqse_emulator.warm import compile_kernels

#: Memory that distributions of earlier runs may take, bytes. Four of 20 qubits.
_CACHE_BYTES = 2**26
#: Stream of the random numbers of readout errors, and shots that are read at a time.
_READOUT, _READ = 2**32, 2**12

Stopped = Callable[[], bool]


class Prepared:
    """A program that the emulator has checked.

    Attributes:
        circuit: the program.
        shot_ns: QPU time of one shot of a run.
        errors: float64, how often bits are misread, as ``noise.readout_errors`` gives it.
    """

    def __init__(self, circuit: Circuit, model: NoiseModel, engine: execute.Engine) -> None:
        self.circuit = circuit
        self.shot_ns = timing.shot_ns(circuit, model.profile)
        self.errors = noise.readout_errors(circuit, model.profile)
        self.choices: dict[int | None, Choice] = {}
        self._model = model
        self._engine = engine
        self._samplers: dict[bytes, stabilizer.Program] = {}

    @cached_property
    def expectation_shot_ns(self) -> int:
        """QPU time of one shot of an expectation."""
        return timing.expectation_shot_ns(self.circuit, self._model.profile)

    @cached_property
    def dense(self) -> execute.Prepared:
        """The program of the state-vector engine."""
        return self._engine.prepare(self.circuit)

    @cached_property
    def sequence(self) -> noise.Sequenced:
        """The operations and what goes wrong between them."""
        return noise.sequence(self.circuit, self._model)

    @cached_property
    def noisy(self) -> bool:
        """Whether anything goes wrong but in reading out."""
        return next(noise.channels(self.sequence), None) is not None

    @cached_property
    def unmeasured(self) -> noise.Sequenced:
        """The same without measurements, for an expectation."""
        return noise.sequence(self.circuit, self._model, measurements=False)

    def clifford(self, angles: NDArray[np.float64]) -> stabilizer.Program:
        """The program of the stabilizer engine; the last one is kept."""
        key = angles.tobytes()
        if key not in self._samplers:
            made = stabilizer.translate(self.sequence, self.circuit.num_clbits, angles)
            self._samplers = {key: made}
        return self._samplers[key]

    @cached_property
    def trajectories(self) -> Trajectories:
        """The program of the trajectories."""
        return Trajectories(self._engine, self.circuit, self.sequence)

    @cached_property
    def unmeasured_trajectories(self) -> Trajectories:
        """The same without measurements, for an expectation."""
        return Trajectories(self._engine, self.circuit, self.unmeasured)


class Emulator:
    """A ``Device`` that computes what its profile's hardware would sample.

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
        self._distributions = _Distributions()
        self._online = True
        durations, errors = asdict(profile.durations_ns), asdict(profile.noise)
        errors["kraus"] = sorted(errors["kraus"])  # complex numbers do not travel
        self._capabilities = Capabilities(
            num_qubits=profile.max_qubits,
            native_gates=profile.native_gates,
            formats=(FORMAT,),
            max_shots=profile.max_shots,
            dynamic_circuits=True,
            expectation=True,
            timing={name: ns * 1e-9 for name, ns in durations.items()},
        )
        self._calibration = Calibration(
            id=sha256(repr(_figures(profile)).encode()).hexdigest()[:16],
            values={
                "profile": profile.name,
                "durations_ns": durations,
                "noise": errors,
            },
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def prepare(self, program: Circuit) -> Prepared:
        """Checks a program.

        Raises:
            NotSupported: more qubits than the profile has, or no engine that the profile allows can
                compute it in the memory that it grants.
        """
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
        prepared = Prepared(program, self._model, self._engine)
        if not program.parameters:  # otherwise what it takes is known with its parameters
            self._choose(prepared, program.bind(), 1)
        return prepared

    def run(
        self,
        prepared: Prepared,
        parameters: NDArray[np.float64],
        shots: int,
        seed: int | None,
        stopped: Stopped,
        first_shot: int = 0,
    ) -> Samples:
        """Samples a prepared program.

        Args:
            parameters: float64 ``(k, n_parameters)``.
            shots: for each of the ``k`` sets.
            seed: from 0 to 2^64 - 1; equal seeds give equal samples, whatever the number of
                threads; None draws one.
            first_shot: the number of the first of these shots. Slices of a run, each from the shot
                at which the one before ended, give the samples of the run, if they have its seed.

        Raises:
            ArgumentError: parameters of the wrong shape, fewer than one shot, or a seed or a first
                shot out of range.
            NotSupported: more shots than the profile allows, or see ``prepare``.
            TaskCancelled: ``stopped`` was true.
            DeviceError: memory ran out.
        """
        in_range = seed is None or 0 <= seed < 2**64
        if shots < 1 or not in_range or not 0 <= first_shot < 2**62:
            raise ArgumentError(
                f"{shots} shots from number {first_shot} with seed {seed}",
                layer="device",
                remedy="Give at least one shot, and a seed from 0 to 2^64 - 1 or none",
            )
        if shots > self._profile.max_shots:
            raise NotSupported(
                f"{shots} shots; profile {self._profile.name!r} takes at most "
                f"{self._profile.max_shots} in a task",
                layer="device",
                remedy="Split the task",
                shots=shots,
                max_shots=self._profile.max_shots,
            )
        if seed is None:
            seed = int(self._seeds.integers(2**64, dtype=np.uint64))
        circuit = prepared.circuit
        angles = circuit.bind(parameters)
        chosen = self._choose(prepared, angles, shots)
        try:
            memory = np.zeros((len(angles), shots, -(-circuit.num_clbits // 8)), np.uint8)
            self._sample(prepared, chosen, parameters, angles, seed, first_shot, memory, stopped)
        except MemoryError as error:
            raise _out_of_memory(chosen) from error
        time = len(angles) * shots * prepared.shot_ns
        return Samples(memory, time, f"{chosen.method}: {chosen.reason}")

    def _sample(
        self,
        prepared: Prepared,
        chosen: Choice,
        parameters: NDArray[np.float64],
        angles: NDArray[np.float64],
        seed: int,
        first_shot: int,
        memory: NDArray[np.uint8],
        stopped: Stopped,
    ) -> None:
        """Writes the samples of each set, readout errors included."""

        def uniforms(of_set: int) -> Uniforms:
            return Uniforms(seed, of_set, first_shot)

        if chosen.method == "stabilizer":
            for i, row in enumerate(angles):
                program = prepared.clifford(row)
                memory[i] = stabilizer.sample(
                    program, prepared.errors, memory.shape[1], (seed, i), stopped, first_shot
                )
            return
        dense = None if chosen.method == "density" else prepared.dense
        if chosen.method == "statevector" and dense is not None and not dense.program.collapses:
            if len(angles) == 1:
                found = self._distributions.get(
                    (prepared.circuit.id, parameters.tobytes()),
                    lambda: self._engine.distribution(dense, angles[0], stopped),
                )
                found.sample(uniforms(0), memory[0], self._engine.team, stopped)
            else:
                self._engine.samples(dense, angles, uniforms, memory, stopped)
        else:
            for i, row in enumerate(angles):
                if chosen.method == "density":
                    exact = density.distribution(
                        prepared.sequence, prepared.circuit.num_qubits,
                        prepared.circuit.num_clbits, row, stopped,
                    )  # fmt: skip
                    memory[i] = density.sample(exact, uniforms(i).draw(0, 0, memory.shape[1]))
                elif chosen.method == "trajectories":
                    prepared.trajectories.sample(row, uniforms(i), memory[i], stopped)
                else:
                    branches.sample(
                        self._engine, prepared.dense, row, uniforms(i), memory[i], stopped
                    )
        if prepared.errors.any():
            for i, all_rows in enumerate(memory):
                for begin in range(0, len(all_rows), _READ):
                    rows = all_rows[begin : begin + _READ]
                    drawn = [
                        uniforms(i).draw(_READOUT + bit, begin, len(rows))
                        for bit in range(prepared.circuit.num_clbits)
                    ]
                    noise.misread(rows, prepared.errors, np.stack(drawn, axis=1))

    def expectation(
        self,
        prepared: Prepared,
        observable: PauliSum,
        parameters: NDArray[np.float64],
        stopped: Stopped,
    ) -> Expectations:
        """The observable's expectation for each of the ``k`` rows of ``parameters``.

        It is exact, except by trajectories: then it is the mean of as many as the profile's
        ``expectation_shots``. Measurements at the end of the program are left out: the observable
        stands in their place. The QPU time is that of hardware which samples ``expectation_shots``
        shots for each group of terms (see ``timing.measurement_groups``).

        Raises:
            ArgumentError: the observable has another number of qubits than the program, or
                parameters of the wrong shape.
            NotSupported: the program measures or resets in its course, so that it prepares no one
                state; or see ``prepare``.
            TaskCancelled: ``stopped`` was true.
            DeviceError: memory ran out.
        """
        circuit = prepared.circuit
        if observable.num_qubits != circuit.num_qubits:
            raise ArgumentError(
                f"an observable on {observable.num_qubits} qubits for a program of "
                f"{circuit.num_qubits}",
                layer="device",
                remedy="Give the observable the program's number of qubits",
            )
        if not prepared.dense.program.pure:
            raise NotSupported(
                "the expectation of a program that measures or resets qubits in its course",
                layer="device",
                remedy="Keep measurements to the end, or sample the program with run",
            )
        angles = circuit.bind(parameters)
        chosen = self._choose(prepared, angles, None)
        try:
            values = self._expect(prepared, chosen, observable, angles, stopped)
        except MemoryError as error:
            raise _out_of_memory(chosen) from error
        groups = timing.measurement_groups(observable.paulis.tobytes(), observable.num_qubits)
        shots = groups * self._profile.expectation_shots
        time = len(angles) * shots * prepared.expectation_shot_ns
        return Expectations(values, time, f"{chosen.method}: {chosen.reason}")

    def _expect(
        self,
        prepared: Prepared,
        chosen: Choice,
        observable: PauliSum,
        angles: NDArray[np.float64],
        stopped: Stopped,
    ) -> NDArray[np.float64]:
        if chosen.method == "statevector":
            return self._engine.expectations(prepared.dense, observable, angles, stopped)
        if chosen.method == "trajectories":
            seed = int(self._seeds.integers(2**64, dtype=np.uint64))
            return np.array([
                prepared.unmeasured_trajectories.expectation(
                    observable, row, Uniforms(seed, i), self._profile.expectation_shots, stopped
                )
                for i, row in enumerate(angles)
            ])  # fmt: skip
        engine = density if chosen.method == "density" else stabilizer
        return np.array(
            [engine.expectation(prepared.unmeasured, observable, row, stopped) for row in angles]
        )

    def _choose(self, prepared: Prepared, angles: NDArray[np.float64], shots: int | None) -> Choice:
        """The engine for a program, decided once, whatever its parameters are.

        Only if there is none for all parameters is one sought for each of these sets: at quarter
        turns a program may be Clifford that is too large otherwise.
        """
        # Without noise and collapses it is of no matter how many shots there are.
        key = shots if prepared.noisy or prepared.dense.program.collapses else None
        found = prepared.choices.get(key)
        if found is None:
            parts = prepared.circuit, self._settings, prepared.sequence, shots
            try:
                found = choice.choose(*parts)
            except NotSupported:
                if not prepared.circuit.parameters:
                    raise
                first, *_ = [choice.choose(*parts, angles=row) for row in angles]
                return first
            if len(prepared.choices) > 64:
                prepared.choices.clear()
            prepared.choices[key] = found
        return found

    def calibration(self) -> Calibration:
        """The profile's figures; the id changes when one of them does."""
        return self._calibration

    def status(self) -> DeviceStatus:
        return DeviceStatus(True) if self._online else DeviceStatus(False, "closed")

    def close(self) -> None:
        """Ends the threads and frees what is kept between runs."""
        self._online = False
        self._distributions = _Distributions()
        self._engine.close()


class _Distributions:
    """The distributions used last, within ``_CACHE_BYTES``: a long task comes in slices of shots,
    and these interleave with other tasks'."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bytes], execute.Distribution] = OrderedDict()
        self._bytes = 0

    def get(
        self, key: tuple[str, bytes], make: Callable[[], execute.Distribution]
    ) -> execute.Distribution:
        """The distribution of a program and its parameters, made if it is not there."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        made = make()
        if made.nbytes <= _CACHE_BYTES:
            self._kept[key] = made
            self._bytes += made.nbytes
        while self._bytes > _CACHE_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return made


def create(profile: str | None = None) -> Emulator:
    """The emulator with a profile: a packaged one's name or a TOML file's path (None: the default).

    Compiles the kernels, or loads them from numba's cache, so that no task waits for that.

    Raises:
        ConfigurationError: the profile cannot be used (see ``profile.load``).
    """
    loaded = profiles.load(profile)
    compile_kernels(loaded.engine.precision)
    return Emulator(loaded)


def _figures(profile: Profile) -> Profile:
    """A profile without what changes no result: by how many threads and in what memory."""
    return replace(profile, engine=replace(profile.engine, threads=0, memory_bytes=0))


def _out_of_memory(chosen: Choice) -> DeviceError:
    return DeviceError(
        f"memory ran out for a program that takes {chosen.bytes:.3g} bytes ({chosen.method})",
        layer="device",
        remedy="Use fewer qubits or shots, or run the emulator on a larger machine",
    )
