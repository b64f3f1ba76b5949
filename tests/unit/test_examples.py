"""What the documents show works: README's blocks, the examples, and the examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import math
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import openqse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    """The commands of a console block: each begins with ``$`` and ends where its quotes do."""
    return [command.strip() for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One block after the other, as in one program of a job whose QPU is the emulator."""
    connect = openqse.connect
    monkeypatch.setattr(openqse, "connect", lambda: connect("emulator"))
    bell, tasks, teleport = blocks("python")
    with connect("emulator") as qpu:
        program: dict[str, Any] = {}
        exec(bell, program)
        assert set(program["result"].counts) == {"00", "11"}
        program["qpu"] = qpu
        exec(tasks, program)
        exec(teleport, program)
    assert program["values"] == pytest.approx([0.99500417, 0.98006658])
    registers = program["result"].registers
    assert registers["out"]["0"] / 1000 == pytest.approx(math.cos(0.4) ** 2, abs=0.06)
    assert set(registers["syndrome"]) == {"00", "01", "10", "11"}
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("]")[0] for line in sorted(printed[1:4])] == ["[0.1", "[0.2", "[0.3"]


COMMANDS = [command for block in blocks("console") for command in commands(block)]


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in COMMANDS if "examples/" not in each])
def test_the_commands_of_the_readme_run(command: str) -> None:
    assert succeeds([sys.executable, *shlex.split(command)[1:]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples").rglob("*.py")), ids=lambda path: path.stem
)
def test_each_example_runs_on_the_emulator(example: Path) -> None:
    assert succeeds([sys.executable, str(example), "--qpu", "emulator"])


def succeeds(command: list[str]) -> bool:
    """Whether a command ends well; its stderr is shown if it does not."""
    search = os.pathsep.join(str(ROOT / part) for part in (".", "qpu_emulator"))
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    print(done.stderr, file=sys.stderr)
    return done.returncode == 0 and done.stdout.strip() != ""


def test_examples_in_docstrings_are_true() -> None:
    attempted = 0
    for found in pkgutil.walk_packages(openqse.__path__, "openqse."):
        result = doctest.testmod(importlib.import_module(found.name))
        assert result.failed == 0, found.name
        attempted += result.attempted
    assert attempted
