"""Drains the QPU: holds its queue, remembers why, and has Slurm hold the jobs that wait for it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openqse.errors import (
    ConfigurationError,
    DeviceError,
    OpenQSEError,
    QPUDrained,
)
from openqse.site import SiteQPU
from openqse.wire.control import Drain, Resume, ServiceReport
from openqse.wire.frames import Frame
from openqse.wire.messages import Header
from openqse.wire.reports import WindowRow
from openqse_agent.files import write_whole
from openqse_agent.qpu.leases.admission import Ask
from openqse_agent.qpu.service.windows import MAX_REASON, Window, Windows, differences
from openqse_agent.qpu.tasks.sessions import Address
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

#: Seconds after which Slurm is told again what it could not be told, and asked whether it still
#: holds what it should.
_AGAIN = 30.0
#: Characters of what an administrator calls itself.
_MAX_NAME = 64


class Maintenance:
    """The windows of a QPU, on disk and in force.

    It owns no socket and waits for nothing: ``ask`` brings slurmctld's answers back later.

    Args:
        path: where the windows are kept, so that they outlive this process.
        windows: what ``load`` has read there.
        hold: told whether the queue is to start tasks no more.
    """

    def __init__(
        self,
        qpu: SiteQPU,
        path: Path,
        windows: Windows,
        client: slurm.SlurmClient,
        *,
        ask: Ask,
        send: Callable[[Address, list[Frame]], None],
        hold: Callable[[bool], None],
    ) -> None:
        self._qpu = qpu
        self._path = path
        self._slurm = client
        self._ask = ask
        self._send = send
        self._hold = hold
        self._windows = windows
        self._held = False
        # Slurm is asked at the start too: the last run may have ended before it was told.
        self._told_at: float | None = None
        self._asking = False
        self._error = ""
        self._waiting: list[Callable[[], None]] = []

    def tick(self, now: float) -> None:
        """Begins and ends windows whose time has come, and tells Slurm again what it must know."""
        self._follow(time.time())
        again = (self._error or self._windows.all) and now - (self._told_at or 0.0) > _AGAIN
        if (self._told_at is None or again) and not self._asking:
            self._tell_slurm(now)

    def drain(self, address: Address, head: Header, body: dict[str, Any], key: str) -> None:
        """Takes in a drain or a planned window; answers when Slurm knows too, or cannot be told.

        Args:
            key: name of the administrator's key.
        """
        now = time.time()
        wanted = Drain.read(body)
        start = now if wanted.start is None else wanted.start
        end = None if wanted.seconds is None else start + wanted.seconds
        window = Window(start, end, _printable(wanted.reason), _who(wanted.user, key), now)
        self._keep(self._windows.expire(now).add(window, now))
        log.warning("%s takes no new task %s", self._qpu.name, window)
        self._changed(address, head)

    def resume(self, address: Address, head: Header, body: dict[str, Any], key: str) -> None:
        """Ends a drain, or takes back the window planned for ``start``; answers as ``drain``."""
        now = time.time()
        wanted = Resume.read(body)
        start = wanted.start
        kept = self._windows.resume(now) if start is None else self._windows.cancel(start, now)
        gone = set(self._windows.all) - set(kept.all)
        self._keep(kept)
        for window in gone:
            who, why = _who(wanted.user, key), _printable(wanted.reason)[:MAX_REASON]
            log.warning("%s: taken back by %s: %s; it was %s", self._qpu.name, who, why, window)
        self._changed(address, head)

    def report(self) -> ServiceReport:
        """What a status says of it."""
        now = time.time()
        self._follow(now)  # what is said to hold does
        current = self._windows.in_force(now)
        return ServiceReport(
            qpu=self._qpu.name,
            drained="" if current is None else str(current),
            windows=tuple(WindowRow(**asdict(window)) for window in self._windows.all),
            slurm_error=self._error,
        )

    def explained(self, error: OpenQSEError) -> OpenQSEError:
        """The error of a task that waited too long, which says so if the QPU is drained."""
        current = self._windows.in_force(time.time())
        if current is None:
            return error
        return QPUDrained(
            f"the task's deadline passed while it waited: {self._qpu.name} is drained {current}",
            layer="QPU agent",
            remedy="Allow it more time, or submit it again later ('openqse status')",
        )

    # --- in force --------------------------------------------------------------------------------

    def _follow(self, now: float) -> None:
        """Holds the queue while a window is in force."""
        self._windows = self._windows.expire(now)
        current = self._windows.in_force(now)
        if (current is not None) != self._held:
            self._held = current is not None
            self._hold(self._held)
            state = "takes tasks again" if current is None else f"is drained {current}"
            log.warning("%s %s", self._qpu.name, state)

    def _changed(self, address: Address, head: Header) -> None:
        self._follow(time.time())
        self._waiting.append(lambda: self._send(address, self.report().frames(head.task)))
        if not self._asking:
            self._tell_slurm(time.monotonic())

    def _keep(self, windows: Windows) -> None:
        """Writes the windows; what cannot be written does not hold either."""
        try:
            text = json.dumps(windows.to_wire(), indent=1)
            write_whole(self._path, text, synced=True)
        except OSError as error:
            raise DeviceError(
                f"{self._path} cannot be written: {error.strerror}",
                layer="QPU agent",
                remedy="Look at the disk of the agent's state",
            ) from error
        self._windows = windows

    # --- Slurm -----------------------------------------------------------------------------------

    def _tell_slurm(self, now: float) -> None:
        """Has Slurm hold what it should; one such question at a time, in their order."""
        self._asking = True
        self._told_at = now
        wanted = self._windows.reservations({self._qpu.license: self._qpu.slots})
        waiting, self._waiting = self._waiting, []

        def told(answer: Any) -> None:
            self._asking = False
            error = str(answer) if isinstance(answer, OpenQSEError) else ""
            if error and error != self._error:
                log.error("Slurm does not hold jobs for %s as it should: %s", self._qpu.name, error)
            self._error = error
            for answered in waiting:
                answered()
            if self._waiting:
                self._tell_slurm(time.monotonic())

        self._ask(lambda: self._agree(wanted), told)

    def _agree(self, wanted: dict[str, slurm.Reservation]) -> None:
        """In a thread of its own: makes Slurm's reservations what is wanted."""
        release, reserve = differences(self._qpu.name, wanted, self._slurm.reservations())
        for name in release:
            self._slurm.release(name)
        for reservation in reserve:
            self._slurm.reserve(reservation)


def _who(user: str, key: str) -> str:
    """What an administrator calls itself, and which key proves that it is one."""
    return f"{_printable(user)[:_MAX_NAME]} (key {key})"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()


# --- the file ------------------------------------------------------------------------------------


def load(path: Path, qpu: str) -> Windows:
    """The windows of a QPU that its agent's last run has left.

    Raises:
        ConfigurationError: the file is damaged; it is left as it is.
    """
    try:
        rows = json.loads(path.read_text())
        return Windows(qpu, tuple(_window(**row) for row in rows))
    except FileNotFoundError:
        return Windows(qpu)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{path}, which says whether {qpu} is drained, cannot be read: {error}",
            layer="QPU agent",
            remedy="Look at the file; move it away to begin without windows",
        ) from error


def _window(start: float, end: float | None, reason: str, by: str, made: float) -> Window:
    return Window(float(start), None if end is None else float(end), reason, by, float(made))
