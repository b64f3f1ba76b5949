"""Task ids: 16 bytes, of which 8 are the session's, unique, and 8 a counter, big-endian."""

from __future__ import annotations

import os

#: Bytes of a session's id, with which the ids of all its tasks begin.
SESSION = 8
#: Bytes of a task id.
LENGTH = 16

_session = os.urandom(SESSION)
_counter = 0


def session_id() -> bytes:
    """8 bytes that no other process chooses."""
    return _session


def next_task_id() -> bytes:
    """A task id that no other task has."""
    global _counter
    _counter += 1
    return _session + _counter.to_bytes(LENGTH - SESSION, "big")


def session_of(task: bytes) -> bytes:
    """The session of a task."""
    return task[:SESSION]


def number_of(task: bytes) -> int:
    """The counter of a task."""
    return int.from_bytes(task[SESSION:], "big")


def _renew() -> None:
    global _session
    _session = os.urandom(SESSION)


os.register_at_fork(after_in_child=_renew)
