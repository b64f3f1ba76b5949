"""Ways from one program format to another."""

from __future__ import annotations

import pytest

from openqse.errors import ProgramError, UnsupportedInput
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import FORMAT, Circuit
from openqse.program.program import Program
from openqse.program.translate import (
    OPENQASM_2,
    Target,
    Translations,
    Translator,
    translated,
    way,
)


def marked(source: str, target: str) -> Translator:
    return Translator(source, target, lambda p, _: Program(target, p.data + target[-1:].encode()))


CHAIN = (marked("a", "b"), marked("b", "c"), marked("c", "d"), marked("a", "d"))


def test_the_shortest_way_is_taken() -> None:
    assert way("a", ["d"], CHAIN) == (CHAIN[3],)
    assert way("a", ["c"], CHAIN) == (CHAIN[0], CHAIN[1])
    assert way("a", ["a", "b"], CHAIN) == ()
    assert way("a", ["c", "d", "b"], CHAIN) == (CHAIN[3],)
    assert way("d", ["a"], CHAIN) is None


def test_each_translator_on_the_way_translates() -> None:
    assert translated(Program("a", b""), ["c"], None, CHAIN).data == b"bc"
    program = Program("c", b"x")
    assert translated(program, ["c"], None, CHAIN) is program


def test_without_a_way_the_error_names_both_formats() -> None:
    with pytest.raises(UnsupportedInput, match=r"'hugr'.*openqse\.circuit\.2"):
        translated(Program("hugr", b""), [FORMAT])


def test_a_translator_that_breaks_is_named() -> None:
    def broken(program: Program, target: Target | None) -> Program:
        raise KeyError("cphase")

    with pytest.raises(UnsupportedInput, match="from 'a' to 'b': KeyError: 'cphase'"):
        translated(Program("a", b""), ["b"], None, [Translator("a", "b", broken)])


def test_openqasm_text_becomes_a_circuit() -> None:
    text = b'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;'
    read = Circuit.of(translated(Program(OPENQASM_2, text), [FORMAT]))
    assert [operation.op.name for operation in read.operations()] == ["X", "MEASURE"]
    with pytest.raises(ProgramError, match="UTF-8"):
        translated(Program(OPENQASM_2, b"\xff"), [FORMAT])


def test_a_translation_is_kept_for_a_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def translate(program: Program, target: Target | None) -> Program:
        made.append(program.format)
        return CircuitBuilder(1).build().program

    monkeypatch.setattr(
        "openqse.program.translate.installed", lambda: (Translator("a", FORMAT, translate),)
    )
    translations = Translations([FORMAT])
    program = Program("a", b"")
    for calibration in ("monday", "monday", "tuesday"):
        assert translations.get(program, Target(calibration=calibration)).format == FORMAT
    assert made == ["a", "a"]
    ready = CircuitBuilder(1).build().program
    assert translations.get(ready) is ready


def test_a_translator_that_needs_its_target_waits_for_one() -> None:
    seen: list[Target | None] = []

    def route(program: Program, target: Target | None) -> Program:
        seen.append(target)
        return Program("b", b"routed")

    router = Translator("a", "b", route, for_target=True)
    with pytest.raises(UnsupportedInput):
        translated(Program("a", b""), ["b"], None, [router])
    line = Target(coupling=((0, 1),))
    assert translated(Program("a", b""), ["b"], line, [router]).data == b"routed"
    assert seen == [line]


def test_a_translation_may_not_change_what_the_envelope_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = CircuitBuilder(1).measure(0, 0).build().program
    monkeypatch.setattr(
        "openqse.program.translate.installed", lambda: (Translator("a", FORMAT, lambda *_: other),)
    )
    with pytest.raises(ProgramError, match="other parameters or outputs"):
        Translations([FORMAT]).get(Program("a", b""))
