"""Profiles: the packaged ones, and files that are wrong."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from openqse.errors import ConfigurationError
from openqse_emulator import profile
from openqse_emulator.device import create

TEXT = (resources.files("openqse_emulator") / "profiles" / "trapped_ion.toml").read_text()


def test_packaged_profiles_load() -> None:
    assert profile.names() == ("superconducting", "trapped_ion")
    assert profile.load() == profile.load("superconducting")
    assert profile.load().max_qubits == 20
    assert profile.load("trapped_ion").durations_ns.two_qubit == 200_000


def test_profile_is_read_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(TEXT.replace("max_qubits = 12", "max_qubits = 5"))
    assert create(str(path)).capabilities.num_qubits == 5


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("max_qubits = 12", "max_qubit = 12", "unknown key 'max_qubit'"),
        ("max_qubits = 12\n", "", "key 'max_qubits' is missing"),
        ("readout = ", "readuot = ", "unknown key 'durations_ns.readuot'"),
        ("reset = 20_000\n", "", "key 'durations_ns.reset' is missing"),
        ("max_qubits = 12", "max_qubits = 0", "'max_qubits' must be a whole number from 1 to"),
        ("max_qubits = 12", "max_qubits = 41", "'max_qubits' must be a whole number from 1 to"),
        ("max_shots = 10_000", "max_shots = true", "'max_shots' must be a whole number"),
        ("expectation_shots = 1000", 'expectation_shots = "x"', "'expectation_shots' must be"),
        ("readout = 150_000", "readout = 0.5", "'durations_ns.readout' must be"),
        ("readout = 150_000", "readout = -1", "'durations_ns.readout' must be"),
        ('["rz", "rx", "ry", "rxx"]', '["rz", "magic"]', "unknown gate 'magic'"),
        ('["rz", "rx", "ry", "rxx"]', '"rz"', "'native_gates' is not a list"),
        ('["rz", "rx", "ry", "rxx"]', "[[1]]", "unknown gate [1]"),
        ("[durations_ns]", "durations_ns = 3\n[other]", "unknown key 'other'"),
        ("max_qubits = 12", "max_qubits 12", "is not TOML"),
    ],
)
def test_wrong_file_is_refused_by_file_and_key(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in TEXT
    path = tmp_path / "ours.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        profile.load(str(path))
    assert str(path) in caught.value.message
    assert says in caught.value.message
    assert caught.value.layer == "device"


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            profile.load(str(path))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        profile.load(str(binary))


def test_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="superconducting, trapped_ion"):
        profile.load("nonesuch")


def test_state_must_fit_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "vast.toml"
    path.write_text(TEXT.replace("max_qubits = 12", "max_qubits = 40"))
    with pytest.raises(ConfigurationError, match="17592186044416 bytes; this machine has"):
        create(str(path))
