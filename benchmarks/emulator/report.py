"""Lines of JSON, geometric means and the Markdown table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.emulator.engine import Kind, Task
from benchmarks.emulator.measure import Outcome

#: Sizes, qubits, that the means are of.
_MEAN_OF = range(16, 27)
#: Bytes of a state from which on peak memory says something about states.
_TELLING = 2**20


class Case(NamedTuple):
    """What is measured."""

    workload: str
    qubits: int
    precision: str
    threads: int

    @property
    def name(self) -> str:
        return f"emulator.{self.workload}.{self.qubits}.{self.precision}.{self.threads}"


def state_bytes(qubits: int, precision: str) -> int:
    """Memory that a state takes."""
    return int((16 if precision == "double" else 8) * 2**qubits)


def line(case: Case, task: Task, outcome: Outcome, bandwidth: float) -> dict[str, Any]:
    """A case as a line of the benchmark: times in seconds, memory in bytes.

    ``sweeps_per_gate`` is the time of execution over that in which memory allows the state to be
    read and written once, for each gate of the circuit; ``bandwidth`` is in bytes a second.
    """
    best = outcome.peers[0] if outcome.peers else None
    made: dict[str, Any] = {"name": case.name, "value": _rounded(outcome.ours.seconds), "unit": "s"}
    if best is not None:
        made |= {
            "peer": best.label,
            "peer_value": _rounded(best.seconds),
            "ratio": _rounded(best.seconds / outcome.ours.seconds),
        }
    made |= {name: _rounded(seconds) for name, seconds in outcome.ours.parts.items()}
    if best is not None:
        made |= {f"peer_{name}": _rounded(seconds) for name, seconds in best.parts.items()}
    made["repeats"] = len(outcome.ours.laps)
    made["gates"] = task.num_gates
    made["peak_bytes"] = outcome.ours.peak_bytes
    if task.kind not in (Kind.CLIFFORD, Kind.DENSITY):
        size = state_bytes(case.qubits, case.precision)
        made["state_bytes"] = size
        if task.kind is Kind.STATE:
            sweeps = outcome.ours.parts["execute_s"] * bandwidth / (2 * size)
            made["sweeps"] = _rounded(sweeps)
            made["sweeps_per_gate"] = _rounded(sweeps / task.num_gates)
    made["others"] = {timing.label: _rounded(timing.seconds) for timing in outcome.peers[1:]}
    made["skipped"] = outcome.skipped
    if outcome.disagreements:
        found = (f"{label} {how}" for label, how in outcome.disagreements.items())
        made["error"] = f"results disagree: {'; '.join(found)}"
    return made


def means(measured: Iterable[tuple[Case, dict[str, Any]]]) -> list[dict[str, Any]]:
    """For each precision and number of threads the geometric mean of the ratios of state vectors
    of 16 to 26 qubits, and the worst of them."""
    groups: dict[tuple[str, int], dict[str, float]] = {}
    for case, made in measured:
        if case.qubits in _MEAN_OF and "state_bytes" in made and "ratio" in made:
            group = groups.setdefault((case.precision, case.threads), {})
            group[case.name] = made["ratio"]
    lines = []
    for (precision, threads), ratios in groups.items():
        worst = min(ratios, key=lambda name: ratios[name])
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        lines.append(
            {
                "name": f"emulator.geomean.{precision}.{threads}",
                "value": _rounded(mean),
                "unit": "ratio",
                "cases": len(ratios),
                "worst": worst,
                "worst_ratio": ratios[worst],
            }
        )
    return lines


def table(
    measured: Sequence[tuple[Case, dict[str, Any]]], summary: Sequence[dict[str, Any]]
) -> str:
    """The lines as Markdown."""
    rows = [
        "| Workload | Qubits | Precision | Threads | Ours | Best peer | Its time | Ratio "
        "| Sweeps a gate | Peak memory | States |",
        "|---|--:|---|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for case, made in measured:
        peak, state = made.get("peak_bytes"), made.get("state_bytes")
        said = [made[key] for key in ("peer", "unsupported", "error") if key in made]
        cells = [
            *map(str, case),
            _time(made["value"]),
            "; ".join(said),
            _time(made.get("peer_value")),
            _number(made.get("ratio")),
            _number(made.get("sweeps_per_gate")),
            "" if peak is None else f"{peak / 2**20:.1f} MiB",
            "" if peak is None or state is None or state < _TELLING else _number(peak / state),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    if summary:
        rows += [
            "",
            "| State vectors of 16 to 26 qubits | Cases | Geometric mean of the ratios | Worst |",
            "|---|--:|--:|---|",
        ]
    for made in summary:
        worst = f"{_number(made['worst_ratio'])} ({made['worst']})"
        cells = [made["name"], str(made["cases"]), _number(made["value"]), worst]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
