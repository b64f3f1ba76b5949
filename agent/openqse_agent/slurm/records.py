"""What Slurm's records say, whoever fetched them: states, licenses and reservations."""

from __future__ import annotations

from collections.abc import Mapping

# A suspended job keeps its licenses; the others are flags that older releases print in place of
# the state RUNNING.
_RUNNING = frozenset({"RUNNING", "SUSPENDED", "CONFIGURING", "RESIZING", "SIGNALING", "STOPPED"})

# What slurmctld makes of a reservation without end (seconds).
ENDLESS = 365 * 86400


def is_running(state: str) -> bool:
    """Whether a job in this state, as Slurm words it, holds its allocation."""
    return state in _RUNNING


def remaining(running: bool, end_time: float | None, now: float | None) -> float | None:
    """Seconds left of a running job's time limit.

    Args:
        end_time: of the limit. now: the instant of the answer. Both by slurmctld's clock, seconds
            since the epoch; None where there is none.
    """
    return end_time - now if running and end_time is not None and now is not None else None


def held_licenses(running: bool, requested: str, allocated: str) -> dict[str, int]:
    """Number held by name, from the lists that a job record has.

    Args:
        running: whether the job holds its allocation; one that does not holds no license either.
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


def listed_licenses(licenses: Mapping[str, int]) -> str:
    """Licenses as Slurm lists them: ``qpu_emu0:2,qpu_emu1:1``."""
    return ",".join(f"{name}:{count}" for name, count in licenses.items())
