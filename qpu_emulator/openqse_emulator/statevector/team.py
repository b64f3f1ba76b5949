"""Threads that work on one thing together, of which the caller is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from openqse.errors import TaskCancelled

Stopped = Callable[[], bool]


def go_on(stopped: Stopped) -> None:
    """Raises ``TaskCancelled`` if ``stopped`` says so."""
    if stopped():
        raise TaskCancelled("the task was stopped while the emulator ran it", layer="device")


class Team:
    """As many threads as a profile grants, the caller's among them.

    Kernels run without the interpreter's lock, so threads share nothing but what they are given.
    The caller takes part, and between its own pieces of work asks whether to stop: so a task that
    one thread can do costs no switch to another.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def each(self, count: int, job: Callable[[int, int], None], stopped: Stopped) -> None:
        """Calls ``job(thread, i)`` for every ``i`` below ``count``, in no particular order.

        Raises:
            TaskCancelled: ``stopped`` was true. Whatever ``job`` raises.
        """
        numbers = iter(range(count))

        def work(thread: int) -> None:
            for i in numbers:
                if thread == 0:
                    go_on(stopped)
                job(thread, i)

        def halt() -> None:
            for _ in numbers:
                pass

        with self._others(min(self.threads, count), work, halt):
            work(0)

    def together(
        self, threads: int, job: Callable[[int], bool], stopped: Stopped, halt: Callable[[], None]
    ) -> None:
        """Calls ``job(thread)`` in so many threads, over and over until it returns True.

        Args:
            halt: makes all threads' jobs return True soon.

        Raises:
            TaskCancelled: ``stopped`` was true. Whatever ``job`` raises.
        """

        def work(thread: int) -> None:
            while not job(thread):
                if thread == 0:
                    go_on(stopped)

        with self._others(threads, work, halt):
            work(0)

    @contextmanager
    def _others(
        self, threads: int, work: Callable[[int], None], halt: Callable[[], None]
    ) -> Iterator[None]:
        """Has threads other than the caller's at work; waits for them at the end."""
        if self._pool is None and threads > 1:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="emulator")
        others: list[Future[None]] = []

        def guarded(thread: int) -> None:
            try:
                work(thread)
            except BaseException:
                halt()  # or the others would wait for what this one has begun
                raise

        try:
            if self._pool is not None:
                others = [self._pool.submit(guarded, thread) for thread in range(1, threads)]
            yield
        except BaseException:
            halt()
            raise
        finally:
            failed = [error for other in others if (error := other.exception()) is not None]
        if failed:
            raise failed[0]

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
