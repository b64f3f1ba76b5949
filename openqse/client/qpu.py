"""A QPU as a program sees it: run programs on it, wait for results."""

from __future__ import annotations

from collections.abc import Callable, Sized
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from openqse import device
from openqse.client.arguments import (
    Array,
    Batch,
    OneSet,
    Parameters,
    Source,
    checked_latency,
    checked_seed,
    checked_timeout,
    program_of,
    whole,
)
from openqse.client.futures import Future, Request, Transport, forked
from openqse.client.results import BatchResult, ExpectationResult, Result, Usage
from openqse.device import Capabilities, Expectations, Outcome, Samples, Work
from openqse.errors import ArgumentError, DeadlineExceeded, ProgramError, UnsupportedInput
from openqse.program.circuit import Circuit, parameter_sets
from openqse.program.observable import PauliSum
from openqse.program.program import Program
from openqse.program.translate import Translations
from openqse.wire.messages import Kind, Latency
from openqse.wire.task_ids import next_task_id, session_id

T = TypeVar("T")

_NO_SETS = np.empty((1, 0))


@dataclass(frozen=True)
class Lease:
    """The job's right to a QPU, as this process knows it."""

    id: str
    qpu: str
    slots: int
    mode: str
    generation: int


class _Call(NamedTuple):
    """What is the same for all tasks of a call."""

    program: Program
    shots: int
    seed: int | None
    timeout: float | None
    latency: Latency


class QPU:
    """A connection to one QPU; a context manager that cancels what is unfinished when it ends.

    Attributes:
        name: of the QPU. lease: the job's lease, None for a device in this process.
        capabilities: what the device offers.
    """

    def __init__(
        self, name: str, capabilities: Capabilities, transport: Transport, lease: Lease | None
    ) -> None:
        self.name = name
        self.capabilities = capabilities
        self.lease = lease
        self._transport = transport
        self._usage = Usage()
        self._session = session_id()
        self._translations = Translations(capabilities.formats)
        self._checked = b""  # the program that was checked last

    @property
    def usage(self) -> Usage:
        """What this handle has used so far."""
        return self._usage

    # --- samples ---------------------------------------------------------------------------------

    @overload
    def run(
        self,
        program: Source,
        *,
        parameters: OneSet | None = None,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Result: ...
    @overload
    def run(
        self,
        program: Source,
        *,
        parameters: Batch,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> BatchResult: ...
    @overload
    def run(
        self,
        program: Source,
        *,
        parameters: Array,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Result | BatchResult: ...
    def run(
        self,
        program: Source,
        *,
        parameters: Parameters | None = None,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Result | BatchResult:
        """Runs a program and waits for its samples; arguments and errors as in ``submit``.

        Returns:
            A ``Result``, or a ``BatchResult`` for parameters of shape ``(k, n_parameters)``.
        """
        future = self._submit(program, parameters, shots, seed, timeout, latency)
        return _wait(future, timeout)

    @overload
    def submit(
        self,
        program: Source,
        *,
        parameters: OneSet | None = None,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Future[Result]: ...
    @overload
    def submit(
        self,
        program: Source,
        *,
        parameters: Batch,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Future[BatchResult]: ...
    @overload
    def submit(
        self,
        program: Source,
        *,
        parameters: Array,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Future[Result] | Future[BatchResult]: ...
    def submit(
        self,
        program: Source,
        *,
        parameters: Parameters | None = None,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Future[Result] | Future[BatchResult]:
        """Sends a program for sampling; waits only while too many tasks are unanswered.

        Args:
            program: a circuit, OpenQASM text, the path of an OpenQASM file, or a program in
                another format in its envelope.
            parameters: ``(n_parameters,)``, or ``(k, n_parameters)`` for ``k`` sets in one task; or
                values by the parameters' names.
            shots: shots of each set.
            seed: equal seeds give equal samples where the device can (the emulator can).
            timeout: seconds after which the task is cancelled, queued or running.
            latency: ``"interactive"`` or ``"batch"``.

        Raises:
            ProgramError, NotSupported: the program cannot be read or asks for what is not offered.
            ArgumentError: shapes or values that cannot be.
        """
        return cast(
            "Future[Result] | Future[BatchResult]",
            self._submit(program, parameters, shots, seed, timeout, latency),
        )

    def _submit(
        self,
        program: Source,
        parameters: Parameters | None,
        shots: int,
        seed: int | None,
        timeout: float | None,
        latency: str,
    ) -> Future[Result | BatchResult]:
        call = self._sampled(program, shots, seed, timeout, latency)
        sets, batched = parameter_sets(parameters, call.program.parameters)
        return self._sample(call, sets, self._batch if batched else self._single, more=False)

    def map(
        self,
        program: Source,
        parameters: Batch | Array,
        *,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> list[Future[Result]]:
        """Sends one task for each row of ``parameters``, ``(k, n_parameters)``.

        The tasks go out together, which takes less time than ``k`` calls of ``submit``; unlike
        those of a batch their results arrive one by one. The rest is as in ``submit``.
        """
        call = self._sampled(program, shots, seed, timeout, latency)
        if isinstance(parameters, Sized) and len(parameters) == 0:
            return []
        sets, _ = parameter_sets(parameters, call.program.parameters)
        last = len(sets) - 1
        return [
            self._sample(call, sets[i : i + 1], self._single, more=i < last)
            for i in range(len(sets))
        ]

    def _sampled(
        self, source: Source, shots: int, seed: int | None, timeout: float | None, latency: str
    ) -> _Call:
        program, _ = self._program(source)
        shots = whole("shots", shots)
        if program.width == 0:
            raise ProgramError(
                "the program measures nothing, so there is nothing to sample",
                remedy="Add measurements, or ask for the expectation of an observable",
            )
        asked = Work(program.digest, _NO_SETS, shots=shots, seed=checked_seed(seed))
        self._check(program, asked)
        urgency = checked_timeout(timeout), checked_latency(latency)
        return _Call(program, shots, asked.seed, *urgency)

    def _sample(
        self,
        call: _Call,
        sets: NDArray[np.float64],
        finish: Callable[[Program, str, Outcome], T],
        more: bool,
    ) -> Future[T]:
        work = Work(call.program.digest, sets, shots=call.shots, seed=call.seed)
        request = Request(Kind.RUN, work, call.program, call.timeout, call.latency)
        return self._send(request, lambda task, outcome: finish(call.program, task, outcome), more)

    def _single(self, program: Program, task_id: str, outcome: Outcome) -> Result:
        packed = cast(Samples, outcome.data).memory[0]
        return Result(outputs=program.outputs, packed=packed, **self._said(task_id, outcome))

    def _batch(self, program: Program, task_id: str, outcome: Outcome) -> BatchResult:
        packed = cast(Samples, outcome.data).memory
        return BatchResult(outputs=program.outputs, packed=packed, **self._said(task_id, outcome))

    # --- expectations ----------------------------------------------------------------------------

    @overload
    def expectation(
        self,
        program: Source,
        observable: PauliSum,
        *,
        parameters: OneSet | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> float: ...
    @overload
    def expectation(
        self,
        program: Source,
        observable: PauliSum,
        *,
        parameters: Batch,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> NDArray[np.float64]: ...
    @overload
    def expectation(
        self,
        program: Source,
        observable: PauliSum,
        *,
        parameters: Array,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> float | NDArray[np.float64]: ...
    def expectation(
        self,
        program: Source,
        observable: PauliSum,
        *,
        parameters: Parameters | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> float | NDArray[np.float64]:
        """The observable's expectation after the program; the rest is as in ``submit``.

        Returns:
            A float, or float64 ``(k,)`` for parameters of shape ``(k, n_parameters)``.
        """
        future = self.submit_expectation(
            program, observable, parameters=parameters, seed=seed, timeout=timeout, latency=latency
        )
        return _wait(future, timeout).value

    def submit_expectation(
        self,
        program: Source,
        observable: PauliSum,
        *,
        parameters: Parameters | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = "batch",
    ) -> Future[ExpectationResult]:
        """Sends a program for an expectation; arguments and errors as in ``submit``."""
        sent, num_qubits = self._program(program)
        if not isinstance(observable, PauliSum):
            raise ArgumentError(
                f"an observable is a PauliSum, not {type(observable).__name__}",
                remedy="Make one with PauliSum.from_terms(terms, num_qubits)",
            )
        if num_qubits is not None and observable.num_qubits != num_qubits:
            raise ArgumentError(
                f"an observable on {observable.num_qubits} qubits for a program on {num_qubits}"
            )
        sets, batched = parameter_sets(parameters, sent.parameters)
        work = Work(sent.digest, sets, seed=checked_seed(seed), observable=observable)
        self._check(sent, work)
        urgency = checked_timeout(timeout), checked_latency(latency)
        return self._send(
            Request(Kind.EXPECTATION, work, sent, *urgency),
            lambda task_id, outcome: ExpectationResult(
                values=cast(Expectations, outcome.data).values,
                batched=batched,
                **self._said(task_id, outcome),
            ),
        )

    # --- both ------------------------------------------------------------------------------------

    def _program(self, source: Source) -> tuple[Program, int | None]:
        """What is sent, and the number of its qubits where it is known here."""
        given = program_of(source)
        program = given.program if isinstance(given, Circuit) else given
        num_qubits = given.num_qubits if isinstance(given, Circuit) else None
        with suppress(UnsupportedInput):  # the QPU agent may know a way
            program = self._translations.get(program)
        return program, num_qubits

    def _check(self, program: Program, work: Work) -> None:
        """Refuses here what the device is going to refuse."""
        if program.digest != self._checked:
            if program.format in self.capabilities.formats:
                device.check_program(program, self.capabilities, self.name)
            self._checked = program.digest
        device.check_work(work, self.capabilities, self.name)

    def _said(self, task_id: str, outcome: Outcome) -> dict[str, Any]:
        """What every result says of its task."""
        return {
            "qpu": self.name,
            "task_id": task_id,
            "lease_id": self.lease.id if self.lease else "",
            "qpu_time_ns": outcome.data.qpu_time_ns,
            "calibration_id": outcome.calibration,
            "metadata": outcome.data.metadata,
        }

    def _send(
        self, request: Request, finish: Callable[[str, Outcome], T], more: bool = False
    ) -> Future[T]:
        if self._session != session_id():
            raise forked()
        task_id = next_task_id()

        def counted(outcome: Outcome) -> T:
            used, cost = self._usage, outcome.data.qpu_time_ns
            self._usage = Usage(used.tasks + 1, used.qpu_time_ns + cost)
            return finish(task_id.hex(), outcome)

        future = Future(self._transport, task_id, counted)
        self._transport.submit(request, future, more)
        return future

    def close(self) -> None:
        """Cancels what is unfinished and hangs up."""
        if self._session == session_id():  # else it is the parent's
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _wait(future: Future[T], timeout: float | None) -> T:
    """A call's own wait: a little beyond the task's deadline, whose error says more."""
    try:
        return future.result(None if timeout is None else timeout + 1.0)
    except DeadlineExceeded:
        future.cancel()
        raise
