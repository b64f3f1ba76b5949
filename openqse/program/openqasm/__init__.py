"""OpenQASM 3 and OpenQASM 2 text read into the circuit form, and written from it."""

from __future__ import annotations

from pathlib import Path

from openqse.program.circuit import Circuit
from openqse.program.openqasm.limits import MAX_SOURCE
from openqse.program.openqasm.reader import read, read_file
from openqse.program.openqasm.writer import dumps

__all__ = ["MAX_SOURCE", "dumps", "load", "loads"]


def loads(source: str, name: str = "<program>") -> Circuit:
    """The circuit that an OpenQASM program describes; no file is opened.

    The version line chooses the language. Without one it is OpenQASM 3, or 2 where the program
    includes ``qelib1.inc``. ``docs/programs.md`` says what is read, construct by construct.

    What is known while the program is read is computed then: constants, loops over known values,
    conditions on known variables. What depends on measurements or on inputs becomes classical
    operations of the circuit. Whole numbers have the widths that the program states and wrap;
    floats have 64 bits at run time; an ``angle`` of a stated width is a multiple of its
    ``2 pi / 2**n``, one without is a float of 64 bits, in radians.

    The circuit's parameters are the program's inputs, in the order of declaration, ``p[0]``,
    ``p[1]`` … for an array ``p``. Its registers are the bits declared at global scope, or those
    that ``output`` names. Global phases are summed into one ``GPHASE``, the last operation.

    Args:
        source: the text, at most ``MAX_SOURCE`` characters.
        name: stands before the line in messages, usually the file's name.

    Raises:
        ProgramError: not a valid program; ``file``, ``line``, ``column`` and ``construct`` in
            ``details`` say where.
        NotSupported: valid, but not read; the same details.
        LimitExceeded: a cap was hit; ``details['limit']`` names it.
    """
    return read(source, name, None)


def load(path: str | Path) -> Circuit:
    """The circuit that an OpenQASM file describes; files that it includes are looked for beside it.

    Raises:
        ProgramError, NotSupported, LimitExceeded: as ``loads``.
        OSError: the file cannot be read.
    """
    return read_file(Path(path))
