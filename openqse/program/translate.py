"""From one program format to another, by the shortest way through registered translators.

A package registers its translators under the entry-point group ``openqse.translators``: each entry
loads a ``Translator``. The client translates what its QPU does not take; where the target's gates
and coupling matter the QPU agent does, in the device's time.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from openqse.errors import OpenQSEError, ProgramError, UnsupportedInput
from openqse.program.circuit import FORMAT, FORMAT_1, Circuit
from openqse.program.program import Program

#: Group of entry points under which a package names its translators.
ENTRY_POINTS = "openqse.translators"
#: Formats of OpenQASM text, UTF-8.
OPENQASM_2, OPENQASM_3 = "openqasm.2", "openqasm.3"
#: Bytes of translated programs that a ``Translations`` keeps.
_KEPT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Translator:
    """A way from one format to another.

    Attributes:
        source, target: names of the formats.
        translate: gives the program in the target format. It raises ``UnsupportedInput`` (or
            another typed error) where the target has no words for it.
    """

    source: str
    target: str
    translate: Callable[[Program], Program]


def _from_openqasm(program: Program) -> Program:
    from openqse.program.openqasm import loads  # large; many programs never need it

    try:
        text = program.data.decode()
    except UnicodeDecodeError as error:
        raise ProgramError(f"OpenQASM text that is not UTF-8: {error}") from None
    return loads(text).program


def _form_2(program: Program) -> Program:
    return Circuit.of(program).program


_OWN = (
    Translator(FORMAT_1, FORMAT, _form_2),
    Translator(OPENQASM_2, FORMAT, _from_openqasm),
    Translator(OPENQASM_3, FORMAT, _from_openqasm),
)


@cache
def installed() -> tuple[Translator, ...]:
    """All translators: this package's, then those that others registered, by name."""
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return (*_OWN, *(point.load() for point in points))


def way(
    source: str, targets: Sequence[str], translators: Iterable[Translator] | None = None
) -> tuple[Translator, ...] | None:
    """The fewest translations that lead from a format to one of some others; of equally short ways
    the one to the first of ``targets``. None if there is no way, nothing if none is needed."""
    known = installed() if translators is None else tuple(translators)
    reached: dict[str, tuple[Translator, ...]] = {source: ()}
    waiting = deque([source])
    while waiting:
        here = waiting.popleft()
        for step in known:
            if step.source == here and step.target not in reached:
                reached[step.target] = (*reached[here], step)
                waiting.append(step.target)
    found = [reached[target] for target in targets if target in reached]
    return min(found, key=len, default=None)


def translated(
    program: Program, targets: Sequence[str], translators: Iterable[Translator] | None = None
) -> Program:
    """A program in one of some formats; itself where it is in one already.

    Raises:
        UnsupportedInput: no translator leads there, or one of them cannot say in its target what
            the program says; the message names the construct and both formats.
        ProgramError: the program is not valid in its own format.
    """
    steps = way(program.format, targets, translators)
    if steps is None:
        raise UnsupportedInput(
            f"a program of format {program.format!r}, from which no translator leads to what the "
            f"device takes: {', '.join(targets)}",
            remedy="Give the program in one of these formats, or install a translator",
            format=program.format,
            targets=list(targets),
        )
    for step in steps:
        try:
            program = step.translate(program)
        except OpenQSEError:
            raise
        except Exception as error:
            raise UnsupportedInput(
                f"a program cannot be translated from {step.source!r} to {step.target!r}: "
                f"{type(error).__name__}: {error}",
                format=step.source,
                target=step.target,
            ) from error
    return program


class Translations:
    """Programs that were translated, by digest and by what they were translated for.

    Args:
        targets: the formats that the device takes.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self._targets = tuple(targets)
        self._kept: OrderedDict[tuple[bytes, str], Program] = OrderedDict()
        self._bytes = 0

    def get(self, program: Program, calibration: str = "") -> Program:
        """The program in a format of the device, translated once for each calibration.

        Raises:
            UnsupportedInput, ProgramError: see ``translated``.
        """
        if program.format in self._targets:
            return program
        key = program.digest, calibration
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = translated(program, self._targets)
            self._bytes += len(found.data)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1].data)
        self._kept.move_to_end(key)
        return found
