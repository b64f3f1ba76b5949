"""The fair tree's pure parts: times in Slurm's forms, and shares of the whole tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from openqse_agent.slurm.fair_tree import parse_half_life, read

ANSWERS = Path(__file__).parent / "answers"
CONFIG = (ANSWERS / "config-24.11.txt").read_text()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7-00:00:00", 7 * 86400),
        ("14-0", 14 * 86400),
        ("1-02", 26 * 3600),
        ("1-02:30", 26 * 3600 + 30 * 60),
        ("00:05:00", 300),
        ("12:00:01", 43201),
        ("90", 5400),
        ("90:30", 5430),
        ("00:00:00", None),
        ("0", None),
        ("UNLIMITED", None),
    ],
)
def test_a_half_life_is_read_in_each_form(text: str, seconds: float | None) -> None:
    assert parse_half_life(text) == seconds


@pytest.mark.parametrize("text", ["", "a week", "7-", "-7", "1:2:3:4", "1.5", "7 days", "INVALID"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        parse_half_life(text)


@pytest.mark.parametrize(
    ("rows", "shares"),
    [
        (["2", "7"], 7),
        (["7", "parent", "2"], 7),
        (["parent", "0"], 0),
        (["0", "parent"], 0),
        (["parent", "parent"], None),
    ],
)
def test_of_the_associations_of_several_partitions_the_greatest_shares_count(
    rows: list[str], shares: int | None
) -> None:
    lines = [f"  chem|alice|{raw}|{used}" for used, raw in enumerate(rows, 5)]
    tree = read("\n".join(["root|||0", " chem||1|0", *lines]), CONFIG)
    assert tree.users == {("chem", "alice"): shares}
    assert tree.usage["chem", "alice"] == sum(range(5, 5 + len(rows)))
