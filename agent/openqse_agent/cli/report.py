"""`openqse status`, `leases` and `usage`: what the QPU agents know, as tables or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openqse import site as sites
from openqse.errors import OpenQSEError
from openqse.site import SiteQPU
from openqse.wire.messages import Kind
from openqse_agent.cli.ask import ask

Row = dict[str, Any]

_COLUMNS = {
    "status": (
        "qpu",
        "online",
        "slots",
        "free",
        "leases",
        "tasks",
        "calibration",
        "reason",
        "drained",
    ),
    "leases": ("qpu", "job_id", "user", "account", "slots", "mode", "nodes", "id", "generation"),
    "usage": ("qpu", "job_id", "account", "user", "tasks", "shots", "qpu_seconds"),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands."""
    for name, text in (
        ("status", "state of the QPUs: slots, leases, tasks"),
        ("leases", "which jobs hold which QPUs"),
        ("usage", "what jobs were charged: tasks, shots, QPU time"),
    ):
        parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        parser.set_defaults(run=_run, report=name)
        parser.add_argument("qpu", nargs="*", help="only these QPUs (default: all of the site)")
        add_options(parser, timeout=3.0)
        if name == "usage":
            parser.add_argument("--job", type=int, metavar="ID", help="only this job")


def add_options(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Adds what every question to QPU agents has: ``--site``, ``--json``, ``--timeout``."""
    parser.add_argument(
        "--site",
        type=Path,
        default=sites.DEFAULT_PATH,
        metavar="FILE",
        help="site file (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=timeout,
        metavar="SECONDS",
        help="wait for the QPU agents at most this long (default: %(default)s)",
    )


def chosen_qpus(arguments: argparse.Namespace) -> list[SiteQPU]:
    """The QPUs that a command names, or all of the site."""
    site = sites.load(arguments.site)
    return [site.qpu(name) for name in arguments.qpu] or list(site.qpus.values())


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("give seconds above 0 and up to 3600")
    return seconds


def _run(arguments: argparse.Namespace) -> int:
    qpus = chosen_qpus(arguments)
    report: str = arguments.report
    body = {"job_id": arguments.job} if report == "usage" else {}
    answers = ask(qpus, Kind(report), body, arguments.timeout)
    rows: list[Row] = []
    failures: list[OpenQSEError] = []
    for answer in answers.values():
        if isinstance(answer, OpenQSEError):
            failures.append(answer)
        else:
            rows.extend([answer] if report == "status" else answer[report])
    for row in rows:
        if "qpu_time_ns" in row:
            row["qpu_seconds"] = row["qpu_time_ns"] * 1e-9
    if arguments.json:
        print(json.dumps(rows))
    else:
        print_table(_COLUMNS[report], rows)
    for failure in failures:
        print(f"openqse {report}: {failure}", file=sys.stderr)
    return 1 if failures else 0


def print_table(columns: Sequence[str], rows: list[Row]) -> None:
    """Prints rows under a head line, in columns as wide as they need to be."""
    cells = [[column.upper() for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
