"""A QPU as a program sees it: run programs on it, wait for results."""

from __future__ import annotations

import logging
import operator
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openqse.device import Capabilities, Expectations, Outcome, Samples, Work
from openqse.errors import (
    ArgumentError,
    DeadlineExceeded,
    NotSupported,
    OpenQSEError,
    ProgramError,
)
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit, parameter_sets
from openqse.program.observable import PauliSum
from openqse.wire.messages import Kind, Latency

log = logging.getLogger("openqse")

T = TypeVar("T")


@dataclass(frozen=True)
class Lease:
    """The job's right to a QPU, as this process knows it."""

    id: str
    qpu: str
    slots: int
    mode: str
    generation: int


@dataclass(frozen=True)
class Result:
    """Samples of a task.

    Attributes:
        qpu: name of the QPU. task_id, lease_id: ids for logs and accounting.
        shots: shots of each parameter set.
        num_clbits: classical bits of the program.
        packed: uint8 ``(k, shots, ceil(num_clbits / 8))``; bit ``i`` is bit ``i % 8`` of byte
            ``i // 8``.
        batched: whether a batch of parameter sets was asked for (``k`` may be 1 then as well).
        qpu_time_ns: QPU time charged, nanoseconds.
        calibration_id: calibration under which it ran.
        method: how an emulated QPU computed it and why, for people; empty for hardware.
    """

    qpu: str
    task_id: str
    lease_id: str
    shots: int
    num_clbits: int
    packed: NDArray[np.uint8] = field(repr=False)
    batched: bool
    qpu_time_ns: int
    calibration_id: str
    method: str = ""

    @property
    def qpu_seconds(self) -> float:
        """QPU time charged, seconds."""
        return self.qpu_time_ns * 1e-9

    @property
    def memory(self) -> NDArray[np.uint8]:
        """Bits of every shot: uint8 ``(shots, num_clbits)``, or ``(k, shots, num_clbits)`` of a
        batch; column ``i`` is classical bit ``i``."""
        bits = np.unpackbits(self.packed, axis=-1, count=self.num_clbits, bitorder="little")
        return bits if self.batched else bits[0]

    @property
    def counts(self) -> Any:
        """How often each bit string occurred: a dict, or a list of ``k`` dicts for a batch.

        Classical bit 0 is the rightmost character.
        """
        tables = [self._count(rows) for rows in self.packed]
        return tables if self.batched else tables[0]

    def _count(self, rows: NDArray[np.uint8]) -> dict[str, int]:
        unique, counts = np.unique(rows, axis=0, return_counts=True)
        bits = np.unpackbits(unique, axis=-1, count=self.num_clbits, bitorder="little")[:, ::-1]
        return {
            "".join(map(str, row)): int(n)
            for row, n in zip(bits.tolist(), counts.tolist(), strict=True)
        }


@dataclass(frozen=True)
class ExpectationResult:
    """Expectation values of a task; fields as in ``Result``.

    Attributes:
        values: float64 ``(k,)``.
    """

    qpu: str
    task_id: str
    lease_id: str
    values: NDArray[np.float64]
    batched: bool
    qpu_time_ns: int
    calibration_id: str
    method: str = ""

    @property
    def qpu_seconds(self) -> float:
        """QPU time charged, seconds."""
        return self.qpu_time_ns * 1e-9


@dataclass(frozen=True)
class Usage:
    """What one handle has used so far: tasks answered and their QPU time in nanoseconds."""

    tasks: int = 0
    qpu_time_ns: int = 0

    @property
    def qpu_seconds(self) -> float:
        return self.qpu_time_ns * 1e-9


class Request(NamedTuple):
    """A task on its way: what is asked, of which program, how urgently."""

    kind: Kind
    work: Work
    program: Circuit
    timeout: float | None
    latency: Latency


class Transport(Protocol):
    """What carries tasks to a device and outcomes back."""

    def submit(self, request: Request, future: Future[Any], more: bool) -> None:
        """Sends a task. May wait for credit.

        ``future`` is resolved with its outcome and notified after that, in a place from where its
        callbacks may wait for other futures. ``more`` says that another task follows at once, so
        that this one may wait for it.
        """
        ...

    def wait(self, ready: Callable[[], object], timeout: float | None) -> bool:
        """Waits until ``ready()`` holds; False if ``timeout`` seconds passed first."""
        ...

    def cancel(self, future: Future[Any]) -> None: ...

    def close(self) -> None: ...


class Future(Generic[T]):
    """The result of a task that may not have ended yet."""

    def __init__(
        self, transport: Transport, task_id: bytes, finish: Callable[[Outcome], T]
    ) -> None:
        self.task_id = task_id.hex()
        self.key = task_id
        self._transport = transport
        self._finish = finish
        self._done = False
        self._value: T | None = None
        self._error: OpenQSEError | None = None
        self._callbacks: deque[Callable[[Future[T]], object]] = deque()

    def done(self) -> bool:
        """Whether the result (or an error) is here; takes in what has arrived."""
        return self._done or self._wait(0.0)

    def _wait(self, timeout: float | None) -> bool:
        self._check_process()
        return self._transport.wait(lambda: self._done, timeout)

    def _check_process(self) -> None:
        if not self._done and self.key[:_SESSION] != _session:
            raise _forked()

    def result(self, timeout: float | None = None) -> T:
        """Waits for the result.

        Args:
            timeout: seconds to wait; the task itself goes on when they pass.

        Raises:
            DeadlineExceeded: not there in time. OpenQSEError: why the task failed.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return cast(T, self._value)

    def exception(self, timeout: float | None = None) -> OpenQSEError | None:
        """Waits, then gives the task's error, or None if it succeeded."""
        if not self._done and not self._wait(timeout):
            raise DeadlineExceeded(
                f"no result of task {self.task_id} within {timeout} s",
                remedy="Wait longer, or cancel the task",
            )
        return self._error

    def cancel(self) -> bool:
        """Asks that the task be cancelled: False if it has already ended.

        The future then ends with ``TaskCancelled``, or with its result where that was faster.
        """
        if self._done:
            return False
        self._check_process()
        self._transport.cancel(self)
        return True

    def add_done_callback(self, callback: Callable[[Future[T]], object]) -> None:
        """Calls ``callback(self)`` once the future is done, at once if it is.

        Callbacks are called by a thread that waits for results, or by the device's. What they raise
        is logged and goes no further.
        """
        self._callbacks.append(callback)
        if self._done:
            self.notify()

    def resolve(self, outcome: Outcome | OpenQSEError) -> None:
        """Ends the future. Called by transports, once; later calls change nothing."""
        if self._done:
            return
        if isinstance(outcome, OpenQSEError):
            self._error = outcome
        else:
            self._value = self._finish(outcome)
        self._done = True

    def notify(self) -> None:
        """Calls the callbacks of a future that is done, each once."""
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                callback(self)
            except Exception:
                log.exception("a callback of task %s failed", self.task_id)


def as_completed(futures: Iterable[Future[T]], timeout: float | None = None) -> Iterator[Future[T]]:
    """The futures in the order in which they end.

    Raises:
        DeadlineExceeded: not all ended within ``timeout`` seconds.
    """
    pending = list(futures)
    arrivals: deque[Future[T]] = deque()
    transports = list(dict.fromkeys(future._transport for future in pending))
    for future in pending:
        future._check_process()
        future.add_done_callback(arrivals.append)
    deadline = None if timeout is None else time.monotonic() + timeout
    for _ in pending:
        while not arrivals:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise DeadlineExceeded(f"not all tasks ended within {timeout} s")
            if len(transports) == 1:
                transports[0].wait(arrivals.__len__, left)
            else:  # devices in this process beside a job's: each is looked at in turn
                for transport in transports:
                    transport.wait(arrivals.__len__, 0.01)
        yield arrivals.popleft()


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
        self._session = _session

    @property
    def usage(self) -> Usage:
        """What this handle has used so far."""
        return self._usage

    def run(
        self,
        program: Circuit | str | os.PathLike[str],
        *,
        parameters: ArrayLike | None = None,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = Latency.BATCH,
    ) -> Result:
        """Runs a program and waits for its samples; arguments as in ``submit``."""
        future = self.submit(
            program, parameters=parameters, shots=shots, seed=seed, timeout=timeout, latency=latency
        )
        return _wait(future, timeout)

    def submit(
        self,
        program: Circuit | str | os.PathLike[str],
        *,
        parameters: ArrayLike | None = None,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = Latency.BATCH,
    ) -> Future[Result]:
        """Sends a program for sampling; waits only while too many tasks are unanswered.

        Args:
            program: a circuit, OpenQASM text, or the path of an OpenQASM file.
            parameters: ``(n_parameters,)``, or ``(k, n_parameters)`` for ``k`` sets in one task.
            shots: shots of each set.
            seed: equal seeds give equal samples where the device can (the emulator can).
            timeout: seconds after which the task is cancelled, queued or running.
            latency: ``"interactive"`` or ``"batch"``.

        Raises:
            ProgramError, NotSupported: the program cannot be read or asks for what is not offered.
            ArgumentError: shapes or values that cannot be.
        """
        circuit, shots, seed = self._sampled(program, shots, seed)
        sets, batched = parameter_sets(parameters, circuit.parameters)
        urgency = _timeout(timeout), _latency(latency)
        return self._sample(circuit, sets, batched, shots, seed, *urgency)

    def map(
        self,
        program: Circuit | str | os.PathLike[str],
        parameters: ArrayLike,
        *,
        shots: int = 1000,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = Latency.BATCH,
    ) -> list[Future[Result]]:
        """Sends one task for each row of ``parameters``, ``(k, n_parameters)``.

        The tasks go out together, which takes less time than ``k`` calls of ``submit``; unlike
        those of a batch their results arrive one by one. The rest is as in ``submit``.
        """
        circuit, shots, seed = self._sampled(program, shots, seed)
        if isinstance(parameters, Sized) and len(parameters) == 0:
            return []
        sets, _ = parameter_sets(parameters, circuit.parameters)
        urgency = _timeout(timeout), _latency(latency)
        last = len(sets) - 1
        return [
            self._sample(circuit, sets[i : i + 1], False, shots, seed, *urgency, more=i < last)
            for i in range(len(sets))
        ]

    def _sampled(
        self, program: Circuit | str | os.PathLike[str], shots: int, seed: int | None
    ) -> tuple[Circuit, int, int | None]:
        circuit, shots = _circuit(program), _whole("shots", shots)
        if circuit.num_clbits == 0:
            raise ProgramError(
                "the program measures nothing, so there is nothing to sample",
                remedy="Add measurements, or ask for the expectation of an observable",
            )
        if not 1 <= shots <= self.capabilities.max_shots:
            raise ArgumentError(
                f"{shots} shots; {self.name} takes 1 to {self.capabilities.max_shots} in one task"
            )
        return circuit, shots, _seed(seed)

    def _sample(
        self,
        circuit: Circuit,
        sets: NDArray[np.float64],
        batched: bool,
        shots: int,
        seed: int | None,
        timeout: float | None,
        latency: Latency,
        more: bool = False,
    ) -> Future[Result]:
        work = Work(circuit.digest, sets, shots=shots, seed=seed)
        return self._send(
            Request(Kind.RUN, work, circuit, timeout, latency),
            lambda task_id, outcome: Result(
                self.name,
                task_id,
                self.lease.id if self.lease else "",
                shots,
                circuit.num_clbits,
                cast(Samples, outcome.data).memory,
                batched,
                outcome.data.qpu_time_ns,
                outcome.calibration,
                outcome.data.method,
            ),
            more,
        )

    def expectation(
        self,
        program: Circuit | str | os.PathLike[str],
        observable: PauliSum,
        *,
        parameters: ArrayLike | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = Latency.BATCH,
    ) -> Any:
        """The observable's expectation after the program.

        Returns:
            A float, or float64 ``(k,)`` for parameters of shape ``(k, n_parameters)``.
        """
        result = _wait(
            self.submit_expectation(
                program,
                observable,
                parameters=parameters,
                seed=seed,
                timeout=timeout,
                latency=latency,
            ),
            timeout,
        )
        return result.values if result.batched else float(result.values[0])

    def submit_expectation(
        self,
        program: Circuit | str | os.PathLike[str],
        observable: PauliSum,
        *,
        parameters: ArrayLike | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        latency: str = Latency.BATCH,
    ) -> Future[ExpectationResult]:
        """Sends a program for an expectation; arguments and errors as in ``submit``."""
        circuit = _circuit(program)
        if not self.capabilities.expectation:
            raise NotSupported(
                f"{self.name} offers no expectation of observables",
                remedy="Sample in the bases of the observable's terms with run()",
            )
        if not isinstance(observable, PauliSum):
            raise ArgumentError(
                f"an observable is a PauliSum, not {type(observable).__name__}",
                remedy="Make one with PauliSum.from_terms(terms, num_qubits)",
            )
        if observable.num_qubits != circuit.num_qubits:
            raise ArgumentError(
                f"an observable on {observable.num_qubits} qubits for a program on "
                f"{circuit.num_qubits}"
            )
        sets, batched = parameter_sets(parameters, circuit.parameters)
        work = Work(circuit.digest, sets, seed=_seed(seed), observable=observable)
        return self._send(
            Request(Kind.EXPECTATION, work, circuit, _timeout(timeout), _latency(latency)),
            lambda task_id, outcome: ExpectationResult(
                self.name,
                task_id,
                self.lease.id if self.lease else "",
                cast(Expectations, outcome.data).values,
                batched,
                outcome.data.qpu_time_ns,
                outcome.calibration,
                outcome.data.method,
            ),
        )

    def _send(
        self, request: Request, finish: Callable[[str, Outcome], T], more: bool = False
    ) -> Future[T]:
        if self._session != _session:
            raise _forked()
        task_id = _task_id()

        def counted(outcome: Outcome) -> T:
            used, cost = self._usage, outcome.data.qpu_time_ns
            self._usage = Usage(used.tasks + 1, used.qpu_time_ns + cost)
            return finish(task_id.hex(), outcome)

        future = Future(self._transport, task_id, counted)
        self._transport.submit(request, future, more)
        return future

    def close(self) -> None:
        """Cancels what is unfinished and hangs up."""
        if self._session == _session:  # else it is the parent's
            self._transport.close()

    def __enter__(self) -> QPU:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


#: Bytes of a session's id.
_SESSION = 8
_session = os.urandom(_SESSION)
_counter = 0


def session_id() -> bytes:
    """8 bytes that no other process chooses, with which all its task ids begin."""
    return _session


def _task_id() -> bytes:
    """16 bytes that no other process chooses: the session, and a number that grows."""
    global _session, _counter
    _counter += 1
    return _session + _counter.to_bytes(8, "big")


def _renew_session() -> None:
    global _session
    _session = os.urandom(_SESSION)


os.register_at_fork(after_in_child=_renew_session)


def _forked() -> ArgumentError:
    return ArgumentError(
        "this connection was made before the process forked, and belongs to the parent",
        remedy="Call openqse.connect() in the child",
    )


def _wait(future: Future[T], timeout: float | None) -> T:
    """A call's own wait: a little beyond the task's deadline, whose error says more."""
    try:
        return future.result(None if timeout is None else timeout + 1.0)
    except DeadlineExceeded:
        future.cancel()
        raise


def _circuit(program: Circuit | str | os.PathLike[str]) -> Circuit:
    if isinstance(program, Circuit):
        return program
    if isinstance(program, CircuitBuilder):
        return program.build()
    if isinstance(program, str):
        if "\n" not in program and program.strip().endswith(".qasm"):
            raise ProgramError(
                f"{program!r} is the name of a file and not OpenQASM text",
                remedy=f"Give pathlib.Path({program!r})",
            )
        return _read(program, "<program>")
    if not isinstance(program, os.PathLike):
        raise ArgumentError(
            f"a program is a Circuit, OpenQASM text or the path of a file, not {program!r}"
        )
    try:
        return _read(Path(program).read_text(), os.fspath(program))
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"{os.fspath(program)} cannot be read: {error}") from error


@lru_cache(maxsize=64)
def _read(source: str, name: str) -> Circuit:
    from openqse.program.openqasm import loads  # the parser is large; many programs never need it

    return loads(source, name)


def _whole(name: str, number: int) -> int:
    try:
        return operator.index(number)
    except TypeError:
        raise ArgumentError(f"{name} must be a whole number, not {number!r}") from None


def _seed(seed: int | None) -> int | None:
    if seed is None:
        return None
    seed = _whole("a seed", seed)
    if not 0 <= seed < 2**64:
        raise ArgumentError("a seed is a whole number from 0 to 2^64 - 1")
    return seed


def _timeout(timeout: float | None) -> float | None:
    if timeout is not None and not 0 < timeout < 1e9:
        raise ArgumentError(f"timeout must be a positive number of seconds, not {timeout}")
    return timeout


def _latency(latency: str) -> Latency:
    try:
        return _LATENCIES[latency]
    except KeyError:
        raise ArgumentError(f"latency is 'interactive' or 'batch', not {latency!r}") from None


_LATENCIES = {str(latency): latency for latency in Latency}
