"""Questions to who takes a while, such as slurmctld: asked in threads, answered in the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openqse.errors import InternalError, LimitExceeded, OpenQSEError
from openqse_agent.poller import Poller

log = logging.getLogger("qpu-agent")


class Questions:
    """A pool of threads that ask, so that the loop waits for nobody.

    Args:
        what: the threads' name, and what is asked for, in the plural.
        most: questions that may wait or be under way; None for any number.
    """

    def __init__(self, poller: Poller, threads: int, what: str, most: int | None = None) -> None:
        self._poller = poller
        self._what = what
        self._most = most
        self._free = None if most is None else threading.Semaphore(most)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=what)

    def ask(self, question: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        """Puts a question; ``answered`` gets the answer or the error, in the loop.

        Raises:
            LimitExceeded: many wait already.
        """
        if self._free is not None and not self._free.acquire(blocking=False):
            raise LimitExceeded(
                f"{self._most} {self._what} wait already",
                layer="QPU agent",
                remedy="Ask again later",
                limit=self._what.upper(),
            )

        def deliver(answer: Any) -> None:
            if self._free is not None:
                self._free.release()
            try:
                answered(answer)
            except Exception:  # a full disk or a defect must cost its answer, not the QPU
                log.exception("an answer could not be handled")

        def work() -> None:
            answer = _answer(question)
            self._poller.call(lambda: deliver(answer))

        self._pool.submit(work)

    def close(self) -> None:
        """Drops what waits; what is under way finds nobody to tell."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _answer(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except OpenQSEError as error:
        return error
    except Exception as error:
        log.exception("a question could not be answered")
        return InternalError(f"a question could not be answered: {error!r}", layer="QPU agent")
