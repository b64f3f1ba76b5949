"""Keys: who may speak for a node, and that nobody else is believed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq
from stack import Refused, Stack, eventually
from test_tasks import echo_program, value_of

import openqse
from openqse.errors import ConfigurationError
from openqse.site import Site
from openqse.wire.frames import decode_body, decode_header, encode
from openqse.wire.messages import Kind, header
from openqse_agent import keys
from openqse_agent.cli.ask import ask
from openqse_agent.cli.keys import main


@pytest.fixture
def guarded(make_stack: Callable[..., Stack]) -> Stack:
    """A stack whose QPU agents and node agent have keys."""
    return make_stack(keys=True)


class Peer:
    """A stranger's connection to emu0's agent, with any key and routing id."""

    def __init__(self, stack: Stack, pair: keys.Pair, name: str) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.ROUTING_ID, name.encode())
        pair.use(self._socket, keys.of_qpu(stack.site.qpu("emu0")))
        self._socket.connect(stack.site.qpu("emu0").endpoint)

    def say(self, kind: Kind, body: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
        self._socket.send_multipart([b"", *encode(header(kind, b"task", **fields), body)])
        assert self._socket.poll(10_000), "no answer"
        frames = self._socket.recv_multipart()[1:]
        return decode_header(frames).kind, decode_body(frames)

    def silent_for(self, milliseconds: int) -> bool:
        return not self._socket.poll(milliseconds)

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def peer(guarded: Stack) -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(pair: keys.Pair, name: str = "c1-00000000") -> Peer:
        made.append(Peer(guarded, pair, name))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_tasks_run_between_agents_with_keys(
    guarded: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    for name, value in guarded.attach(7, "emu0").items():
        monkeypatch.setenv(name, value)
    with openqse.connect() as qpu:
        assert value_of(qpu.run(echo_program(), parameters=[5], shots=1)) == 5


def test_a_stranger_cannot_end_or_begin_or_use_a_lease(
    guarded: Stack, peer: Callable[..., Peer]
) -> None:
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    lease = guarded.attach(7, "emu0")["emu0_QRMI_JOB_ACQUISITION_TOKEN"]
    node, relay = peer(keys.Pair.of_a_guest()), peer(keys.Pair.of_a_guest(), "c1-00000000/7/1")
    attach = {
        "job_id": 7,
        "uid": os.getuid(),
        "node": "c1",
        "restart_count": 0,
        "slots": 1,
        "mode": "shared",
    }
    answers = [
        node.say(Kind.DETACH, {"job_id": 7, "node": "c1"}),
        node.say(Kind.ATTACH, attach),
        node.say(Kind.HEARTBEAT, {"leases": [lease]}),
        relay.say(Kind.RUN, {}, lease=lease, generation=1),
        relay.say(Kind.CANCEL, {}, lease=lease, generation=1),
    ]
    assert [(kind, body["code"]) for kind, body in answers] == [("error", "not-authorised")] * 5
    assert guarded.leases("emu0") == [7]


def test_a_stranger_may_ask_for_reports(guarded: Stack, peer: Callable[..., Peer]) -> None:
    stranger = peer(keys.Pair.of_a_guest(), "anybody")
    assert stranger.say(Kind.STATUS, {})[0] == Kind.REPORT
    answers = ask(guarded.site.qpus.values(), Kind.LEASES, {}, timeout=10.0)
    assert answers == {"emu0": {"leases": []}, "emu1": {"leases": []}}


def test_who_speaks_in_the_clear_is_not_heard(guarded: Stack) -> None:
    plain = Site({"emu0": replace(guarded.site.qpu("emu0"), key=None)})
    answer = ask(plain.qpus.values(), Kind.STATUS, {}, timeout=0.5)["emu0"]
    assert "does not answer" in str(answer)


def test_a_node_agent_with_another_key_is_refused_and_told_why(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(keys=True)
    (stack.key_directory / keys.AUTHORISED / "node.public").unlink()
    stack.stop_node()
    stack.start_node()
    stack.slurm.submit(7, {"qpu_emu0": 1})
    with pytest.raises(Refused, match="QPU agent: emu0 takes 'attach' messages from the site's"):
        stack.attach(7, "emu0")


def test_keys_are_exchanged_without_a_restart(guarded: Stack, tmp_path: Path) -> None:
    for suffix in ("secret", "public"):
        (guarded.key_directory / f"node.{suffix}").rename(tmp_path / f"old.{suffix}")
    new = keys.make(guarded.key_directory, keys.NODE)
    guarded.authorise(new.rename(new.with_name("new.public")))
    guarded.stop_node()
    guarded.start_node()  # with the new key, while the QPU agents have run on
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    guarded.attach(7, "emu0")
    eventually(lambda: guarded.leases("emu0") == [7])


def test_a_qpu_agent_whose_secret_is_not_the_sites_does_not_start(guarded: Stack) -> None:
    guarded.stop_qpu("emu1")
    (guarded.key_directory / "emu1.secret").unlink()
    (guarded.key_directory / "emu1.public").rename(guarded.key_directory / "site.public")
    keys.make(guarded.key_directory, "emu1")
    (guarded.key_directory / "site.public").rename(guarded.key_directory / "emu1.public")
    with pytest.raises(ConfigurationError, match="is not the secret of the key that the site"):
        guarded.start_qpu("emu1")


def test_a_node_agent_without_its_key_does_not_start(guarded: Stack) -> None:
    guarded.stop_node()
    secret = guarded.key_directory / "node.secret"
    hidden = secret.rename(secret.with_suffix(".hidden"))
    with pytest.raises(ConfigurationError, match=r"node\.secret cannot be read"):
        guarded.start_node()
    hidden.rename(secret)
    guarded.start_node()


def test_secrets_are_their_owners_alone_and_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "keys"
    assert main(["emu0", "node", "--directory", str(directory)]) == 0
    said = capsys.readouterr().out
    secret = directory / "emu0.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text().strip() not in said
    assert (directory / "emu0.public").read_text().strip() in said
    assert zmq.curve_public(keys.read(secret)) == keys.read(directory / "emu0.public")
    before = secret.read_bytes()
    assert main(["emu0", "--directory", str(directory)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert secret.read_bytes() == before


@pytest.mark.parametrize("text", ["", "short", "x" * 39 + "~", "ü" * 20])
def test_what_is_no_key_is_refused(guarded: Stack, text: str) -> None:
    qpu = replace(guarded.site.qpu("emu0"), key=text or " ")
    with pytest.raises(ConfigurationError, match="is not a key of 40 characters"):
        keys.of_qpu(qpu)
