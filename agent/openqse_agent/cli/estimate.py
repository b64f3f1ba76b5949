"""`openqse estimate`: a program's QPU time, and when it would run."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict

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
Estimates a task as if it were submitted now: its QPU_TIME by the device's timing model, the WAIT
until it would start, and its POSITION in the queue. Nothing is run or charged, and no job is
needed. If no slot is FREE, a job first waits in Slurm's queue ('squeue --start'). If the QPU does
not serve, there is a REASON in place of a WAIT.

The program is OpenQASM 2 or 3. Its free parameters need no values, since they do not change its QPU
time. The wait depends on the account's share and on the tasks queued now. A queued task whose
program is new to the QPU counts as nothing.

Exit code 2, with the reason, if the device has no timing model or cannot run the program."""
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
        help="estimate a program's QPU time and when it would run",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument("program", metavar="PROGRAM", help="OpenQASM file; - for standard input")
    parser.add_argument("--qpu", required=True, metavar="NAME", help="the QPU to ask")
    parser.add_argument(
        "--shots", type=_count, required=True, metavar="N", help="shots of each parameter set"
    )
    parser.add_argument(
        "--parameter-sets",
        type=_count,
        default=1,
        metavar="K",
        help="parameter sets of the task (default: %(default)s)",
    )
    parser.add_argument(
        "-A",
        "--account",
        default=os.environ.get("SLURM_JOB_ACCOUNT", ""),
        metavar="NAME",
        help="account whose share decides the wait (default: that of the job this runs in, or one "
        "without shares)",
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
    from openqse.program.openqasm import load, loads  # no other command needs it

    try:
        return loads(sys.stdin.read(), "<stdin>") if name == "-" else load(name)
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"{name} cannot be read: {error}") from error


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a whole number of at least 1")
    return number
