"""What a session does about silence: values and transitions, no sockets and no clock.

Messages may be lost: a connection breaks, or an agent dies. So a session asks its QPU agent which
of its tasks it has (resync), sends again what was lost, and gives up after a while. Task ids see to
it that a task which is sent twice counts once. ``docs/protocol.md`` says why, in "When something is
lost".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from openqse.errors import OpenQSEError, StaleLease, UnknownProgram
from openqse.wire.task_ids import SESSION, number_of

#: Seconds after which a session asks after unanswered tasks, and from one question to the next.
ASK_EVERY = 1.0
#: The same while a question is open: whoever was restarted is to be found soon.
ASK_AGAIN = 0.25
#: Seconds of silence after which the user is told what the program waits for.
TELL_AFTER = 5.0
#: Seconds of silence after which an agent counts as lost: time to restart it, or for a network to
#: come back.
PATIENCE = 30.0
#: How often a task is sent again because its QPU agent was restarted or had dropped its program.
MAX_RESENDS = 5


@dataclass(frozen=True, slots=True)
class AskTasks:
    """Ask the QPU agent which of these tasks it has: all that are unanswered."""

    tasks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AskNode:
    """Ask the node agent whether the QPU agent and the lease are there."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing was heard for long: see whether the job is there, and tell the user the ``first``
    time."""

    first: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End all tasks: the agent is lost. ``silence`` is for how many seconds it said nothing."""

    silence: float


@dataclass(frozen=True, slots=True)
class ForgetPrograms:
    """The QPU agent knows no program any more or, with ``task``, not that task's."""

    task: bytes | None = None


@dataclass(frozen=True, slots=True)
class Resend:
    """Send tasks again; ``counted`` where it may happen only so often."""

    tasks: tuple[bytes, ...]
    counted: bool


@dataclass(frozen=True, slots=True)
class CancelAgain:
    """Ask again that those of these tasks be cancelled that are to be."""

    tasks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class End:
    """End a task with an error or, without ``task``, all tasks."""

    error: OpenQSEError
    task: bytes | None = None


Action: TypeAlias = (
    AskTasks | AskNode | Silent | GiveUp | ForgetPrograms | Resend | CancelAgain | End
)


class Recovery:
    """How a session stands with one QPU agent.

    Attributes:
        generation: of the lease, as far as this process knows.
        open_since: when the first question went out after which nothing was heard; None if none is
            open.
    """

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.open_since: float | None = None
        self._asked: tuple[bytes, ...] = ()  # what was due when it was asked last
        self._told = False

    def heard(self) -> None:
        """The QPU agent has said something."""
        self.open_since = None
        self._told = False

    def look(self, now: float, unanswered: Mapping[bytes, float]) -> list[Action]:
        """What to do now.

        Args:
            now: monotonic seconds.
            unanswered: all tasks, and when each was sent.
        """
        due = tuple(task for task, sent in unanswered.items() if now - sent >= ASK_EVERY * 0.9)
        if not due:
            return []
        if self.open_since is None:
            self.open_since = now
        silence = now - self.open_since
        if silence >= PATIENCE:
            self.open_since = None
            return [GiveUp(silence)]
        actions: list[Action] = []
        if silence >= TELL_AFTER:
            actions.append(Silent(first=not self._told))
            self._told = True
        if silence > 0:  # is it the node agent, the QPU agent, or the lease?
            actions.append(AskNode())
        self._asked = due
        return [*actions, AskTasks(tuple(unanswered))]

    def resynced(
        self, generation: int, waiting: Collection[int], unanswered: Collection[bytes]
    ) -> list[Action]:
        """The QPU agent has said which tasks it has.

        What it has answered it has sent before this, on the same way. So whatever was due when it
        was asked, is unanswered still, and is not with the agent, was lost.

        Args:
            waiting: numbers of the tasks that it has.
        """
        asked, self._asked = self._asked, ()
        renewed = self.renewed(generation, unanswered)
        if renewed:
            return renewed
        lacking = [task for task in asked if task in unanswered]
        lost = tuple(task for task in lacking if number_of(task) not in waiting)
        there = tuple(task for task in lacking if number_of(task) in waiting)
        found: list[Action] = []
        if lost:
            found.append(Resend(lost, counted=False))
        if there:
            found.append(CancelAgain(there))
        return found

    def renewed(self, generation: int, unanswered: Collection[bytes]) -> list[Action]:
        """Somebody named the lease's generation. One that has grown means that the QPU agent was
        restarted: what it had not answered it has forgotten."""
        if generation <= self.generation:
            return []
        self.generation = generation
        return [ForgetPrograms(), Resend(tuple(unanswered), counted=True)]

    def failed(
        self, task: bytes, error: OpenQSEError, resends: int, unanswered: Collection[bytes]
    ) -> list[Action]:
        """The QPU agent answered with an error.

        Args:
            task: which task's, or another message's.
            resends: how often that task was sent again.
        """
        stale = isinstance(error, StaleLease)
        if task not in unanswered:
            if stale:  # the answer to a resync, or to a cancellation
                return self.renewed(_generation(error), unanswered)
            # To a resync, or to what could not be read; else it came twice.
            return [End(error)] if len(task) <= SESSION else []
        if resends < MAX_RESENDS:
            if isinstance(error, UnknownProgram):
                return [ForgetPrograms(task), Resend((task,), counted=True)]
            if stale and _generation(error) > self.generation:
                return self.renewed(_generation(error), unanswered)
            if stale and _generation(error) == self.generation:
                return [Resend((task,), counted=True)]  # it crossed the news
        return [End(error, task)]


def _generation(error: OpenQSEError) -> int:
    generation = error.details.get("generation", 0)
    return generation if type(generation) is int else 0
