#!/usr/bin/env python3
"""Writes the manual pages beside this file: man1/ and man8/ from the commands' parsers, man5/ from
the dataclasses of the configuration files.

Run it when a command's options or help texts, or a file's keys, have changed; a test compares.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

from openqse import site
from openqse_agent import config
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


@dataclass(frozen=True)
class File:
    """What a page says of a configuration file beside its dataclasses.

    Attributes:
        about: stands behind its name in lists of pages.
        description: paragraphs before the keys.
        tables: heads of the tables, empty for the file itself, and the dataclasses of their keys.
        example: a file that is shown whole.
        no_keys: attributes of the dataclasses that are no keys.
    """

    name: str
    path: Path
    about: str
    description: str
    tables: tuple[tuple[str, type], ...]
    example: Path
    no_keys: tuple[str, ...] = ()


_CONFIGURATION = HERE.parents[1] / "slurm_conf"
FILES = (
    File(
        "openqse.toml",
        site.DEFAULT_PATH,
        "the site's QPUs",
        "The site file lists the QPUs, one table each. It is the same on all hosts: controllers, "
        "login, compute and QPU hosts. 'openqse site render' makes Slurm's lines from it, and "
        "'openqse site check' compares. An unknown key is an error.",
        (("[qpu.NAME]", site.SiteQPU),),
        _CONFIGURATION / "openqse.toml",
        ("name",),
    ),
    File(
        "openqse-agent.toml",
        config.DEFAULT_PATH,
        "configuration of the agents of openQSE",
        "Node agents and QPU agents read it when they start. Every table and key may be left out. "
        "An unknown key is an error.",
        (
            ("", config.AgentConfig),
            ("[node]", config.NodeConfig),
            ("[qpu]", config.QPUConfig),
            ("[slurm]", config.SlurmConfig),
        ),
        _CONFIGURATION / "agent.toml",
    ),
)


def pages() -> dict[str, str]:
    """The pages by their paths below this folder."""
    made = {f"man5/{f.name}.5": "\n".join(_file_page(f)) + "\n" for f in FILES}
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
    yield from _others(parser.prog)


def _others(name: str) -> Iterator[str]:
    yield ".SH SEE ALSO"
    known = [(c.section, c.parser().prog) for c in COMMANDS] + [(5, f.name) for f in FILES]
    named = sorted(each for each in known if each[1] != name)
    yield ",\n".join([rf"\fB{escaped(n)}\fR({s})" for s, n in [*named, (1, "srun")]])


def _file_page(file: File) -> Iterator[str]:
    yield r".\" Made by docs/man/render.py from the file's dataclasses; do not edit."
    yield f'.TH {escaped(file.name.upper())} 5 "" "openQSE on Slurm" "File Formats"'
    yield ".SH NAME"
    yield rf"{escaped(file.name)} \- {escaped(file.about)}"
    yield ".SH SYNOPSIS"
    yield rf"\fI{escaped(str(file.path))}\fR"
    yield ".SH DESCRIPTION"
    yield from paragraphs(file.description)
    yield ".SH KEYS"
    for head, table in file.tables:
        if head:
            yield f'.SS "{escaped(head)}"'
        meanings = attributes(table)
        for key in fields(table):
            if key.name in meanings and key.name not in file.no_keys:
                said = meanings[key.name]
                text = f"{said[0].upper()}{said[1:]} {_default(key)}"
                yield from (".TP", rf"\fB{escaped(key.name)}\fR", _line(escaped(text)))
    yield from (".SH EXAMPLE", ".nf")
    yield from (_line(escaped(line)) for line in file.example.read_text().splitlines())
    yield ".fi"
    yield from _others(file.name)


def attributes(table: type) -> dict[str, str]:
    """What a dataclass's docstring says of each attribute, by its name."""
    text = (inspect.getdoc(table) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(said.replace("``", "").split()) for name, said in entries}


def _default(key: Field[Any]) -> str:
    if key.default is MISSING:
        return "Needed."
    if key.default is None:
        return "May be left out."
    value = key.default
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f"Default: {shown}."


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
