"""The administrator's command ``openqse``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openqse import site as sites
from openqse_agent.cli import main as cli
from openqse_agent.cli.site import lua_table, slurm_lines
from tests.support.agents.stack import Stack
from tests.support.ports import free_ports


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
    "command",
    [
        ["status"],
        ["qpu", "list"],
        ["leases"],
        ["queue"],
        ["share"],
        ["usage"],
        ["site", "render"],
        ["site", "check"],
    ],
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
SLURM_CONF              = {conf}
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
    "conf": "/nonexistent/slurm.conf",
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
        ({"total": "2"}, "licenses of emu0", "slurmctld has 2, the site file 4"),
        ({"tres": ""}, "accounting of emu1", "license/qpu_emu1 is not in AccountingStorageTRES"),
        ({"tres": ",license/qpu_emu10"}, "accounting of emu1", "license/qpu_emu1 is not in"),
        ({"plugins": "(null)"}, "slurmctld runs job_submit.lua", "set JobSubmitPlugins=lua"),
        ({"weights": "license/qpu_emu0=1.0"}, "billing of emu1", "no partition has license"),
    ):
        scontrol(**changed)
        code, found = findings(agreeing, capsys)
        assert (code, list(found)) == (1, [what])
        assert detail in found[what]


def test_check_finds_lines_of_the_sites_own_that_are_not_in_force(
    agreeing: list[str],
    scontrol: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text(
        "# Licenses=old:3\nLicenses=matlab:10,QPU_EMU0:4\nAccountingStorageTRES=cpu,gres/gpu\n"
        "Include openqse.conf\n"
    )
    scontrol(conf=str(conf))
    code, found = findings(agreeing, capsys)
    assert (code, list(found)) == (
        1,
        ["Licenses of slurm.conf", "AccountingStorageTRES of slurm.conf"],
    )
    assert found["Licenses of slurm.conf"].startswith("matlab: a later line Licenses= takes its")
    assert found["AccountingStorageTRES of slurm.conf"].startswith("gres/gpu: ")


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

    monkeypatch.setattr(command, "inquire", partial(_quick, command.inquire))
    stack.stop_qpu("emu1")
    reports = stack.qpus["emu0"].agent._reports
    reports._from = replace(reports._from, qpu=sites.SiteQPU("emu0", 3, "", ""))
    code, found = findings(agreeing, capsys)
    assert (code, list(found)) == (1, ["QPU agent of emu0", "QPU agent of emu1"])
    assert "it has 3 slots, the site file 4; restart it" in found["QPU agent of emu0"]
    assert "does not answer" in found["QPU agent of emu1"]


def _quick(inquire: Any, qpus: Any, question: Any, timeout: float) -> Any:
    return inquire(qpus, question, 0.3)


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
    assert sum(line.startswith("DIFFERS licenses of emu0: slurmctld has 2") for line in lines) == 1
    assert sum(line.startswith("ok      ") for line in lines) == len(lines) - 1 == 10


def test_what_is_rendered_names_every_qpu_with_its_weight(tmp_path: Path) -> None:
    path = write_site(tmp_path / "s.toml", {"a": (2, 7000)}, "billing_weight = 2.5\n")
    site = sites.load(path)
    assert "license/qpu_a=2.5" in slurm_lines(site)
    assert "a = { slots = 2 }" in lua_table(site)
