"""Source text, places in it, and the errors that name them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from openqse.errors import LimitExceeded, NotSupported, ProgramError

_CORRECT = "Correct the program's text"


def shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"


@dataclass
class Sources:
    """The texts of a program. A place is one number: a text's beginning, plus an offset in it."""

    names: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def add(self, name: str, text: str) -> int:
        """The place of the first character of a new text."""
        start = self.starts[-1] + len(self.texts[-1]) + 1 if self.starts else 0
        self.names.append(name)
        self.texts.append(text)
        self.starts.append(start)
        return start

    def where(self, place: int) -> tuple[str, int, int]:
        """Name of the text, line and column (both from 1)."""
        number = bisect_right(self.starts, place) - 1
        text, offset = self.texts[number], place - self.starts[number]
        line_start = text.rfind("\n", 0, offset) + 1
        return self.names[number], text.count("\n", 0, offset) + 1, offset - line_start + 1

    # Every error of the reader is made by one of these four.

    def invalid(self, place: int, message: str, construct: str, remedy: str = "") -> ProgramError:
        name, line, column = self.where(place)
        return ProgramError(
            f"{name}:{line}:{column}: {message}",
            remedy=remedy or _CORRECT,
            file=name,
            line=line,
            column=column,
            construct=shortened(construct),
        )

    def syntax(self, place: int, offending: str, expected: str = "") -> ProgramError:
        shown = repr(shortened(offending)) if offending else "the end of the program"
        hint = f" ({expected} is expected)" if expected else ""
        return self.invalid(
            place, f"syntax error at {shown}{hint}", offending or "the end of the program"
        )

    def unsupported(self, place: int, what: str, construct: str, remedy: str) -> NotSupported:
        """``what`` is a plural: it "are not supported"."""
        name, line, column = self.where(place)
        return NotSupported(
            f"{name}:{line}:{column}: {what} are not supported",
            remedy=remedy,
            file=name,
            line=line,
            column=column,
            construct=shortened(construct),
        )

    def exceeded(self, place: int, limit: str, message: str) -> LimitExceeded:
        name, line, column = self.where(place)
        return LimitExceeded(
            f"{name}:{line}:{column}: {message}",
            remedy="Make the program smaller, or split it",
            limit=limit,
            file=name,
            line=line,
            column=column,
        )


def counted(count: int, one: str, many: str = "") -> str:
    """``1 angle``, ``2 angles``."""
    return f"{count} {one if count == 1 else many or one + 's'}"
