"""Which faults a seed means: a pure choice, the same everywhere and always."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

USERS = ("alice", "bob")
NODES = ("c1", "c2")
#: Ranks of each user's job.
RANKS = 4


@dataclass(frozen=True)
class Layout:
    """On which nodes each user's job runs."""

    name: str
    nodes: dict[str, tuple[str, ...]]

    def on(self, node: str) -> frozenset[str]:
        """The users whose jobs use a node."""
        return frozenset(user for user, nodes in self.nodes.items() if node in nodes)


SPREAD = Layout("spread", dict.fromkeys(USERS, NODES))
APART = Layout("apart", {user: (node,) for user, node in zip(USERS, NODES, strict=True)})


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        targets: what it can hit, of a layout.
        lasts: shortest and longest time from the fault to its end, seconds.
        dooms: the users whose jobs it kills.
        hits: whether it keeps results from a node's ranks.
        agent: whether it kills an agent, whose recovery has a goal.
    """

    targets: Callable[[Layout], Sequence[str]]
    lasts: tuple[float, float] = (0.0, 0.0)
    dooms: Callable[[str, Layout], frozenset[str]] = lambda target, layout: frozenset()
    hits: Callable[[str, str], bool] = lambda target, node: False
    agent: bool = False


def _nodes(layout: Layout) -> Sequence[str]:
    return NODES


def _ranks(layout: Layout) -> Sequence[str]:
    return [f"{user}:{rank}" for user in USERS for rank in range(RANKS)]


def _steps(layout: Layout) -> Sequence[str]:
    """slurmstepd of each node's part of a job step, and that of the batch script on the first."""
    return [
        f"{user}:{step}@{node}"
        for user, nodes in layout.nodes.items()
        for step, where in (("0", nodes), ("batch", nodes[:1]))
        for node in where
    ]


def _owner(target: str, layout: Layout) -> frozenset[str]:
    return frozenset({target.partition(":")[0]})


def _everywhere(target: str, node: str) -> bool:
    return True


def _there(target: str, node: str) -> bool:
    return target == node


KINDS = {
    "rank": Kind(_ranks, dooms=_owner),
    "slurmstepd": Kind(_steps, (0.5, 2.0), dooms=_owner),
    "node-agent": Kind(_nodes, hits=_there, agent=True),
    "qpu-agent": Kind(lambda layout: ["emu0"], hits=_everywhere, agent=True),
    "node": Kind(_nodes, (0.5, 5.0), dooms=lambda target, layout: layout.on(target)),
    "cut": Kind(_nodes, (1.0, 20.0), hits=_there),
    "slurmctld": Kind(lambda layout: ["slurmctld"], (0.2, 4.0)),
    "slurmdbd": Kind(lambda layout: ["slurmdbd"], (0.2, 4.0)),
    "disk": Kind(lambda layout: ["emu0"], (1.0, 12.0), hits=_everywhere),
    "clock": Kind(_nodes, (1.0, 4.0)),
}


@dataclass(frozen=True)
class Step:
    """One fault: what and where, how long it lasts, and how long nothing happens after it."""

    kind: str
    target: str
    lasts: float
    pause: float

    def __str__(self) -> str:
        lasts = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"{self.kind} {self.target}{lasts}"


@dataclass(frozen=True)
class Plan:
    """What happens to the workload of one seed."""

    seed: int
    layout: Layout
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.layout.name}: " + ", ".join(map(str, self.steps))


def plan(seed: int) -> Plan:
    """The faults of a seed: one to three, the first of each kind in turn, the others at random.

    A fault may strike while the stack still recovers from the one before it. No fault is aimed at a
    job that an earlier one killed, and nothing happens once both jobs are dead.
    """
    chance = random.Random(seed)
    layout = chance.choice((SPREAD, APART))
    kinds = list(KINDS)
    steps: list[Step] = []
    doomed: frozenset[str] = frozenset()
    for number in range(chance.choice((1, 2, 2, 3))):
        name = kinds[seed % len(kinds)] if number == 0 else chance.choice(kinds)
        kind = KINDS[name]
        targets = [
            target for target in kind.targets(layout) if not doomed & kind.dooms(target, layout)
        ]
        if not targets:
            continue
        target = chance.choice(targets)
        steps.append(Step(name, target, _lasting(kind, chance), chance.uniform(0.1, 2.5)))
        doomed |= kind.dooms(target, layout)
        if doomed >= set(USERS):
            break
    return Plan(seed, layout, tuple(steps))


def _lasting(kind: Kind, chance: random.Random) -> float:
    """Evenly over the orders of magnitude: short faults are as interesting as long ones."""
    shortest, longest = kind.lasts
    if not longest:
        return 0.0
    return round(math.exp(chance.uniform(math.log(shortest), math.log(longest))), 2)
