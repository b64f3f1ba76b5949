"""What the commands tell of themselves: help texts, manual pages, completion."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from openqse import site as sites
from openqse_agent.cli import completion
from openqse_agent.cli import main as cli

MANUAL = Path(__file__).parents[3] / "docs" / "man"


@pytest.fixture(scope="module")
def render() -> Iterator[ModuleType]:
    """The program docs/man/render.py."""
    spec = importlib.util.spec_from_file_location("render_manual", MANUAL / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from list(leaves(child)) or [child]


COMMANDS = {parser.prog: parser for parser in leaves(cli.parser())}


# --- help texts ----------------------------------------------------------------------------------


def test_the_commands_are_those_that_are_meant() -> None:
    assert sorted(name.removeprefix("openqse ") for name in COMMANDS) == [
        "device check",
        "estimate",
        "leases",
        "probe node",
        "probe qpu",
        "qpu drain",
        "qpu list",
        "qpu resume",
        "qpu windows",
        "queue",
        "share",
        "site check",
        "site render",
        "status",
        "usage",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_describes_itself_and_what_may_be_given(name: str) -> None:
    parser = COMMANDS[name]
    assert parser.description
    assert all(action.help for action in parser._actions)
    assert name in parser.format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_each_command_are_ones_that_it_takes(name: str) -> None:
    head, *examples = (COMMANDS[name].epilog or "").splitlines()
    assert head == "Examples:"
    assert examples
    for example in examples:
        words = shlex.split(example, comments=True)
        words = words[words.index("openqse") + 1 :]
        end = next((i for i, word in enumerate(words) if word in ("|", "&&")), None)
        arguments = cli.parser().parse_args(words[:end])
        assert callable(arguments.run)


# --- manual pages --------------------------------------------------------------------------------


def test_the_pages_are_those_of_the_parsers(render: ModuleType) -> None:
    found = {str(p.relative_to(MANUAL)): p.read_text() for p in MANUAL.glob("man*/*")}
    assert found == render.pages(), "run docs/man/render.py"


def test_there_is_a_page_for_each_installed_command(render: ModuleType) -> None:
    pyproject = (MANUAL.parents[1] / "pyproject.toml").read_text()
    scripts = pyproject.partition("[project.scripts]\n")[2].partition("\n\n")[0].splitlines()
    pages = {path.partition("/")[2][:-2] for path in render.pages() if "man5" not in path}
    assert pages == {line.split()[0] for line in scripts}


def test_the_page_of_a_file_explains_each_key(render: ModuleType) -> None:
    for file in render.FILES:
        for _, table in file.tables:
            explained = {*render.attributes(table), "name", "node", "qpu", "slurm"}
            assert {field.name for field in dataclasses.fields(table)} <= explained


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--json", r"\-\-json"),
        (r"a\b", r"a\eb"),
        ("'^~`\"", r"\(aq\(ha\(ti\(ga\(dq"),
    ],
)
def test_text_is_printed_letter_for_letter(render: ModuleType, text: str, shown: str) -> None:
    assert render.escaped(text) == shown


def test_paragraphs_lists_and_examples_are_told_apart(render: ModuleType) -> None:
    text = "What it\ndoes:\n\n- one\n  thing\n- .two\n\n  up   it runs\n\nExamples:\n  a   # b"
    assert list(render.paragraphs(text)) == [
        "What it",
        "does:",
        ".PP",
        r".IP \(bu 2",
        "one",
        "thing",
        r".IP \(bu 2",
        r"\&.two",
        ".PP",
        ".TP",
        "up",
        "it runs",
        ".PP",
        "Examples:",
        ".PP",
        ".RS 2",
        ".nf",
        "a   # b",
        ".fi",
        ".RE",
    ]


def test_a_synopsis_shows_what_is_required_and_what_excludes_what(render: ModuleType) -> None:
    parser = argparse.ArgumentParser("it")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("-a", "--all", action="store_true")
    either.add_argument("-n", "--name", metavar="NAME")
    parser.add_argument("--how", choices=("fast", "well"), required=True)
    parser.add_argument("what", nargs="+")
    assert render.synopsis(parser).splitlines() == [
        r"\fBit\fR",
        r"[\fB\-a\fR | \fB\-n\fR \fINAME\fR]",
        r"\fB\-\-how\fR {\fBfast|well\fR}",
        r"\fIwhat\fR [\fIwhat\fR ...]",
    ]


# --- completion ----------------------------------------------------------------------------------


@pytest.fixture
def complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], set[str]]:
    """What bash offers for the last word of a command line."""
    site = tmp_path / "openqse.toml"
    site.write_text("[qpu.emu0]\nslots = 4\n[qpu.trap_1]  # of ions\nslots = 1\n")
    monkeypatch.setattr(sites, "DEFAULT_PATH", site)
    with pytest.raises(SystemExit) as ended:
        cli.main(["--print-completion", "bash"])
    assert ended.value.code in (None, 0)
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)

    def offers(line: str) -> set[str]:
        words = line.split(" ")
        quoted = " ".join(map(shlex.quote, words))
        command = (
            f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
            "$(complete -p openqse | grep -o -- '-F [^ ]*' | cut -c4-) openqse; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True
        )
        return set(done.stdout.split())

    return offers


def test_bash_completes_commands_options_and_qpus(complete: Callable[[str], set[str]]) -> None:
    assert {"queue", "share", "usage", "estimate", "qpu"} <= complete("openqse ")
    assert complete("openqse qu") == {"queue"}
    assert complete("openqse queue --us") == {"--user"}
    assert complete("openqse usage --by ") >= {"job", "user", "account"}
    assert complete("openqse qpu drain tr") == {"trap_1"}
    assert {"emu0", "trap_1"} <= complete("openqse estimate - --qpu ")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_there_is_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--print-completion", shell])
    assert "estimate" in capsys.readouterr().out


def test_without_shtab_completion_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["--print-completion", "bash"]) == 2
    assert "pip install 'openqse[agent]'" in capsys.readouterr().err
