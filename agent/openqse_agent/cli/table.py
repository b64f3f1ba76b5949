"""Rows as the commands print them: tables in the manner of Slurm's, or JSON."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from typing import Any

from openqse.errors import ArgumentError

Row = dict[str, Any]


def add_options(parser: argparse.ArgumentParser, columns: Sequence[str]) -> None:
    """Adds ``--format``, ``--noheader`` and ``--json``."""
    parser.add_argument(
        "-o",
        "--format",
        metavar="COLUMN[:WIDTH],…",
        help=f"print these columns, cut to a width where one is given; known: {', '.join(columns)}",
    )
    parser.add_argument("--noheader", action="store_true", help="print no head line")
    parser.add_argument("--json", action="store_true", help="print JSON")


def show(
    arguments: argparse.Namespace, known: Sequence[str], default: Sequence[str], rows: list[Row]
) -> None:
    """Prints rows as the options of ``add_options`` say.

    Args:
        known: columns that may be chosen. default: those printed where none are.

    Raises:
        ArgumentError: an unknown column.
    """
    chosen = parse_format(arguments.format, known) if arguments.format else dict.fromkeys(default)
    if arguments.json:
        print(json.dumps(rows))
    else:
        print_table(chosen, rows, head=not arguments.noheader)


def parse_format(text: str, known: Sequence[str]) -> dict[str, int | None]:
    """The columns of a ``--format``, with their widths where given.

    Raises:
        ArgumentError: an unknown column, or a width that is none.
    """
    chosen: dict[str, int | None] = {}
    for item in text.split(","):
        match = re.fullmatch(r"\s*([a-z_]+)(?::([1-9][0-9]{0,3}))?\s*", item.lower())
        if match is None or match[1] not in known:
            raise ArgumentError(
                f"no column {item.strip()!r} (known: {', '.join(known)})",
                remedy="Give columns separated by commas, such as -o qpu,user:8",
            )
        chosen[match[1]] = int(match[2]) if match[2] else None
    return chosen


def print_table(
    columns: dict[str, int | None] | Sequence[str], rows: list[Row], head: bool = True
) -> None:
    """Prints rows, in columns as wide as they need to be or as they are given."""
    widths = columns if isinstance(columns, dict) else dict.fromkeys(columns)
    lines = [[column.upper() for column in widths]] if head else []
    lines += [[_cell(column, row.get(column)) for column in widths] for row in rows]
    fitted = [
        width or max((len(line[i]) for line in lines), default=0)
        for i, width in enumerate(widths.values())
    ]
    for line in lines:
        padded = (cell[:width].ljust(width) for cell, width in zip(line, fitted, strict=True))
        print("  ".join(padded).rstrip())


def _cell(column: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}" if column.endswith("_s") else f"{value:.6f}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)
