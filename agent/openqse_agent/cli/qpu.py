"""`openqse qpu`: the state of QPUs; taking one out of service and back into it."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import socket
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from openqse import site as sites
from openqse.errors import ArgumentError, OpenQSEError
from openqse.site import SiteQPU
from openqse.wire.control import Drain, Resume, ServiceReport
from openqse.wire.reports import Question, StatusQuestion, StatusReport
from openqse_agent import config, keys
from openqse_agent.cli import qpus
from openqse_agent.cli.ask import inquire
from openqse_agent.cli.options import (
    Commands,
    add_command,
    add_group,
    add_json,
    add_qpus,
    add_site,
    add_timeout,
    chosen_qpus,
    complain,
)
from openqse_agent.cli.table import print_table, texts

_DRAIN = """\
Takes a QPU out of service, now or at a planned time. From then on

- no task is started. Running tasks end and give their results. The others wait until the QPU is
  back, their timeout passes or their job ends: nobody's work is thrown away. A task that waited too
  long gets an error that says that the QPU was drained, by whom and why;
- Slurm starts no new job with this QPU: its licenses are reserved, and jobs wait for them
  (Reason=Licenses). Jobs whose time limit would reach into a planned window wait too.

The drain lasts until 'openqse qpu resume', or as long as --for says, even if agents or Slurm are
restarted. 'openqse qpu list' shows it to everybody. To end running jobs as well, use Slurm's own
commands.

Only administrators may drain: root on the host of the QPU's agent, and holders of a key that is
authorised there ('openqse-keys admin')."""

_DRAIN_EXAMPLES = """\
openqse qpu drain emu0 --reason "laser locked out"
openqse qpu drain emu0 --reason calibration --start 2027-01-31T08:00 --for 2h"""
_RESUME_EXAMPLES = """\
openqse qpu resume emu0
openqse qpu resume emu0 --start 2027-01-31T08:00    # cancels that planned window"""

_COLUMNS = texts("qpu", "state", "start", "end", "by", "reason")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_parser(commands: Commands) -> None:
    """Adds the command group."""
    actions = add_group(
        commands, "qpu", "ACTION", help="list QPUs; drain and resume one; their planned windows"
    )
    qpus.add_parser(actions, "list")

    parser = add_command(
        actions,
        "drain",
        _drain,
        help="stop starting tasks and jobs, now or at a planned time",
        description=_DRAIN,
        examples=_DRAIN_EXAMPLES,
    )
    _add_change(parser)
    parser.add_argument(
        "--reason", required=True, metavar="TEXT", help="why, for everybody to read"
    )
    parser.add_argument(
        "--start",
        type=_instant,
        metavar="TIME",
        help="when it begins, such as 2027-01-31T08:00, in this host's time (default: now)",
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        type=_span,
        metavar="SPAN",
        help="how long it lasts, such as 90s, 30m, 2h or 1d (default: until resumed)",
    )

    parser = add_command(
        actions,
        "resume",
        _resume,
        help="take a QPU back into service, or cancel a planned window",
        description="Ends a drain, or cancels a planned window. Queued tasks and jobs go on.",
        examples=_RESUME_EXAMPLES,
    )
    _add_change(parser)
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the QPU agent's log")
    parser.add_argument(
        "--start",
        type=_instant,
        metavar="TIME",
        help="cancel the window planned to start at this time (default: end the drain in force)",
    )

    parser = add_command(
        actions,
        "windows",
        _windows,
        help="when QPUs are out of service",
        description="Lists drains in force and planned windows.",
        examples="openqse qpu windows\nopenqse qpu windows emu0 --json",
    )
    add_qpus(parser)
    add_json(parser)
    add_site(parser)
    add_timeout(parser, 3.0)


def _add_change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("qpu", help="the QPU's name")
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="secret key that proves who you are (default: the administrators' key or, on the "
        f"QPU's host, the QPU's own, in {config.AgentConfig().keys})",
    )
    add_json(parser)
    add_site(parser)
    add_timeout(parser, 15.0)


def _instant(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2027-01-31T08:00"
        ) from None


def _span(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,8})([smhd])", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a span such as 90s, 30m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def _drain(arguments: argparse.Namespace) -> int:
    wanted = Drain(arguments.start, arguments.seconds, arguments.reason, _user())
    return _change(wanted, arguments)


def _resume(arguments: argparse.Namespace) -> int:
    return _change(Resume(arguments.start, arguments.reason, _user()), arguments)


def _change(wanted: Question[ServiceReport], arguments: argparse.Namespace) -> int:
    """Returns 0 if it is done; 1 if it is done but Slurm does not know yet."""
    qpu = sites.load(arguments.site).qpu(arguments.qpu)
    pair = keys.Pair.read(arguments.key) if arguments.key else _own_pair(qpu)
    answer = inquire([qpu], wanted, arguments.timeout, pair)[qpu.name]
    if isinstance(answer, OpenQSEError):
        raise answer
    rows = _rows(answer)
    if arguments.json:
        print(json.dumps(asdict(answer)))
    elif rows:
        print_table(_COLUMNS, rows)
    else:
        print(f"{qpu.name} takes tasks and jobs; no window is planned")
    if answer.slurm_error:
        print(
            f"openqse qpu: done, but Slurm does not know yet; the QPU agent keeps trying: "
            f"{answer.slurm_error}",
            file=sys.stderr,
        )
        return 1
    return 0


def _windows(arguments: argparse.Namespace) -> int:
    answers = inquire(chosen_qpus(arguments), StatusQuestion(), arguments.timeout)
    known = [answer for answer in answers.values() if not isinstance(answer, OpenQSEError)]
    if arguments.json:
        shown = [{"qpu": a.qpu, "windows": list(map(asdict, a.windows))} for a in known]
        print(json.dumps(shown))
    else:
        print_table(_COLUMNS, [row for answer in known for row in _rows(answer)])
    return complain("qpu windows", answers.values())


def _rows(answer: StatusReport | ServiceReport) -> list[dict[str, Any]]:
    now = time.time()
    return [
        {
            "qpu": answer.qpu,
            "state": "drained" if window.start <= now else "planned",
            "start": _shown(window.start),
            "end": "when resumed" if window.end is None else _shown(window.end),
            "by": window.by,
            "reason": window.reason,
        }
        for window in answer.windows
    ]


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(timespec="seconds")


def _own_pair(qpu: SiteQPU) -> keys.Pair:
    """The key of whoever runs the command.

    Raises:
        ArgumentError: there is none that it may read.
    """
    directory = config.AgentConfig().keys
    for name in (keys.ADMIN, qpu.name):
        for path in reversed(keys.pairs(directory, name)):
            if os.access(path, os.R_OK):
                pair = keys.Pair.read(path)
                if name == keys.ADMIN or pair.public == keys.of_qpu(qpu):
                    return pair
    if qpu.key is None:
        return keys.Pair.anonymous()  # the agent says what is missing
    raise ArgumentError(
        f"no key of an administrator in {directory} that you may read",
        remedy=f"Run it as root on the host of {qpu.name}'s agent, or name your key with --key",
    )


def _user() -> str:
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname().partition('.')[0]}"
