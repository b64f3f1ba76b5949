"""Text to tokens, one at a time."""

from __future__ import annotations

import re

from openqse.program.openqasm.source import Sources

_DECIMAL = r"\d(?:_?\d)*"
_EXPONENT = rf"[eE][+-]?{_DECIMAL}"
_POINT = rf"(?:{_DECIMAL}\.(?:{_DECIMAL})?|\.{_DECIMAL})"
_REAL = rf"{_POINT}(?:{_EXPONENT})?|{_DECIMAL}{_EXPONENT}"

#: What separates tokens: white space and comments.
GAP = re.compile(r"(?:[ \t\r\n\f]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)

_TOKEN = re.compile(
    rf"""
    (?P<timing>(?:{_REAL}|{_DECIMAL})[ \t]*(?:dt|ns|us|µs|μs|ms|s)(?!\w))
  | (?P<imaginary>(?:{_REAL}|{_DECIMAL})(?:[ \t]*im|j)(?!\w))
  | (?P<based>0[bB][01](?:_?[01])*|0o[0-7](?:_?[0-7])*|0[xX][0-9a-fA-F](?:_?[0-9a-fA-F])*)
  | (?P<real>{_REAL})
  | (?P<integer>{_DECIMAL})
  | (?P<name>[^\W\d]\w*)
  | (?P<physical>\$\d+)
  | (?P<bits>"[01](?:_?[01])*")
  | (?P<string>"[^"\r\t\n]+"|'[^'\r\t\n]+')
  | (?P<symbol>\*\*=|<<=|>>=|->|\+\+|\*\*|<<|>>|&&|\|\|
      |[=!<>+*/%&|^~-]=|[-+*/%&|^~=<>!;:,.(){{}}\[\]@\#])
    """,
    re.VERBOSE,
)

_REST_OF_LINE = re.compile(r"[^\r\n]*")


class Lexer:
    """The tokens of one text; ``kind``, ``text`` and ``at`` are those of the one in front.

    ``kind`` is a group's name of the pattern, the symbol itself for a symbol, ``""`` at the end.
    ``at`` is the place of the token in ``sources``.
    """

    def __init__(self, sources: Sources, name: str, text: str) -> None:
        self.sources = sources
        self.source = text
        self.base = sources.add(name, text)
        self.position = 0
        self.kind = ""
        self.text = ""
        self.at = self.base
        self.previous = ""  # text of the token that was taken last

    def advance(self) -> None:
        """Takes the token in front and looks at the next."""
        source = self.source
        self.previous = self.text
        gap = GAP.match(source, self.position)
        assert gap is not None
        start = gap.end()
        self.at = self.base + start
        match = _TOKEN.match(source, start)
        if match is None or source.startswith("/*", start):
            self.position = start
            if start == len(source):
                self.kind = self.text = ""
                return
            raise self.sources.syntax(self.at, "/*" if match else source[start])
        self.position = match.end()
        self.text = match.group()
        kind = match.lastgroup or ""
        if kind == "integer" and source[self.position : self.position + 1].isidentifier():
            raise self.sources.syntax(self.at, self.text + source[self.position])
        self.kind = self.text if kind == "symbol" else kind

    def jump(self, position: int) -> None:
        """Goes on at an offset of the text."""
        self.position = position
        self.advance()

    def rest_of_line(self) -> str:
        """What stands between the token in front and the line's end; the line is taken."""
        match = _REST_OF_LINE.match(self.source, self.position)
        assert match is not None
        self.jump(match.end())
        return match.group().strip()

    def skip_braces(self) -> None:
        """Takes a block in braces, whatever text is in it, from the opening brace in front."""
        depth, start = 0, self.at
        for match in re.compile(r"[{}]").finditer(self.source, self.at - self.base):
            depth += 1 if match.group() == "{" else -1
            if depth == 0:
                self.jump(match.end())
                return
        raise self.sources.syntax(start, "{", "a closing brace")
