"""`openqse qpu list`: the state of the QPUs, one line for each."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from openqse.errors import OpenQSEError
from openqse.site import SiteQPU
from openqse.wire.reports import StatusQuestion, StatusReport
from openqse_agent.cli import watch
from openqse_agent.cli.ask import inquire
from openqse_agent.cli.options import (
    Commands,
    add_command,
    add_qpus,
    add_site,
    add_timeout,
    chosen_qpus,
)
from openqse_agent.cli.table import Column, Layout, Row, numbers, texts

_LAYOUT = Layout(
    (
        *texts("qpu", "state"),
        *numbers("slots", "free", "leases"),
        Column("tasks", "tasks_queued", right=True),
        *texts("busy", "calibration", "reason"),
    ),
    (
        *numbers(
            "batch_wait_slices_p50",
            "batch_wait_slices_p99",
            "interactive_wait_slices_p50",
            "interactive_wait_slices_p99",
            "leases_lapsed",
        ),
        *texts("slurmctld", "revocation_suspended", "journal"),
    ),
)
_DESCRIPTION = """\
One line for each QPU, as sinfo has one for each partition. 'openqse status' is the same command.

FREE counts slots that no lease holds, TASKS the tasks in the queue. BUSY says whether the device
has work, REASON why a QPU does not serve. STATE is one of

  up            it runs tasks
  draining      drained, but the last task still runs
  drained       it starts no task until 'openqse qpu resume' or the end of the window
  offline       its device reports that it cannot run anything
  unreachable   its agent does not answer

Exit code 0 if all agents answered, 1 if not."""
_EXAMPLES = """\
openqse qpu list
openqse qpu list emu0 -i 5                      # again every five seconds
openqse qpu list --noheader -o qpu,state        # for a script"""


def add_parser(commands: Commands, name: str) -> None:
    """Adds the command under a name."""
    parser = add_command(
        commands,
        name,
        watch.repeated(_run),
        help="state of the QPUs: slots, leases, tasks",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_qpus(parser)
    _LAYOUT.add_options(parser)
    watch.add_option(parser)
    add_site(parser)
    add_timeout(parser, 3.0)


def _run(arguments: argparse.Namespace) -> int:
    _LAYOUT.chosen(arguments)  # before anybody is asked
    qpus = chosen_qpus(arguments)
    answers = inquire(qpus, StatusQuestion(), arguments.timeout)
    rows = [row_of(qpu, answers[qpu.name]) for qpu in qpus]
    if not arguments.json:
        for row in rows:
            row["reason"] = _reason(row)
    _LAYOUT.show(arguments, rows)
    return 1 if any(isinstance(answer, OpenQSEError) for answer in answers.values()) else 0


def row_of(qpu: SiteQPU, answer: StatusReport | OpenQSEError) -> Row:
    """An agent's report with the QPU's ``state`` added, or a row that says it is unreachable."""
    if isinstance(answer, OpenQSEError):
        return {
            "qpu": qpu.name,
            "state": "unreachable",
            "slots": qpu.slots,
            "reason": str(answer),
        }
    if not answer.online:
        state = "offline"
    elif answer.drained:
        state = "draining" if answer.busy else "drained"
    else:
        state = "up"
    return asdict(answer) | {"state": state}


def _reason(row: Row) -> str:
    drained = row.get("drained")
    return "; ".join(filter(None, (row["reason"], f"drained {drained}" if drained else "")))
