"""Which gates a program knows by name: by its version, its includes and who wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from openqse.program.openqasm import braket
from openqse.program.openqasm.library import BUILTIN, FIRST_QELIB1
from openqse.program.openqasm.steps import Gate
from openqse.program.openqasm.tools import INCLUDES, NEWER


@dataclass(frozen=True)
class Dialect:
    """How a program's names of gates are read.

    Attributes:
        version: 2 or 3.
        name: ``"openqasm"`` or ``"braket"``.
        builtin: gates that are known everywhere and that the program cannot define.
        unincluded: gates that are known even if nothing is included, where the program defines
            none of the name.
    """

    version: int
    name: str
    builtin: Mapping[str, Gate]
    unincluded: Mapping[str, Gate] = field(default_factory=dict)

    @property
    def library(self) -> str:
        """The file that defines the version's usual gates."""
        return "stdgates.inc" if self.version == 3 else "qelib1.inc"

    def include(self, file: str) -> Mapping[str, Gate] | None:
        """The gates of a file that can be included; None if the file is not known."""
        return INCLUDES[self.version].get(file)

    def replaceable(self, file: str) -> frozenset[str]:
        """Gates of a file that a program may define itself as long as it has not used them: they
        came to the file after programs were written that include it."""
        if self.version == 3:
            return frozenset(INCLUDES[3][file]) - frozenset(INCLUDES[3]["stdgates.inc"])
        return frozenset(INCLUDES[2][file]) - FIRST_QELIB1

    def undefined(self, name: str, included: bool) -> Gate | None:
        """The gate of a name that neither the program nor what it includes defines.

        Args:
            included: whether the program includes a file of gates.
        """
        found = self.unincluded.get(name)
        return NEWER.get(name) if found is None and included else found


_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_INCLUDE = re.compile(r"(?:^|[;}])\s*include\s*[\"']")
_BRAKET_PRAGMA = re.compile(r"^[ \t]*#?pragma[ \t]+braket\b", re.MULTILINE)
_DEFINITION = re.compile(r"\bgate\s+(\w+)")
#: A call: a name, angles perhaps, and the beginning of an operand.
_CALL = re.compile(r"(?:^|[;{}@])\s*([A-Za-z_]\w*)\s*(?:\([^;{}@]*?\)\s*|\s)(?=[A-Za-z_$])")

_OPENQASM = {version: Dialect(version, "openqasm", BUILTIN[version]) for version in (2, 3)}
_BRAKET = Dialect(3, "braket", {"U": braket.GATES["U"]}, braket.GATES)
_WITH_PRAGMAS = Dialect(3, "openqasm", BUILTIN[3], braket.GATES)


def choose(version: int, source: str) -> Dialect:
    """The dialect of a program.

    A program of version 3 without an include that has a pragma of Braket's, or that applies gates
    of Braket's which it does not define, is Braket's: without an include the language has no gate
    but ``U``.
    """
    if version == 2:
        return _OPENQASM[2]
    text = _COMMENT.sub(" ", source) if "/" in source else source
    pragmas = "braket" in text and _BRAKET_PRAGMA.search(text) is not None
    if _INCLUDE.search(text):
        return _WITH_PRAGMAS if pragmas else _OPENQASM[3]
    called = set(_CALL.findall(text)) - set(_DEFINITION.findall(text))
    names = called & braket.GATES.keys() - {"U"}
    return _BRAKET if pragmas or names else _OPENQASM[3]


#: What the writer makes of ``FAIL``, for which the language has no word.
FAILURE = "openqse fail"


def failure(pragma: str) -> str | None:
    """What the pragma of a program that the writer wrote fails with; None of another pragma.

    Args:
        pragma: the line after ``pragma``.
    """
    words = pragma.strip().removeprefix(FAILURE)
    if words == pragma.strip():
        return None
    try:
        message = json.loads(words)
    except ValueError:
        return None
    return message if isinstance(message, str) else None
