"""`openqse usage`: what was charged, by job, user or account."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from openqse.errors import OpenQSEError
from openqse.wire.reports import UsageQuestion
from openqse_agent.cli.ask import inquire
from openqse_agent.cli.options import (
    Commands,
    add_command,
    add_qpus,
    add_site,
    add_timeout,
    chosen_qpus,
    complain,
)
from openqse_agent.cli.report import accepts, add_filters
from openqse_agent.cli.table import Column, Layout, Row, numbers, seconds, texts

_DESCRIPTION = """\
What was charged, for each job, as sacct shows it, or summed by user or account: the tasks that gave
a result, their shots, their QPU time, and how long they waited in total."""
_EXAMPLES = """\
openqse usage --job 1234
openqse usage --by account emu0
openqse usage --me -o job_id,tasks,qpu_time"""

#: By what rows are summed up: the columns that tell them apart.
_BY = {
    "job": ("qpu", "job_id", "account", "user"),
    "user": ("qpu", "account", "user"),
    "account": ("qpu", "account"),
}
_SUMS = ("tasks", "shots", "qpu_time_ns", "waited_ns")
_COUNTS = (
    *numbers("tasks", "shots"),
    seconds("qpu_time", "qpu_seconds"),
    seconds("waited", "waited_s"),
)
_LAYOUTS = {
    "job": Layout((*texts("qpu"), *numbers("job_id"), *texts("account", "user"), *_COUNTS)),
    "user": Layout((*texts("qpu", "account", "user"), Column("jobs", right=True), *_COUNTS)),
    "account": Layout((*texts("qpu", "account"), *numbers("users", "jobs"), *_COUNTS)),
}
#: Whatever may be chosen, as the help lists it; a table has what its rows have.
_ANY = Layout(tuple(dict.fromkeys(c for layout in _LAYOUTS.values() for c in layout.columns)))


def add_parser(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "usage",
        _run,
        help="what jobs, users and accounts were charged: tasks, shots, QPU time",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_qpus(parser)
    parser.add_argument(
        "--by", choices=list(_BY), default="job", help="one line for each (default: %(default)s)"
    )
    add_filters(parser)
    _ANY.add_options(parser)
    add_site(parser)
    add_timeout(parser, 3.0)


def _run(arguments: argparse.Namespace) -> int:
    layout = _LAYOUTS[arguments.by]
    layout.chosen(arguments)  # before anybody is asked
    accepted = accepts(arguments)
    answers = inquire(chosen_qpus(arguments), UsageQuestion(arguments.job), arguments.timeout)
    rows = [
        row
        for answer in answers.values()
        if not isinstance(answer, OpenQSEError)
        for row in map(asdict, answer.usage)
        if accepted(row)
    ]
    if arguments.by != "job":
        rows = summed(rows, arguments.by)
    for row in rows:
        row["qpu_seconds"] = row["qpu_time_ns"] * 1e-9
        row["waited_s"] = row["waited_ns"] * 1e-9
    layout.show(arguments, rows)
    return complain("usage", answers.values())


def summed(rows: list[Row], by: str) -> list[Row]:
    """The rows of jobs as rows of users or accounts, in their order.

    Args:
        by: "user" or "account".
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in _BY[by]), []).append(row)
    return [
        dict(zip(_BY[by], names, strict=True))
        | {"users": len({row["user"] for row in group})}
        | {"jobs": len({row["job_id"] for row in group})}
        | {key: sum(row[key] for row in group) for key in _SUMS}
        for names, group in sorted(groups.items())
    ]
