"""The command `openqse-simulate`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from openqse.errors import ArgumentError, OpenQSEError
from openqse_simulator import plots, sources, traces
from openqse_simulator.measures import Report
from openqse_simulator.policies import POLICIES, Settings
from openqse_simulator.scenarios import SCENARIOS, exclusive
from openqse_simulator.site import simulate
from openqse_simulator.traces import Trace

_MODES: dict[str, Callable[[Trace], Trace]] = {
    "shared": lambda trace: trace,
    "exclusive": exclusive,
}
_DESCRIPTION = """\
Runs a trace of jobs and their tasks through a simulated site, with the QPU agent's own queue and
with other policies, and compares them. A trace is a scenario, a trace file, the journal of a QPU
agent, or output of sacct. Scenarios: """ + "; ".join(
    f"{name}: {' '.join((made.__doc__ or '').split()).rstrip('.')}"
    for name, made in SCENARIOS.items()
)


def main(argv: list[str] | None = None) -> int:
    """Simulates as the arguments say; errors are one line on stderr and exit code 2."""
    arguments = parser().parse_args(argv)
    try:
        _run(arguments)
    except OpenQSEError as error:
        print(f"openqse-simulate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="openqse-simulate", description=_DESCRIPTION)
    made.add_argument("trace", help=f"a file or a scenario: {', '.join(SCENARIOS)}")
    made.add_argument(
        "--policy",
        type=_among("policy", POLICIES),
        default=list(POLICIES),
        metavar="NAME[,…]",
        help=f"policies to run, of {', '.join(POLICIES)} (default: all)",
    )
    made.add_argument(
        "--mode",
        type=_among("mode", _MODES),
        default=["shared"],
        metavar="NAME[,…]",
        help="shared: as the trace says (default); exclusive: every job takes a whole QPU",
    )
    made.add_argument(
        "--tasks", type=int, default=10_000, help="number of tasks of a scenario (default: 10,000)"
    )
    made.add_argument("--seed", type=int, default=1, help="random seed of a scenario (default: 1)")
    for setting in fields(Settings):
        made.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=float,
            default=setting.default,
            metavar="SECONDS",
            help=f"[qpu] {setting.name} of the QPU agents (default: {setting.default})",
        )
    made.add_argument("--json", action="store_true", help="print one JSON object for each run")
    made.add_argument("--save", type=Path, metavar="FILE", help="write the trace to a file")
    made.add_argument(
        "--plots", type=Path, metavar="DIRECTORY", help="write plots, as SVG, into this folder"
    )
    return made


def _among(what: str, known: dict[str, Any]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {what} {name!r} (known: {', '.join(known)})")
        return names

    return parse


def _run(arguments: argparse.Namespace) -> None:
    settings = Settings(**{each.name: getattr(arguments, each.name) for each in fields(Settings)})
    if settings.slice <= 0 or min(settings.interactive_credit, settings.idle_credit) < 0:
        raise ArgumentError("slice must be more than 0 s, and the credits not less")
    trace = _trace(arguments)
    if arguments.save:
        traces.save(trace, arguments.save)
    reports: dict[str, Report] = {}
    for mode in arguments.mode:
        changed = _MODES[mode](trace)
        for policy in arguments.policy:
            name = policy if len(arguments.mode) == 1 else f"{policy}, {mode}"
            with _Progress(name, trace.tasks) as progress:
                report = reports[name] = simulate(changed, policy, settings, progress)
            if arguments.json:
                line = {"trace": arguments.trace, "mode": mode, **report.figures()}
                print(json.dumps(line | {"seconds": round(progress.seconds, 3)}), flush=True)
    if not arguments.json:
        _print(reports)
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        for path in plots.write(reports, arguments.plots):
            print(path, file=sys.stderr)


def _trace(arguments: argparse.Namespace) -> Trace:
    made = SCENARIOS.get(arguments.trace)
    if made is None:
        return sources.load(Path(arguments.trace))
    if arguments.tasks < 1 or arguments.seed < 0:
        raise ArgumentError("give at least one task, and a seed from 0")
    return made(arguments.tasks, np.random.default_rng(arguments.seed))


def _print(reports: dict[str, Report]) -> None:
    """A table with a column for each run."""
    figures = {name: report.figures() for name, report in reports.items()}
    lines = [["figure", *figures]]
    for kind in next(iter(figures.values())):
        if kind != "policy":
            lines.append([kind, *(_figure(found[kind]) for found in figures.values())])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for kind, *cells in lines:
        print("  ".join([kind.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


class _Progress:
    """Reports a run's progress on stderr, every second.

    Attributes:
        seconds: that it took.
    """

    def __init__(self, name: str, tasks: int) -> None:
        self._name, self._tasks = name, tasks
        self.seconds = 0.0

    def __enter__(self) -> _Progress:
        self._began = self._said = time.monotonic()
        return self

    def __call__(self, tasks: int) -> None:
        now = time.monotonic()
        if now - self._said >= 1:
            self._said = now
            self._say(f"{tasks:,} of {self._tasks:,} tasks", now)

    def __exit__(self, *error: object) -> None:
        now = time.monotonic()
        self.seconds = now - self._began
        self._say(f"{self._tasks:,} tasks", now)

    def _say(self, what: str, now: float) -> None:
        print(f"{self._name}: {what}, {now - self._began:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
