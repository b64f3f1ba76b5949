"""The commands that print what QPU agents report: qpu list, leases, queue, share and usage."""

from __future__ import annotations

import json
import os
import pwd
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli import write_site

import openqse
from openqse.errors import NotSupported
from openqse_agent.cli import main as cli
from openqse_agent.cli.spans import span
from tests.support.agents.fake_agent import FakeAgent, Says
from tests.support.agents.stack import Stack

REPORTS = ["qpu list", "status", "leases", "queue", "share", "usage"]
ME = pwd.getpwuid(os.geteuid()).pw_name

# --- of real agents ------------------------------------------------------------------------------


@pytest.fixture
def reported(stack: Stack, tmp_path: Path, enter: Callable[..., None]) -> str:
    """The option of a site whose job 7 holds emu0 and has run two tasks."""
    qpus = {name: (slots, stack.ports[name]) for name, slots in stack.slots.items()}
    path = write_site(tmp_path / "openqse.toml", qpus)
    enter(qpus="emu0:2", qpu_emu0=2)
    program = openqse.CircuitBuilder(1).measure_all().build()
    with openqse.connect() as qpu:
        for shots in (1, 9):
            qpu.run(program, shots=shots)
    return f"--site={path}"


def test_reports_as_json(reported: str, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    def report(*command: str) -> Any:
        assert cli.main([*command, "--json", reported]) == 0
        return json.loads(capsys.readouterr().out)

    (lease,) = stack.qpus["emu0"].agent._leases
    assert report("leases") == [
        {
            "qpu": "emu0",
            "id": lease.id,
            "job_id": 7,
            "user": "alice",
            "account": "chem",
            "slots": 2,
            "mode": "shared",
            "generation": 1,
            "state": lease.state,
            "nodes": ["c1"],
        }
    ]
    (row,) = used = report("usage")
    assert used == report("usage", "emu0", "--job=7")
    assert 0 < row.pop("waited_s") == row.pop("waited_ns") * 1e-9
    assert row == {
        "qpu": "emu0",
        "job_id": 7,
        "account": "chem",
        "user": "alice",
        "tasks": 2,
        "shots": 10,
        "qpu_time_ns": 10_000,
        "qpu_seconds": pytest.approx(1e-5),
    }
    assert report("usage", "--job=8") == report("usage", "emu1") == []
    first, second = report("qpu", "list")
    assert (first["qpu"], first["slots"], first["free"], first["leases"]) == ("emu0", 4, 2, 1)
    assert (second["qpu"], second["free"], second["online"]) == ("emu1", 1, True)
    assert (first["state"], first["busy"]) == ("up", False)
    assert [row["qpu"] for row in report("status", "emu1")] == ["emu1"]


def test_reports_as_tables(reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    def table(*command: str) -> list[list[str]]:
        assert cli.main([*command, reported]) == 0
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    head, row = table("usage")
    assert head[:6] == ["QPU", "JOB_ID", "ACCOUNT", "USER", "TASKS", "SHOTS"]
    assert head[6:] == ["QPU_TIME", "WAITED"]
    assert row[:7] == ["emu0", "7", "chem", "alice", "2", "10", "10us"]
    head, row = table("leases")
    assert head[:7] == ["QPU", "JOB_ID", "USER", "ACCOUNT", "SLOTS", "MODE", "NODES"]
    assert row[:7] == ["emu0", "7", "alice", "chem", "2", "shared", "c1"]
    assert table("leases", "emu1") == [head]
    rows = table("qpu", "list")
    assert rows[1][:7] == ["emu0", "up", "4", "2", "1", "0", "no"]
    assert rows == table("status")


def test_the_share_report_is_a_tree(reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "--format=account,user,raw_usage,level_fs"
    assert cli.main(["share", "emu0", "--noheader", columns, reported]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "chem          10us  0.75",
        " chem  alice  10us     1",
        "ml              0s   inf",
        " ml    bob      0s   inf",
    ]
    assert cli.main(["share", "emu0", "--noheader", columns, "--user=bob", reported]) == 0
    assert capsys.readouterr().out == " ml  bob  0s  inf\n"
    assert cli.main(["share", "emu0", "--json", "--user=alice", reported]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["account"], row["user"], row["parent"]) == ("chem", "alice", "chem")


@pytest.mark.parametrize("command", REPORTS)
def test_an_agent_that_is_down_is_named_beside_what_the_others_say(
    reported: str, stack: Stack, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    stack.stop_qpu("emu1")
    assert cli.main([*command.split(), "--json", "--timeout=0.3", reported]) == 1
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    port = stack.ports["emu1"]
    complaint = (
        f"QPU agent: the QPU agent of emu1 at tcp://127.0.0.1:{port} does not answer in 0.3 s. "
        "Check openqse-qpu-agent emu1 on its host"
    )
    if command in ("qpu list", "status"):
        up, down = rows
        assert (up["qpu"], up["state"]) == ("emu0", "up")
        assert down == {"qpu": "emu1", "state": "unreachable", "slots": 1, "reason": complaint}
    else:
        assert {row["qpu"] for row in rows} <= {"emu0"}
        assert captured.err == f"openqse {command}: {complaint}\n"


# --- of an agent that says what the test wants ---------------------------------------------------


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    made = FakeAgent()
    yield made
    made.close()


@pytest.fixture
def says(agent: FakeAgent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Says:
    """``openqse`` at the fake agent, QPU emu0 of 4 slots."""
    return Says(write_site(tmp_path / "openqse.toml", {"emu0": (4, agent.port)}), capsys)


def status(**changed: Any) -> dict[str, Any]:
    return {
        "qpu": "emu0",
        "online": True,
        "reason": "",
        "slots": 4,
        "free": 3,
        "leases": 1,
        "leases_lapsed": 0,
        "slurmctld": "",
        "revocation_suspended": False,
        "journal": "",
        "tasks_queued": 5,
        "tasks": 7,
        "busy": True,
        "busy_s": 1.5,
        "calibration": "c-1",
        "drained": "",
        "windows": [],
        "slurm_error": "",
    } | changed


DRAINED = {"drained": "since noon by root: calibration"}


@pytest.mark.parametrize(
    ("changed", "state", "reason"),
    [
        ({}, "up", ""),
        ({"busy": False}, "up", ""),
        (DRAINED, "draining", "drained since noon by root: calibration"),
        (DRAINED | {"busy": False}, "drained", "drained since noon by root: calibration"),
        ({"online": False, "reason": "too warm"}, "offline", "too warm"),
        (
            {"online": False, "reason": "too warm"} | DRAINED,
            "offline",
            "too warm; drained since noon by root: calibration",
        ),
    ],
)
def test_a_qpu_has_one_state_and_the_reasons_for_it(
    agent: FakeAgent,
    says: Says,
    changed: dict[str, Any],
    state: str,
    reason: str,
) -> None:
    agent.reports["status"] = status(**changed)
    assert says("qpu list --noheader -o state,reason").strip() == f"{state}  {reason}".strip()
    assert json.loads(says("qpu list --json"))[0]["state"] == state


def test_qpu_list_has_a_line_of_what_counts(agent: FakeAgent, says: Says) -> None:
    agent.reports["status"] = status()
    assert says("qpu list") == (
        "QPU   STATE  SLOTS  FREE  LEASES  TASKS  BUSY  CALIBRATION  REASON\n"
        "emu0  up         4     3       1      5  yes   c-1\n"
    )


def test_a_report_that_lacks_a_field_is_an_error_that_names_it(
    agent: FakeAgent, says: Says
) -> None:
    agent.reports["status"] = {key: value for key, value in status().items() if key != "drained"}
    (row,) = json.loads(says("qpu list --json", code=1))
    assert row["state"] == "unreachable"
    assert "a message 'report', field 'drained'" in row["reason"]


def test_a_report_of_a_later_release_may_say_more(agent: FakeAgent, says: Says) -> None:
    agent.reports["status"] = status(temperature_mk=14)
    (row,) = json.loads(says("qpu list --json"))
    assert row["state"] == "up"
    assert "temperature_mk" not in row


def test_a_qpu_whose_agent_refuses_is_unreachable(agent: FakeAgent, says: Says) -> None:
    agent.reports["status"] = NotSupported("no such report", layer="QPU agent")
    row = says("qpu list --noheader -o qpu,state,slots,free,reason", code=1)
    assert row.split(maxsplit=3) == ["emu0", "unreachable", "4", "QPU agent: no such report\n"]


def task(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "qpu": "emu0",
        "task": f"{number:032x}",
        "job_id": 7,
        "user": "alice",
        "account": "chem",
        "session": "00" * 8,
        "latency": "batch",
        "state": "waiting",
        "shots": 1000,
        "shots_done": 0,
        "waited_s": 0.25,
        "position": number,
        "start_s": 3700.0,
        "qpu_s": 0.0312,
    } | changed


RUNNING = {"state": "running", "position": None, "start_s": None, "shots_done": 400}


@pytest.fixture
def queue(agent: FakeAgent) -> list[dict[str, Any]]:
    """What the fake agent says of its queue."""
    rows = [
        task(0, **RUNNING),
        task(1, user=ME, job_id=8, latency="interactive"),
        task(2, account="ml", user="bob", qpu_s=None, start_s=93784.0, waited_s=75.0),
    ]
    agent.reports["queue"] = {"queue": rows, "truncated": False}
    return rows


@pytest.mark.usefixtures("queue")
def test_the_queue_is_a_table_of_spans_and_positions(says: Says) -> None:
    head, running, _, waiting = (line.split() for line in says("queue").splitlines())
    assert " ".join(head) == (
        "QPU POSITION JOB_ID USER ACCOUNT LATENCY STATE SHOTS DONE WAITED START QPU_TIME"
    )
    assert " ".join(running) == "emu0 7 alice chem batch running 1000 400 250ms 31.2ms"
    assert " ".join(waiting) == "emu0 2 7 bob ml batch waiting 1000 0 00:01:15 1-02:03:04"


def test_the_queue_as_json_has_what_the_agent_said(
    queue: list[dict[str, Any]], agent: FakeAgent, says: Says
) -> None:
    assert json.loads(says("queue --json")) == queue
    assert agent.asked["queue"] == [{}]  # as many rows as the agent tells at most


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(
    ("options", "positions"),
    [
        ("", [None, 1, 2]),
        ("--me", [1]),
        ("-u bob", [2]),
        ("-A chem", [None, 1]),
        ("-A chem --job 8", [1]),
        ("--user nobody-of-that-name", []),
    ],
)
def test_the_queue_can_be_that_of_some(
    says: Says, options: str, positions: list[int | None]
) -> None:
    rows = json.loads(says(f"queue --json {options}"))
    assert [row["position"] for row in rows] == positions


def test_a_queue_that_may_be_longer_than_shown_says_so(agent: FakeAgent, says: Says) -> None:
    agent.reports["queue"] = {"queue": [task(1)] * 10_000, "truncated": True}
    assert says("queue --noheader -o position").count("\n") == 10_000
    assert says.complaint.startswith("openqse queue: emu0 may have more tasks than the first 10000")
    agent.reports["queue"] = {"queue": [task(1)], "truncated": False}
    says("queue")
    assert says.complaint == ""


@pytest.mark.usefixtures("queue")
def test_an_unknown_column_asks_nobody_and_names_those_that_are_known(
    agent: FakeAgent, says: Says
) -> None:
    for wrong in ("nosuch", "user:0", "user,,qpu", ",", "user:8:8", ""):
        error = says(f"queue --format={wrong}", code=2)
        assert error.count("\n") == 1
        assert "known: qpu, position, job_id, user" in error
    assert agent.asked == {}


@pytest.mark.usefixtures("queue")
def test_columns_can_be_chosen_and_cut(says: Says) -> None:
    assert says("queue -o user:3,Job_ID,state -j 7") == (
        "USE  JOB_ID  STATE\nali       7  running\nbob       7  waiting\n"
    )
    assert says("queue --noheader -o task:4,session -u bob") == f"0000  {'00' * 8}\n"


def share(account: str, user: str = "", parent: str = "", **changed: Any) -> dict[str, Any]:
    return {
        "qpu": "emu0",
        "account": account,
        "user": user,
        "parent": parent or account,
        "raw_shares": 1,
        "norm_shares": 0.5,
        "raw_usage": 7200.0,
        "norm_usage": 0.25,
        "level_fs": 2.0,
        "tasks": 0,
    } | changed


def test_accounts_are_indented_by_their_depth(agent: FakeAgent, says: Says) -> None:
    agent.reports["share"] = {
        "share": [
            share("science", parent="root"),
            share("chem", parent="science"),
            share("chem", "alice"),
            share("ml", parent="root", level_fs=None),
        ]
    }
    assert says("share -o account,user,raw_usage,level_fs") == (
        "ACCOUNT  USER   RAW_USAGE  LEVEL_FS\n"
        "science          02:00:00         2\n"
        " chem            02:00:00         2\n"
        "  chem   alice   02:00:00         2\n"
        "ml               02:00:00       inf\n"
    )
    assert says("share --noheader -A chem -o account,user") == " chem\n  chem  alice\n"
    assert json.loads(says("share --json"))[3]["level_fs"] is None


def used(job_id: int, user: str, account: str = "chem", **changed: Any) -> dict[str, Any]:
    return {
        "qpu": "emu0",
        "job_id": job_id,
        "account": account,
        "user": user,
        "tasks": 2,
        "shots": 20,
        "qpu_time_ns": 1_500_000_000,
        "waited_ns": 250_000_000,
    } | changed


@pytest.fixture
def charged(agent: FakeAgent) -> None:
    agent.reports["usage"] = {
        "usage": [used(5, "bob", "ml"), used(7, "bob"), used(8, "alice"), used(9, "alice")]
    }


@pytest.mark.usefixtures("charged")
def test_usage_can_be_summed_up(says: Says) -> None:
    assert says("usage --by user") == (
        "QPU   ACCOUNT  USER   JOBS  TASKS  SHOTS  QPU_TIME  WAITED\n"
        "emu0  chem     alice     2      4     40        3s   500ms\n"
        "emu0  chem     bob       1      2     20      1.5s   250ms\n"
        "emu0  ml       bob       1      2     20      1.5s   250ms\n"
    )
    assert says("usage --by account -o account,users,jobs,qpu_time --noheader") == (
        "chem  2  3  4.5s\nml    1  1  1.5s\n"
    )
    (row,) = json.loads(says("usage --by account -u bob -A chem --json"))
    assert (row["jobs"], row["qpu_seconds"], row["waited_s"]) == (1, 1.5, 0.25)


@pytest.mark.usefixtures("charged")
def test_a_sum_has_no_column_of_its_parts(agent: FakeAgent, says: Says) -> None:
    assert "no column 'job_id' (known: qpu, account" in says("usage --by account -o job_id", code=2)
    assert agent.asked == {}


def test_me_is_nobody_without_a_name(
    agent: FakeAgent, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    assert "no user of this host has the id 4000000000" in says("queue --me", code=2)
    assert agent.asked == {}


# --- again and again -----------------------------------------------------------------------------


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Ctrl-C comes in the second pause; the pauses that were to be made."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", pause)
    return pauses


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(("command", "kind"), [("queue", "queue"), ("qpu list", "status")])
def test_reports_come_again_until_ctrl_c(
    agent: FakeAgent, says: Says, interrupted: list[float], command: str, kind: str
) -> None:
    agent.reports["status"] = status()
    first, second, rest = says(f"{command} -i 5 --noheader -o qpu", code=130).split("\n\n")
    assert (first, rest) == (second, "")
    assert interrupted == [5.0, 5.0]
    assert len(agent.asked[kind]) == 2


@pytest.mark.usefixtures("queue", "interrupted")
def test_a_repeated_table_says_when_it_was_made(says: Says) -> None:
    stamp, head, *_ = says("queue -i 5", code=130).splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stamp)
    assert head.startswith("QPU")


@pytest.mark.usefixtures("queue", "interrupted")
def test_each_json_report_is_one_line(says: Says) -> None:
    first, second = says("queue -i 1 --json", code=130).splitlines()
    assert json.loads(first) == json.loads(second)


# --- spans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0s"),
        (2.5e-10, "0.25ns"),
        (1e-5, "10us"),
        (9.999e-4, "1ms"),
        (0.01234, "12.3ms"),
        (0.9996, "1s"),
        (59.94, "59.9s"),
        (59.96, "00:01:00"),
        (60, "00:01:00"),
        (3599.6, "01:00:00"),
        (86399, "23:59:59"),
        (93784, "1-02:03:04"),
        (1e7, "115-17:46:40"),
    ],
)
def test_spans_have_a_unit_or_are_as_slurm_has_them(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
