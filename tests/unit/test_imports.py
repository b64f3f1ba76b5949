"""Imports run one way, as docs/architecture.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    path.name: path
    for path in map(
        ROOT.joinpath,
        (
            "openqse",
            "agent/openqse_agent",
            "qpu_emulator/openqse_emulator",
            "simulator/openqse_simulator",
        ),
    )
}
#: Which packages each may know beside itself.
KNOWS = {
    "openqse": set[str](),
    "openqse_agent": {"openqse"},
    "openqse_emulator": {"openqse"},
    "openqse_simulator": {"openqse", "openqse_agent"},
}
#: The storeys of openqse: what is in one knows its own and those below.
STOREYS = (
    {"errors", "site"},
    {"program"},
    {"device"},
    {"wire"},
    {"client", "local", "remote"},
    {"testing", "__init__"},
)
#: The scripted Slurm stands in for the agent's client of Slurm.
EXCEPTED = {"openqse/testing/slurm.py"}


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """The parts of each module's name that a file imports, here or in its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((*node.module.split("."), alias.name) for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_know_only_those_they_may(package: str) -> None:
    for path in PACKAGES[package].rglob("*.py"):
        name = str(path.relative_to(ROOT))
        known = {parts[0] for parts in imported(path)} & PACKAGES.keys()
        assert name in EXCEPTED or known <= KNOWS[package] | {package}, name


def test_the_library_is_built_in_storeys() -> None:
    level = {name: number for number, names in enumerate(STOREYS) for name in names}
    for path in PACKAGES["openqse"].rglob("*.py"):
        parts = path.relative_to(PACKAGES["openqse"]).with_suffix("").parts
        for package, *below in imported(path):
            if package == "openqse" and below and below[0] in level:
                assert level[below[0]] <= level[parts[0]], f"{path.name} imports {below[0]}"


def test_nothing_imports_a_device_or_what_is_for_tests() -> None:
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            for first, *rest in imported(path):
                assert package == first or first != "openqse_emulator", path
                if first == "openqse" and rest[:1] == ["testing"]:
                    assert "testing" in path.parts, path
