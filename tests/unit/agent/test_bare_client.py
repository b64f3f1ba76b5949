"""A client that was written after ``docs/protocol.md`` alone: ZeroMQ, MessagePack, nothing of ours.

What it sends and reads is spelled out here, so that a change of the protocol that breaks others'
clients breaks this one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

PROGRAMS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "programs.json").read_text(encoding="utf-8")
)
SESSION = b"\x01bare\xff\x00\x02"


class BareClient:
    """One session with a node agent, and with the QPU agent of its job's only QPU."""

    def __init__(self, path: str) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        node = self._connect(path)
        self._send(node, "hello", b"hi", {"versions": {"oldest": 1, "newest": 1}})
        ((kind, task, welcome, _),) = self._receive(node)
        assert (kind, task) == ("welcome", b"hi")
        self.welcome = welcome
        (self.lease,) = welcome["leases"]
        self.node = node
        self.qpu = self._connect(self.lease["socket"])

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _connect(self, path: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        socket.connect(f"ipc://{path}")
        return socket

    @staticmethod
    def _send(
        socket: zmq.Socket[bytes],
        kind: str,
        task: bytes,
        body: dict[str, Any],
        buffers: tuple[bytes, ...] = (),
        lease: tuple[str, int] = ("", 0),
    ) -> None:
        header = [1, kind, task, *lease, 0.0, "batch", ""]
        socket.send_multipart([msgpack.packb(header), msgpack.packb(body), *buffers])

    @staticmethod
    def _receive(socket: zmq.Socket[bytes]) -> list[tuple[str, bytes, Any, list[bytes]]]:
        """Kind, task, body and buffers of each message that comes next."""
        assert socket.poll(10_000), "no answer"
        frames = socket.recv_multipart()
        bundled = msgpack.unpackb(frames[0])[1] == "bundle"
        found = []
        for head, *rest in msgpack.unpackb(frames[1]) if bundled else [frames]:
            _, kind, task, *_ = msgpack.unpackb(head)
            body = msgpack.unpackb(rest[0]) if rest and rest[0] else {}
            found.append((kind, task, body, rest[1:]))
        return found

    def say(
        self, kind: str, task: bytes, body: dict[str, Any], buffers: tuple[bytes, ...] = ()
    ) -> None:
        lease = self.lease["id"], self.lease["generation"]
        self._send(self.qpu, kind, task, body, buffers, lease)

    def hear(self) -> list[tuple[str, bytes, Any, list[bytes]]]:
        return self._receive(self.qpu)

    def run(self, number: int, shots: int, *, attached: bool, **more: Any) -> None:
        """Sends the Bell pair of the vectors."""
        bell = next(program for program in PROGRAMS if program["name"] == "Bell pair")
        data = bytes.fromhex(bell["data"])
        digest = sha256(bell["format"].encode() + b"\0" + data).digest()
        assert digest.hex() == bell["digest"]
        body = {"program": digest, "sets": 1, "width": 0, "shots": shots} | more
        body["process"] = self.welcome["process"]
        if attached:
            body["attached"] = {"format": bell["format"], "outputs": bell["outputs"]}
        task = SESSION + number.to_bytes(8, "big")
        self.say("run", task, body, (data,) if attached else ())


@pytest.fixture
def client(enter: Callable[..., None]) -> Iterator[BareClient]:
    enter()
    made = BareClient(os.environ["OPENQSE_SOCKET"])
    yield made
    made.close()


def test_a_task_brings_its_program_once_and_its_samples_come_back(client: BareClient) -> None:
    client.run(1, 3, attached=True)
    ((kind, task, result, buffers),) = client.hear()
    assert (kind, task[:8], task[8:]) == ("result", SESSION, bytes(7) + b"\1")
    assert (result["samples"], result["shape"], len(result["data"])) == (True, [1, 3, 1], 3)
    assert not buffers
    client.run(2, 4000, attached=False, acknowledged=[1])
    ((kind, task, result, buffers),) = client.hear()
    assert (kind, task[8:], result["shape"]) == ("result", bytes(7) + b"\2", [1, 4000, 1])
    assert "data" not in result
    assert [len(buffer) for buffer in buffers] == [4000]  # more than 2048 bytes: a buffer


def test_a_program_that_the_agent_lacks_is_asked_for(client: BareClient) -> None:
    client.run(1, 3, attached=False)
    ((kind, task, error, _),) = client.hear()
    assert (kind, task[8:], error["code"]) == ("error", bytes(7) + b"\1", "unknown-program")
    client.run(1, 3, attached=True)
    ((kind, _, _, _),) = client.hear()
    assert kind == "result"


def test_a_resync_says_what_is_there_and_an_answer_is_given_again(client: BareClient) -> None:
    client.run(1, 3, attached=True)
    ((_, _, first, _),) = client.hear()
    client.say("resync", SESSION, {"unanswered": [1, 2]})
    ((kind, task, body, _),) = client.hear()
    assert (kind, task, body) == ("resynced", SESSION, {"waiting": []})
    client.run(1, 3, attached=False)  # it says that it lacks the answer: the same one comes again
    ((kind, _, again, _),) = client.hear()
    assert (kind, again) == ("result", first)
    client.say("acknowledge", SESSION, {"acknowledged": [1]})
    client.run(1, 3, attached=False)
    ((kind, _, error, _),) = client.hear()
    assert (kind, error["code"]) == ("error", "protocol")  # that id was used


def test_the_node_agent_says_whether_the_qpu_agent_lives(client: BareClient) -> None:
    client._send(client.node, "ping", b"emu0", {}, lease=(client.lease["id"], 0))
    ((kind, task, body, _),) = client._receive(client.node)
    assert (kind, task, body) == ("pong", b"emu0", {})


def test_what_is_wrong_with_a_message_is_said(client: BareClient) -> None:
    client.run(1, 0, attached=True)
    ((kind, _, error, _),) = client.hear()
    assert (kind, error["code"]) == ("error", "protocol")
    assert error["details"] == {"kind": "run", "field": "shots"}
