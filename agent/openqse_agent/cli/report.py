"""`openqse leases`, `queue` and `share`: tables of what the QPU agents report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from openqse.errors import OpenQSEError
from openqse.wire.reports import (
    MOST_ROWS,
    LeasesQuestion,
    Question,
    QueueQuestion,
    ShareQuestion,
)
from openqse_agent.cli import watch
from openqse_agent.cli.ask import inquire
from openqse_agent.cli.options import (
    Commands,
    add_command,
    add_qpus,
    add_site,
    add_timeout,
    chosen_qpus,
    complain,
    own_name,
)
from openqse_agent.cli.table import Column, Layout, Row, fraction, numbers, seconds, texts

_LEASES = Layout(
    (
        *texts("qpu"),
        *numbers("job_id"),
        *texts("user", "account"),
        *numbers("slots"),
        *texts("mode", "nodes", "id"),
        *numbers("generation"),
    ),
    texts("state"),
)
_LEASES_DESCRIPTION = """\
One line for each lease: a job's right to slots of a QPU."""
_LEASES_EXAMPLES = """\
openqse leases
openqse leases emu0 --job 1234
openqse leases --noheader -o job_id,nodes    # for a script"""

_QUEUE = Layout(
    (
        *texts("qpu"),
        *numbers("position", "job_id"),
        *texts("user", "account", "latency", "state"),
        *numbers("shots"),
        Column("done", "shots_done", right=True),
        seconds("waited", "waited_s"),
        seconds("start", "start_s"),
        seconds("qpu_time", "qpu_s"),
    ),
    texts("task", "session"),
)
_QUEUE_DESCRIPTION = """\
One line for each task, as squeue has one for each job: first the running tasks, then the waiting
ones in the order in which they will start.

START is the estimated time until the task starts, QPU_TIME its expected QPU time. Estimates go by
the tasks queued now and by how long their programs took last time. Interactive tasks that arrive
later, and accounts that are further below their share, may still come first. Parked tasks wait
until their process has taken its results."""
_QUEUE_EXAMPLES = """\
openqse queue --me
openqse queue emu0 -i 2                        # again every two seconds
openqse queue -A chem -o position,user,start"""

_SHARE = Layout(
    (
        *texts("qpu", "account", "user"),
        *numbers("raw_shares"),
        fraction("norm_shares"),
        seconds("raw_usage", "raw_usage"),
        fraction("norm_usage"),
        Column("level_fs", right=True),
        *numbers("tasks"),
    ),
    texts("parent"),
)
_SHARE_DESCRIPTION = """\
The fair tree, as sshare shows it, in QPU time: each account, and below it its users.

Shares and usage are normalised among siblings. Usage is QPU time and decays with Slurm's half-life.
LEVEL_FS is above 1 for those who have used less than their share, and 'inf' for those who have used
nothing. TASKS counts waiting tasks."""
_SHARE_EXAMPLES = """\
openqse share emu0
openqse share -A chem
openqse share --json | jq '.[] | select(.tasks > 0)'"""


@dataclass(frozen=True)
class _Report:
    """A question and its command. The answer has its rows under the name of the question's kind.

    Attributes:
        shown: turns the rows into those that a table prints.
    """

    question: Question[Any]
    layout: Layout
    help: str
    description: str
    examples: str
    shown: Callable[[list[Row]], list[Row]] = list

    @property
    def name(self) -> str:
        return self.question.kind.value


def add_parser(commands: Commands) -> None:
    """Adds the commands."""
    for report in (
        _Report(
            LeasesQuestion(),
            _LEASES,
            "which jobs hold which QPUs",
            _LEASES_DESCRIPTION,
            _LEASES_EXAMPLES,
        ),
        _Report(
            QueueQuestion(),
            _QUEUE,
            "the tasks of the QPUs, in the order in which they will run",
            _QUEUE_DESCRIPTION,
            _QUEUE_EXAMPLES,
        ),
        _Report(
            ShareQuestion(),
            _SHARE,
            "shares of the QPU time, and who used how much recently",
            _SHARE_DESCRIPTION,
            _SHARE_EXAMPLES,
            shown=_tree,
        ),
    ):
        run = partial(_run, report)
        iterates = isinstance(report.question, QueueQuestion)
        parser = add_command(
            commands,
            report.name,
            watch.repeated(run) if iterates else run,
            help=report.help,
            description=report.description,
            examples=report.examples,
        )
        add_qpus(parser)
        add_filters(parser, job=not isinstance(report.question, ShareQuestion))
        report.layout.add_options(parser)
        if iterates:
            watch.add_option(parser)
        add_site(parser)
        add_timeout(parser, 3.0)


def add_filters(parser: argparse.ArgumentParser, job: bool = True) -> None:
    """Adds ``--user``, ``--me``, ``--account`` and, where rows have jobs, ``--job``."""
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("-u", "--user", metavar="NAME", help="show only this user's")
    whose.add_argument("--me", action="store_true", help="show only your own")
    parser.add_argument("-A", "--account", metavar="NAME", help="show only this account's")
    if job:
        parser.add_argument("-j", "--job", type=int, metavar="ID", help="show only this job's")


def accepts(arguments: argparse.Namespace) -> Callable[[Row], bool]:
    """Whether a row passes the options of ``add_filters``.

    Raises:
        ArgumentError: ``--me`` is given and the user has no name.
    """
    given = {
        "user": own_name() if arguments.me else arguments.user,
        "account": arguments.account,
        "job_id": getattr(arguments, "job", None),
    }
    wanted = {key: value for key, value in given.items() if value is not None}
    return lambda row: all(row[key] == value for key, value in wanted.items())


def _run(report: _Report, arguments: argparse.Namespace) -> int:
    report.layout.chosen(arguments)  # before anybody is asked
    accepted = accepts(arguments)
    name = report.name
    answers = inquire(chosen_qpus(arguments), report.question, arguments.timeout)
    rows: list[Row] = []
    for qpu, answer in answers.items():
        if isinstance(answer, OpenQSEError):
            continue
        told = getattr(answer, name)
        rows += map(asdict, told)
        if isinstance(report.question, QueueQuestion) and len(told) == MOST_ROWS:
            print(
                f"openqse {name}: {qpu} may have more tasks than the first {MOST_ROWS}; only "
                "those are looked at",
                file=sys.stderr,
            )
    shown = rows if arguments.json else report.shown(rows)
    kept = [as_shown for row, as_shown in zip(rows, shown, strict=True) if accepted(row)]
    report.layout.show(arguments, kept)
    return complain(name, answers.values())


def _tree(rows: list[Row]) -> list[Row]:
    """The rows of a tree with accounts indented by their depth, as sshare prints them."""
    depth: dict[tuple[str, str], int] = {}
    indented = []
    for row in rows:
        qpu, name = row["qpu"], row["account"]
        if not row["user"]:
            depth[qpu, name] = depth.get((qpu, row["parent"]), -1) + 1
        spaces = depth.get((qpu, name), 0) + bool(row["user"])
        level = row["level_fs"]
        shown = {"account": " " * spaces + name, "level_fs": _level(level)}
        indented.append({**row, **shown})
    return indented


def _level(level: float | None) -> str:
    return "inf" if level is None else f"{level:.4g}"
