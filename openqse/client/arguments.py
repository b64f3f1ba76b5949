"""Arguments of calls, checked before anything is sent."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from openqse.errors import ArgumentError, NotSupported, ProgramError
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.program import Program
from openqse.wire.messages import Latency

#: What may be given as a program: a circuit, OpenQASM text, the path of an OpenQASM file, or the
#: envelope of a program in any format.
Source: TypeAlias = "Circuit | CircuitBuilder | Program | str | os.PathLike[str]"
#: One set of parameters: ``(n_parameters,)`` or by name.
OneSet: TypeAlias = "Sequence[float] | Mapping[str, float | Sequence[float]]"
#: Several sets in one task: ``(k, n_parameters)``.
Batch: TypeAlias = "Sequence[Sequence[float]] | Sequence[NDArray[Any]]"
#: Whichever its shape says.
Array: TypeAlias = "NDArray[Any] | Mapping[str, NDArray[Any]]"
Parameters: TypeAlias = "OneSet | Batch | Array"


def program_of(source: Source) -> Program | Circuit:
    """The program that is meant: a circuit where it can be read here, else its envelope.

    Raises:
        ProgramError: it cannot be read. ArgumentError: it is no program.
    """
    if isinstance(source, Circuit | Program):
        return source
    if isinstance(source, CircuitBuilder):
        return source.build()
    if isinstance(source, str):
        if "\n" not in source and source.strip().endswith(".qasm"):
            raise ProgramError(
                f"{source!r} is the name of a file and not OpenQASM text",
                remedy=f"Give pathlib.Path({source!r})",
            )
        return _read(source, "<program>")
    if not isinstance(source, os.PathLike):
        raise ArgumentError(
            f"a program is a Circuit, OpenQASM text or the path of a file, not {source!r}"
        )
    try:
        return _file(Path(source))
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"{os.fspath(source)} cannot be read: {error}") from error


def _file(path: Path) -> Circuit:
    """The circuit of a file. What it includes of its own may change, so that is read anew."""
    from openqse.program.openqasm import load

    try:
        return _read(path.read_text(encoding="utf-8-sig"), str(path))
    except NotSupported as error:
        if error.details.get("construct") != "include":
            raise
    return load(path)


@lru_cache(maxsize=64)
def _read(source: str, name: str) -> Circuit:
    from openqse.program.openqasm import loads  # many programs never need it

    return loads(source, name)


def whole(name: str, number: int) -> int:
    """A whole number, also of NumPy's types."""
    try:
        return operator.index(number)
    except TypeError:
        raise ArgumentError(f"{name} must be a whole number, not {number!r}") from None


def checked_seed(seed: int | None) -> int | None:
    """A seed, or None."""
    if seed is None:
        return None
    seed = whole("a seed", seed)
    if not 0 <= seed < 2**64:
        raise ArgumentError("a seed is a whole number from 0 to 2^64 - 1")
    return seed


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds, or None."""
    if timeout is not None and not 0 < timeout < 1e9:
        raise ArgumentError(f"timeout must be a positive number of seconds, not {timeout}")
    return timeout


def checked_latency(latency: str) -> Latency:
    """A latency class by its name."""
    try:
        return _LATENCIES[latency]
    except KeyError:
        raise ArgumentError(f"latency is 'interactive' or 'batch', not {latency!r}") from None


_LATENCIES = {str(latency): latency for latency in Latency}
