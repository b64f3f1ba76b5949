"""`openqse probe`: whether an agent is live, and whether it can serve."""

from __future__ import annotations

import argparse
import json
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from openqse import site as sites
from openqse.errors import OpenQSEError
from openqse.site import Site
from openqse.wire.messages import Kind
from openqse.wire.reports import StatusQuestion
from openqse_agent import config, keys
from openqse_agent.cli.ask import ask, inquire
from openqse_agent.cli.options import (
    Commands,
    add_command,
    add_group,
    add_json,
    add_site,
    add_timeout,
)
from openqse_agent.node import hooks

_DESCRIPTION = """\
Asks an agent whether it is live and ready, and says why not. Live: its loop runs; if it does not,
restart the agent. Ready: it can serve. Exit code 0 if the agent is live (with --ready: live and
ready), 1 if it is not, 2 if it could not be asked.

  node   this host's node agent; run this as root. Ready: every QPU agent of the site answers it and
         accepts its key
  qpu    a QPU's agent, from any host. Ready: its device is online, it is not drained, and slurmctld
         answers it"""


def add_parser(commands: Commands) -> None:
    """Adds the command group."""
    agents = add_group(commands, "probe", "AGENT", help="whether an agent is live and ready")
    for name, text, examples in (
        ("node", "this host's node agent", "openqse probe node --ready"),
        ("qpu", "a QPU's agent", "openqse probe qpu emu0 && echo live"),
    ):
        parser = add_command(
            agents, name, _run, help=text, description=_DESCRIPTION, examples=examples
        )
        parser.set_defaults(agent=name)
        if name == "qpu":
            parser.add_argument("qpu", help="the QPU's name")
        else:
            config.add_option(parser)
        parser.add_argument(
            "--ready", action="store_true", help="fail unless the agent is ready too"
        )
        add_json(parser)
        add_site(parser)
        add_timeout(parser, 3.0)


@dataclass
class Finding:
    """An agent's state; ``reasons`` say why it is not live or not ready."""

    agent: str
    live: bool = False
    ready: bool = False
    reasons: list[str] = field(default_factory=list)


def _run(arguments: argparse.Namespace) -> int:
    site = sites.load(arguments.site)
    if arguments.agent == "qpu":
        finding = probe_qpu(site, arguments.qpu, arguments.timeout)
    else:
        finding = probe_node(site, config.load(arguments.config), arguments.timeout)
    if arguments.json:
        print(json.dumps(asdict(finding)))
    else:
        state = "not live" if not finding.live else "ready" if finding.ready else "live, not ready"
        print(": ".join([f"{finding.agent} is {state}", *finding.reasons]))
    return 0 if finding.live and (finding.ready or not arguments.ready) else 1


def probe_qpu(site: Site, name: str, timeout: float) -> Finding:
    """Asks a QPU's agent.

    Raises:
        ConfigurationError: the site has no such QPU.
    """
    finding = Finding(f"QPU agent of {name}")
    answer = inquire([site.qpu(name)], StatusQuestion(), timeout)[name]
    if isinstance(answer, OpenQSEError):
        finding.reasons.append(str(answer))
        return finding
    finding.live = True
    if not answer.online:
        finding.reasons.append(f"its device is offline: {answer.reason}")
    if answer.drained:
        finding.reasons.append(f"drained {answer.drained}")
    if answer.slurmctld:
        finding.reasons.append(f"it cannot ask slurmctld: {answer.slurmctld}")
    finding.ready = not finding.reasons
    return finding


def probe_node(site: Site, loaded: config.AgentConfig, timeout: float) -> Finding:
    """Asks this host's node agent, and the QPU agents in its name.

    Raises:
        ConfigurationError: its key cannot be read.
    """
    finding = Finding("node agent")
    began = time.monotonic()
    try:
        _hook(loaded.node.runtime_dir / hooks.SOCKET, timeout)
    except OSError as error:
        finding.reasons.append(f"no answer at its hook socket: {error}")
        return finding
    finding.live = True
    guarded = any(qpu.key for qpu in site.qpus.values())
    pair = keys.Pair.read(keys.latest(loaded.keys, keys.NODE)) if guarded else None
    left = max(0.1, timeout - (time.monotonic() - began))
    answers = ask(site.qpus.values(), Kind.PROBE, {}, left, pair)
    finding.reasons += [str(a) for a in answers.values() if isinstance(a, OpenQSEError)]
    finding.ready = not finding.reasons
    return finding


def _hook(path: Path, timeout: float) -> None:
    """Raises OSError unless the node agent answers at its hook socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(hooks.PROBE)
        if b"STATUS=ok\0" not in connection.recv(4096):
            raise OSError("it does not answer as a node agent does")
