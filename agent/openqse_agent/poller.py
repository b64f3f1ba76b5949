"""The loop of an agent: it waits for sockets, calls what handles them, and ticks."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from openqse_agent.clock import Clock
from openqse_agent.notify import Notifier

#: Seconds between ticks, the longest sleep too: the resolution of an agent's deadlines.
TICK = 0.2


def never() -> bool:
    return False


def nothing() -> None:
    pass


class Poller:
    """Sockets and descriptors, each with its handler; ``run`` serves them until ``stop``.

    ``call`` and ``stop`` may be called from any thread; ``stop`` from a signal handler too.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._running = True
        self._closed = False
        self._lock = threading.RLock()  # a signal handler may interrupt whoever holds it
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wakes, self._called)

    def __len__(self) -> int:
        """Sockets and descriptors that are watched."""
        return len(self._handlers)

    def watch(self, ready: Any, handler: Callable[[], None]) -> None:
        """Has ``handler`` called whenever a socket or descriptor can be read."""
        self._handlers[ready] = handler
        self._poller.register(ready, zmq.POLLIN)

    def unwatch(self, ready: Any) -> None:
        """Watches it no more, if it was watched."""
        if self._handlers.pop(ready, None) is not None:
            self._poller.unregister(ready)

    def run(
        self,
        tick: Callable[[float], None],
        turn: Callable[[], None] = nothing,
        hurries: Callable[[], bool] = never,
    ) -> None:
        """Serves until ``stop``; systemd is told that the agent is ready, alive and stopping.

        Args:
            tick: called every ``TICK`` seconds with the monotonic instant.
            turn: called after each round of handlers.
            hurries: whether there is work for ``turn``, so that sockets are only glanced at.
        """
        next_tick = 0.0
        notifier = Notifier()
        notifier.ready()
        pause = int(TICK * 1000)
        while self._running:
            for ready, _ in self._poller.poll(0 if hurries() else pause):
                handler = self._handlers.get(ready)
                if handler is not None:  # else closed by a handler before it in this round
                    handler()
            turn()
            now = self._clock.monotonic()
            if now >= next_tick:
                next_tick = now + TICK
                tick(now)
                notifier.alive(now)
        notifier.stopping()

    def call(self, what: Callable[[], None]) -> None:
        """Has something called in the loop, soon."""
        self._calls.append(what)
        self._wake()

    def stop(self) -> None:
        """Ends ``run`` after the round that is under way."""
        self._running = False
        self._wake()

    def close(self) -> None:
        """To be called once ``run`` has ended; what is called from then on is dropped."""
        with self._lock:
            self._closed = True
            os.close(self._wakes)

    def _wake(self) -> None:
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wakes, 1)

    def _called(self) -> None:
        os.eventfd_read(self._wakes)
        while self._calls:
            self._calls.popleft()()
