"""The emulator as a device: programs are sampled exactly and charged with hardware's QPU time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from openqse.device import Calibration, Capabilities, DeviceStatus, Expectations, Samples
from openqse.errors import ArgumentError, ConfigurationError, DeviceError, NotSupported
from openqse.program.circuit import FORMAT, Circuit
from openqse.program.observable import PauliSum
from openqse_emulator import profile as profiles
from openqse_emulator import timing
from openqse_emulator.profile import Profile
from openqse_emulator.statevector import execute
from openqse_emulator.statevector.plan import Plan, translate
from openqse_emulator.warm import compile_kernels

#: Memory that distributions of earlier runs may take, bytes. Eight of 20 qubits.
_CACHE_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Prepared:
    """A program that the emulator has checked and translated.

    Attributes:
        circuit, plan: the program and its translation.
        shot_ns, expectation_shot_ns: QPU time of one shot of a run and of an expectation.
    """

    circuit: Circuit
    plan: Plan
    shot_ns: int
    expectation_shot_ns: int


class Emulator:
    """A ``Device`` that computes exactly, without noise, what its profile's hardware would sample.

    Any gate of the circuit form acts on any qubits under any number of controls.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._unseeded = np.random.default_rng()
        self._philox = np.random.Philox()
        self._seeded = np.random.Generator(self._philox)
        self._distributions = _Distributions()
        self._online = True
        durations = asdict(profile.durations_ns)
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
            id=sha256(repr(profile).encode()).hexdigest()[:16],
            values={"profile": profile.name, "durations_ns": durations},
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def prepare(self, program: Circuit) -> Prepared:
        """Checks and translates a program.

        Raises:
            NotSupported: more qubits than the profile has.
        """
        most = self._profile.max_qubits
        if program.num_qubits > most:
            raise NotSupported(
                f"the program has {program.num_qubits} qubits, a state of "
                f"{_bytes(program.num_qubits)}; profile {self._profile.name!r} has {most} qubits "
                f"({_bytes(most)})",
                layer="device",
                remedy="Use fewer qubits, or a QPU with a larger profile",
                num_qubits=program.num_qubits,
                max_qubits=most,
            )
        return Prepared(
            program,
            translate(program),
            timing.shot_ns(program, self._profile),
            timing.expectation_shot_ns(program, self._profile),
        )

    def run(
        self,
        prepared: Prepared,
        parameters: NDArray[np.float64],
        shots: int,
        seed: int | None,
        stopped: Callable[[], bool],
    ) -> Samples:
        """Samples a prepared program.

        Args:
            parameters: float64 ``(k, n_parameters)``.
            shots: for each of the ``k`` sets.
            seed: from 0 to 2^64 - 1; equal seeds give equal samples; None draws one.

        Raises:
            ArgumentError: parameters of the wrong shape, fewer than one shot, or a seed out
                of range.
            NotSupported: more shots than the profile allows.
            TaskCancelled: ``stopped`` was true.
            DeviceError: memory ran out.
        """
        if shots < 1 or (seed is not None and not 0 <= seed < 2**64):
            raise ArgumentError(
                f"{shots} shots with seed {seed}",
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
        rng = self._unseeded if seed is None else self._generator(seed)
        circuit, plan = prepared.circuit, prepared.plan
        try:
            memory = np.zeros((len(parameters), shots, -(-circuit.num_clbits // 8)), np.uint8)
            for row, rows in zip(parameters, memory, strict=True):
                if plan.collapses:
                    angles = circuit.bind(row)[0]
                    execute.sample_branches(plan, angles, rng, rows, stopped)
                else:
                    distribution = self._distributions.get(prepared, row, stopped)
                    execute.sample(plan, distribution, rng, rows, stopped)
        except MemoryError as error:
            raise _out_of_memory(circuit) from error
        return Samples(memory, len(parameters) * shots * prepared.shot_ns)

    def expectation(
        self,
        prepared: Prepared,
        observable: PauliSum,
        parameters: NDArray[np.float64],
        stopped: Callable[[], bool],
    ) -> Expectations:
        """The observable's exact expectation for each of the ``k`` rows of ``parameters``.

        Measurements at the end of the program are left out: the observable stands in their place.
        The QPU time is that of hardware which samples ``expectation_shots`` shots for each group
        of terms (see ``timing.measurement_groups``).

        Raises:
            ArgumentError: the observable has another number of qubits than the program, or
                parameters of the wrong shape.
            NotSupported: the program measures or resets in its course, so that it prepares no one
                state.
            TaskCancelled: ``stopped`` was true.
            DeviceError: memory ran out.
        """
        circuit, plan = prepared.circuit, prepared.plan
        if observable.num_qubits != circuit.num_qubits:
            raise ArgumentError(
                f"an observable on {observable.num_qubits} qubits for a program of "
                f"{circuit.num_qubits}",
                layer="device",
                remedy="Give the observable the program's number of qubits",
            )
        if not plan.pure:
            raise NotSupported(
                "the expectation of a program that measures or resets qubits in its course",
                layer="device",
                remedy="Keep measurements to the end, or sample the program with run",
            )
        try:
            values = [
                execute.expectation(plan, observable, circuit.bind(row)[0], stopped)
                for row in parameters
            ]
        except MemoryError as error:
            raise _out_of_memory(circuit) from error
        groups = timing.measurement_groups(observable.paulis.tobytes(), observable.num_qubits)
        shots = groups * self._profile.expectation_shots
        return Expectations(
            np.array(values), len(parameters) * shots * prepared.expectation_shot_ns
        )

    def _generator(self, seed: int) -> np.random.Generator:
        """The random numbers of a seed: Philox, a counter's cipher, with the seed as its key.

        Setting the key of one generator takes 2 µs, making a new one 15.
        """
        zeros = np.zeros(4, dtype=np.uint64)
        self._philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": zeros, "key": np.array([seed, 0], dtype=np.uint64)},
            "buffer": zeros,
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        return self._seeded

    def calibration(self) -> Calibration:
        """The profile's figures; the id changes when one of them does."""
        return self._calibration

    def status(self) -> DeviceStatus:
        return DeviceStatus(True) if self._online else DeviceStatus(False, "closed")

    def close(self) -> None:
        """Frees what is kept between runs."""
        self._online = False
        self._distributions = _Distributions()


class _Distributions:
    """The distributions used last, within ``_CACHE_BYTES``: a long task comes in slices of shots,
    and these interleave with other tasks'."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bytes], NDArray[np.float64]] = OrderedDict()
        self._bytes = 0

    def get(
        self, prepared: Prepared, row: NDArray[np.float64], stopped: Callable[[], bool]
    ) -> NDArray[np.float64]:
        key = prepared.circuit.id, row.tobytes()
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        made = execute.distribution(prepared.plan, prepared.circuit.bind(row)[0], stopped)
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
        ConfigurationError: the profile cannot be used (see ``profile.load``), or the state of its
            largest program does not fit into this machine's memory.
    """
    loaded = profiles.load(profile)
    needed = execute.state_bytes(loaded.max_qubits)
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        raise ConfigurationError(
            f"profile {loaded.name}: 'max_qubits' is {loaded.max_qubits}, a state of {needed} "
            f"bytes; this machine has {present}",
            layer="device",
            remedy="Lower max_qubits, or run the emulator on a larger machine",
        )
    compile_kernels()
    return Emulator(loaded)


def _bytes(num_qubits: int) -> str:
    return f"{execute.state_bytes(num_qubits):.3g} bytes"


def _out_of_memory(circuit: Circuit) -> DeviceError:
    return DeviceError(
        f"memory ran out for a state of {circuit.num_qubits} qubits ({_bytes(circuit.num_qubits)})",
        layer="device",
        remedy="Use fewer qubits or shots, or run the emulator on a larger machine",
    )
