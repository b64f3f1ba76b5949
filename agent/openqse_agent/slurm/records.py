"""What Slurm's records say, whoever fetched them: states, licences and shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# A suspended job keeps its licences; the others are flags that older releases print in place of
# the state RUNNING.
_RUNNING = frozenset({"RUNNING", "SUSPENDED", "CONFIGURING", "RESIZING", "SIGNALING", "STOPPED"})

# Raw shares of an association whose children compete at its parent's level (``fairshare=parent``).
USE_PARENT = 0x7FFFFFFF


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


def account_shares(rows: Iterable[Association]) -> dict[str, float]:
    """Share of the whole fair tree (0 to 1) of each account but the root.

    Computed from raw shares, as slurmctld does (``assoc_mgr.c``): an association has its part of
    the shares of its level, and of its parent's share. Slurm's own normalised shares cannot be
    used: with Fair Tree they refer to the level, without it to the whole tree.
    """
    tree = {row.id: row for row in rows}

    def level(row: Association) -> int | None:
        above = row.parent
        while above is not None and tree[above].shares == USE_PARENT:
            above = tree[above].parent
        return above

    total: dict[int | None, int] = {}
    for row in tree.values():
        if row.shares != USE_PARENT:
            total[level(row)] = total.get(level(row), 0) + row.shares

    def share(row: Association) -> float:
        above = level(row)
        if above is None:
            return 1.0
        if row.shares == USE_PARENT:
            return _sum_of_members(row, tree, share)
        return share(tree[above]) * row.shares / total[above] if row.shares else 0.0

    return {
        row.account: share(row)
        for row in tree.values()
        if not row.user and row.parent is not None
    }
