"""Who is entitled to how much of a QPU, and who used how much lately: Slurm's fair tree, with usage
in QPU time that decays as Slurm's does.

Values, no I/O and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from openqse_agent.slurm.client import AccountShare

#: A node: ``("reservation", name)``, ``("account", name)`` or ``("user", account, name)``.
Key: TypeAlias = tuple[str, ...]

#: Seconds: Slurm's own default of PriorityDecayHalfLife.
DEFAULT_HALF_LIFE = 7 * 86400.0
#: The least part of the QPU time that is left to those without a reservation while they wait.
_UNRESERVED = 0.01


@dataclass(frozen=True)
class ShareRow:
    """What a report says of an account, or of a user in it.

    As in ``sshare`` of a fair tree, what is normalised refers to the siblings.

    Attributes:
        raw_usage: decayed QPU time, seconds.
        level_fs: norm_shares / norm_usage, above 1 for those who have used less than their share;
            None (infinite) without usage.
    """

    account: str
    user: str
    parent: str
    raw_shares: int | None
    norm_shares: float
    raw_usage: float
    norm_usage: float
    level_fs: float | None


def decay_per_second(half_life: float | None) -> float:
    """By what usage is multiplied each second.

    Slurm's own formula (``priority_multifactor.c``), which takes ln 2 as 0.693 and the first order
    of the exponential.

    Args:
        half_life: seconds; None for no decay.
    """
    return 1.0 if half_life is None else max(0.0, 1.0 - 0.693 / half_life)


class ShareTree:
    """The fair tree as the queue sees it. Who is not in it has one share, directly below the top.

    Args:
        half_life: of usage, seconds; None for no decay.
    """

    def __init__(self, half_life: float | None = DEFAULT_HALF_LIFE) -> None:
        self._decay = decay_per_second(half_life)
        self._accounts: dict[str, AccountShare] = {}
        self._users: dict[tuple[str, str], int | None] = {}
        self._reserved: dict[str, float] = {}
        self._siblings: dict[Key, int] = {}  # raw shares below a node, all together
        self._used: dict[Key, tuple[float, float]] = {}  # decayed seconds, and as of when

    def update(
        self,
        accounts: Mapping[str, AccountShare],
        users: Mapping[tuple[str, str], int | None],
        half_life: float | None,
    ) -> None:
        """Takes over the tree of Slurm's associations; usage stays.

        Args:
            accounts: by name, without root. users: raw shares by account and user; None as for an
                account: no shares of their own, so one.

        Raises:
            ValueError: an account is above itself.
        """
        for name in accounts:
            seen, above = {name}, accounts[name].parent
            while above in accounts:
                if above in seen:
                    raise ValueError(f"account {name!r} is above itself")
                seen.add(above)
                above = accounts[above].parent
        self._decay = decay_per_second(half_life)
        self._accounts = dict(accounts)
        self._users = dict(users)
        self._siblings = {}
        for name, place in accounts.items():
            if place.shares is not None:
                above_key = self._level(name)
                self._siblings[above_key] = self._siblings.get(above_key, 0) + place.shares
        for account, user in users:
            level = self._level_of_user(account)
            key: Key = ("user", account, user)
            self._siblings[level] = self._siblings.get(level, 0) + int(self.weight(key))

    def reserve(self, fractions: Mapping[str, float]) -> None:
        """Sets which reservations there are, and what part of the QPU time each is promised."""
        total = sum(fractions.values())
        scale = min(1.0, (1.0 - _UNRESERVED) / total) if total else 1.0
        self._reserved = {name: part * scale for name, part in fractions.items() if part > 0}

    # --- the queue's questions -------------------------------------------------------------------

    def path(self, reservation: str, account: str, user: str) -> Iterator[Key]:
        """The nodes from the top to a user."""
        yield "reservation", reservation if reservation in self._reserved else ""
        yield from reversed(list(self._upwards(account)))
        yield "user", account, user

    def weight(self, key: Key) -> float:
        """A node's weight among its siblings; only ratios matter."""
        kind, name = key[0], key[1]
        if kind == "reservation":
            return self._reserved.get(name, 1.0 - sum(self._reserved.values()))
        shares = (
            self._users.get((name, key[2]))
            if kind == "user"
            else self._accounts.get(name, _STRANGER).shares
        )
        return float(1 if shares is None else max(shares, 0)) or _NO_SHARES

    def charge(self, account: str, user: str, seconds: float, now: float) -> None:
        """Adds to the usage of a user and of all accounts above.

        Args:
            seconds: QPU time. now: when, seconds of a clock that never jumps.
        """
        for key in self._charged(account, user):
            self._used[key] = (self.usage(key, now) + seconds, now)

    def usage(self, key: Key, now: float) -> float:
        """A node's decayed usage in seconds of QPU time; of the whole QPU for the empty key."""
        used, at = self._used.get(key, (0.0, now))
        return used * math.pow(self._decay, max(0.0, now - at))

    def lack(self, key: Key, now: float) -> float:
        """What part of its share a node has not used lately: 1 for who used nothing, 0 for who had
        its share or more."""
        if key[0] == "reservation":
            return 0.0
        norm_shares, norm_usage = self._norms(key, now)
        return max(0.0, 1.0 - norm_usage / norm_shares) if norm_shares else 0.0

    def frozen(self) -> ShareTree:
        """A copy whose usage changes by itself."""
        copy = ShareTree()
        copy.__dict__.update(self.__dict__)
        copy._used = dict(self._used)
        return copy

    # --- reports ---------------------------------------------------------------------------------

    def rows(self, now: float) -> list[ShareRow]:
        """The tree from the top, each account before its members."""
        users = dict(self._users)
        accounts = dict(self._accounts)
        for key in self._used:  # who used the QPU counts, whether Slurm has it or not
            if key and key[0] == "account":
                accounts.setdefault(key[1], _STRANGER)
            elif key:
                users.setdefault((key[1], key[2]), 1)
        members: dict[str, list[tuple[str, int | None]]] = {}
        for (account, user), shares in sorted(users.items(), key=lambda item: item[0]):
            members.setdefault(account, []).append((user, shares))
        below: dict[str, list[str]] = {}
        for name, place in sorted(accounts.items()):
            above = place.parent if place.parent in accounts else ""
            below.setdefault(above, []).append(name)
        found: list[ShareRow] = []

        def add(name: str, parent: str) -> None:
            found.append(self._row(("account", name), parent, accounts[name].shares, now))
            for user, raw in members.get(name, ()):
                found.append(self._row(("user", name, user), name, raw, now))
            for child in below.get(name, []):
                add(child, name)

        for name in below.get("", []):
            add(name, "")
        return found

    def _row(self, key: Key, parent: str, shares: int | None, now: float) -> ShareRow:
        norm_shares, norm_usage = self._norms(key, now)
        return ShareRow(
            account=key[1],
            user=key[2] if key[0] == "user" else "",
            parent=parent,
            raw_shares=shares,
            norm_shares=norm_shares,
            raw_usage=self.usage(key, now),
            norm_usage=norm_usage,
            level_fs=norm_shares / norm_usage if norm_usage else None,
        )

    # --- the tree --------------------------------------------------------------------------------

    def _norms(self, key: Key, now: float) -> tuple[float, float]:
        """A node's part of its siblings' shares, and of their usage."""
        level = self._level(key[1]) if key[0] == "account" else self._level_of_user(key[1])
        weight = self.weight(key)
        listed = key[1:] in self._users if key[0] == "user" else key[1] in self._accounts
        total = self._siblings.get(level, 0) + (0 if listed else weight)
        used = self.usage(level, now)
        return weight / (total or 1.0), self.usage(key, now) / used if used else 0.0

    def _upwards(self, account: str) -> Iterator[Key]:
        """The accounts that compete between a user and the top, from below."""
        while account:
            place = self._accounts.get(account, _STRANGER)
            if place.shares is not None:
                yield "account", account
            account = place.parent

    def _charged(self, account: str, user: str) -> Iterator[Key]:
        yield "user", account, user
        while account:
            yield "account", account
            account = self._accounts.get(account, _STRANGER).parent
        yield ()

    def _level(self, account: str) -> Key:
        """The node at whose level an account competes."""
        above = self._accounts.get(account, _STRANGER).parent
        return next(self._upwards(above), ()) if above else ()

    def _level_of_user(self, account: str) -> Key:
        return next(self._upwards(account), ())


#: Who is not in the tree.
_STRANGER = AccountShare("", 1)
#: Weight of who has no shares: next to nothing, and yet nobody starves.
_NO_SHARES = 1e-3
