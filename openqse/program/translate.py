"""From one program format to another, by the shortest way through registered translators.

A package registers its translators under the entry-point group ``openqse.translators``: each entry
loads a ``Translator``. The client translates what its QPU does not take, by translators that need
to know no more than that. What is left the QPU agent translates in the device's time, once for each
calibration: it knows the target's gates and coupling.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

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
class Target:
    """What a program is translated for.

    Attributes:
        gates: names of the gates that it has; None means all.
        coupling: pairs of qubits that gates may act on; None means all.
        calibration: id of the calibration in force.
        figures: the calibration's figures.
    """

    gates: tuple[str, ...] | None = None
    coupling: tuple[tuple[int, int], ...] | None = None
    calibration: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Translator:
    """A way from one format to another.

    Attributes:
        source, target: names of the formats.
        translate: gives the program in the target format, for a target that is None where it does
            not matter. It raises ``UnsupportedInput`` (or another typed error) where the format has
            no words for the program.
        for_target: whether it needs the target, so that the QPU agent alone can use it.
    """

    source: str
    target: str
    translate: Callable[[Program, Target | None], Program]
    for_target: bool = False


def _from_openqasm(program: Program, target: Target | None) -> Program:
    from openqse.program.openqasm import loads  # large; many programs never need it

    try:
        text = program.data.decode()
    except UnicodeDecodeError as error:
        raise ProgramError(f"OpenQASM text that is not UTF-8: {error}") from None
    return loads(text).program


def _to_openqasm(program: Program, target: Target | None) -> Program:
    from openqse.program.openqasm import dumps

    circuit = Circuit.of(program)
    return Program(
        OPENQASM_3, dumps(circuit, portable=True).encode(), circuit.parameters, circuit.outputs
    )


def _form_2(program: Program, target: Target | None) -> Program:
    return Circuit.of(program).program


_OWN = (
    Translator(FORMAT_1, FORMAT, _form_2),
    Translator(OPENQASM_2, FORMAT, _from_openqasm),
    Translator(OPENQASM_3, FORMAT, _from_openqasm),
    Translator(FORMAT, OPENQASM_3, _to_openqasm),
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
    program: Program,
    formats: Sequence[str],
    target: Target | None = None,
    translators: Iterable[Translator] | None = None,
) -> Program:
    """A program in one of some formats; itself where it is in one already.

    Args:
        target: what it is translated for; None leaves out translators that need it.

    Raises:
        UnsupportedInput: no translator leads there, or one of them cannot say in its target what
            the program says; the message names the construct and both formats.
        ProgramError: the program is not valid in its own format.
    """
    known = installed() if translators is None else translators
    steps = way(program.format, formats, [t for t in known if target or not t.for_target])
    if steps is None:
        raise UnsupportedInput(
            f"a program of format {program.format!r}, from which no translator leads to what the "
            f"device takes: {', '.join(formats)}",
            remedy="Give the program in one of these formats, or install a translator",
            construct=program.format,
            format=program.format,
            formats=list(formats),
        )
    for step in steps:
        try:
            program = step.translate(program, target)
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
        formats: those that the device takes.
    """

    def __init__(self, formats: Sequence[str]) -> None:
        self._formats = tuple(formats)
        self._kept: OrderedDict[tuple[bytes, str], Program] = OrderedDict()
        self._bytes = 0

    def get(self, program: Program, target: Target | None = None) -> Program:
        """The program in a format of the device, translated once for each calibration.

        Raises:
            UnsupportedInput, ProgramError: see ``translated``; ``ProgramError`` also where the
                translation has other parameters or outputs.
        """
        if program.format in self._formats:
            return program
        key = program.digest, target.calibration if target else ""
        found = self._kept.get(key)
        if found is None:
            found = translated(program, self._formats, target)
            if (found.parameters, found.outputs) != (program.parameters, program.outputs):
                raise ProgramError(
                    "the envelope names other parameters or outputs than its program"
                )
            self._kept[key] = found
            self._bytes += len(found.data)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1].data)
        self._kept.move_to_end(key)
        return found
