"""`openqse status`, `leases`, `queue`, `share` and `usage`: what the QPU agents know."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from openqse import site as sites
from openqse.errors import OpenQSEError
from openqse.site import SiteQPU
from openqse.wire.messages import Kind
from openqse_agent.cli import table
from openqse_agent.cli.ask import ask
from openqse_agent.cli.table import Row


@dataclass(frozen=True)
class _Report:
    """A report that the QPU agents give.

    Attributes:
        help, description: of its command.
        columns: printed where none are chosen. more: may be chosen besides.
        filters: columns by whose values rows can be chosen.
    """

    help: str
    description: str
    columns: tuple[str, ...]
    more: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()


_WHOSE = ("user", "account", "job_id")
_REPORTS = {
    Kind.STATUS: _Report(
        "state of the QPUs: slots, leases, tasks",
        "One line for each QPU, as sinfo has for partitions.",
        (
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
        (
            "tasks_queued",
            "batch_wait_slices_p50",
            "batch_wait_slices_p99",
            "interactive_wait_slices_p50",
            "interactive_wait_slices_p99",
            "leases_lapsed",
            "slurmctld",
            "revocation_suspended",
            "journal",
        ),
    ),
    Kind.LEASES: _Report(
        "which jobs hold which QPUs",
        "One line for each lease: a job's right to slots of a QPU.",
        ("qpu", "job_id", "user", "account", "slots", "mode", "nodes", "id", "generation"),
        ("state",),
        _WHOSE,
    ),
    Kind.QUEUE: _Report(
        "the tasks of the QPUs, in the order in which they are to run",
        "One line for each task, as squeue has for jobs: what runs, then what waits, by position "
        "and with the estimated seconds until its start. An estimate knows the tasks that are here "
        "and what their programs took last; later interactive tasks, and accounts with a better "
        "claim, may come in between. Parked tasks wait until their process takes its results.",
        (
            "qpu",
            "position",
            "job_id",
            "user",
            "account",
            "latency",
            "state",
            "shots",
            "shots_done",
            "waited_s",
            "start_s",
            "qpu_s",
        ),
        ("task", "session"),
        _WHOSE,
    ),
    Kind.SHARE: _Report(
        "shares of the QPU time, and who used how much of it lately",
        "The fair tree as sshare has it, in QPU time: each account, and below it its users. "
        "Normalised shares and usage refer to the siblings; usage decays with Slurm's half-life. "
        "A level_fs above 1 has used less than its share.",
        (
            "qpu",
            "account",
            "user",
            "raw_shares",
            "norm_shares",
            "raw_usage",
            "norm_usage",
            "level_fs",
            "tasks",
        ),
        ("parent",),
        ("user", "account"),
    ),
    Kind.USAGE: _Report(
        "what jobs were charged: tasks, shots, QPU time",
        "One line for each job, as sacct has: tasks that gave a result, their shots, and the QPU "
        "time that they were charged.",
        ("qpu", "job_id", "account", "user", "tasks", "shots", "qpu_seconds", "waited_s"),
        ("qpu_time_ns", "waited_ns"),
        _WHOSE,
    ),
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands."""
    for kind in _REPORTS:
        add_report(commands, kind, kind.value)


def add_report(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], kind: Kind, name: str
) -> None:
    """Adds the command of a report under a name."""
    report = _REPORTS[kind]
    parser = commands.add_parser(name, help=report.help, description=report.description)
    parser.set_defaults(run=_run, report=kind)
    parser.add_argument("qpu", nargs="*", help="only these QPUs (default: all of the site)")
    add_options(parser, timeout=3.0, json=False)
    table.add_options(parser, report.columns + report.more)
    if "user" in report.filters:
        parser.add_argument("-u", "--user", metavar="NAME", help="only this user's")
    if "account" in report.filters:
        parser.add_argument("-A", "--account", metavar="NAME", help="only this account's")
    if "job_id" in report.filters:
        parser.add_argument(
            "-j", "--job", dest="job_id", type=int, metavar="ID", help="only this job's"
        )


def add_options(parser: argparse.ArgumentParser, timeout: float, json: bool = True) -> None:
    """Adds what every question to QPU agents has: ``--site``, ``--timeout`` and ``--json``."""
    parser.add_argument(
        "--site",
        type=Path,
        default=sites.DEFAULT_PATH,
        metavar="FILE",
        help="site file (default: %(default)s)",
    )
    if json:
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
    kind: Kind = arguments.report
    report = _REPORTS[kind]
    known = report.columns + report.more
    if arguments.format:
        table.parse_format(arguments.format, known)  # before anybody is asked
    wanted = {
        column: value
        for column in report.filters
        if (value := getattr(arguments, column)) is not None
    }
    body = {"job_id": arguments.job_id} if kind == Kind.USAGE else {}
    answers = ask(chosen_qpus(arguments), kind, body, arguments.timeout)
    rows: list[Row] = []
    failures: list[OpenQSEError] = []
    for answer in answers.values():
        if isinstance(answer, OpenQSEError):
            failures.append(answer)
        else:
            rows.extend([answer] if kind == Kind.STATUS else answer[kind.value])
    rows = [row for row in rows if all(row[column] == wanted[column] for column in wanted)]
    for row in rows:
        if "qpu_time_ns" in row:
            row["qpu_seconds"] = row["qpu_time_ns"] * 1e-9
            row["waited_s"] = row["waited_ns"] * 1e-9
    if kind == Kind.SHARE and not arguments.json:
        rows = _indented(rows)
    table.show(arguments, known, report.columns, rows)
    for failure in failures:
        print(f"openqse {kind}: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _indented(rows: list[Row]) -> list[Row]:
    """The rows of a tree with accounts indented by their depth, as sshare prints them."""
    depth: dict[str, int] = {}
    indented = []
    for row in rows:
        name = row["account"]
        if not row["user"]:
            depth[name] = depth.get(row["parent"], -1) + 1
        spaces = depth.get(name, 0) + bool(row["user"])
        indented.append({**row, "account": " " * spaces + name})
    return indented
