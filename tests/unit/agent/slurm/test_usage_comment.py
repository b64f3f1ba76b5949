"""The word of a job's use, and the comment around it."""

from __future__ import annotations

import pytest

from openqse_agent.slurm.client import QPUUse
from openqse_agent.slurm.usage_comment import merged

USE = {"emu0": QPUUse(2.5, 3, 300, 0.125)}
ITEMS = "qpu_time/emu0=2.5,tasks/emu0=3,shots/emu0=300,waited/emu0=0.125"
REST = "qpu_time/emu0=2.5,shots/emu0=300,waited/emu0=0.125"
WORD = f"openqse:{ITEMS}"


@pytest.mark.parametrize(
    ("comment", "wanted"),
    [
        ("", WORD),
        ("grant 7", f"grant 7 {WORD}"),
        ("grant 7\n", f"grant 7 {WORD}"),
        ("myopenqse:tasks/emu0=1", f"myopenqse:tasks/emu0=1 {WORD}"),
        (f"{WORD} grant 7", f" grant 7 {WORD}"),
        ("openqse:tasks/emu0=1,what?", f"openqse:tasks/emu0=3,{REST}"),
        ("openqse:energy/emu0=7,tasks/emu1=1", f"openqse:energy/emu0=7,tasks/emu1=1,{ITEMS}"),
        ("openqse:a/b=1 x openqse:a/c=2", f" x openqse:a/b=1,a/c=2,{ITEMS}"),
    ],
)
def test_what_others_say_stays(comment: str, wanted: str) -> None:
    assert merged(comment, USE) == wanted
    assert merged(wanted, USE) == wanted


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0"), (100.0, "100"), (1e-9, "0.000000001"), (123456.123456789, "123456.123456789")],
)
def test_seconds_are_told_to_the_nanosecond(seconds: float, text: str) -> None:
    assert f"qpu_time/emu0={text}," in merged("", {"emu0": QPUUse(seconds, 1, 1, 0.0)})


def test_nobodys_use_says_nothing() -> None:
    assert merged("", {}) == ""
    assert merged("grant 7", {}) == "grant 7"
