"""Documents can be reviewed and followed: lines are short, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Columns at which text wraps, as code does.
WIDTH = 100
DOCUMENTS = sorted(
    path
    for folder in ("", "docs", "docs/decisions", "spank_plugin", "qpu_emulator")
    for path in (ROOT / folder).glob("*.md")
)


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors that a document's headings make."""
    headings = re.findall(r"^#+ +(.+)$", prose(path.read_text()), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.strip().replace(" ", "-") for word in words}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        if link.startswith(("http:", "https:")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_are_there(path: Path) -> None:
    folders = "|".join(each.name for each in ROOT.iterdir() if each.is_dir())
    for said in re.findall(rf"`((?:{folders})/[\w./-]*)`", prose(path.read_text())):
        assert (ROOT / said).exists(), said


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_short(path: Path) -> None:
    """But for tables, and for words that cannot be broken. ``ci/wrap FILE`` wraps the rest."""
    long = [
        line
        for line in prose(path.read_text()).splitlines()
        if len(line) > WIDTH and not line.startswith("|") and " " in line.strip("- ")
    ]
    assert long == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_have_short_cells(path: Path) -> None:
    """What takes more than a line is a list: nobody can review such a table in a diff."""
    for line in path.read_text().splitlines():
        if line.startswith("|"):
            assert max(len(cell.strip()) for cell in line.split("|")) <= 160, line


def test_every_test_that_a_promise_names_is_there() -> None:
    tests = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    names = set(re.findall(r"def test_(\w+)", "\n".join(tests.values())))
    promises = re.findall(r"`([^`]+)`", (ROOT / "docs" / "reliability.md").read_text())
    for said in promises:
        if said.endswith(".py") and said.rpartition("/")[2].startswith("test_"):
            assert said.rpartition("/")[2] in tests
        elif "…" in said or said.count("_") > 3:
            pattern = re.compile(re.escape(said).replace("…", r"\w*"))
            assert any(pattern.fullmatch(name) for name in names), said
