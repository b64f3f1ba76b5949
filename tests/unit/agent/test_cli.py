"""The administrator's command ``openqse``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stack import Stack

import openqse
from conftest import free_ports
from openqse import site as sites
from openqse_agent.cli import main as cli
from openqse_agent.cli.site import lua_table, slurm_lines


def write_site(path: Path, qpus: dict[str, tuple[int, int]], extra: str = "") -> Path:
    """A site file of QPUs by name: slots and port."""
    tables = [
        f'[qpu.{name}]\nslots = {slots}\nendpoint = "tcp://127.0.0.1:{port}"\ndevice = "emulator"\n'
        for name, (slots, port) in qpus.items()
    ]
    path.write_text("\n".join(tables) + extra)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    first, second = free_ports(2)
    return write_site(tmp_path / "openqse.toml", {"emu0": (4, first), "emu1": (1, second)})


@pytest.fixture
def files(tmp_path: Path, site: Path) -> list[str]:
    """Options that keep the commands within a directory of the test."""
    etc = tmp_path / "etc"
    return [
        f"--site={site}",
        f"--slurm={etc / 'slurm' / 'openqse.conf'}",
        f"--lua={etc / 'openqse' / 'qpus.lua'}",
    ]


SLURM = """\
# made by 'openqse site render' from the site file; do not edit
Licenses=qpu_emu0:4,qpu_emu1:1
AccountingStorageTRES=license/qpu_emu0,license/qpu_emu1
# Only QPU slots are billed unless a partition sets weights of its own.
PartitionName=DEFAULT TRESBillingWeights="CPU=0.0,license/qpu_emu0=1.0,license/qpu_emu1=1.0"
"""
LUA = """\
-- made by 'openqse site render' from the site file; do not edit
return {
    emu0 = { slots = 4 },
    emu1 = { slots = 1 },
}
"""


def test_render_prints_what_it_would_write(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["site", "render", "--stdout", *files]) == 0
    assert capsys.readouterr().out == f"{SLURM}\n{LUA}"
    assert not Path(files[1].partition("=")[2]).exists()


def test_render_replaces_both_files_whole(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    slurm, lua = (Path(option.partition("=")[2]) for option in files[1:])
    slurm.parent.mkdir(parents=True)
    slurm.write_text("old")
    reader = slurm.open()
    assert cli.main(["site", "render", *files]) == 0
    assert (slurm.read_text(), lua.read_text()) == (SLURM, LUA)
    assert reader.read() == "old"  # who has the old file open still reads it whole
    reader.close()
    for path in (slurm, lua):
        assert path.stat().st_mode & 0o777 == 0o644
        assert [p.name for p in path.parent.iterdir()] == [path.name]
    out = capsys.readouterr().out
    assert f"wrote {slurm}\nwrote {lua}\n" in out
    assert "scontrol reconfigure" in out


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = Path(files[1].partition("=")[2])
    slurm.parent.mkdir(parents=True)
    slurm.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main(["site", "render", *files]) == 2
    assert slurm.read_text() == "old"
    assert [p.name for p in slurm.parent.iterdir()] == [slurm.name]
    assert_one_line(capsys, "openqse.conf cannot be written: No space left on device")


def assert_one_line(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("openqse: ")
    assert captured.err.count("\n") == 1
    for part in parts:
        assert part in captured.err


@pytest.mark.parametrize(
    "command", [["status"], ["leases"], ["usage"], ["site", "render"], ["site", "check"]]
)
def test_a_wrong_site_file_is_one_line_and_exit_code_2(
    command: list[str], site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write_text(site.read_text().replace("slots = 4", "slots = 0"))
    assert cli.main([*command, f"--site={site}"]) == 2
    assert_one_line(capsys, "[qpu.emu0]: slots must be from 1")
    site.unlink()
    assert cli.main([*command, f"--site={site}"]) == 2
    assert_one_line(capsys, "No such file")


def test_an_unknown_qpu_is_one_line_and_exit_code_2(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "emu9", f"--site={site}"]) == 2
    assert_one_line(capsys, "no QPU 'emu9' (known: emu0, emu1)")


# --- check -------------------------------------------------------------------------------------

SCONTROL = """#!/bin/sh
case "$1 $2" in
"show config") cat <<'END'
AccountingStorageTRES   = cpu,mem,license/qpu_emu0{tres}
JobSubmitPlugins        = {plugins}
END
;;
"show licenses") cat <<'END'
LicenseName=qpu_emu0 Total={total} Used=1 Free=3 Reserved=0 Remote=no
LicenseName=qpu_emu1 Total=1 Used=0 Free=1 Reserved=0 Remote=no
END
;;
"show partition") echo "PartitionName=all TRESBillingWeights={weights}" ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""
AGREES = {
    "tres": ",license/qpu_emu1",
    "plugins": "lua",
    "total": "4",
    "weights": "CPU=0.0,license/qpu_emu0=1.0,license/qpu_emu1=1.0",
}


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a scontrol on the PATH that answers as slurmctld would."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def install(text: str = SCONTROL, **changed: str) -> None:
        path = directory / "scontrol"
        path.write_text(text.format(**(AGREES | changed)) if text is SCONTROL else text)
        path.chmod(0o755)

    install()
    return install


@pytest.fixture
def agreeing(stack: Stack, tmp_path: Path, files: list[str]) -> list[str]:
    """Options of a site whose files and agents agree with its site file."""
    qpus = {name: (slots, stack.ports[name]) for name, slots in stack.slots.items()}
    write_site(tmp_path / "openqse.toml", qpus)
    assert cli.main(["site", "render", *files]) == 0
    return files


def findings(options: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """Exit code of ``site check`` and what differs, by what was checked."""
    capsys.readouterr()
    code = cli.main(["site", "check", "--json", *options])
    found = json.loads(capsys.readouterr().out)
    assert all(f["agrees"] == (f["detail"] == "") for f in found)
    return code, {f["what"]: f["detail"] for f in found if not f["agrees"]}


def test_check_finds_each_difference_and_nothing_else(
    agreeing: list[str], scontrol: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings(agreeing, capsys) == (0, {})
    for changed, what, detail in (
        ({"total": "2"}, "licences of emu0", "slurmctld has 2, the site file 4"),
        ({"tres": ""}, "accounting of emu1", "license/qpu_emu1 is not in AccountingStorageTRES"),
        ({"tres": ",license/qpu_emu10"}, "accounting of emu1", "license/qpu_emu1 is not in"),
        ({"plugins": "(null)"}, "slurmctld runs job_submit.lua", "set JobSubmitPlugins=lua"),
        ({"weights": "license/qpu_emu0=1.0"}, "billing of emu1", "no partition has license"),
    ):
        scontrol(**changed)
        code, found = findings(agreeing, capsys)
        assert (code, list(found)) == (1, [what])
        assert detail in found[what]


def test_check_finds_old_and_missing_files(
    agreeing: list[str], scontrol: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    slurm, lua = (Path(option.partition("=")[2]) for option in agreeing[1:])
    slurm.write_text(slurm.read_text().replace("qpu_emu0:4", "qpu_emu0:3"))
    lua.unlink()
    assert findings(agreeing, capsys) == (
        1,
        {
            str(slurm): "is old; run 'openqse site render'",
            str(lua): "No such file or directory; run 'openqse site render'",
        },
    )


def test_check_finds_an_agent_of_other_slots_and_one_that_is_down(
    agreeing: list[str],
    scontrol: Callable[..., None],
    stack: Stack,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from functools import partial

    from openqse_agent.cli import site as command

    monkeypatch.setattr(command, "ask", partial(_quick, command.ask))
    stack.stop_qpu("emu1")
    stack.qpus["emu0"].agent._qpu = sites.SiteQPU("emu0", 3, "", "")
    code, found = findings(agreeing, capsys)
    assert (code, list(found)) == (1, ["QPU agent of emu0", "QPU agent of emu1"])
    assert "it has 3 slots, the site file 4; restart it" in found["QPU agent of emu0"]
    assert "does not answer" in found["QPU agent of emu1"]


def _quick(ask: Any, qpus: Any, kind: Any, body: Any, timeout: float) -> Any:
    return ask(qpus, kind, body, 0.3)


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("#!/bin/sh\necho 'slurm_load_ctl_conf error: refused' >&2\nexit 1\n", "error: refused"),
        (None, "scontrol is not installed here"),
    ],
)
def test_check_says_why_slurmctld_could_not_be_asked(
    agreeing: list[str],
    scontrol: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    complaint: str,
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", "/nonexistent")
    else:
        scontrol(script)
    code, found = findings(agreeing, capsys)
    assert (code, list(found)) == (1, ["slurmctld"])
    assert complaint in found["slurmctld"]


def test_check_prints_a_line_for_each_finding(
    agreeing: list[str], scontrol: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    scontrol(total="2")
    capsys.readouterr()
    assert cli.main(["site", "check", *agreeing]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("DIFFERS licences of emu0: slurmctld has 2") for line in lines) == 1
    assert sum(line.startswith("ok      ") for line in lines) == len(lines) - 1 == 10


# --- reports -----------------------------------------------------------------------------------


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
    used = {
        "qpu": "emu0",
        "job_id": 7,
        "account": "chem",
        "user": "alice",
        "tasks": 2,
        "shots": 10,
        "qpu_time_ns": 10_000,
        "qpu_seconds": pytest.approx(1e-5),
    }
    assert report("usage") == report("usage", "emu0", "--job=7")
    (row,) = report("usage")
    assert 0 < row.pop("waited_s") == row.pop("waited_ns") * 1e-9
    assert row == used
    assert report("usage", "--job=8") == report("usage", "emu1") == []
    first, second = report("status")
    assert (first["qpu"], first["slots"], first["free"], first["leases"]) == ("emu0", 4, 2, 1)
    assert (second["qpu"], second["free"], second["online"]) == ("emu1", 1, True)
    assert [row["qpu"] for row in report("status", "emu1")] == ["emu1"]


def test_reports_as_tables(reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    def table(*command: str) -> list[list[str]]:
        assert cli.main([*command, reported]) == 0
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    head, row = table("usage")
    assert head == ["QPU", "JOB_ID", "ACCOUNT", "USER", "TASKS", "SHOTS", "QPU_SECONDS", "WAITED_S"]
    assert row[:7] == ["emu0", "7", "chem", "alice", "2", "10", "0.000010"]
    head, row = table("leases")
    assert head[:7] == ["QPU", "JOB_ID", "USER", "ACCOUNT", "SLOTS", "MODE", "NODES"]
    assert row[:7] == ["emu0", "7", "alice", "chem", "2", "shared", "c1"]
    rows = table("status")
    assert rows[1][:5] == ["emu0", "yes", "4", "2", "1"]
    assert table("leases", "emu1") == [head]


def test_the_share_report_is_a_tree(reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "--format=account,user,raw_usage"
    assert cli.main(["share", "emu0", "--noheader", columns, reported]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "chem          0.000010",
        " chem  alice  0.000010",
        "ml            0.000000",
        " ml    bob    0.000000",
    ]
    assert cli.main(["share", "emu0", "--json", "--user=alice", reported]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["account"], row["user"], row["parent"]) == ("chem", "alice", "chem")


def test_an_empty_queue_is_a_head_line(reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["queue", reported]) == 0
    (head,) = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["QPU", "POSITION", "JOB_ID"]


def test_columns_can_be_chosen_and_cut(reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["usage", "-o", "user:3,Job_ID,account", "-A", "chem", reported]) == 0
    assert capsys.readouterr().out == "USE  JOB_ID  ACCOUNT\nali  7       chem\n"
    assert cli.main(["usage", "--noheader", "-u", "bob", reported]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("wrong", ["nosuch", "user:0", "user,,qpu", ","])
def test_an_unknown_column_is_refused_with_those_that_are_known(
    reported: str, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    assert cli.main(["usage", f"--format={wrong}", reported]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "known: qpu, job_id, account" in said


def test_qpu_list_is_the_status(reported: str, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for command in (["qpu", "list"], ["status"]):
        assert cli.main([*command, reported]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]


@pytest.mark.parametrize("command", ["status", "leases", "queue", "share", "usage"])
def test_an_agent_that_is_down_is_named_beside_what_the_others_say(
    reported: str, stack: Stack, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    stack.stop_qpu("emu1")
    assert cli.main([command, "--json", "--timeout=0.3", reported]) == 1
    captured = capsys.readouterr()
    assert {row["qpu"] for row in json.loads(captured.out)} <= {"emu0"}
    assert captured.err.count("\n") == 1
    port = stack.ports["emu1"]
    assert captured.err.startswith(
        f"openqse {command}: QPU agent: the QPU agent of emu1 at tcp://127.0.0.1:{port} does not"
        " answer in 0.3 s. Check openqse-qpu-agent emu1 on its host"
    )


def test_what_is_rendered_names_every_qpu_with_its_weight(tmp_path: Path) -> None:
    path = write_site(tmp_path / "s.toml", {"a": (2, 7000)}, "billing_weight = 2.5\n")
    site = sites.load(path)
    assert "license/qpu_a=2.5" in slurm_lines(site)
    assert "a = { slots = 2 }" in lua_table(site)
