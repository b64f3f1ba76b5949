"""Writes the table of docs/programs.md from the tests' list of constructs.

python docs/programs.py        # writes the file; a test holds it against the list
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".md")
LIST = Path(__file__).parents[1] / "tests/unit/program/openqasm/constructs.py"
BEGIN, END = "<!-- constructs -->\n", "<!-- end of constructs -->\n"


def constructs() -> list[Any]:
    """The list, read from the tests."""
    name = "openqasm_constructs"
    spec = importlib.util.spec_from_file_location(name, LIST)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found: list[Any] = module.CONSTRUCTS
    return found


def table() -> str:
    """The constructs, a table for each group."""
    lines: list[str] = []
    group = ""
    for construct in constructs():
        if construct.group != group:
            group = construct.group
            heading = group[0].upper() + group[1:]
            lines += [
                "",
                f"### {heading}",
                "",
                "| Construct | Read | Note |",
                "| --- | --- | --- |",
            ]
        name = construct.name.replace("|", "\\|")
        read = "no" if construct.result is None else "yes"
        lines.append(f"| `{name}` | {read} | {construct.note} |")
    return "\n".join(lines) + "\n\n"


def document() -> str:
    """The whole file, with the table as it should be."""
    text = FILE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + table() + END + tail


if __name__ == "__main__":
    FILE.write_text(document())
