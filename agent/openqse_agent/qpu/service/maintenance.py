"""Drains the QPU: holds its queue, remembers why, and has Slurm hold the jobs that wait for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openqse.errors import ConfigurationError, DeviceError, OpenQSEError, QPUDrained
from openqse.site import SiteQPU
from openqse.wire.control import Drain, Resume, ServiceReport
from openqse.wire.frames import Frame
from openqse.wire.messages import Header, Kind
from openqse.wire.reports import WindowRow
from openqse_agent.clock import Clock
from openqse_agent.files import write_whole
from openqse_agent.qpu.addresses import Address, Ask
from openqse_agent.qpu.service.windows import MAX_REASON, Window, Windows, differences
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

#: Seconds after which Slurm is told again what it could not be told, and asked whether it still
#: holds what it should.
_AGAIN = 30.0
#: Kinds of message that administrators alone may send.
KINDS = frozenset({Kind.DRAIN, Kind.RESUME})

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
        clock: Clock,
        *,
        ask: Ask,
        send: Callable[[Address, list[Frame]], None],
        hold: Callable[[bool], None],
    ) -> None:
        self._qpu = qpu
        self._path = path
        self._slurm = client
        self._clock = clock
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
        self._follow(self._clock.time())
        again = (self._error or self._windows.all) and now - (self._told_at or 0.0) > _AGAIN
        if (self._told_at is None or again) and not self._asking:
            self._tell_slurm(now)

    def take(self, address: Address, head: Header, frames: list[bytes], key: str) -> None:
        """Takes in a message of one of ``KINDS``; answers when Slurm knows too, or cannot be told.

        Args:
            key: name of the administrator's key.

        Raises:
            OpenQSEError: it is refused.
        """
        if head.kind == Kind.DRAIN:
            self._drain(address, head.task, Drain.of(frames), key)
        else:
            self._resume(address, head.task, Resume.of(frames), key)

    def _drain(self, address: Address, task: bytes, message: Drain, key: str) -> None:
        """Takes in a drain or a planned window."""
        now = self._clock.time()
        start = now if message.start is None else message.start
        end = None if message.seconds is None else start + message.seconds
        window = Window(start, end, _line(message.reason), _who(message.user, key), now)
        self._keep(self._windows.expire(now).add(window, now))
        log.warning("%s takes no new task %s", self._qpu.name, window)
        self._changed(address, task)

    def _resume(self, address: Address, task: bytes, message: Resume, key: str) -> None:
        """Ends a drain, or takes back the window planned for ``start``."""
        now, start = self._clock.time(), message.start
        kept = self._windows.resume(now) if start is None else self._windows.cancel(start, now)
        gone = set(self._windows.all) - set(kept.all)
        self._keep(kept)
        who, why = _who(message.user, key), _line(message.reason)[:MAX_REASON]
        for window in gone:
            log.warning("%s: taken back by %s: %s; it was %s", self._qpu.name, who, why, window)
        self._changed(address, task)

    def report(self) -> ServiceReport:
        """What a status says of it."""
        now = self._clock.time()
        self._follow(now)  # what is said to hold does
        current = self._windows.in_force(now)
        return ServiceReport(
            qpu=self._qpu.name,
            drained="" if current is None else str(current),
            windows=tuple(WindowRow(**window) for window in self._windows.to_wire()),
            slurm_error=self._error,
        )

    def explained(self, error: OpenQSEError) -> OpenQSEError:
        """The error of a task that waited too long, which says so if the QPU is drained."""
        current = self._windows.in_force(self._clock.time())
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

    def _changed(self, address: Address, task: bytes) -> None:
        self._follow(self._clock.time())
        self._waiting.append(lambda: self._send(address, self.report().frames(task)))
        if not self._asking:
            self._tell_slurm(self._clock.monotonic())

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
                self._tell_slurm(self._clock.monotonic())

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
    return f"{_line(user)[:_MAX_NAME]} (key {key})"


def _line(text: str) -> str:
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
