"""Programs in files, and the files that they include."""

from __future__ import annotations

from pathlib import Path

import pytest

from openqse.client.arguments import program_of
from openqse.errors import NotSupported, OpenQSEError, ProgramError
from openqse.program.circuit import Circuit
from openqse.program.openqasm import load, loads

from .exact import distribution

MAIN = (
    'OPENQASM 2.0;\ninclude "qelib1.inc";\ninclude "my.inc";\nqreg w[1]; creg m[1];\n'
    "mine w[0]; measure w -> m;\n"
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "my.inc").write_text("gate mine a { x a; }\n")
    path = tmp_path / "main.qasm"
    path.write_text(MAIN)
    return path


def test_a_file_beside_the_program_is_included(program: Path) -> None:
    assert distribution(load(program)) == pytest.approx({"1": 1.0})
    found = program_of(program)
    assert isinstance(found, Circuit)
    assert found == load(program)


def test_what_is_included_is_read_anew_by_each_call(program: Path) -> None:
    first = program_of(program)
    (program.parent / "my.inc").write_text("gate mine a { x a; x a; }\n")
    assert program_of(program) != first


def test_text_opens_no_file(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(program.parent)
    with pytest.raises(NotSupported, match=r"includes of 'my\.inc'") as caught:
        loads(MAIN)
    assert "a file's path" in caught.value.remedy


def test_an_error_in_an_included_file_names_that_file(program: Path) -> None:
    (program.parent / "my.inc").write_text("\ngate mine a { nothing a; }\n")
    with pytest.raises(ProgramError) as caught:
        load(program)
    assert caught.value.message.startswith("my.inc:2:15: gate 'nothing' is not defined")
    assert caught.value.details["file"] == "my.inc"


@pytest.mark.parametrize("name", ["../other.inc", "/etc/hostname", "absent.inc"])
def test_only_files_in_the_programs_folder_are_included(program: Path, name: str) -> None:
    (program.parent.parent / "other.inc").write_text("gate mine a { x a; }\n")
    program.write_text(MAIN.replace("my.inc", name))
    with pytest.raises(ProgramError, match="is not beside the program"):
        load(program)


def test_a_file_that_includes_itself_is_refused(program: Path) -> None:
    (program.parent / "my.inc").write_text('include "my.inc";\n')
    with pytest.raises(ProgramError, match="includes itself"):
        load(program)


def test_a_byte_order_mark_and_odd_bytes(program: Path) -> None:
    program.write_bytes(b"\xef\xbb\xbf" + MAIN.encode())
    assert distribution(load(program)) == pytest.approx({"1": 1.0})
    program.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OpenQSEError, match="utf-8"):
        load(program)


def test_version_3_files_are_included_too(tmp_path: Path) -> None:
    (tmp_path / "lib.inc").write_text("const int n = 3;\ndef flip(qubit q) { x q; }\n")
    path = tmp_path / "main.qasm"
    path.write_text(
        'OPENQASM 3.0;\ninclude "stdgates.inc";\ninclude "lib.inc";\nqubit q; bit c;\n'
        "for int i in [1:n] { flip(q); }\nc = measure q;\n"
    )
    assert distribution(load(path)) == pytest.approx({"1": 1.0})


def test_a_file_may_include_the_library_that_the_program_includes(program: Path) -> None:
    (program.parent / "my.inc").write_text('include "qelib1.inc";\ngate mine a { x a; }\n')
    assert distribution(load(program)) == pytest.approx({"1": 1.0})
    lines = MAIN.replace('include "qelib1.inc";\n', "")
    program.write_text(lines)
    assert distribution(load(program)) == pytest.approx({"1": 1.0})
    twice = MAIN.replace('include "my.inc";', 'include "qelib1.inc";')
    with pytest.raises(ProgramError, match="already included"):
        loads(twice)
