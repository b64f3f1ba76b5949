"""How the commands print rows: as tables in the style of Slurm's, or as JSON."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from openqse.errors import ArgumentError
from openqse_agent.cli.spans import span

Row = dict[str, Any]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: in ``--format`` and, in capitals, above the column.
        key: of its values in the rows; the name where empty.
        show: a value as text; None is always empty.
        right: whether values are flush right, as numbers are.
    """

    name: str
    key: str = ""
    show: Callable[[Any], str] = _text
    right: bool = False

    def cell(self, row: Row) -> str:
        """What the table has of a row."""
        value = row.get(self.key or self.name)
        return "" if value is None else self.show(value)

    def fit(self, cell: str, width: int) -> str:
        """A cell cut or filled to a width."""
        return cell[:width].rjust(width) if self.right else cell[:width].ljust(width)


def texts(*names: str) -> tuple[Column, ...]:
    """Columns of text."""
    return tuple(map(Column, names))


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of whole numbers."""
    return tuple(Column(name, right=True) for name in names)


def seconds(name: str, key: str) -> Column:
    """A column of spans, given in seconds."""
    return Column(name, key, span, right=True)


def fraction(name: str) -> Column:
    """A column of shares of something."""
    return Column(name, show=lambda value: f"{value:.4f}", right=True)


@dataclass(frozen=True)
class Layout:
    """What a table can show.

    Attributes:
        columns: those printed where none are chosen. more: may be chosen besides.
    """

    columns: tuple[Column, ...]
    more: tuple[Column, ...] = ()

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Adds ``--format``, ``--noheader`` and ``--json``."""
        parser.add_argument(
            "-o",
            "--format",
            metavar="COLUMN[:WIDTH],...",
            help="columns to print, cut to a width where one is given; known: "
            + ", ".join(self._known),
        )
        parser.add_argument("--noheader", action="store_true", help="print no head line")
        parser.add_argument("--json", action="store_true", help="print JSON, in plain units")

    def chosen(self, arguments: argparse.Namespace) -> dict[Column, int | None]:
        """The columns to print, with their widths where given.

        Raises:
            ArgumentError: ``--format`` has an unknown column, or a width that is none.
        """
        if arguments.format is None:
            return dict.fromkeys(self.columns)
        known = self._known
        chosen: dict[Column, int | None] = {}
        for item in arguments.format.split(","):
            match = re.fullmatch(r"\s*([a-z0-9_]+)(?::([1-9][0-9]{0,3}))?\s*", item.lower())
            if match is None or match[1] not in known:
                raise ArgumentError(
                    f"no column {item.strip()!r} (known: {', '.join(known)})",
                    remedy="Give columns separated by commas, such as -o qpu,user:8",
                )
            chosen[known[match[1]]] = int(match[2]) if match[2] else None
        return chosen

    def show(self, arguments: argparse.Namespace, rows: list[Row]) -> None:
        """Prints rows as the options say.

        Raises:
            ArgumentError: as ``chosen``.
        """
        chosen = self.chosen(arguments)
        if arguments.json:
            print(json.dumps(rows))
        else:
            print_table(chosen, rows, head=not arguments.noheader)

    @property
    def _known(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns + self.more}


def print_table(
    columns: dict[Column, int | None] | Sequence[Column], rows: list[Row], head: bool = True
) -> None:
    """Prints rows, in columns as wide as they need to be or as they are given."""
    widths = columns if isinstance(columns, dict) else dict.fromkeys(columns)
    lines = [[column.name.upper() for column in widths]] if head else []
    lines += [[column.cell(row) for column in widths] for row in rows]
    fitted = {
        column: width or max((len(line[i]) for line in lines), default=0)
        for i, (column, width) in enumerate(widths.items())
    }
    for line in lines:
        cells = zip(fitted.items(), line, strict=True)
        print("  ".join(column.fit(cell, width) for (column, width), cell in cells).rstrip())
