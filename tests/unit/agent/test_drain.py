"""Draining a QPU: no new task or job, nobody's work thrown away, and everybody told why."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from test_tasks import echo_program, value_of

import openqse
from openqse.errors import ConfigurationError, DeadlineExceeded, QPUDrained
from openqse.wire.messages import Kind
from openqse_agent import keys
from openqse_agent.cli import main as cli
from openqse_agent.cli.ask import ask
from openqse_agent.qpu.service import maintenance
from tests.support.agents.stack import Stack, eventually


class Admin:
    """An administrator at the command line."""

    def __init__(self, stack: Stack, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._stack = stack
        self._capsys = capsys
        self.secrets = stack.key_directory
        self.key: Path | None = self.secrets / "emu0.secret"  # root's on emu0's host
        self._site = stack.write_site(directory / "openqse.toml")

    def says(self, *command: str, code: int = 0) -> str:
        """Runs ``openqse``; what it prints, or its complaint where that is expected."""
        self._capsys.readouterr()
        options = [f"--site={self._site}"]
        if self.key and command[:2] in (("qpu", "drain"), ("qpu", "resume")):
            options.append(f"--key={self.key}")
        assert cli.main([*command, *options]) == code
        captured = self._capsys.readouterr()
        return captured.err if code else captured.out

    def status(self, qpu: str = "emu0") -> dict[str, Any]:
        (row,) = json.loads(self.says("status", qpu, "--json"))
        return row

    def drain(self, *options: str) -> str:
        return self.says("qpu", "drain", "emu0", "--reason=calibration", *options)

    def resume(self, *options: str) -> str:
        return self.says("qpu", "resume", "emu0", *options)


@pytest.fixture
def admin(guarded: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Admin:
    return Admin(guarded, tmp_path, capsys)


@pytest.fixture
def qpu(guarded: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[openqse.QPU]:
    """A rank of a job that holds emu0."""
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    guarded.enter(7, "emu0", monkeypatch)
    with openqse.connect() as connected:
        yield connected


def test_running_tasks_end_and_queued_ones_wait_for_the_resume(
    guarded: Stack, admin: Admin, qpu: openqse.QPU
) -> None:
    device = guarded.qpus["emu0"].device
    device.hold.clear()
    futures = [qpu.submit(echo_program(), parameters=[n], shots=1) for n in (1, 2, 3)]
    assert device.started.acquire(timeout=10)
    admin.drain()
    device.hold.set()
    assert value_of(futures[0].result(timeout=10)) == 1
    late = qpu.submit(echo_program(), parameters=[4], shots=1)
    eventually(lambda: admin.status()["tasks"] == 3)
    assert not device.started.acquire(blocking=False)
    admin.resume()
    results = [f.result(timeout=10) for f in (*futures[1:], late)]
    assert [value_of(result) for result in results] == [2, 3, 4]


def test_a_qpu_is_draining_until_what_runs_has_ended(
    guarded: Stack, admin: Admin, qpu: openqse.QPU
) -> None:
    device = guarded.qpus["emu0"].device
    device.hold.clear()
    future = qpu.submit(echo_program(), parameters=[1], shots=1)
    assert device.started.acquire(timeout=10)
    assert (admin.status()["state"], admin.status()["busy"]) == ("up", True)
    admin.drain()
    assert admin.status()["state"] == "draining"
    device.hold.set()
    future.result(timeout=10)
    eventually(lambda: admin.status()["state"] == "drained")
    admin.resume()
    assert (admin.status()["state"], admin.status()["busy"]) == ("up", False)


def test_a_task_that_waits_too_long_learns_by_whom_and_why(admin: Admin, qpu: openqse.QPU) -> None:
    admin.drain("--for=1h")
    with pytest.raises(QPUDrained) as caught:
        qpu.run(echo_program(), parameters=[1], shots=1, timeout=0.3)
    assert isinstance(caught.value, DeadlineExceeded)  # and so a TimeoutError, as ever
    for part in (
        "QPU agent: ",
        "emu0 is drained since ",
        " until ",
        "@",
        "(key emu0): calibration",
    ):
        assert part in str(caught.value)
    assert caught.value.remedy
    admin.resume()
    assert value_of(qpu.run(echo_program(), parameters=[1], shots=1, timeout=10)) == 1


def test_slurm_holds_all_licenses_until_the_resume(guarded: Stack, admin: Admin) -> None:
    admin.drain()
    (held,) = guarded.slurm.reserved.values()
    assert (held.licenses, held.end) == ({"qpu_emu0": 4}, None)
    admin.resume()
    assert guarded.slurm.reserved == {}


def test_a_drain_outlives_its_agent(guarded: Stack, admin: Admin) -> None:
    admin.drain()
    before = admin.status()["windows"]
    guarded.stop_qpu("emu0")
    guarded.slurm.reserved.clear()  # and slurmctld has lost its state
    guarded.start_qpu("emu0")
    assert admin.status()["windows"] == before
    eventually(lambda: len(guarded.slurm.reserved) == 1)
    admin.resume()
    guarded.stop_qpu("emu0")
    guarded.start_qpu("emu0")
    assert admin.status()["drained"] == ""
    assert guarded.slurm.reserved == {}


def test_what_an_agent_could_not_tell_slurm_before_its_death_it_tells_after(
    guarded: Stack, admin: Admin
) -> None:
    admin.drain()
    left = dict(guarded.slurm.reserved)
    admin.resume()
    guarded.stop_qpu("emu0")
    guarded.slurm.reserved.update(left)  # as if it had died before it could release them
    guarded.start_qpu("emu0")
    eventually(lambda: guarded.slurm.reserved == {})


def test_a_drain_holds_though_slurm_cannot_be_told_yet(
    guarded: Stack, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_AGAIN", 0.05)
    guarded.slurm.down = True
    said = admin.says("qpu", "drain", "emu0", "--reason=x", code=1)
    assert "done, but Slurm does not know yet" in said
    assert "slurmctld does not answer" in said
    assert admin.status()["drained"]
    guarded.slurm.down = False
    eventually(lambda: len(guarded.slurm.reserved) == 1)
    eventually(lambda: admin.status()["slurm_error"] == "")


def test_a_planned_window_begins_and_ends_by_itself(
    guarded: Stack, admin: Admin, qpu: openqse.QPU
) -> None:
    start = time.time() + 0.7
    when = datetime.fromtimestamp(start).isoformat()
    assert "planned" in admin.drain(f"--start={when}", "--for=1s")
    (held,) = guarded.slurm.reserved.values()
    assert (int(held.start), held.end) == (int(start), pytest.approx(start + 1))
    assert value_of(qpu.run(echo_program(), parameters=[1], shots=1)) == 1
    eventually(lambda: admin.status()["drained"])
    waited = qpu.submit(echo_program(), parameters=[2], shots=1)
    assert value_of(waited.result(timeout=10)) == 2
    assert time.time() >= start + 1
    assert admin.status()["windows"] == []


def test_a_planned_window_can_be_taken_back(guarded: Stack, admin: Admin) -> None:
    when = datetime.fromtimestamp(time.time() + 3600).isoformat(timespec="seconds")
    said = admin.drain(f"--start={when}", "--for=2h")
    assert when in said
    assert "is not drained" in admin.says("qpu", "resume", "emu0", code=2)
    assert "no window is planned" in admin.resume(f"--start={when}")
    assert guarded.slurm.reserved == {}


def test_everybody_sees_what_is_drained_and_planned(admin: Admin) -> None:
    admin.drain("--for=30m")
    when = datetime.fromtimestamp(time.time() + 7200).isoformat(timespec="seconds")
    admin.drain(f"--start={when}")
    head, first, second = (line.split() for line in admin.says("qpu", "windows").splitlines())
    assert head == ["QPU", "STATE", "START", "END", "BY", "REASON"]
    assert first[:2] == ["emu0", "drained"]
    assert second[:6] == ["emu0", "planned", when, "when", "resumed", second[5]]
    (emu0,) = json.loads(admin.says("qpu", "windows", "emu0", "--json"))
    assert [w["reason"] for w in emu0["windows"]] == ["calibration", "calibration"]
    (emu0,) = admin.says("qpu", "list", "emu0", "--noheader").splitlines()
    assert emu0.split()[:2] == ["emu0", "drained"]
    assert ": calibration" in emu0
    assert admin.status("emu1")["drained"] == ""


def test_jobs_attach_to_a_drained_qpu_and_their_tasks_wait(
    guarded: Stack, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that Slurm started just before it was told need not be queued again."""
    admin.drain()
    guarded.slurm.submit(8, {"qpu_emu0": 1})
    guarded.enter(8, "emu0", monkeypatch)
    with openqse.connect() as qpu:
        waiting = qpu.submit(echo_program(), parameters=[5], shots=1)
        admin.resume()
        assert value_of(waiting.result(timeout=10)) == 5


# --- who may -------------------------------------------------------------------------------------


def test_an_administrators_key_is_good_from_any_host_while_it_is_authorised(
    guarded: Stack, admin: Admin, tmp_path: Path
) -> None:
    public = keys.make(tmp_path / "home", "carol")
    admin.key = public.with_suffix(".secret")
    complaint = admin.says("qpu", "drain", "emu0", "--reason=x", code=2)
    assert "emu0 takes 'drain' messages from administrators alone" in complaint
    folder = guarded.key_directory / keys.ADMINS
    folder.mkdir(mode=0o755)
    authorised = public.rename(folder / "carol.public")
    assert "drained" in admin.says("qpu", "drain", "emu0", "--reason=x")
    assert "(key carol): x" in admin.status()["drained"]
    authorised.unlink()
    guard = guarded.qpus["emu0"].agent._listener.authenticator
    eventually(lambda: guard and "carol" not in {who.name for who in guard._principals.values()})
    assert "alone" in admin.says("qpu", "resume", "emu0", code=2)
    assert admin.status()["drained"]


@pytest.mark.parametrize("key", ["node", "emu1"])
def test_neither_node_agents_nor_other_qpus_are_administrators(admin: Admin, key: str) -> None:
    admin.key = admin.secrets / f"{key}.secret"
    for command in (("drain", "--reason=x"), ("resume",)):
        action, *options = command
        assert "alone" in admin.says("qpu", action, "emu0", *options, code=2)
    assert admin.status()["drained"] == ""


def test_administrators_are_not_node_agents(guarded: Stack) -> None:
    pair = keys.Pair.read(guarded.key_directory / "emu0.secret")
    for kind in (Kind.HEARTBEAT, Kind.PROBE, Kind.DETACH, Kind.RUN, Kind.BUNDLE):
        answer = ask([guarded.site.qpu("emu0")], kind, {}, 10.0, pair)["emu0"]
        assert "from the site's node agents alone" in str(answer)


def test_without_keys_nobody_can_show_to_be_an_administrator(stack: Stack) -> None:
    body = {"reason": "x", "user": "root"}
    answer = ask([stack.site.qpu("emu0")], Kind.DRAIN, body, 10.0)["emu0"]
    assert "Without keys nobody can prove it: openqse-keys emu0" in str(answer)


def test_without_a_key_the_command_says_where_to_run_it(
    guarded: Stack, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.cli.qpu.config.AgentConfig", lambda: guarded.config)
    admin.key = None
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = admin.says("qpu", "drain", "emu0", "--reason=x", code=2)
    assert "Run it as root on the host of emu0's agent" in said


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "\n\t"},
        {"reason": 5},
        {"reason": "x", "start": "now"},
        {"reason": "x", "start": -1},
        {"reason": "x", "start": 1.0},
        {"reason": "x", "seconds": True},
        {"reason": "x", "seconds": float("nan")},
        {"reason": "x", "seconds": 1e12},
        {"reason": "x", "user": ["root"]},
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_changes_nothing(
    guarded: Stack, admin: Admin, body: dict[str, Any]
) -> None:
    pair = keys.Pair.read(admin.secrets / "emu0.secret")
    answer = ask([guarded.site.qpu("emu0")], Kind.DRAIN, body, 10.0, pair)["emu0"]
    assert isinstance(answer, openqse.OpenQSEError)
    assert answer.code in ("argument", "protocol")
    assert admin.status()["windows"] == []


@pytest.mark.parametrize("option", ["--for=1", "--for=0m", "--for=m", "--start=soon", "--start="])
def test_the_command_line_knows_times_and_spans(admin: Admin, option: str) -> None:
    with pytest.raises(SystemExit):
        admin.drain(option)


def test_what_cannot_be_written_does_not_hold(
    guarded: Stack, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(maintenance, "write_whole", full)
    said = admin.says("qpu", "drain", "emu0", "--reason=x", code=2)
    assert "emu0.windows cannot be written: No space left on device" in said
    assert admin.status()["windows"] == []
    assert guarded.slurm.reserved == {}


@pytest.mark.parametrize("text", ["", "{", "[5]", '[{"start": 1}]', '{"a": 1}', "\udcff"])
def test_a_damaged_file_is_refused_and_left_as_it_is(guarded: Stack, text: str) -> None:
    guarded.stop_qpu("emu0")
    path = guarded.config.qpu.state_dir / "emu0.windows"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigurationError, match="says whether emu0 is drained, cannot be read"):
        guarded.start_qpu("emu0")
    assert path.read_text(errors="surrogateescape") == text
