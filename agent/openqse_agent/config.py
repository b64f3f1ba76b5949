"""The agents' configuration: one commented TOML file with strict keys."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, field
from pathlib import Path

from openqse import site
from openqse.errors import ConfigurationError
from openqse.wire.limits import TASKS_IN_FLIGHT

DEFAULT_PATH = Path("/etc/openqse/agent.toml")
#: Orders in which a QPU agent can run tasks.
POLICIES = ("fair", "fifo")


@dataclass(frozen=True)
class NodeConfig:
    """[node]: the agent of a compute node.

    Attributes:
        runtime_dir: holds the hook socket and the jobs' private directories.
        attach_timeout: seconds for the QPU agents to grant a job's leases; less than the SPANK
            plugin's own deadline.
    """

    runtime_dir: Path = Path("/run/openqse")
    attach_timeout: float = 4.0


@dataclass(frozen=True)
class QPUConfig:
    """[qpu]: the agent of a QPU.

    Attributes:
        state_dir: holds the journal.
        credentials: holds, in a file of a QPU's name, what its device needs to identify itself to
            its provider; the agent's alone to read. A device that needs none has no file.
        lease_ttl: seconds without a heartbeat after which a lease is checked with slurmctld.
        programs: prepared programs kept, least recently used dropped first.
        tasks_per_session: tasks that one rank may have unanswered.
        policy: in what order tasks run: "fair", or "fifo" for comparison.
        slice: seconds of QPU time after which a long task gives way to others.
        watermark: tasks that the device has at once, at most, where it takes several.
        interactive_credit: seconds of QPU time by which interactive tasks may bring their owners
            ahead of others.
        idle_credit: most seconds of QPU time by which those come first who lately used less than
            their share.
    """

    state_dir: Path = Path("/var/lib/openqse")
    credentials: Path = Path("/etc/openqse/credentials")
    lease_ttl: float = 30.0
    programs: int = 256
    tasks_per_session: int = TASKS_IN_FLIGHT
    policy: str = "fair"
    slice: float = 0.5
    watermark: int = 4
    interactive_credit: float = 2.0
    idle_credit: float = 1.0


@dataclass(frozen=True)
class SlurmConfig:
    """[slurm]: how slurmctld is asked.

    Attributes:
        client: "pyslurm", "commands", or "auto" (pyslurm where it imports).
        timeout: seconds for one question; less than [node] attach_timeout.
    """

    client: str = "auto"
    timeout: float = 3.0


@dataclass(frozen=True)
class AgentConfig:
    """The file; every table and key may be left out.

    Attributes:
        site: the site file.
        keys: the folder of this host's secret keys (``openqse-keys``); needed where the site file
            has keys.
        log_level: "debug", "info", "warning" or "error".
    """

    site: Path = site.DEFAULT_PATH
    keys: Path = Path("/etc/openqse/keys")
    log_level: str = "info"
    node: NodeConfig = field(default_factory=NodeConfig)
    qpu: QPUConfig = field(default_factory=QPUConfig)
    slurm: SlurmConfig = field(default_factory=SlurmConfig)


def load(path: Path) -> AgentConfig:
    """Reads the configuration.

    Raises:
        ConfigurationError: unreadable, or a key is unknown, of the wrong type or out of range.
    """
    table = site.read_toml(path)
    sections = {"node": NodeConfig, "qpu": QPUConfig, "slurm": SlurmConfig}
    for name, cls in sections.items():
        if name in table:
            if not isinstance(table[name], dict):
                raise ConfigurationError(f"{path}: {name!r} is not a table")
            table[name] = site.strict(cls, table[name], f"{path}: [{name}]")
    config = site.strict(AgentConfig, table, str(path))
    positive = {
        "[node] attach_timeout": config.node.attach_timeout,
        "[qpu] lease_ttl": config.qpu.lease_ttl,
        "[qpu] programs": config.qpu.programs,
        "[qpu] tasks_per_session": config.qpu.tasks_per_session,
        "[qpu] slice": config.qpu.slice,
        "[qpu] watermark": config.qpu.watermark,
        "[slurm] timeout": config.slurm.timeout,
    }
    for key, value in positive.items():
        if value <= 0:
            raise ConfigurationError(f"{path}: {key} must be positive")
    if min(config.qpu.interactive_credit, config.qpu.idle_credit) < 0:
        raise ConfigurationError(
            f"{path}: [qpu] interactive_credit and idle_credit must not be negative"
        )
    if config.qpu.policy not in POLICIES:
        raise ConfigurationError(
            f"{path}: unknown [qpu] policy {config.qpu.policy!r}",
            remedy=f"Give one of: {', '.join(POLICIES)}",
        )
    if config.slurm.timeout >= config.node.attach_timeout:
        raise ConfigurationError(
            f"{path}: [slurm] timeout must be less than [node] attach_timeout",
            remedy="Otherwise a slow slurmctld looks like a QPU agent that is down",
        )
    if config.log_level.upper() not in logging.getLevelNamesMapping():
        raise ConfigurationError(f"{path}: unknown log_level {config.log_level!r}")
    return config


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_PATH,
        metavar="FILE",
        help="configuration file (default: %(default)s)",
    )


def parse(
    parser: argparse.ArgumentParser, argv: list[str] | None
) -> tuple[argparse.Namespace, AgentConfig, site.Site]:
    """Command line, configuration and site file of an agent; logging is set up.

    Args:
        parser: has ``--config``.

    Raises:
        SystemExit: with the reason, if a file is wrong.
    """
    arguments = parser.parse_args(argv)
    try:
        config = load(arguments.config)
        loaded = site.load(config.site)
    except ConfigurationError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return arguments, config, loaded
