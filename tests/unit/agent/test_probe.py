"""Probes: whether an agent lives, whether it is ready, and what systemd is told."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openqse import device
from openqse_agent import keys
from openqse_agent.cli import main as cli
from openqse_agent.notify import Notifier
from tests.support.agents.processes import Processes
from tests.support.agents.stack import Stack, eventually
from tests.support.ports import free_ports


class Prober:
    """``openqse probe`` at a stack."""

    def __init__(self, stack: Stack, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._site = stack.write_site(directory / "openqse.toml")
        self._config = directory / "agent.toml"
        self._config.write_text(
            f'keys = "{stack.key_directory}"\n[node]\nruntime_dir = "{stack.runtime}"\n'
        )

    def __call__(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code, and what is said."""
        options = [f"--site={self._site}", "--json", "--timeout=0.5"]
        if arguments[0] == "node":
            options.append(f"--config={self._config}")
        code = cli.main(["probe", *arguments, *options])
        found: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return code, found


@pytest.fixture
def probe(guarded: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Prober:
    return Prober(guarded, tmp_path, capsys)


def test_agents_that_serve_are_live_and_ready(probe: Prober) -> None:
    good = {"live": True, "ready": True, "reasons": []}
    assert probe("node", "--ready") == (0, {"agent": "node agent", **good})
    assert probe("qpu", "emu0", "--ready") == (0, {"agent": "QPU agent of emu0", **good})


def test_a_node_agent_is_not_ready_without_its_qpu_agents(guarded: Stack, probe: Prober) -> None:
    guarded.stop_qpu("emu1")
    code, found = probe("node", "--ready")
    assert (code, found["live"], found["ready"], len(found["reasons"])) == (1, True, False, 1)
    assert "the QPU agent of emu1" in found["reasons"][0]
    assert probe("node")[0] == 0  # restarting it would not help


def test_a_node_agent_whose_key_is_not_believed_is_not_ready(guarded: Stack, probe: Prober) -> None:
    (guarded.key_directory / keys.AUTHORISED / "node.public").unlink()
    eventually(lambda: probe("node", "--ready")[0] == 1)
    assert "from the site's node agents alone" in probe("node")[1]["reasons"][0]


def test_a_node_agent_that_is_not_there_is_not_live(guarded: Stack, probe: Prober) -> None:
    guarded.stop_node()
    code, found = probe("node")
    assert (code, found["live"], found["ready"]) == (1, False, False)
    assert "No such file" in found["reasons"][0]
    guarded.start_node()
    assert probe("node")[0] == 0


def test_a_node_agent_that_does_not_turn_is_not_live(guarded: Stack, probe: Prober) -> None:
    guarded.stop_node()
    path = guarded.runtime / "node.sock"
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(path))
        stuck.listen()
        code, found = probe("node")
    path.unlink()
    assert (code, found["live"]) == (1, False)
    guarded.start_node()


def test_a_qpu_agent_that_is_not_there_is_not_live(guarded: Stack, probe: Prober) -> None:
    guarded.stop_qpu("emu0")
    code, found = probe("qpu", "emu0")
    assert (code, found["live"]) == (1, False)
    assert "does not answer" in found["reasons"][0]


def test_a_qpu_agent_is_ready_only_with_its_device_online_and_not_drained(
    guarded: Stack, probe: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = guarded.qpus["emu0"].device
    monkeypatch.setattr(
        running, "status", lambda: device.DeviceStatus(device.Operation.ONLINE, False, "warming up")
    )
    code, found = probe("qpu", "emu0", "--ready")
    assert (code, found["reasons"]) == (1, ["its device is offline: warming up"])
    assert probe("qpu", "emu0")[0] == 0


def test_a_qpu_agent_that_cannot_ask_slurmctld_is_live_and_not_ready(
    guarded: Stack, probe: Prober
) -> None:
    """Though no job holds a lease that it would have to ask after."""
    guarded.slurm.down = True
    guarded.stop_qpu("emu0")
    guarded.start_qpu("emu0")
    eventually(lambda: probe("qpu", "emu0", "--ready")[0] == 1)
    code, found = probe("qpu", "emu0")
    assert (code, found["live"]) == (0, True)
    assert found["reasons"][0].startswith("it cannot ask slurmctld: slurmctld: ")
    guarded.slurm.down = False
    eventually(lambda: probe("qpu", "emu0", "--ready")[0] == 0)


def test_probing_a_node_changes_nothing(guarded: Stack, probe: Prober) -> None:
    runs = dict(guarded.qpus["emu0"].agent._admission._runs.current)
    assert probe("node", "--ready")[0] == 0
    assert guarded.qpus["emu0"].agent._admission._runs.current.keys() <= {*runs, "c1"}


def test_an_unknown_qpu_could_not_be_asked(
    guarded: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Prober(guarded, tmp_path, capsys)
    assert cli.main(["probe", "qpu", "emu9", f"--site={tmp_path / 'openqse.toml'}"]) == 2
    assert "no QPU 'emu9'" in capsys.readouterr().err


def test_probes_say_it_in_words_too(
    guarded: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Prober(guarded, tmp_path, capsys)
    assert cli.main(["probe", "qpu", "emu0", f"--site={tmp_path / 'openqse.toml'}"]) == 0
    assert capsys.readouterr().out == "QPU agent of emu0 is ready\n"


# --- systemd -------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Processes]:
    (port,) = free_ports(1)
    processes = Processes(tmp_path, {"emu0": port}, os.getuid())
    yield processes
    processes.close()


def test_systemd_learns_when_agents_are_ready_alive_and_stopping(site: Processes) -> None:
    agents = [site.start_qpu("emu0"), site.start_node()]
    assert (site.runtime / "node.sock").exists()  # ready is what the unit after it may rely on
    for agent in agents:
        eventually(lambda agent=agent: agent.tells("WATCHDOG=1"))
        assert agent.told[0] == "READY=1"
        agent.process.terminate()
        agent.process.wait(20)
        eventually(lambda agent=agent: agent.tells("STOPPING=1"))


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notifier = Notifier()
    notifier.ready()
    notifier.alive(0.0)
    assert "NOTIFY_SOCKET" not in os.environ  # no child speaks in the agent's name


@pytest.mark.parametrize("abstract", [False, True])
def test_signs_of_life_are_rare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abstract: bool
) -> None:
    name = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notifier = Notifier()
        for tenth in range(25):
            notifier.alive(100 + tenth / 10)
        told = []
        while True:
            try:
                told.append(notices.recv(100, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
    assert told == [b"WATCHDOG=1"] * 3
