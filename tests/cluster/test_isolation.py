"""A job's way to its QPU is its own, and nobody's malformed messages hurt another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openqse.errors import OpenQSEError
from openqse.wire.frames import decode_body, decode_header, encode
from openqse.wire.messages import Header, Kind, header
from tests.support.containers import Cluster, until
from tests.support.jobs import Jobs, python

QPU_ENDPOINT = ("qpu", "5570")  # emu0's in slurm_conf/openqse.toml


@pytest.fixture
def held(jobs: Jobs) -> dict[str, Any]:
    """A job of alice that runs on c1 and holds a slot of emu0: its id and its socket."""
    job = jobs.submit("--qpu=emu0", "-w", "c1", wrap=["srun", *python("bell.py", "--hold")])
    jobs.until_lines(job, 1)
    return {"job": job, "directory": f"/run/openqse/job-{job}"}


def test_another_user_cannot_enter(jobs: Jobs, cluster: Cluster, held: dict[str, Any]) -> None:
    """Bob's job on the same node: kept out by the file system, by name and past the library."""
    directory = held["directory"]
    path = f"{directory}/node.sock"
    look = f"stat -c '%a %U' {directory}; ls {directory}; stat {path}; hostname"
    output = jobs.run("srun", "-w", "c1", "bash", "-c", look, user="bob", deadline=60)
    assert output.out.split() == ["700", "alice", "c1"], output
    assert output.err.count("Permission denied") == 2

    (line,) = jobs.srun("-w", "c1", *python("intrude.py", path), user="bob").lines
    assert line == {"uid": 2002, "host": "c1", "answered": False}

    posing = f"OPENQSE_SOCKET={path} python -c 'import openqse; openqse.connect(timeout=2)'"
    output = jobs.run("srun", "-w", "c1", "bash", "-c", posing, user="bob", deadline=60)
    assert output.code != 0
    assert "openqse.errors.NoLease: client:" in output.err
    assert "Is this process in the job step whose environment it has?" in output.err

    mine = ["--overlap", f"--jobid={held['job']}", "--qpu=emu0"]
    (line,) = jobs.srun(*mine, *python("intrude.py", path)).lines
    assert (line["answered"], line["kind"], line["job_id"]) == (True, "welcome", held["job"])


def test_another_user_is_known_by_credentials(
    jobs: Jobs, cluster: Cluster, held: dict[str, Any]
) -> None:
    """With the doors of the file system open, the node agent still knows who speaks."""
    path = f"{held['directory']}/node.sock"
    cluster.check(f"chmod 755 {held['directory']} && chmod 777 {path}", service="c1")
    (line,) = jobs.srun("-w", "c1", *python("intrude.py", path), user="bob").lines
    assert line == {"uid": 2002, "host": "c1", "answered": False}
    said = cluster.check(
        f"grep 'refused a session of uid 2002 with job {held['job']}' "
        "/var/log/openqse/node-agent.log",
        service="c1",
    )
    assert said.out


def test_users_cannot_speak_to_the_hook_socket(jobs: Jobs) -> None:
    """Only slurmstepd and slurmd, as root, attach and detach jobs."""
    connect = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/openqse/node.sock')"
    )
    output = jobs.run("srun", "--qpu=emu0", "python", "-c", connect, deadline=60)
    assert output.code != 0
    assert "PermissionError" in output.err


def test_a_user_cannot_pose_as_a_node_agent(
    jobs: Jobs, cluster: Cluster, held: dict[str, Any]
) -> None:
    """Bob, in a job of his own, tells the QPU agent that alice's job has ended."""

    def lease() -> dict[str, Any]:
        (row,) = cluster.leases("emu0")
        return row

    # Until its node has said that it knows of it, a lease is granted and not active.
    before = until(lambda: lease() if lease()["state"] == "active" else None, 15, "it is active")
    assert before["job_id"] == held["job"]
    said = jobs.srun("-w", "c1", *python("pose.py", "emu0", "c1", str(held["job"])), user="bob")
    assert said.out.strip() == "not-authorised"
    assert lease() == before


# --- malformed messages --------------------------------------------------------------------------


def _malformed(frames: list[bytes]) -> bool:
    try:
        decode_header(frames)
        decode_body(frames)
    except OpenQSEError:
        return True
    return False


_GOOD = header(Kind.STATUS, b"task")
_ODD = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63),
    st.text(max_size=300),
    st.binary(max_size=64),
    st.floats(),
    st.lists(st.integers(0, 9), max_size=3),
)


@st.composite
def _header_with_one_odd_field(draw: st.DrawFn) -> list[bytes]:
    place = draw(st.integers(0, len(Header._fields) - 1))
    fields = list(_GOOD)
    fields[place] = draw(_ODD)
    return encode(Header._make(fields), {})


_MESSAGES = st.one_of(
    _header_with_one_odd_field(),
    st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    st.binary(max_size=200).map(lambda body: [encode(_GOOD)[0], body]),
    st.integers(9, 40).map(lambda count: [*encode(_GOOD, {}), *[b""] * count]),
    st.integers(4097, 9000).map(lambda size: [b"\xc4" * size]),
).filter(_malformed)


def _texts(messages: list[list[bytes]]) -> str:
    return "".join(json.dumps([frame.hex() for frame in message]) + "\n" for message in messages)


def _interleave(bad: list[list[bytes]], good: list[bytes]) -> list[list[bytes]]:
    return [message for each in bad for message in (each, good)]


def _all_refused(answers: list[dict[str, Any]], layer: str, good: str) -> None:
    for refusal, served in zip(answers[::2], answers[1::2], strict=True):
        assert refusal["kind"] == "error", refusal
        assert refusal["code"] in ("protocol", "limit"), refusal
        assert refusal["layer"] == layer
        assert refusal["message"]
        assert served["kind"] == good, served


FEW = settings(
    max_examples=4,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


@FEW
@given(bad=st.lists(_MESSAGES, min_size=15, max_size=40))
def test_node_agent_answers_malformed_messages(
    cluster: Cluster, held: dict[str, Any], bad: list[list[bytes]]
) -> None:
    """As the job's user, in the job, on its own socket: a typed error, and the next is served."""
    messages = _texts(_interleave(bad, encode(header(Kind.HELLO, b"hello"))))
    step = ["srun", "--overlap", f"--jobid={held['job']}"]
    endpoint = f"ipc://{held['directory']}/node.sock"
    output = cluster.check(
        [*step, *python("speak.py", endpoint)], user="alice", stdin=messages, deadline=120
    )
    assert len(output.lines) == 2 * len(bad)
    _all_refused(output.lines, "node agent", "welcome")


@FEW
@given(bad=st.lists(_MESSAGES, min_size=15, max_size=40))
def test_qpu_agent_answers_malformed_messages(cluster: Cluster, bad: list[list[bytes]]) -> None:
    messages = _texts(_interleave(bad, encode(_GOOD, {})))
    output = cluster.check(
        python("speak.py", "emu0"), user="alice", service="c1", stdin=messages, deadline=120
    )
    assert len(output.lines) == 2 * len(bad)
    _all_refused(output.lines, "QPU agent", "report")


@FEW
@given(
    chunks=st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=500),
            # A ZeroMQ greeting and then anything: past the handshake's first bytes.
            st.binary(max_size=300).map(
                lambda rest: b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48) + rest
            ),
        ),
        min_size=10,
        max_size=30,
    )
)
def test_qpu_agent_survives_bytes_that_are_no_messages(
    jobs: Jobs, cluster: Cluster, held: dict[str, Any], chunks: list[bytes]
) -> None:
    """What is no ZeroMQ is hung up on; the job that holds the QPU is served on."""
    lines = "".join(chunk.hex() + "\n" for chunk in chunks)
    cluster.check(python("tcp.py", *QPU_ENDPOINT), user="alice", service="c1", stdin=lines)
    mine = ["--overlap", f"--jobid={held['job']}", "--qpu=emu0"]
    (line,) = jobs.srun(*mine, *python("bell.py")).lines
    assert line["correlated"]
