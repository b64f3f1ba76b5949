"""The command `openqse-simulate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import openqse_simulator
from openqse_simulator.cli import main


def test_a_scenario_is_reported_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backlog", "--tasks", "3000", "--policy", "fair,fifo", "--json"]) == 0
    out, err = capsys.readouterr()
    fair, fifo = map(json.loads, out.splitlines())
    assert (fair["policy"], fifo["policy"]) == ("fair", "fifo")
    assert fair["tasks"] == fifo["tasks"] > 2900
    assert fair["share_error"] < fifo["share_error"]
    assert "fair: " in err


def test_a_table_has_a_column_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    modes = ["--mode", "shared,exclusive"]
    assert main(["hybrid", "--tasks", "1000", "--policy", "fair", *modes]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("figure ")
    assert head.endswith("  fair, shared  fair, exclusive")
    utilisation = next(row.split() for row in rows if row.startswith("qpu_utilisation"))
    assert float(utilisation[1]) > float(utilisation[2])


def test_a_saved_trace_gives_the_same_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = str(tmp_path / "trace")
    options = ["--policy", "fair"]
    assert main(["centre", "--tasks", "200", "--seed", "5", "--save", saved, *options]) == 0
    first = capsys.readouterr().out
    assert main([saved, *options]) == 0
    assert capsys.readouterr().out == first


def test_plots_are_written_and_equal_for_equal_runs(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        assert main(["backlog", "--tasks", "300", "--plots", str(tmp_path / directory)]) == 0
    for name in ("service.svg", "waits.svg"):
        first, again = (tmp_path / directory / name for directory in ("a", "b"))
        assert first.read_text().startswith("<?xml")
        assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["backlog", "--tasks", "0"], ["backlog", "--slice", "0"]],
)
def test_errors_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("openqse-simulate: ")


def test_unknown_policies_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["backlog", "--policy", "fair,lifo"])
    assert "no policy 'lifo'" in capsys.readouterr().err


def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in list(sys.modules):
        if name.startswith("openqse_simulator."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(openqse_simulator, "cli")
    monkeypatch.setitem(sys.modules, "simpy", None)
    assert openqse_simulator.main() == 2
    assert "simpy is not installed" in capsys.readouterr().err
