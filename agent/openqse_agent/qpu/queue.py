"""Whose task is next: weighted round robin over accounts, and within each its sessions in turn.

The interface (``push``, ``pop``, ``remove``, ``set_weight``) is that of the queue as the executor
and the loop use it; nothing here does I/O or knows a clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

#: After this many interactive tasks in a row an account's oldest batch task goes first.
INTERACTIVE_RUN = 8


class Queueable(Protocol):
    """What the queue needs to know of a task."""

    @property
    def account(self) -> str: ...

    @property
    def session(self) -> Hashable: ...

    @property
    def interactive(self) -> bool: ...


Q = TypeVar("Q", bound=Queueable)


class _Line(Generic[Q]):
    """Tasks of one latency class: sessions take turns, each with its tasks in order, so that one
    with many tasks does not hold up the others."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[Hashable, deque[Q]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._sessions)

    def push(self, task: Q) -> None:
        self._sessions.setdefault(task.session, deque()).append(task)

    def pop(self) -> Q:
        session, tasks = self._sessions.popitem(last=False)
        task = tasks.popleft()
        if tasks:
            self._sessions[session] = tasks
        return task

    def remove(self, task: Q) -> bool:
        tasks = self._sessions.get(task.session, deque())
        try:
            tasks.remove(task)
        except ValueError:
            return False
        if not tasks:
            del self._sessions[task.session]
        return True


@dataclass
class _Account(Generic[Q]):
    credit: float = 0.0
    interactive: _Line[Q] = field(default_factory=_Line)
    batch: _Line[Q] = field(default_factory=_Line)
    run: int = 0

    def __bool__(self) -> bool:
        return bool(self.interactive or self.batch)

    def pop(self) -> Q:
        if self.interactive and (self.run < INTERACTIVE_RUN or not self.batch):
            self.run += 1
            return self.interactive.pop()
        self.run = 0
        return self.batch.pop()


class FairQueue(Generic[Q]):
    """Weighted round robin over the accounts that have tasks waiting.

    Each turn gives an account credit in proportion to its weight; a task costs one. Between any two
    accounts that always have tasks waiting, the numbers of tasks served stay in the ratio of their
    weights to within one turn. An account without waiting tasks keeps no credit. (Weighted round
    robin: Katevenis, Sidiropoulos and Courcoubetis, IEEE JSAC 9 (1991) 1265.)
    """

    def __init__(self) -> None:
        self._weights: dict[str, float] = {}
        self._accounts: OrderedDict[str, _Account[Q]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def set_weight(self, account: str, weight: float) -> None:
        """Sets an account's weight (1 unless set); only ratios matter."""
        if weight <= 0:
            raise ValueError(f"weight of account {account!r} must be positive, not {weight}")
        self._weights[account] = weight

    def push(self, task: Q) -> None:
        """Adds a task behind those of its session and latency class."""
        account = self._accounts.get(task.account)
        if account is None:
            account = self._accounts[task.account] = _Account()
        (account.interactive if task.interactive else account.batch).push(task)
        self._size += 1

    def pop(self) -> Q | None:
        """Takes the next task; None if there is none."""
        if self._size == 0:
            return None
        while True:
            name, account = next(iter(self._accounts.items()))
            if len(self._accounts) == 1:
                account.credit = 1.0  # nobody to share with
            if account.credit < 1.0:
                # A turn: credit in proportion to weight, scaled so that the heaviest waiting
                # account can always pay for at least one task.
                heaviest = max(self._weights.get(other, 1.0) for other in self._accounts)
                account.credit += self._weights.get(name, 1.0) / heaviest
                if account.credit < 1.0:
                    self._accounts.move_to_end(name)
                    continue
            account.credit -= 1.0
            task = account.pop()
            self._size -= 1
            if not account:
                del self._accounts[name]
            elif account.credit < 1.0:
                self._accounts.move_to_end(name)
            return task

    def remove(self, task: Q) -> bool:
        """Takes out a waiting task; False if it is not waiting."""
        account = self._accounts.get(task.account)
        if account is None:
            return False
        if not (account.interactive if task.interactive else account.batch).remove(task):
            return False
        self._size -= 1
        if not account:
            del self._accounts[task.account]
        return True
