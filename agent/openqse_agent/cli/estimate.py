"""`openqse estimate`: what a program would take of a QPU, and when it would run."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

from openqse import site as sites
from openqse.errors import OpenQSEError, ProgramError
from openqse.program.circuit import Circuit
from openqse.wire import limits
from openqse.wire.messages import Latency
from openqse.wire.programs import ProgramEnvelope
from openqse.wire.reports import EstimateQuestion
from openqse_agent.cli.ask import inquire
from openqse_agent.cli.options import Commands, add_command, add_site, add_timeout, own_name
from openqse_agent.cli.table import Layout, numbers, seconds, texts

_LAYOUT = Layout(
    (
        *texts("qpu"),
        seconds("qpu_time", "qpu_s"),
        seconds("wait", "wait_s"),
        *numbers("position", "tasks_ahead", "free"),
        *texts("reason"),
    )
)
_DESCRIPTION = """\
Says what a task would take if it were submitted now: QPU_TIME by the device's timing model, the
WAIT until it would start, and the POSITION in the queue that it would get. Nothing is run, nothing
is charged, and no job is needed. Where no slot is FREE a job waits in Slurm's queue before
('squeue --start'); while the QPU does not serve there is no WAIT, but a REASON.

The program is OpenQASM 2 or 3. Its free parameters need no values: they do not change what it
takes. The wait depends on the account's claim to the QPU, and knows the tasks that are there now,
each as far as it ran before: one whose program is new to the QPU counts as nothing.

A device without a timing model, or one that cannot run the program, says so: exit code 2."""
_EXAMPLES = """\
openqse estimate bell.qasm --qpu emu0 --shots 1000
openqse estimate ansatz.qasm --qpu emu0 --shots 4000 --parameter-sets 50 -A chem
python make_program.py | openqse estimate - --qpu emu0 --shots 100 --json"""


def add_parser(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "estimate",
        _run,
        help="what a program would take of a QPU, and when it would run",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument("program", metavar="PROGRAM", help="OpenQASM file; - for standard input")
    parser.add_argument("--qpu", required=True, metavar="NAME", help="on this QPU")
    parser.add_argument(
        "--shots", type=_count, required=True, metavar="N", help="shots of each parameter set"
    )
    parser.add_argument(
        "--parameter-sets",
        type=_count,
        default=1,
        metavar="K",
        help="sets of parameters in the one task (default: %(default)s)",
    )
    parser.add_argument(
        "-A",
        "--account",
        default=os.environ.get("SLURM_JOB_ACCOUNT", ""),
        metavar="NAME",
        help="the account by whose claim the wait goes (default: the job's that this runs in, or "
        "one without shares)",
    )
    parser.add_argument(
        "--latency",
        choices=tuple(map(str, Latency)),
        default=str(Latency.BATCH),
        help="class of the task (default: %(default)s)",
    )
    _LAYOUT.add_options(parser)
    add_site(parser)
    add_timeout(parser, 15.0)


def _run(arguments: argparse.Namespace) -> int:
    _LAYOUT.chosen(arguments)  # before anybody is asked
    qpu = sites.load(arguments.site).qpu(arguments.qpu)
    program = read_program(arguments.program).program
    limits.check_program(len(program.data))
    question = EstimateQuestion(
        program=program.data,
        envelope=ProgramEnvelope.of(program),
        shots=arguments.shots,
        parameter_sets=arguments.parameter_sets,
        account=arguments.account,
        user=own_name(),
        latency=Latency(arguments.latency),
    )
    answer = inquire([qpu], question, arguments.timeout)[qpu.name]
    if isinstance(answer, OpenQSEError):
        raise answer
    _LAYOUT.show(arguments, [asdict(answer)])
    return 0


def read_program(name: str) -> Circuit:
    """The circuit of an OpenQASM file, or of standard input where it is named ``-``.

    Raises:
        ProgramError: it cannot be read, or is no program. NotSupported, LimitExceeded: as
            ``openqasm.loads``.
    """
    from openqse.program.openqasm import loads  # large, and no other command needs it

    try:
        source = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"{name} cannot be read: {error}") from error
    return loads(source, "<stdin>" if name == "-" else name)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a whole number from 1")
    return number
