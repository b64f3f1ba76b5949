"""What shares go by: Slurm's fair tree, and the usage that the journal remembers."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

from openqse.errors import OpenQSEError
from openqse_agent.clock import Clock
from openqse_agent.qpu.addresses import Ask
from openqse_agent.qpu.journal.database import Journal
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.policies import Queue
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.shares import DEFAULT_HALF_LIFE, ShareTree, decay_per_second
from openqse_agent.qpu.tasks.task import Task
from openqse_agent.slurm.client import FairTree

log = logging.getLogger("qpu-agent")

#: Seconds of usage that a restarted agent takes from its journal: what is older hardly counts.
_REMEMBERED = 8 * DEFAULT_HALF_LIFE


class Weights:
    """Changes a share tree while tasks are served by it."""

    def __init__(self, shares: ShareTree, queue: Queue[Task], executor: Executor) -> None:
        self._shares = shares
        self._queue = queue
        self._executor = executor

    def set(self, read: tuple[FairTree, dict[str, float]]) -> None:
        """Takes over Slurm's fair tree, and what part of the QPU each reservation is promised."""
        tree, promised = read

        def change() -> None:
            self._shares.update(tree.accounts, tree.users, tree.half_life)
            self._shares.reserve(promised)
            if isinstance(self._queue, FairQueue):
                self._queue.renew_weights()

        self._executor.alone(change)

    def remember(self, journal: Journal, ask: Ask, clock: Clock) -> None:
        """Loads past usage from the journal into the tree."""
        decay = decay_per_second(DEFAULT_HALF_LIFE)  # the site's is not known yet
        wall = clock.time()

        def read() -> dict[tuple[str, str], float]:
            seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
            for account, user, at, ns in journal.past(wall - _REMEMBERED, wall):
                seconds[account, user] += ns * 1e-9 * decay ** (wall - at)
            return seconds

        def add(seconds: Any) -> None:
            if isinstance(seconds, OpenQSEError):
                log.warning("usage begins anew: %s", seconds)
                return
            now = clock.monotonic()
            for (account, user), used in seconds.items():
                self._shares.charge(account, user, used, now)

        ask(read, lambda seconds: self._executor.alone(lambda: add(seconds)))
