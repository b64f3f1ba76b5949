"""Malformed messages: each is answered with a typed error, and good ones are served after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import openqse
from openqse.device import Work
from openqse.program.program import Program
from openqse.wire import limits
from openqse.wire.frames import decode_body, decode_header, encode, unbundle
from openqse.wire.messages import Kind, header
from openqse.wire.tasks import encode_task
from tests.support.agents.stack import Stack, eventually
from tests.support.ports import free_ports

checked = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

PROGRAM = openqse.CircuitBuilder(1).measure_all().build()
ENVELOPE = {"format": PROGRAM.program.format, "outputs": [["c", 1]]}
#: Id of a task: a session and a number.
GOOD = b"session0" + bytes(7) + b"\1"
_numbers = count()
TYPED = {
    "argument",
    "limit",
    "no-lease",
    "program",
    "protocol",
    "stale-lease",
    "unknown-program",
}


@dataclass
class Peer:
    """A socket that speaks with an agent, and a good message that the agent answers.

    Attributes:
        envelope: what comes before each message.
        asks, answers: a good message, and the kind of its answer.
        arrived: messages of a bundle that are still to be read.
    """

    socket: zmq.Socket[bytes]
    envelope: list[bytes]
    asks: list[Any] = field(default_factory=list)
    answers: Kind = Kind.ERROR
    arrived: list[list[bytes]] = field(default_factory=list)

    def send(self, frames: list[Any]) -> None:
        self.socket.send_multipart([*self.envelope, *frames])

    def receive(self) -> tuple[Kind, bytes, dict[str, Any]]:
        if not self.arrived:
            assert self.socket.poll(10_000), "no answer"
            frames = self.socket.recv_multipart()[len(self.envelope) :]
            bundle = decode_header(frames).kind == Kind.BUNDLE
            self.arrived.extend(unbundle(frames) if bundle else [frames])
        frames = self.arrived.pop(0)
        head = decode_header(frames)
        return Kind(head.kind), head.task, decode_body(frames)

    def error(self, frames: list[Any]) -> str:
        """Sends a message; the code of the error that answers it."""
        self.send(frames)
        kind, _, body = self.receive()
        assert kind == Kind.ERROR, body
        assert body["code"] in TYPED, body
        assert body["message"]
        assert body["layer"] in ("node agent", "QPU agent")
        code: str = body["code"]
        return code

    def refuses(self, frames: list[Any]) -> str:
        """As ``error``, and a good message is served after it."""
        code = self.error(frames)
        self.send(self.asks)
        assert self.receive()[0] == self.answers
        return code


def new_id() -> bytes:
    """The id of a task that was not sent before: to one that was, the answer would be the same."""
    return b"session1" + next(_numbers).to_bytes(8, "big")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in which job 7 holds emu0, and job 8 too."""
    ports = dict(zip(("emu0", "emu1"), free_ports(2), strict=True))
    stack = Stack(tmp_path_factory.mktemp("malformed"), ports)
    for job in (7, 8):
        stack.slurm.submit(job, {"qpu_emu0": 1})
        stack.attach(job, "emu0")
    yield stack
    stack.close()


@pytest.fixture(scope="module")
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(linger=0)


def lease_of(stack: Stack, job_id: int) -> Any:
    found = stack.qpus["emu0"].agent._leases.of_job(job_id)
    assert found is not None
    return found


def dealer(context: zmq.Context[Any], endpoint: str, identity: bytes = b"") -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    if identity:
        socket.setsockopt(zmq.ROUTING_ID, identity)
    socket.connect(endpoint)
    return socket


@pytest.fixture(scope="module")
def rank(shared: Stack, context: zmq.Context[Any]) -> Peer:
    """A rank at the node agent's own socket."""
    path = shared.runtime / "job-7" / "node.sock"
    return Peer(dealer(context, f"ipc://{path}"), [], encode(header(Kind.HELLO)), Kind.WELCOME)


@pytest.fixture(scope="module")
def relayed(shared: Stack, context: zmq.Context[Any]) -> Peer:
    """A rank at the QPU agent, through its job's relay."""
    path = shared.runtime / "job-7" / "emu0.sock"
    lease = lease_of(shared, 7)
    work = Work(bytes.fromhex(PROGRAM.id), np.empty((1, 0)), shots=3)
    head = header(Kind.RUN, GOOD, lease=lease.id, generation=lease.generation)
    good = encode(head, *encode_task(work, PROGRAM.program))
    return Peer(dealer(context, f"ipc://{path}"), [], good, Kind.RESULT)


@pytest.fixture(scope="module")
def node(shared: Stack, context: zmq.Context[Any]) -> Peer:
    """A node agent named c9 at the QPU agent."""
    endpoint = shared.site.qpu("emu0").endpoint
    good = encode(header(Kind.STATUS))
    return Peer(dealer(context, endpoint, b"c9-0123abcd"), [b""], good, Kind.REPORT)


@pytest.fixture(params=["rank", "relayed", "node"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.getfixturevalue(request.param)
    return found


def changed_header(**changed: Any) -> bytes:
    fields: dict[str, Any] = header(Kind.PING, b"id")._asdict()
    return bytes(msgpack.packb(list((fields | changed).values())))


no_maps = st.binary(max_size=40).filter(lambda body: not 0x80 <= (body or b"\0")[0] <= 0xDF)


@checked
@given(st.lists(st.binary(max_size=60), max_size=limits.MAX_FRAMES + 3))
def test_random_frames(peer: Peer, frames: list[bytes]) -> None:
    if not frames and not peer.envelope:
        frames = [b""]  # ZeroMQ has no message without frames
    assert peer.refuses(frames) in ("protocol", "limit")


@checked
@given(st.data())
def test_truncated_headers(peer: Peer, data: st.DataObject) -> None:
    whole = changed_header()
    assert peer.refuses([whole[: data.draw(st.integers(0, len(whole) - 1))]]) == "protocol"


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 0, "kind": "run"},
        {"version": 2, "kind": "run"},
        {"version": "1"},
        {"kind": "gossip"},
        {"kind": "welcome"},
        {"kind": "error"},
        {"kind": None},
        {"task": "text"},
        {"task": b"x" * 33},
        {"lease": 7},
        {"generation": -1},
        {"time_left": float("nan")},
        {"latency": []},
        {"trace": "x" * 300},
        {"trace": "x" * 5000},
    ],
    ids=lambda changed: str(changed)[:30],
)
def test_malformed_headers(peer: Peer, changed: dict[str, Any]) -> None:
    assert peer.refuses([changed_header(**changed)]) == "protocol"


def test_an_error_answers_the_task_that_it_is_about(peer: Peer) -> None:
    peer.send([changed_header(version=99, kind="run", task=b"whose")])
    kind, task, body = peer.receive()
    assert (kind, task) == (Kind.ERROR, b"whose")
    assert "same release" in body["remedy"]


def test_too_many_frames_and_too_many_bytes(peer: Peer) -> None:
    head = changed_header()
    assert peer.refuses([head, *[b"x"] * limits.MAX_FRAMES]) == "limit"
    assert peer.refuses([head, b"", bytes(limits.MAX_MESSAGE_BYTES)]) == "limit"


@checked
@given(
    kind=st.sampled_from([Kind.RUN, Kind.EXPECTATION]),
    body=st.binary(max_size=40) | st.dictionaries(st.text(), st.integers(0, 9)).map(msgpack.packb),
    buffers=st.lists(st.binary(max_size=20), max_size=3),
)
def test_tasks_with_random_bodies(
    relayed: Peer, shared: Stack, kind: Kind, body: bytes, buffers: list[bytes]
) -> None:
    lease = lease_of(shared, 7)
    head = header(kind, new_id(), lease=lease.id, generation=lease.generation)
    assert relayed.refuses([msgpack.packb(head), body, *buffers]) == "protocol"


@checked
@given(
    kind=st.sampled_from([Kind.ATTACH, Kind.DETACH, Kind.HEARTBEAT]),
    body=no_maps
    | st.dictionaries(
        st.sampled_from(
            ["job_id", "uid", "restart_count", "slots", "node", "mode", "leases", "asking"]
        ),
        st.none() | st.text(max_size=3) | st.booleans() | st.floats(),
    ).map(msgpack.packb),
)
def test_random_requests_of_a_node_agent(node: Peer, kind: Kind, body: bytes) -> None:
    assert node.refuses([msgpack.packb(header(kind, b"id")), body]) == "protocol"


def task(**changed: Any) -> list[bytes]:
    """A task of job 7's lease, some parts of which were changed."""
    body = {"program": bytes.fromhex(PROGRAM.id), "sets": 1, "width": 0, "shots": 3}
    frames: list[bytes] = [msgpack.packb(body | changed)]
    return frames


@pytest.mark.parametrize(
    "changed",
    [
        {"sets": 0},
        {"sets": 2**31},
        {"sets": 2**63},
        {"width": 2**40},
        {"width": 2**63},
        {"sets": 2**32, "width": 2**32},
        {"shots": 0},
        {"shots": 2**31},
        {"seed": -1},
        {"program": b"short"},
        {"attached": True},
        {"observable": {"qubits": 2**63, "coefficients": b"", "paulis": b""}},
        {"observable": {"qubits": float("inf"), "coefficients": bytes(8), "paulis": b"\1"}},
    ],
    ids=str,
)
def test_tasks_of_absurd_sizes(relayed: Peer, shared: Stack, changed: dict[str, Any]) -> None:
    lease = lease_of(shared, 7)
    head = header(Kind.RUN, new_id(), lease=lease.id, generation=lease.generation)
    assert relayed.refuses([msgpack.packb(head), *task(**changed)]) in ("protocol", "program")


def test_a_program_that_is_not_what_its_hash_says(relayed: Peer, shared: Stack) -> None:
    lease = lease_of(shared, 7)

    def head() -> bytes:
        named = header(Kind.RUN, new_id(), lease=lease.id, generation=lease.generation)
        return bytes(msgpack.packb(named))

    forged = task(program=bytes(32), attached=ENVELOPE)
    assert relayed.refuses([head(), *forged, PROGRAM.encoded]) == "protocol"
    assert relayed.refuses([head(), *task(program=bytes(32))]) == "unknown-program"


def test_a_program_that_is_none(relayed: Peer, shared: Stack) -> None:
    lease = lease_of(shared, 7)
    for junk in (b"", b"junk", msgpack.packb([]), PROGRAM.encoded[:-1]):
        head = header(Kind.RUN, new_id(), lease=lease.id, generation=lease.generation)
        junk_digest = Program(PROGRAM.program.format, junk).digest
        named = task(program=junk_digest, attached={"format": PROGRAM.program.format})
        assert relayed.refuses([msgpack.packb(head), *named, junk]) == "program"


@pytest.mark.parametrize(
    "bundle",
    [
        b"",
        b"\xc1",
        msgpack.packb({}),
        msgpack.packb("x"),
        msgpack.packb([5]),
        msgpack.packb([[5]]),
        msgpack.packb([["text"]]),
        msgpack.packb([[]]),
        msgpack.packb([[b"junk"]]),
        msgpack.packb([encode(header(Kind.BUNDLE), [])]),
        msgpack.packb([encode(header(Kind.LEASES))] * 65),
        b"\x91" * 2000,
    ],
    ids=lambda bundle: repr(bundle[:12]),
)
def test_malformed_bundles(relayed: Peer, bundle: bytes) -> None:
    assert relayed.refuses([msgpack.packb(header(Kind.BUNDLE)), bundle]) == "protocol"


def test_each_message_of_a_bundle_gets_its_own_answer(relayed: Peer) -> None:
    named = [b"%d" % i for i in range(5)]
    messages = [encode(header(Kind.RUN, name, lease="unknown")) for name in named]
    messages[2] = [b"junk"]
    relayed.send([msgpack.packb(header(Kind.BUNDLE)), msgpack.packb([*messages, relayed.asks])])
    answers = [relayed.receive() for _ in range(6)]
    assert [task for kind, task, _ in answers if kind == Kind.ERROR] == [
        b"0",
        b"1",
        b"",
        b"3",
        b"4",
    ]
    assert [kind for kind, _, _ in answers].count(Kind.RESULT) == 1


@pytest.mark.parametrize("kind", [Kind.RUN, Kind.EXPECTATION, Kind.CANCEL])
def test_tasks_under_a_lease_that_is_not_the_jobs(
    relayed: Peer, node: Peer, shared: Stack, kind: Kind
) -> None:
    mine, other = lease_of(shared, 7), lease_of(shared, 8)
    for lease_id in ("", "unknown", other.id, "x" * 256):
        head = header(kind, b"id", lease=lease_id, generation=1)
        assert relayed.refuses(encode(head)) == "no-lease"
    for generation in (0, mine.generation + 1, 2**63):
        head = header(kind, b"id", lease=mine.id, generation=generation)
        assert relayed.refuses(encode(head)) == "stale-lease"
    # A node that has not joined the lease, and one that is not a relay.
    head = header(kind, b"id", lease=mine.id, generation=mine.generation)
    assert node.refuses(encode(head)) == "no-lease"


@pytest.mark.parametrize(
    "identity", [b"c9-00000000/7/1", b"c1-x/8/1", b"c1-x/seven/1", b"c1-x/7", b"c1-x/\xc2\xb2/1"]
)
def test_tasks_of_a_relay_that_is_not_the_jobs(
    shared: Stack, context: zmq.Context[Any], identity: bytes
) -> None:
    socket = dealer(context, shared.site.qpu("emu0").endpoint, identity)
    forger = Peer(socket, [b"session"])
    lease = lease_of(shared, 7)
    head = header(Kind.RUN, new_id(), lease=lease.id, generation=lease.generation)
    assert forger.error([msgpack.packb(head), *task()]) == "no-lease"


def test_an_attach_in_the_name_of_another_node(node: Peer, shared: Stack) -> None:
    shared.slurm.submit(70, {"qpu_emu0": 1})
    body = {
        "job_id": 70,
        "uid": os.getuid(),
        "node": "c1",
        "restart_count": 0,
        "slots": 1,
        "mode": "shared",
    }
    assert node.refuses(encode(header(Kind.ATTACH, b"id"), body)) == "protocol"
    for key, value in (("mode", "both"), ("mode", []), ("slots", True), ("uid", -1)):
        changed = body | {"node": "c9", key: value}
        assert node.refuses(encode(header(Kind.ATTACH, b"id"), changed)) == "protocol"
    assert 70 not in shared.leases("emu0")


@pytest.mark.parametrize("job_id", [2**63, 2**64 - 1, -1, "7", 7.0, True])
def test_questions_about_jobs_that_cannot_be(node: Peer, job_id: Any) -> None:
    assert node.refuses(encode(header(Kind.USAGE), {"job_id": job_id})) == "protocol"


def test_a_node_agent_cannot_be_detached_from_another_nodes_job(node: Peer, shared: Stack) -> None:
    node.send(encode(header(Kind.DETACH, b"id"), {"job_id": 7}))
    assert node.receive()[0] == Kind.DETACHED
    node.send(encode(header(Kind.HEARTBEAT), {"leases": {lease_of(shared, 7).id: 1}, "asking": []}))
    kind, _, body = node.receive()
    assert (kind, body.get("leases")) == (Kind.PONG, None)  # no lease holds
    assert 7 in shared.leases("emu0")


def test_what_a_rank_may_not_ask_its_node_agent(rank: Peer, relayed: Peer) -> None:
    for kind in (Kind.ATTACH, Kind.DETACH, Kind.HEARTBEAT, Kind.STATUS, Kind.RUN, Kind.LEASE):
        assert rank.refuses(encode(header(kind, b"id"), {"job_id": 8})) == "protocol"
    assert rank.refuses(encode(header(Kind.PING, b"id", lease="unknown"))) == "no-lease"


@pytest.mark.parametrize("kind", [Kind.ATTACH, Kind.DETACH, Kind.HEARTBEAT, Kind.PROBE])
def test_a_rank_cannot_act_as_its_node_agent_through_the_relay(
    relayed: Peer, shared: Stack, kind: Kind
) -> None:
    body = {
        "job_id": 8,
        "uid": os.getuid(),
        "node": "c1",
        "restart_count": 9,
        "slots": 1,
        "mode": "shared",
        "leases": {lease_of(shared, 8).id: 1},
        "asking": [],
    }
    assert relayed.refuses(encode(header(kind, b"id"), body)) in ("protocol", "no-lease")
    assert 8 in shared.leases("emu0")


def test_a_result_that_is_too_large_to_send_is_an_error(relayed: Peer, shared: Stack) -> None:
    lease = lease_of(shared, 7)
    head = header(Kind.RUN, new_id(), lease=lease.id, generation=lease.generation)
    sets = limits.MAX_MESSAGE_BYTES // 10_000 + 1
    work = Work(bytes.fromhex(PROGRAM.id), np.empty((sets, 0)), shots=10_000)
    assert relayed.refuses(encode(head, *encode_task(work, PROGRAM.program))) == "limit"


def test_a_session_with_too_many_unanswered_tasks(relayed: Peer, shared: Stack) -> None:
    lease, running = lease_of(shared, 7), shared.qpus["emu0"]
    running.device.hold.clear()
    window = shared.tasks_per_session
    new = openqse.CircuitBuilder(2).measure_all().build()
    work = Work(bytes.fromhex(new.id), np.empty((1, 0)), shots=3)
    try:
        for i in range(window + 1):
            name = b"session2" + i.to_bytes(8, "big")
            head = header(Kind.RUN, name, lease=lease.id, generation=lease.generation)
            relayed.send(encode(head, *encode_task(work, new.program)))
        kind, name, body = relayed.receive()
        assert (kind, body["code"]) == (Kind.ERROR, "limit")
        assert (name[8:], body["details"]) == (
            window.to_bytes(8, "big"),
            {"limit": "tasks_per_session"},
        )
    finally:
        running.device.hold.set()
    assert [relayed.receive()[0] for _ in range(window)] == [Kind.RESULT] * window
    eventually(lambda: not running.agent._intake.tasks)
