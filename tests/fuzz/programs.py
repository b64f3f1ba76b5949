"""The OpenQASM reader under fire: whatever text arrives, a circuit or a typed error, soon.

``fuzz_programs.py`` runs it under atheris, the unit tests over mutations of small programs.
``python tests/fuzz/programs.py FOLDER`` writes those programs, for a fuzzer to begin with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import re
import sys
from pathlib import Path

from openqse.errors import OpenQSEError
from openqse.program.circuit import Circuit
from openqse.program.openqasm import loads

LIST = Path(__file__).parents[1] / "unit/program/openqasm/constructs.py"
_TOKENS = re.compile(r"\w+|\s+|[^\w\s]+")


def one_input(data: bytes) -> None:
    """Raises unless the text is read into a consistent circuit, or refused with a place."""
    refusal, circuit = None, None
    try:
        circuit = loads(data.decode("utf-8", "replace"))
    except OpenQSEError as error:
        refusal = error
    if circuit is not None:
        assert Circuit.decode(circuit.encoded) == circuit
    else:
        assert refusal is not None
        assert refusal.details.get("line", 0) >= 1, refusal
        assert not refusal.message.startswith("inconsistent circuit"), refusal


def seeds() -> list[str]:
    """A small program for each construct of the language."""
    spec = importlib.util.spec_from_file_location("constructs", LIST)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["constructs"] = module
    spec.loader.exec_module(module)
    return [construct.source for construct in module.CONSTRUCTS]


def mutated(draw: random.Random, texts: list[str]) -> str:
    """One of the texts with a few words taken out, exchanged, or put in from others."""
    words = _TOKENS.findall(draw.choice(texts))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(words) + 1)
        other = draw.choice(_TOKENS.findall(draw.choice(texts)))
        words[at : at + draw.randint(0, 2)] = draw.choice([[], [other], [other, " "]])
    return "".join(words)


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for text in seeds():
        (folder / hashlib.sha256(text.encode()).hexdigest()[:16]).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
