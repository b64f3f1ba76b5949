"""What Slurm's records say, whoever fetched them: states, licences and shares."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

# A suspended job keeps its licences; the others are flags that older releases print in place of
# the state RUNNING.
_RUNNING = frozenset({"RUNNING", "SUSPENDED", "CONFIGURING", "RESIZING", "SIGNALING", "STOPPED"})

# Raw shares of an association whose children compete at its parent's level (``fairshare=parent``).
USE_PARENT = 0x7FFFFFFF

# What slurmctld makes of a reservation without end (seconds).
ENDLESS = 365 * 86400


@dataclass(frozen=True)
class Association:
    """One row of the fair tree.

    Attributes:
        id, parent: of the row and the row above it; the root has no parent.
        account: the account's name.
        user: the user's name, or empty for the account itself.
        shares: raw shares, ``USE_PARENT``, or 0 for the root.
    """

    id: int
    parent: int | None
    account: str
    user: str
    shares: int


def is_running(state: str) -> bool:
    """Whether a job in this state, as Slurm words it, holds its allocation."""
    return state in _RUNNING


def held_licences(running: bool, requested: str, allocated: str) -> dict[str, int]:
    """Number held by name, from the lists that a job record has.

    Args:
        running: whether the job holds its allocation; one that does not holds no licence either.
        requested: such as ``qpu_emu0:2,qpu_emu1``. Alternatives (``a|b``) say nothing of what is
            held and do not count.
        allocated: what slurmctld gave of these; releases before 25.05 do not say, and give all.

    Raises:
        ValueError: a count is not a number.
    """
    text = allocated or requested
    if not running or "|" in text:
        return {}
    held: dict[str, int] = {}
    for item in text.replace(";", ",").split(","):
        name, _, count = item.strip().partition(":")
        if name:
            held[name] = held.get(name, 0) + (int(count) if count else 1)
    return held


def reservation_end(start: float, end: float) -> float | None:
    """A reservation's end; None where it was made without one."""
    return None if end - start >= ENDLESS else end


def listed_licences(licences: Mapping[str, int]) -> str:
    """Licences as Slurm lists them: ``qpu_emu0:2,qpu_emu1:1``."""
    return ",".join(f"{name}:{count}" for name, count in licences.items())


def account_shares(rows: Iterable[Association]) -> dict[str, float]:
    """Share of the whole fair tree (0 to 1) of each account but the root.

    Computed from raw shares, as slurmctld does (``assoc_mgr.c``): an association has its part of
    the shares of its level, and of its parent's share. Slurm's own normalised shares do not serve:
    with Fair Tree they refer to the level, without it to the whole tree.

    Raises:
        ValueError: a row's parent is not among the rows.
    """
    tree = {row.id: row for row in rows}
    if missing := {row.parent for row in tree.values()} - tree.keys() - {None}:
        raise ValueError(f"associations {sorted(map(str, missing))} are parents but not listed")
    above = {row.id: row.parent for row in tree.values() if row.parent is not None}

    def passed_up(row: Association) -> Iterator[int]:
        """The accounts between a row and the level that it competes at."""
        parent = above[row.id]
        while tree[parent].shares == USE_PARENT and parent in above:
            yield parent
            parent = above[parent]

    competing = [tree[id] for id in above if tree[id].shares != USE_PARENT]
    level = {row.id: above[[row.id, *passed_up(row)][-1]] for row in competing}
    total: Counter[int] = Counter()
    for row in competing:
        total[level[row.id]] += row.shares

    @cache
    def share(id: int) -> float:
        if id not in level:
            return 1.0
        return share(level[id]) * tree[id].shares / (total[level[id]] or 1)

    part: defaultdict[int, float] = defaultdict(float)
    for row in competing:
        for member in (row.id, *passed_up(row)):
            part[member] += share(row.id)
    return {tree[id].account: part[id] for id in above if not tree[id].user}
