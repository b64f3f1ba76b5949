"""Counts what processes of the stack hold, to see whether it grows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.containers import COMPUTE, Cluster

#: Threads in which a QPU agent asks slurmctld; they are made as they are needed, and stay.
_ASKING = 4
AGENTS = {
    **dict.fromkeys(COMPUTE, ("node-agent",)),
    "qpu": ("qpu-agent-emu0", "qpu-agent-emu1"),
}
#: Prints each program's name and what it holds, a line for each.
_COUNT = """
for program; do
    process=/proc/$(supervisorctl pid $program)
    echo $program $(ls $process/fd | wc -l) $(ls $process/task | wc -l) \
        $(ss -Hxl | grep -c /run/openqse/) $(find /run/openqse -mindepth 1 2>/dev/null | wc -l)
done"""


@dataclass(frozen=True)
class Held:
    """What one agent holds: descriptors, threads, listening Unix sockets, files at run time."""

    descriptors: int
    threads: int
    sockets: int
    files: int


def count(cluster: Cluster) -> dict[str, Held]:
    """What each agent holds, by service and program."""
    asked = {
        service: cluster.start(["bash", "-c", _COUNT, "count", *programs], service=service)
        for service, programs in AGENTS.items()
    }
    held = {}
    for service, command in asked.items():
        for program, *numbers in re.findall(
            r"^(\S+) (\d+) (\d+) (\d+) (\d+)$", command.result().out, re.M
        ):
            held[f"{program} on {service}"] = Held(*map(int, numbers))
    return held


def grown(before: Mapping[str, Held], after: Mapping[str, Held]) -> list[str]:
    """What an agent holds more than before, in words; fewer is no leak."""
    found = []
    for name, old in before.items():
        new = after.get(name)
        if new is None or not new.threads:
            found.append(f"{name} does not run")
            continue
        spare = _ASKING if name.startswith("qpu-agent") else 0
        for what, was, now in (
            ("file descriptors", old.descriptors, new.descriptors),
            ("threads", old.threads + spare, new.threads),
            ("sockets", old.sockets, new.sockets),
            ("files in /run/openqse", old.files, new.files),
        ):
            if now > was:
                found.append(f"{name} holds {now} {what}; before it was {was}")
    return found


def memory(cluster: Cluster, service: str, program: str) -> int:
    """Memory that a program has resident, kB."""
    asked = f"grep VmRSS /proc/$(supervisorctl pid {program})/status"
    return int(cluster.check(asked, service=service).out.split()[1])
