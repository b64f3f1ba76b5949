"""The hook exchange as values: what the plugin asks and what it is answered."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import ArgumentError, LeaseDenied, OpenQSEError, ProtocolError
from openqse.wire.limits import MAX_HOOK_BYTES
from openqse_agent.node import hooks

checked = settings(max_examples=60, deadline=None)

ATTACH = {
    "VERSION": "1",
    "OP": "attach",
    "JOB_ID": "7",
    "STEP_ID": "0",
    "UID": "1000",
    "GID": "100",
    "RESTART_COUNT": "2",
    "QPU": "emu0:2,emu1",
    "MODE": "shared",
}


def block(records: dict[str, str], **changed: str | None) -> bytes:
    merged = {k: v for k, v in (records | changed).items() if v is not None}
    return b"".join(f"{k}={v}".encode() + b"\0" for k, v in merged.items()) + b"\0"


def read(answer: bytes) -> list[tuple[str, str]]:
    """The records of an answer, as the plugin splits them."""
    assert answer.endswith(b"\0\0")
    assert answer.find(b"\0\0") == len(answer) - 2  # the plugin stops at the first end mark
    return [(k, v) for k, _, v in (r.partition("=") for r in answer[:-2].decode().split("\0"))]


def test_an_attach_is_read() -> None:
    assert hooks.parse(block(ATTACH)) == hooks.Attach(
        7, 1000, 100, 2, {"emu0": 2, "emu1": 1}, "shared"
    )
    largest = str(2**32 - 1)
    attach = hooks.parse(block(ATTACH, UID=largest, STEP_ID=largest, MODE="exclusive"))
    assert isinstance(attach, hooks.Attach)
    assert (attach.uid, attach.mode) == (2**32 - 1, "exclusive")


def test_a_detach_is_read() -> None:
    assert hooks.parse(block({"VERSION": "1", "OP": "detach", "JOB_ID": "7"})) == hooks.Detach(7)


def test_records_may_come_in_any_order() -> None:
    assert hooks.parse(block(dict(reversed(ATTACH.items())))) == hooks.parse(block(ATTACH))


@pytest.mark.parametrize(
    "key", [key for key in ATTACH if key not in ("STEP_ID", "QPU", "MODE", "OP")]
)
@pytest.mark.parametrize(
    "value", ["", "-1", "+1", " 1", "1 ", "0x1", "1.0", "1e3", "x", "٣", str(2**32), "9" * 5000]
)
def test_numbers_are_decimal_and_of_32_bits(key: str, value: str) -> None:
    with pytest.raises(ProtocolError):
        hooks.parse(block(ATTACH, **{key: value}))


@pytest.mark.parametrize("key", ATTACH)
def test_every_record_is_needed(key: str) -> None:
    with pytest.raises(ProtocolError):
        hooks.parse(block(ATTACH, **{key: None}))


@pytest.mark.parametrize(
    "changed",
    [
        {"COLOUR": "blue"},
        {"OP": "dance"},
        {"OP": ""},
        {"VERSION": "2"},
        {"VERSION": ""},
        {"OP": "detach"},
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ProtocolError):
        hooks.parse(block(ATTACH, **changed))


def test_another_version_is_answered_with_the_remedy() -> None:
    with pytest.raises(ProtocolError, match="same release"):
        hooks.parse(block(ATTACH, VERSION="2"))


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"VERSION\0\0",
        b"=1\0\0",
        b"VERSION=1\0VERSION=1\0OP=detach\0JOB_ID=1\0\0",
        b"VERSION=1\0OP=detach\0JOB_ID=1\0JOB_ID=2\0\0",
        b"VERSION=1\0OP=detach\0JOB_ID=\xff\xfe\0\0",
    ],
    ids=repr,
)
def test_malformed_records_are_refused(data: bytes) -> None:
    assert hooks.complete(data)
    with pytest.raises(ProtocolError):
        hooks.parse(data)


@pytest.mark.parametrize("changed", [{"QPU": "emu0:0"}, {"QPU": "a,,b"}, {"MODE": "both"}], ids=str)
def test_malformed_options_are_argument_errors(changed: dict[str, str]) -> None:
    with pytest.raises(ArgumentError):
        hooks.parse(block(ATTACH, **changed))


def test_a_block_is_complete_at_its_end_and_not_before() -> None:
    whole = block(ATTACH)
    assert [hooks.complete(whole[:n]) for n in range(len(whole))] == [False] * len(whole)
    assert hooks.complete(whole)


@pytest.mark.parametrize("extra", [b"\0", b"x", block(ATTACH)])
def test_nothing_follows_the_end_of_a_block(extra: bytes) -> None:
    for start in (block(ATTACH), b"\0"):
        with pytest.raises(ProtocolError, match="follow"):
            hooks.complete(start + extra)


def test_a_block_has_a_largest_size() -> None:
    fits = b"X=" + b"x" * (MAX_HOOK_BYTES - 4) + b"\0\0"
    assert len(fits) == MAX_HOOK_BYTES
    assert hooks.complete(fits)
    assert not hooks.complete(b"x" * MAX_HOOK_BYTES)
    with pytest.raises(ProtocolError, match="65536"):
        hooks.complete(b"x" * (MAX_HOOK_BYTES + 1))


pieces = st.lists(st.sampled_from([*ATTACH, *ATTACH.values(), "=", "\0"])).map(
    lambda parts: "".join(parts).encode()
)


@checked
@given(st.binary(max_size=80) | pieces)
def test_random_requests_raise_typed_errors_only(data: bytes) -> None:
    with suppress(OpenQSEError):
        if hooks.complete(data):
            hooks.parse(data)


@checked
@given(st.data())
def test_mutated_requests_raise_typed_errors_only(data: st.DataObject) -> None:
    mutated = bytearray(block(ATTACH))
    mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    with suppress(OpenQSEError):
        hooks.parse(bytes(mutated))


def test_success_sets_the_environment_and_says_how_long_it_took() -> None:
    answer = hooks.format_success({"A": "1", "B": "x=y", "C": ""}, 1234)
    assert read(answer) == [
        ("VERSION", "1"),
        ("STATUS", "ok"),
        ("SET", "A=1"),
        ("SET", "B=x=y"),
        ("SET", "C="),
        ("ELAPSED_US", "1234"),
    ]


def test_an_error_says_layer_message_and_remedy() -> None:
    error = LeaseDenied("no slot", layer="QPU agent", remedy="Ask for one")
    assert read(hooks.format_error(error)) == [
        ("VERSION", "1"),
        ("STATUS", "error"),
        ("LAYER", "QPU agent"),
        ("MESSAGE", "no slot"),
        ("REMEDY", "Ask for one"),
    ]


hostile = st.text(st.characters(exclude_categories=["Cs"])) | st.just("a\0SET=LD_PRELOAD=x\nb\0\0")


@checked
@given(hostile, hostile, hostile)
def test_no_text_of_an_error_adds_a_record_or_a_line(message: str, layer: str, remedy: str) -> None:
    answer = read(hooks.format_error(LeaseDenied(message, layer=layer, remedy=remedy)))
    assert [key for key, _ in answer] == ["VERSION", "STATUS", "LAYER", "MESSAGE", "REMEDY"]
    assert not any("\n" in value for _, value in answer)


@checked
@given(st.dictionaries(st.sampled_from(["A", "B"]), hostile))
def test_no_value_of_the_environment_adds_a_record(environment: dict[str, str]) -> None:
    answer = read(hooks.format_success(environment, 0))
    keys = ["VERSION", "STATUS", *["SET"] * len(environment), "ELAPSED_US"]
    assert [key for key, _ in answer] == keys


def test_the_longest_error_fits_into_an_answer() -> None:
    long = "é" * 200_000
    answer = hooks.format_error(LeaseDenied(long, layer=long, remedy=long))
    assert len(answer) <= MAX_HOOK_BYTES
    assert len(read(answer)) == 5
