"""`openqse device`: whether an installed device does what it declares."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from openqse import device
from openqse.device import conformance
from openqse.device.conformance import Verdict
from openqse_agent.cli.options import Commands, add_command, add_group, add_json, seconds

_CHECK = """\
Holds a device against the suite that every driver has to pass: each capability that it declares is
tried, what it does not declare must be refused. The device runs in this process, with the profile
and the credentials that its QPU agent would give it; it should be used by nobody else meanwhile.
Exit code 0 if no check failed, 1 if one did."""


def add_parser(commands: Commands) -> None:
    """Adds the command group."""
    actions = add_group(commands, "device", "ACTION", help="drivers of QPUs")
    parser = add_command(
        actions,
        "check",
        _check,
        help="try whether a device does what it declares",
        description=_CHECK,
        examples="openqse device check emulator --profile superconducting_noisy",
    )
    parser.add_argument("name", help="name under which the device is installed")
    parser.add_argument("--profile", help="the device's own configuration: a name or a path")
    parser.add_argument(
        "--credentials",
        type=Path,
        metavar="FILE",
        help="what the device needs to identify itself to its provider",
    )
    for option, default, text in (
        ("--patience", 120.0, "fail a check that does not end within so long"),
        ("--budget", 60.0, "skip what takes more QPU time than this"),
    ):
        parser.add_argument(
            option,
            type=seconds,
            default=default,
            metavar="SECONDS",
            help=f"{text} (default: %(default)s)",
        )
    add_json(parser)


def _check(arguments: argparse.Namespace) -> int:
    loaded = device.load(arguments.name, arguments.profile, arguments.credentials)
    findings = []
    for finding in conformance.run(loaded, arguments.patience, budget=arguments.budget):
        findings.append(finding)
        if not arguments.json:
            words = finding.check.replace("_", " ")
            print(f"{finding.verdict:<8} {words:<42} {finding.detail}".rstrip(), flush=True)
    if arguments.json:
        json.dump([asdict(finding) for finding in findings], sys.stdout, indent=2)
        print()
    failed = sum(finding.verdict is Verdict.FAILED for finding in findings)
    if not arguments.json:
        print(f"{len(findings)} checks, {failed} failed")
    return 1 if failed else 0
