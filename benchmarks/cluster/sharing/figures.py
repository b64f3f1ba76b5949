"""What is computed from measurements. Values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def jain(service: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Jain's index of weighted service: 1 if all get in proportion, 1/n if one gets all.

    Jain, Chiu and Hawe, DEC Research Report TR-301 (1984).
    """
    parts = [service.get(name, 0.0) / weight for name, weight in weights.items()]
    squares = sum(part * part for part in parts)
    return sum(parts) ** 2 / (len(parts) * squares) if squares else 1.0


def share_error(service: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The largest difference of anybody's service from its share, in parts of that share."""
    total, weight = sum(service.values()), sum(weights.values())
    if not total:
        return 1.0
    return max(
        abs(service.get(name, 0.0) / total / (part / weight) - 1.0)
        for name, part in weights.items()
    )


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
