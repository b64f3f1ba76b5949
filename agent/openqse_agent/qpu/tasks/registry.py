"""The orders in which a QPU agent can run tasks, by the name that the configuration gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from openqse_agent.config import QPUConfig
from openqse_agent.qpu.tasks.policies import FifoQueue, Queue
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.task import Task


def _fair(shares: ShareTree, config: QPUConfig) -> Queue[Task]:
    return FairQueue(
        shares, interactive_credit=config.interactive_credit, idle_credit=config.idle_credit
    )


def _fifo(shares: ShareTree, config: QPUConfig) -> Queue[Task]:
    return FifoQueue()


#: By each name of ``config.POLICIES``, what makes its queue.
QUEUES: Mapping[str, Callable[[ShareTree, QPUConfig], Queue[Task]]] = {
    "fair": _fair,
    "fifo": _fifo,
}
