"""Every construct of the language is read and does what it says, or is refused by name."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from openqse.errors import NotSupported
from openqse.program.openqasm import loads

from .constructs import CONSTRUCTS, Construct
from .exact import distribution

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("construct", CONSTRUCTS, ids=lambda construct: construct.name)
def test_construct(construct: Construct) -> None:
    if construct.result is None:
        with pytest.raises(NotSupported) as caught:
            loads(construct.source)
        assert construct.refused in str(caught.value)
        return
    circuit = loads(construct.source)
    found = distribution(circuit, construct.parameters)
    assert found == pytest.approx({construct.result: 1.0}, abs=1e-9)


def test_the_table_in_the_documents_is_what_these_tests_say() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "programs.py"))
    assert (ROOT / "docs" / "programs.md").read_text() == script["document"]()
