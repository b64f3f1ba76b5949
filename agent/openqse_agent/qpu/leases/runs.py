"""Which run of each node's agent is the current one. Values and transitions."""

from __future__ import annotations

from collections import OrderedDict

from openqse.errors import StaleLease

#: Former runs that are remembered, to refuse what they left on the way.
_KEPT = 4096


class Runs:
    """The runs of node agents that have spoken.

    Attributes:
        current: by node, the latest.
    """

    def __init__(self) -> None:
        self.current: dict[str, str] = {}
        self._former: OrderedDict[str, None] = OrderedDict()

    def begins(self, node: str, run: str) -> bool:
        """Notes which run speaks for a node; whether it has just taken the place of another.

        Raises:
            StaleLease: a later run has spoken since.
        """
        current = self.current.get(node)
        if run == current:
            return False
        if run in self._former:
            raise StaleLease(
                f"a former run of the agent of node {node}; another has taken its place",
                layer="QPU agent",
                remedy="Does another host of that name run a node agent?",
            )
        self.current[node] = run
        if current is None:
            return False
        self._former[current] = None
        if len(self._former) > _KEPT:
            self._former.popitem(last=False)
        return True
