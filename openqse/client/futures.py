"""Tasks on their way: what carries them, and the results that they will have."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from openqse.device import Outcome, Work
from openqse.errors import ArgumentError, DeadlineExceeded, OpenQSEError
from openqse.program.program import Program
from openqse.wire.messages import Kind, Latency
from openqse.wire.task_ids import session_id, session_of

log: logging.Logger = logging.getLogger("openqse")

T = TypeVar("T")


class Request(NamedTuple):
    """A task on its way: what is asked, of which program, how urgently."""

    kind: Kind
    work: Work
    program: Program
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
        self.task_id: str = task_id.hex()
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
        if not self._done and session_of(self.key) != session_id():
            raise forked()

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


def forked() -> ArgumentError:
    """What a process is told that uses its parent's connection."""
    return ArgumentError(
        "this connection was made before the process forked, and belongs to the parent",
        remedy="Call openqse.connect() in the child",
    )
