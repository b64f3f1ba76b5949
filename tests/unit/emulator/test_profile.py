"""Profiles: the packaged ones, and files that are wrong."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from openqse.errors import ConfigurationError
from openqse_emulator import profile
from openqse_emulator.device import create

TEXT = (resources.files("openqse_emulator") / "profiles" / "trapped_ion.toml").read_text()


def test_packaged_profiles_load() -> None:
    assert profile.names() == ("superconducting", "superconducting_noisy", "trapped_ion")
    assert profile.load() == profile.load("superconducting")
    assert profile.load().max_qubits == 127
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
        ("max_qubits = 12", "max_qubits = 10_001", "'max_qubits' must be a whole number from 1"),
        ("max_shots = 10_000", "max_shots = true", "'max_shots' must be a whole number"),
        ("expectation_shots = 1000", 'expectation_shots = "x"', "'expectation_shots' must be"),
        ("readout = 150_000", "readout = 0.5", "'durations_ns.readout' must be"),
        ("readout = 150_000", "readout = -1", "'durations_ns.readout' must be"),
        ('["rz", "rx", "ry", "rxx"]', '["rz", "magic"]', "unknown gate 'magic'"),
        ('["rz", "rx", "ry", "rxx"]', '"rz"', "'native_gates' is not a list"),
        ('["rz", "rx", "ry", "rxx"]', "[[1]]", "unknown gate [1]"),
        ("[durations_ns]", "durations_ns = 3\n[other]", "unknown key 'other'"),
        ("max_qubits = 12", "max_qubits = 12\nreal_time = 1", "'real_time' must be true or false"),
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


@pytest.mark.parametrize(
    ("groups", "file", "says", "limit"),
    [
        ("0::/slurm/job", "slurm/job/memory.max", "1000000", 10**6),
        ("0::/slurm/job", "slurm/memory.max", "2000000", 2 * 10**6),
        ("0::/slurm/job", "slurm/job/memory.max", "max", None),
        ("4:memory:/docker", "memory/docker/memory.limit_in_bytes", "3000000", 3 * 10**6),
        ("4:cpu:/docker", "cpu/docker/memory.max", "3000000", None),
    ],
)
def test_memory_is_what_control_groups_leave(
    tmp_path: Path, groups: str, file: str, says: str, limit: int | None
) -> None:
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    path = tmp_path / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(says + "\n")
    assert profile._memory(tmp_path) == (present if limit is None else limit)


def test_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="superconducting_noisy, trapped_ion"):
        profile.load("nonesuch")


def with_tables(tmp_path: Path, tables: str) -> profile.Profile:
    path = tmp_path / "ours.toml"
    path.write_text(f"{TEXT}\n{tables}")
    return profile.load(str(path))


def test_engine_and_noise_may_be_left_out() -> None:
    for name in ("superconducting", "trapped_ion"):
        loaded = profile.load(name)
        assert loaded.engine == profile.Engine("auto", "double", 0, 0)
        assert loaded.noise == profile.Noise()


def test_zeros_of_an_engine_stand_for_the_machine() -> None:
    here = profile.Engine().on_this_machine()
    assert here.threads == len(os.sched_getaffinity(0))
    assert 0 < here.memory_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    given = profile.Engine("density", "single", 3, 10**6)
    assert given.on_this_machine() == given


def test_noisy_profile_differs_from_the_one_it_is_named_after_by_its_noise() -> None:
    quiet, noisy = profile.load("superconducting"), profile.load("superconducting_noisy")
    assert replace(noisy, name=quiet.name, noise=quiet.noise) == quiet
    assert noisy.noise.t1_ns == (100_000,)
    assert noisy.noise.one_as_zero == (0.02,)
    assert noisy.noise.leakage_per_ns == 0


def test_what_the_noisy_profile_shows_in_comments_can_be_written(tmp_path: Path) -> None:
    folder = resources.files("openqse_emulator") / "profiles"
    lines = (folder / "superconducting_noisy.toml").read_text().splitlines()
    shown = [re.sub(r"^# (?=leakage|\[noise|sx =|x =|    \[|\])", "", line) for line in lines]
    path = tmp_path / "ours.toml"
    path.write_text("\n".join(shown))
    found = profile.load(str(path)).noise
    assert found.leakage_per_ns == 1e-8
    assert found.pauli == {"sx": (0.0001, 0.0001, 0.0003)}
    assert found.kraus == {"x": (((1, 0), (0, 0.8)), ((0, 0.6), (0, 0)))}


def test_figures_may_be_one_for_each_qubit(tmp_path: Path) -> None:
    times = list(range(100, 112))
    noise = with_tables(
        tmp_path,
        f"[noise]\nt1_ns = {times}\nt2_ns = 200\nreadout.zero_as_one = {[0.5] * 12}",
    ).noise
    assert noise.t1_ns == tuple(times)
    assert noise.t2_ns == (200,)
    assert noise.zero_as_one == (0.5,) * 12
    assert noise.one_as_zero == ()


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ("engine.methods = 1", "unknown key 'engine.methods'"),
        ('engine.method = "mps"', "'engine.method' must be one of auto, statevector, stabilizer"),
        ("engine.precision = 64", "'engine.precision' must be one of double, single, not 64"),
        ("engine.method = []", "'engine.method' must be one of"),
        ("engine.threads = -1", "'engine.threads' must be a whole number from 0"),
        ("engine.memory_bytes = 1.5", "'engine.memory_bytes' must be a whole number"),
        ("noise.zero_as_one = 0.1", "unknown key 'noise.zero_as_one'"),
        ("noise.readout.zero = 0.1", "unknown key 'noise.readout.zero'"),
        ("noise.readout = 0.1", "'noise.readout' is not a table"),
        ("noise.one_qubit = 1.1", "'noise.one_qubit' must be a number from 0 to 1, not 1.1"),
        ("noise.two_qubit = true", "'noise.two_qubit' must be a number"),
        ("noise.leakage_per_ns = -1.0", "'noise.leakage_per_ns' must be"),
        ("noise.t1_ns = 0", "'noise.t1_ns' must be a number from 0.001"),
        ("noise.t1_ns = nan", "'noise.t1_ns' must be a number"),
        ("noise.t1_ns = [1, 2]", "'noise.t1_ns' has 2 values for 12 qubits"),
        ("noise.t1_ns = 10\nnoise.t2_ns = 21", "is more than twice 'noise.t1_ns' (qubit 0)"),
        (f"noise.t1_ns = {[9] * 11 + [3]}\nnoise.t2_ns = 7", "'noise.t1_ns' (qubit 11)"),
        ("noise.readout.zero_as_one = 2", "'noise.readout.zero_as_one' must be"),
        ("noise.pauli.magic = [0, 0, 0]", "'noise.pauli.magic' names an unknown gate"),
        ("noise.pauli.gphase = [0, 0, 0]", "'noise.pauli.gphase' names an unknown gate"),
        ("noise.pauli.x = [0, 0]", "'noise.pauli.x' is not a list of 3 probabilities"),
        ("noise.pauli.cx = [0, 0, 0]", "'noise.pauli.cx' is not a list of 15"),
        ("noise.pauli.x = [0, 0, 2]", "'noise.pauli.x' must be a number from 0 to 1"),
        ("noise.pauli.x = [0.5, 0.5, 0.5]", "'noise.pauli.x' sum to 1.5, more than 1"),
        ("noise.kraus.x = 3", "'noise.kraus.x' is not a list of 2 x 2 matrices"),
        ("noise.kraus.x = [[[1, 0], [0, 1]]]", "'noise.kraus.x' is not a list of 2 x 2"),
        ("noise.kraus.x = [[[[1, 0]], [[1, 0], [1, 0]]]]", "'noise.kraus.x' is not a list"),
        ("noise.kraus.cx = [[[[1,0],[0,0]],[[0,0],[1,0]]]]", "is not a list of 4 x 4"),
        ("noise.kraus.x = [[[[1,0],[0,0]],[[0,0],[0.9,0]]]]", "do not fulfil sum(K^† K) = 1"),
        (
            "noise.pauli.x = [0, 0, 0]\nnoise.kraus.x = [[[[1,0],[0,0]],[[0,0],[1,0]]]]",
            "both have the gate 'x'",
        ),
    ],
)
def test_wrong_engine_or_noise_is_refused_by_file_and_key(
    tmp_path: Path, tables: str, says: str
) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(f"{tables}\n{TEXT}")
    with pytest.raises(ConfigurationError) as caught:
        profile.load(str(path))
    assert str(path) in caught.value.message
    assert says in caught.value.message
