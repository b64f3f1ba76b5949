"""The hook exchange with the SPANK plugin: records, requests and answers as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openqse.errors import ArgumentError, OpenQSEError, ProtocolError
from openqse.site import parse_request
from openqse.wire.limits import MAX_HOOK_BYTES

VERSION = "1"
#: Name of the hook socket in the node agent's folder.
SOCKET = "node.sock"
#: The request that asks whether the agent is alive.
PROBE = b"VERSION=1\0OP=probe\0\0"

_REQUIRED = {
    "attach": {"JOB_ID", "STEP_ID", "UID", "GID", "RESTART_COUNT", "QPU", "MODE"},
    "detach": {"JOB_ID"},
    "probe": set(),
}


@dataclass(frozen=True)
class Attach:
    """A step of a job starts on this node and asks for QPUs (slots by name)."""

    job_id: int
    uid: int
    gid: int
    restart_count: int
    qpus: Mapping[str, int]
    mode: str


@dataclass(frozen=True)
class Detach:
    """A job has ended on this node."""

    job_id: int


@dataclass(frozen=True)
class Probe:
    """Somebody asks whether the agent is alive."""


def complete(data: bytes) -> bool:
    """Whether a whole block has arrived.

    Raises:
        ProtocolError: it never can: too large, or bytes follow its end.
    """
    if len(data) > MAX_HOOK_BYTES:
        raise ProtocolError(f"a hook request of more than {MAX_HOOK_BYTES} bytes")
    end = 0 if data[:1] == b"\0" else data.find(b"\0\0") + 1
    if data and (data[:1] == b"\0" or end > 0):
        if end + 1 != len(data):
            raise ProtocolError("bytes follow the end of a hook request")
        return True
    return False


def parse(block: bytes) -> Attach | Detach | Probe:
    """Reads a request.

    Raises:
        ProtocolError: malformed, another version, an unknown operation or key.
        ArgumentError: the ``--qpu`` value is malformed.
    """
    records: dict[str, str] = {}
    for record in block.rstrip(b"\0").split(b"\0"):
        try:
            key, equals, value = record.decode().partition("=")
        except UnicodeDecodeError as error:
            raise ProtocolError("a hook record is not UTF-8") from error
        if not equals or not key:
            raise ProtocolError(f"a hook record without '=': {key[:40]!r}")
        if key in records:
            raise ProtocolError(f"hook record {key!r} occurs twice")
        records[key] = value
    if records.pop("VERSION", None) != VERSION:
        raise ProtocolError(
            f"the SPANK plugin does not speak version {VERSION} of the hook exchange",
            remedy="Install plugin and node agent of the same release",
        )
    operation = records.pop("OP", "")
    if operation not in _REQUIRED:
        raise ProtocolError(f"unknown hook operation {operation!r}")
    if set(records) != _REQUIRED[operation]:
        odd = ", ".join(sorted(set(records) ^ _REQUIRED[operation]))
        raise ProtocolError(f"hook request {operation!r} with missing or unknown records: {odd}")
    if operation == "probe":
        return Probe()
    if operation == "detach":
        return Detach(_number(records, "JOB_ID"))
    if records["MODE"] not in ("shared", "exclusive"):
        raise ArgumentError(f"--qpu-mode={records['MODE']}: it is 'shared' or 'exclusive'")
    return Attach(
        _number(records, "JOB_ID"),
        _number(records, "UID"),
        _number(records, "GID"),
        _number(records, "RESTART_COUNT"),
        parse_request(records["QPU"]),
        records["MODE"],
    )


def _number(records: Mapping[str, str], key: str) -> int:
    text = records[key]
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > 2**32 - 1:
        raise ProtocolError(f"hook record {key} is not a number: {text[:40]!r}")
    return int(text)


def format_success(environment: Mapping[str, str], elapsed_us: int) -> bytes:
    """The answer that sets ``environment`` in the tasks."""
    sets = (f"SET={name}={value}" for name, value in environment.items())
    return _block(["STATUS=ok", *sets, f"ELAPSED_US={elapsed_us}"])


def format_error(error: OpenQSEError) -> bytes:
    """The answer that fails the step with the error's text."""
    return _block(
        [
            "STATUS=error",
            f"LAYER={_line(error.layer)}",
            f"MESSAGE={_line(error.message)}",
            f"REMEDY={_line(error.remedy)}",
        ]
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:1000]


def _block(records: Iterable[str]) -> bytes:
    whole = (r.replace("\0", " ").encode() + b"\0" for r in [f"VERSION={VERSION}", *records])
    return b"".join(whole) + b"\0"
