"""The systemd units: well-formed, tight, and not too tight for what the agents do."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents.processes import JOB, Processes
from tests.support.agents.stack import eventually
from tests.support.ports import free_ports

UNITS = Path(__file__).parents[3] / "agent" / "systemd"
NODE = UNITS / "openqse-node-agent.service"
QPU = UNITS / "openqse-qpu-agent@.service"

analyzed = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
sandboxed = pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("setpriv") and shutil.which("unshare")),
    reason="a sandbox is made by root, with setpriv and unshare",
)


def settings(unit: Path) -> dict[str, str]:
    """The unit's settings by name; of one that stands twice, the last."""
    lines = unit.read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return dict(pairs)


@analyzed
@pytest.mark.parametrize("unit", [NODE, QPU], ids=lambda unit: unit.name)
def test_systemd_reads_the_unit_without_complaint(unit: Path, tmp_path: Path) -> None:
    installed = tmp_path / unit.name.replace("@", "@emu0")
    text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text())
    installed.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@analyzed
@pytest.mark.parametrize("unit", [NODE, QPU], ids=lambda unit: unit.name)
def test_systemd_finds_little_exposed(unit: Path) -> None:
    """2.5 of 10; a service without any of these settings has 9.6."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_agents_restart_are_watched_and_take_many_connections() -> None:
    for unit in (NODE, QPU):
        found = settings(unit)
        assert (found["Type"], found["Restart"]) == ("notify", "always")
        assert found["StartLimitIntervalSec"] == "0"  # never given up
        assert int(found["WatchdogSec"]) >= 10  # the loops give a sign each second
        assert int(found["LimitNOFILE"]) >= 65536
        assert found["UMask"] == "0077"
    assert settings(QPU)["StateDirectoryMode"] == "0700"
    assert settings(NODE)["RuntimeDirectoryPreserve"] == "yes"


def test_node_agents_see_no_providers_credentials() -> None:
    assert settings(NODE)["InaccessiblePaths"] == "-/etc/openqse/credentials"


# --- what they do is allowed ---------------------------------------------------------------------


@pytest.fixture
def site() -> Iterator[Processes]:
    """Agents that serve a job of the user nobody; in a folder that nobody may enter."""
    directory = Path(tempfile.mkdtemp(prefix="openqse-units-"))
    directory.chmod(0o755)
    (port,) = free_ports(1)
    processes = Processes(directory, {"emu0": port}, pwd.getpwnam("nobody").pw_uid)
    processes.runtime.mkdir(mode=0o755)
    processes.state.mkdir(mode=0o700)
    yield processes
    try:
        processes.close()
    finally:
        shutil.rmtree(directory)


def sandbox(unit: Path, writable: list[Path]) -> list[str]:
    """A command line that runs a program as the unit would: read-only but for ``writable``, with
    its capabilities and umask, and no way to new ones."""
    found = settings(unit)
    capabilities = found["CapabilityBoundingSet"].lower().replace("cap_", "").split()
    kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    binds = " && ".join(f"mount --bind {path} {path}" for path in writable)
    script = (
        f"{binds} && mount -o remount,bind,ro / && umask {found['UMask']} && "
        f'exec setpriv --bounding-set={kept} --inh-caps=-all --no-new-privs "$@"'
    )
    return ["unshare", "--mount", "sh", "-ec", script, "sh"]


RANK = """
import sys
import openqse
with openqse.connect() as qpu:
    bell = openqse.CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
    assert sum(qpu.run(bell, shots=10).counts.values()) == 10
"""


def serve_a_job(site: Processes) -> None:
    """A job of nobody attaches, runs a task as nobody, and detaches."""
    nobody = str(site.hook.uid)
    environment = site.hook.attach(JOB, "emu0")
    folder = site.runtime / f"job-{JOB}"
    assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {site.hook.uid}
    rank = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", sys.executable]
    done = subprocess.run(
        [*rank, "-c", RANK],
        env=environment | {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (folder / "left").mkdir(mode=0o700)  # what a job may leave behind
    os.chown(folder / "left", site.hook.uid, site.hook.uid)
    assert site.hook.detach(JOB)["STATUS"] == "ok"
    assert not folder.exists()


@sandboxed
def test_what_the_agents_do_is_allowed_by_capabilities_and_file_systems(site: Processes) -> None:
    agents = [
        site.start_qpu("emu0", sandbox(QPU, [site.state])),
        site.start_node(sandbox(NODE, [site.runtime])),
    ]
    for agent, unit in zip(agents, (QPU, NODE), strict=True):
        status = Path(f"/proc/{agent.process.pid}/status").read_text()
        effective = int(re.search(r"CapEff:\t(\w+)", status)[1], 16)  # type: ignore[index]
        wanted = settings(unit)["CapabilityBoundingSet"].split()
        assert effective.bit_count() == len(wanted)
        assert "NoNewPrivs:\t1" in status
    serve_a_job(site)
    for agent in agents:
        assert " ERROR " not in agent.log.read_text()


@analyzed
@sandboxed
@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
@pytest.mark.parametrize("unit", [NODE, QPU], ids=lambda unit: unit.name)
def test_what_the_agents_do_is_allowed_by_system_calls_and_address_families(
    site: Processes, unit: Path
) -> None:
    trace = site.directory / "trace"
    tracing = ["strace", "-D", "-f", "-q", "-o", str(trace)]
    agents = [
        site.start_qpu("emu0", tracing if unit is QPU else []),
        site.start_node(tracing if unit is NODE else []),
    ]
    serve_a_job(site)
    site.close()
    traced = agents[unit is NODE].process.pid
    ended = rf"(?m)^{traced} +\+\+\+ exited with 0"
    eventually(lambda: re.search(ended, trace.read_text()))
    text = trace.read_text()
    called = set(re.findall(r"(?m)^\d+ +(\w+)\(", text))
    families = set(re.findall(r"socket\((AF_\w+)", text))
    assert {"execve", "sendmsg"} & called  # the trace has something in it
    assert called - allowed(settings(unit)["SystemCallFilter"]) == set()
    # glibc looks for addresses by netlink and does without where it must.
    permitted = set(settings(unit)["RestrictAddressFamilies"].split())
    assert families - {"AF_NETLINK"} <= permitted
    if settings(unit).get("MemoryDenyWriteExecute") == "yes":
        assert not re.search(r"PROT_WRITE\|PROT_EXEC", text)


def allowed(filter: str) -> set[str]:
    """The system calls of a group, those of the groups in it included."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", filter],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: set[str] = set()
    for word in re.findall(r"(?m)^ {4}(@?[\w-]+)$", text):
        found |= allowed(word) if word.startswith("@") else {word}
    return found
