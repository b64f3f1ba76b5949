"""The site file and the ``--qpu`` value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse import site
from openqse.errors import ArgumentError, ConfigurationError
from openqse.site import format_request, parse_request

OPTIONS = Path(__file__).parents[1] / "vectors" / "qpu_options.tsv"

checked = settings(max_examples=60, deadline=None)

GOOD = """
[qpu.emu0]
slots = 4
endpoint = "tcp://qpu0:7400"
device = "emulator"
profile = "heavy-hex"
type = "iqm"
billing_weight = 2

[qpu.b]
slots = 1
endpoint = "tcp://10.0.0.1:7401"
device = "emulator"
"""


def load(tmp_path: Path, text: str) -> site.Site:
    path = tmp_path / "openqse.toml"
    path.write_text(text)
    return site.load(path)


def test_a_site_file_is_read_in_its_order_with_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, GOOD)
    assert list(loaded.qpus) == ["emu0", "b"]
    assert loaded.qpu("emu0") == site.SiteQPU(
        "emu0", 4, "tcp://qpu0:7400", "emulator", "heavy-hex", "iqm", 2.0
    )
    assert type(loaded.qpu("emu0").billing_weight) is float
    other = loaded.qpu("b")
    assert (other.profile, other.type, other.billing_weight) == (None, "openqse", 1.0)
    assert other.license == "qpu_b"


def test_an_unknown_qpu_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no QPU 'emu9' \(known: emu0, b\)"):
        load(tmp_path, GOOD).qpu("emu9")
    with pytest.raises(ConfigurationError, match="known: none"):
        load(tmp_path, "").qpu("emu0")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("slots = 4", "slots = 4\ncolour = 1", r"\[qpu.emu0\]: unknown key 'colour'.*Known keys"),
        ("slots = 4\n", "", r"\[qpu.emu0\]: key 'slots' is missing"),
        ('device = "emulator"', "", "key 'device' is missing"),
        ("slots = 4", 'slots = "4"', "slots must be int, not '4'"),
        ("slots = 4", "slots = 4.0", "slots must be int"),
        ("slots = 4", "slots = true", "slots must be int"),
        ("slots = 4", "slots = 0", "slots must be from 1 to 65535"),
        ("slots = 4", "slots = -1", "slots must be from 1"),
        ("slots = 4", "slots = 65536", "slots must be from 1"),
        ("tcp://qpu0:7400", "qpu0:7400", "endpoint must read tcp://HOST:PORT"),
        ("tcp://qpu0:7400", "ipc://qpu0:7400", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://qpu0", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://:7400", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://qpu0:", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://qpu 0:7400", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://qpu0:7400/x", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://qpu0:70000", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://qpu0:0", "endpoint must read"),
        ("tcp://qpu0:7400", "tcp://qpu0:٧٤٠٠", "endpoint must read"),
        ("billing_weight = 2", "billing_weight = -0.5", "billing_weight must"),
        ("billing_weight = 2", "billing_weight = nan", "billing_weight must"),
        ("billing_weight = 2", "billing_weight = inf", "billing_weight must"),
        ("billing_weight = 2", 'billing_weight = "2"', "billing_weight must be float"),
        ('profile = "heavy-hex"', "profile = 3", "profile must be str"),
        ("[qpu.emu0]", '[qpu."emu-0"]', "a QPU's name is a letter"),
        ("[qpu.emu0]", "[qpu.0emu]", "a QPU's name is a letter"),
        ("[qpu.emu0]", "[qpu._emu]", "a QPU's name is a letter"),
        ("[qpu.emu0]", '[qpu."ému"]', "a QPU's name is a letter"),
        ("[qpu.emu0]", '[qpu."emu0\\n"]', "a QPU's name is a letter"),
        ("[qpu.emu0]", f"[qpu.{'a' * 33}]", "a QPU's name is a letter"),
        ("[qpu.emu0]", "[emu0]", "unknown or misplaced key: emu0"),
        ("[qpu.emu0]", "[qpu]", "not a table"),
        ("[qpu.emu0]", "[qpu.emu0", "openqse.toml: "),
        ("[qpu.b]", "[qpu.emu0]", "openqse.toml: "),
    ],
)
def test_a_slip_in_the_site_file_is_named(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(ConfigurationError, match=complaint):
        load(tmp_path, GOOD.replace(old, new, 1))


def test_qpu_is_a_table_of_tables(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="misplaced key: qpu"):
        load(tmp_path, "qpu = 3")
    with pytest.raises(ConfigurationError, match=r"\[qpu.a\]: not a table"):
        load(tmp_path, "[qpu]\na = 1")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none.toml: No such file"):
        site.load(tmp_path / "none.toml")


def options() -> list[tuple[str, str, str]]:
    """The values of ``--qpu`` that the plugin, slurmctld's script and the agents agree on."""
    rows = []
    for line in OPTIONS.read_text().splitlines():
        if not line.startswith("#"):
            value, verdict, what = line.split("\t")
            raw = re.sub(r"\\x([0-9a-f]{2})", lambda byte: chr(int(byte[1], 16)), value)
            text = raw.encode("latin-1").decode(errors="surrogateescape")
            rows.append((text, verdict, what))
    return rows


@pytest.mark.parametrize(
    ("text", "what"), [(text, what) for text, verdict, what in options() if verdict == "ok"]
)
def test_a_request_that_the_plugin_accepts_is_read(text: str, what: str) -> None:
    expected = {name: int(count) for name, count in (item.split("=") for item in what.split())}
    assert parse_request(text) == expected
    assert list(parse_request(text)) == list(expected)


#: What ``parse_request`` says for each reason of the table.
WORDS = {
    "slots": "slots of 'emu0' must be a whole number from 1 to 65535",
    "twice": "'emu0' is named twice",
    "many": "at most 32 QPUs",
    "length": "at most 1024 bytes",
    "blank": "does not begin with the name of a QPU|slots of 'emu0'",
}


@pytest.mark.parametrize(
    ("text", "why"), [(text, why) for text, verdict, why in options() if verdict == "refused"]
)
def test_a_request_that_the_plugin_refuses_is_refused(text: str, why: str) -> None:
    with pytest.raises(ArgumentError, match=WORDS.get(why, "does not begin with the name")):
        parse_request(text)


def test_the_table_of_requests_has_both_kinds_and_every_reason() -> None:
    reasons = {why for _, verdict, why in options() if verdict == "refused"}
    named = re.findall(r"^#   ([a-z-]+)  ", OPTIONS.read_text(), re.MULTILINE)
    assert reasons == set(named) >= WORDS.keys()
    assert any(verdict == "ok" for _, verdict, _ in options())


requests = st.dictionaries(
    st.from_regex(site.QPU_NAME, fullmatch=True),
    st.integers(1, site.MAX_SLOTS),
    min_size=1,
    max_size=20,
)


@checked
@given(requests)
def test_a_formatted_request_is_read_back(slots: dict[str, int]) -> None:
    text = format_request(slots)
    assert parse_request(text) == slots
    assert list(parse_request(text)) == list(slots)


@checked
@given(st.text(max_size=40) | st.text("aZ09_,:+- \n", max_size=12))
def test_whatever_is_read_as_a_request_is_written_the_same(text: str) -> None:
    try:
        slots = parse_request(text)
    except ArgumentError:
        return
    assert parse_request(format_request(slots)) == slots
    assert text.isascii()
