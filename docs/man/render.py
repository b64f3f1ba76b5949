#!/usr/bin/env python3
"""Writes the manual pages, man1/ and man8/ beside this file, from the commands' parsers.

Run it when a command's options or help texts have changed; a test compares.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from openqse_agent.cli import keys, main
from openqse_agent.node import loop as node_agent
from openqse_agent.qpu import loop as qpu_agent
from openqse_emulator import warm
from openqse_simulator import cli as simulator

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Command:
    """What a page says beside its parser.

    Attributes:
        section: of the manual. about: stands behind its name in lists of pages.
        files: that it reads or writes, and what they are.
    """

    parser: Callable[[], argparse.ArgumentParser]
    section: int
    about: str
    files: tuple[tuple[str, str], ...] = ()


_SITE = ("/etc/openqse/openqse.toml", "the site file: the site's QPUs")
_AGENT = ("/etc/openqse/agent.toml", "configuration of the agents")
_KEYS = ("/etc/openqse/keys", "key pairs, and folders of authorised public keys")

COMMANDS = (
    Command(
        main.parser,
        1,
        "QPUs of a Slurm site: state, queue, shares, usage, service",
        (
            _SITE,
            _KEYS,
            ("/etc/slurm/openqse.conf", "lines for slurm.conf to Include"),
            ("/etc/openqse/qpus.lua", "table for job_submit.lua"),
        ),
    ),
    Command(warm.parser, 1, "prepare and describe the emulated QPU"),
    Command(simulator.parser, 1, "compare policies of sharing QPUs, in simulated time"),
    Command(keys.parser, 1, "make key pairs for the connections to QPU agents", (_KEYS,)),
    Command(
        node_agent.parser,
        8,
        "broker between the MPI ranks of a node's jobs and the QPU agents",
        (
            _SITE,
            _AGENT,
            _KEYS,
            ("/run/openqse", "sockets of the plugin and of the jobs, and records of them"),
        ),
    ),
    Command(
        qpu_agent.parser,
        8,
        "owner of one QPU: its leases, queue, journal and device",
        (
            _SITE,
            _AGENT,
            _KEYS,
            ("/etc/openqse/credentials", "providers' credentials, one file for each QPU"),
            ("/var/lib/openqse", "journals: leases, and what every job was charged"),
        ),
    ),
)


def pages() -> dict[str, str]:
    """The pages by their paths below this folder."""
    made = {}
    for command in COMMANDS:
        parser = command.parser()
        path = f"man{command.section}/{parser.prog}.{command.section}"
        made[path] = "\n".join(_page(command, parser)) + "\n"
    return made


def _page(command: Command, parser: argparse.ArgumentParser) -> Iterator[str]:
    kind = "User Commands" if command.section == 1 else "System Administration"
    yield r".\" Made by docs/man/render.py from the command's parser; do not edit."
    yield f'.TH {escaped(parser.prog.upper())} {command.section} "" "openQSE on Slurm" "{kind}"'
    yield ".SH NAME"
    yield rf"{escaped(parser.prog)} \- {escaped(command.about)}"
    yield ".SH SYNOPSIS"
    yield synopsis(parser)
    yield ".SH DESCRIPTION"
    yield from paragraphs(parser.description or "")
    yield ".SH OPTIONS"
    yield from _arguments(parser, also_help=True)
    leaves = list(_leaves(parser))
    if leaves:
        yield ".SH COMMANDS"
    for leaf in leaves:
        yield f'.SS "{escaped(leaf.prog)}"'
        yield synopsis(leaf)
        yield ".PP"
        yield from paragraphs(leaf.description or "")
        yield from _arguments(leaf)
        yield ".PP"
        yield from paragraphs(leaf.epilog or "")
    if parser.epilog:
        yield ".SH NOTES"
        yield from paragraphs(parser.epilog)
    if command.files:
        yield ".SH FILES"
        for path, text in command.files:
            yield from (".TP", f".I {escaped(path)}", _line(escaped(text)))
    yield ".SH SEE ALSO"
    others = (c for c in COMMANDS if c is not command)
    named = sorted((c.section, c.parser().prog) for c in others)
    yield ",\n".join([rf"\fB{escaped(n)}\fR({s})" for s, n in [*named, (1, "srun")]])


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The subcommands that do something."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from list(_leaves(child)) or [child]


def synopsis(parser: argparse.ArgumentParser) -> str:
    """How a command is called; its ``--help`` goes without saying."""
    words = [rf"\fB{escaped(parser.prog)}\fR"]
    groups = {
        action: group._group_actions
        for group in parser._mutually_exclusive_groups
        for action in group._group_actions
    }
    positionals = []
    for action in parser._actions:
        together = groups.get(action, [action])
        if action.dest == "help" or action is not together[0]:
            continue
        if not action.option_strings:
            positionals.append(_operand(action))
            continue
        shown = " | ".join(_option(each, each.option_strings[0]) for each in together)
        words.append(shown if action.required else f"[{shown}]")
    return "\n".join(map(_line, words + positionals))


def _operand(action: argparse.Action) -> str:
    name = _value(action)
    if isinstance(action, argparse._SubParsersAction):
        return f"{name} ..."
    return {"*": f"[{name} ...]", "+": f"{name} [{name} ...]"}.get(str(action.nargs), name)


def _option(action: argparse.Action, string: str) -> str:
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return rf"\fB{escaped(string)}\fR{value}"


def _value(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return rf"{{\fB{'|'.join(map(escaped, action.choices))}\fR}}"
    return rf"\fI{escaped(str(action.metavar or action.dest))}\fR"


def _arguments(parser: argparse.ArgumentParser, also_help: bool = False) -> Iterator[str]:
    """The list of what may stand on the command line, and what it does."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or (
            action.dest == "help" and not also_help
        ):
            continue
        yield ".TP"
        names = [_option(action, string) for string in action.option_strings]
        yield _line(", ".join(names) or _value(action))
        yield _line(escaped((action.help or "") % {**vars(action), "prog": parser.prog}))


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs as help texts have them.

    Lines that begin with a dash are items of a list, indented ones ``term   what it means``;
    either goes on in lines that are indented further. What stands under ``Examples:`` stays as it
    is, and all else is filled.
    """
    for number, block in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        if block.startswith("Examples:\n"):
            yield from ("Examples:", ".PP", ".RS 2", ".nf")
            yield from (_line(escaped(line.strip())) for line in block.splitlines()[1:])
            yield from (".fi", ".RE")
            continue
        for line in block.splitlines():
            if line.startswith("- "):
                yield from (r".IP \(bu 2", _line(escaped(line[2:])))
            elif term := re.fullmatch(r"  (\S+) +(\S.*)", line):
                yield from (".TP", _line(escaped(term[1])), _line(escaped(term[2])))
            else:
                yield _line(escaped(line.strip()))


def escaped(text: str) -> str:
    """Text as troff prints it, letter for letter."""
    for character, escape in (("\\", r"\e"), ("-", r"\-"), ("'", r"\(aq"), ("^", r"\(ha")):
        text = text.replace(character, escape)
    return text.replace("`", r"\(ga").replace("~", r"\(ti").replace('"', r"\(dq")


def _line(text: str) -> str:
    """A line of text that troff does not take for a request."""
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    for name, text in pages().items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(path)
