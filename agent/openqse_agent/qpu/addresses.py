"""Where a QPU agent's messages come from, and where its answers go."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

#: Envelope of an answer: routing id of the relay or the node agent, and of the session.
Address = tuple[bytes, bytes]

#: Puts a question to somebody who takes a while, and has the answer, or the error, brought back.
Ask = Callable[[Callable[[], Any], Callable[[Any], None]], None]


class Origin(NamedTuple):
    """What a routing id says: NODE-RUN of a node agent, or its relay's NODE-RUN/JOB/NUMBER.

    Attributes:
        node: name of the node.
        run: all of it, which tells the runs of a node's agent apart.
        job_id: the job for which a relay speaks; None for the node agent itself.
    """

    node: str
    run: str
    job_id: int | None


@lru_cache(maxsize=4096)
def origin(routing_id: bytes) -> Origin:
    """Which node speaks, and for which job."""
    run = routing_id.decode(errors="replace")
    agent, *relay = run.split("/")
    job_id = int(relay[0]) if len(relay) == 2 and relay[0].isdecimal() else None
    return Origin(agent.rpartition("-")[0], run, job_id)
