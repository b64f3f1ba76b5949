"""Spans of time as people read them."""

from __future__ import annotations

#: Units below a minute, and their seconds.
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def span(seconds: float) -> str:
    """Seconds with a unit and three digits; from a minute on as Slurm has it, ``[d-]hh:mm:ss``."""
    seconds = float(f"{seconds:.3g}") if abs(seconds) < 60 else seconds  # 59.99 is a minute
    if seconds == 0:
        return "0s"
    if seconds < 60:
        unit = next((u for u, size in _UNITS.items() if seconds >= size), "ns")
        return f"{seconds / _UNITS[unit]:.3g}{unit}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{rest:02}"
