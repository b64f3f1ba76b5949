"""`openqse estimate`: a program read here, and what a QPU agent says that it would take."""

from __future__ import annotations

import io
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_cli import write_site

from openqse.errors import NotSupported
from openqse.program.circuit import FORMAT, Circuit
from openqse.program.openqasm import loads
from openqse.wire import limits
from tests.support.agents.fake_agent import FakeAgent, Says

ANSATZ = """
OPENQASM 3; include "stdgates.inc";
input float theta;
qubit[2] q; bit[2] c;
ry(theta) q[0]; cx q[0], q[1];
c = measure q;
"""
ESTIMATE = {
    "qpu": "emu0",
    "qpu_s": 0.2613,
    "wait_s": 4521.0,
    "position": 13,
    "tasks_ahead": 12,
    "free": 2,
    "reason": "",
}


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    made = FakeAgent(estimate=ESTIMATE)
    yield made
    made.close()


@pytest.fixture
def says(agent: FakeAgent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Says:
    return Says(write_site(tmp_path / "openqse.toml", {"emu0": (4, agent.port)}), capsys)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "ansatz.qasm"
    path.write_text(ANSATZ)
    return path


def test_an_estimate_is_a_line_that_people_can_read(says: Says, program: Path) -> None:
    assert says(f"estimate {program} --qpu emu0 --shots 100") == (
        "QPU   QPU_TIME      WAIT  POSITION  TASKS_AHEAD  FREE  REASON\n"
        "emu0     261ms  01:15:21        13           12     2\n"
    )
    assert says(f"estimate {program} --qpu emu0 --shots 100 -o wait --noheader") == "01:15:21\n"


def test_an_estimate_as_json_has_plain_numbers(says: Says, program: Path) -> None:
    assert json.loads(says(f"estimate {program} --qpu emu0 --shots 1 --json")) == [ESTIMATE]


def test_the_agent_gets_the_program_and_whose_it_is(
    agent: FakeAgent, says: Says, program: Path
) -> None:
    says(f"estimate {program} --qpu emu0 --shots 100")
    says(
        f"estimate {program} --qpu emu0 --shots 9 --parameter-sets 50 -A chem --latency interactive"
    )
    first, second = agent.asked["estimate"]
    assert Circuit.decode(first.pop("program")).id == loads(ANSATZ).id
    envelope = {"format": FORMAT, "parameters": ["theta"], "outputs": [["c", 2]]}
    assert first.pop("envelope") == envelope
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert first == {
        "shots": 100,
        "parameter_sets": 1,
        "account": "",
        "user": user,
        "latency": "batch",
    }
    assert (second["parameter_sets"], second["account"]) == (50, "chem")
    assert second["latency"] == "interactive"


def test_a_program_may_come_from_standard_input(
    agent: FakeAgent, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(ANSATZ))
    says("estimate - --qpu emu0 --shots 1")
    assert Circuit.decode(agent.asked["estimate"][0]["program"]).parameters == ("theta",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("qubit q; nosuch q;", "wrong.qasm:1"),
        (b"\xff\xfe\x00", "wrong.qasm cannot be read: 'utf-8' codec"),
        (None, "wrong.qasm cannot be read: [Errno 2] No such file"),
    ],
)
def test_a_wrong_program_is_refused_here(
    agent: FakeAgent, says: Says, tmp_path: Path, text: Any, complaint: str
) -> None:
    path = tmp_path / "wrong.qasm"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert complaint in says(f"estimate {path} --qpu emu0 --shots 1", code=2)
    assert agent.asked == {}


def test_a_program_too_large_to_send_is_refused_here(
    agent: FakeAgent, says: Says, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_PROGRAM_BYTES", 100)
    assert "at most 100 are taken" in says(f"estimate {program} --qpu emu0 --shots 1", code=2)
    assert agent.asked == {}


def test_what_the_agent_cannot_estimate_is_an_error(
    agent: FakeAgent, says: Says, program: Path
) -> None:
    agent.reports["estimate"] = NotSupported(
        "emu0 has no timing model", layer="QPU agent", remedy="Run it once"
    )
    said = says(f"estimate {program} --qpu emu0 --shots 1", code=2)
    assert said == "openqse: QPU agent: emu0 has no timing model. Run it once\n"


@pytest.mark.parametrize("options", ["--shots 0", "--shots many", "--shots 1 --parameter-sets 0"])
def test_counts_begin_at_one(
    agent: FakeAgent, says: Says, program: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        says(f"estimate {program} --qpu emu0 {options}")
    assert ended.value.code == 2
    assert options.split()[-2] in capsys.readouterr().err
    assert agent.asked == {}
