"""The fair tree in the words of ``sshare`` and ``scontrol show config``."""

from __future__ import annotations

import re
from collections import Counter

from openqse_agent.slurm.client import AccountShare, FairTree

#: The columns of ``sshare`` that ``read`` takes.
COLUMNS = "Account,User,RawShares,RawUsage"

# What slurmctld takes where slurm.conf says nothing (seconds).
_DEFAULT_HALF_LIFE = 7 * 86400.0


def read(sshare: str, config: str) -> FairTree:
    """The tree of one cluster.

    Args:
        sshare: rows of ``COLUMNS`` without header, separated by ``|``; an account's indent is its
            depth in the tree, and a user's row stands below its account's.
        config: lines ``KEY = VALUE``.

    Raises:
        ValueError: either is none of these.
    """
    accounts: dict[str, AccountShare] = {}
    users: dict[tuple[str, str], int | None] = {}
    usage: Counter[tuple[str, str]] = Counter()
    path: list[str] = []
    for line in sshare.splitlines():
        indented, user, shares, used = line.split("|")
        account = indented.lstrip()
        depth = len(indented) - len(account)
        if depth > len(path):
            raise ValueError(f"{account} is indented deeper than its parent's child")
        del path[depth:]
        usage[account, user] += int(used)
        if user:
            users[account, user] = _greater(users.get((account, user)), _raw(shares))
        elif path:
            parent = path[-1] if depth > 1 else ""
            accounts[account] = AccountShare(parent, _raw(shares))
        path.append(account)
    if not path:
        raise ValueError("it has no rows")
    half_life, reset_period = _decay(config)
    return FairTree(half_life, reset_period, accounts, users, dict(usage))


def _raw(shares: str) -> int | None:
    return None if shares == "parent" else int(shares)


def _greater(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return max(first, second)


def _decay(config: str) -> tuple[float | None, str]:
    values = dict(re.findall(r"^(Priority\w+) *= *(\S+)", config, re.MULTILINE))
    if values.get("PriorityType") == "priority/basic":  # it prints no more, and decays nothing
        return _DEFAULT_HALF_LIFE, "NONE"
    missing = {"PriorityDecayHalfLife", "PriorityUsageResetPeriod"} - values.keys()
    if missing:
        raise ValueError(f"no {min(missing)} in scontrol show config")
    return parse_half_life(values["PriorityDecayHalfLife"]), values["PriorityUsageResetPeriod"]


def parse_half_life(text: str) -> float | None:
    """Seconds of a time in Slurm's forms; None for no decay: zero or ``UNLIMITED``.

    The forms are ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``,
    ``days-hours:minutes`` and ``days-hours:minutes:seconds`` (slurm.conf(5)).

    Raises:
        ValueError: it has none of these.
    """
    if text.upper() in ("UNLIMITED", "INFINITE", "-1"):
        return None
    if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", text):
        raise ValueError(f"{text!r} is no time")
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if not dash and len(parts) < 3:
        parts.insert(0, 0)  # without days the first number is minutes, unless there are three
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return (int(days or 0) * 86400.0 + hours * 3600 + minutes * 60 + seconds) or None
