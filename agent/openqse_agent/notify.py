"""Tells systemd how the agent is: ready, alive, stopping (sd_notify(3), without its library)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

#: Seconds between signs of life; far below the units' WatchdogSec.
_ALIVE_EVERY = 1.0


class Notifier:
    """Speaks to whoever started the agent, if it asked to be told (``$NOTIFY_SOCKET``).

    Signs of life come from the agent's loop, so a loop that stands still is noticed.
    """

    def __init__(self) -> None:
        # Taken out: programs that the agent starts are not to speak in its name.
        path = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._alive_at = 0.0

    def ready(self) -> None:
        """The agent serves from now on."""
        self._say("READY=1")

    def alive(self, now: float) -> None:
        """The loop turns; ``now`` in monotonic seconds."""
        if now >= self._alive_at:
            self._alive_at = now + _ALIVE_EVERY
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The agent ends, and its leases stay."""
        self._say("STOPPING=1")

    def _say(self, state: str) -> None:
        if self._address:
            with (
                suppress(OSError),  # nobody listens any more: no reason to stop serving
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s,
            ):
                s.sendto(state.encode(), self._address)
