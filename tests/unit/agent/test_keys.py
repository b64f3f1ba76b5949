"""Keys: who may speak for a node, and that nobody else is believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq
from test_tasks import echo_program, value_of

import openqse
from openqse.errors import ConfigurationError
from openqse.site import Site
from openqse.wire.frames import decode_body, decode_header, encode
from openqse.wire.messages import Kind, header
from openqse_agent import keys
from openqse_agent.cli.ask import ask
from openqse_agent.cli.keys import main
from tests.support.agents.stack import Refused, Stack, eventually


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

    def make(pair: keys.Pair, name: str | None = None) -> Peer:
        made.append(Peer(guarded, pair, name or f"c{9 + len(made)}-00000000"))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_tasks_run_between_agents_with_keys(
    guarded: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    guarded.enter(7, "emu0", monkeypatch)
    with openqse.connect() as qpu:
        assert value_of(qpu.run(echo_program(), parameters=[5], shots=1)) == 5


def test_a_stranger_cannot_end_or_begin_or_use_a_lease(
    guarded: Stack, peer: Callable[..., Peer]
) -> None:
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    lease = guarded.attach(7, "emu0")["emu0_QRMI_JOB_ACQUISITION_TOKEN"]
    node, relay = (peer(keys.Pair.anonymous(), name) for name in ("c1-00000000", "c1-00000000/7/1"))
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
    stranger = peer(keys.Pair.anonymous(), "anybody")
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

    def refusal() -> str:
        try:
            stack.attach(7, "emu0")
        except Refused as error:
            return str(error)
        stack.detach(7)
        return ""

    # The QPU agent looks at its folder of keys every second.
    eventually(lambda: "QPU agent: emu0 takes 'attach' messages from the site's" in refusal())


def pose(peer: Peer) -> str:
    """What a peer is told that speaks as a node agent does; ``pong`` if it is believed."""
    kind, body = peer.say(Kind.HEARTBEAT, {"leases": {}, "asking": []})
    return str(body.get("code", kind))


def test_a_key_is_changed_while_agents_and_jobs_run(
    guarded: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: Callable[..., Peer]
) -> None:
    """The whole rotation as the command's help says it; no task of the running job is lost."""
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    guarded.enter(7, "emu0", monkeypatch)
    with openqse.connect() as qpu:

        def served() -> bool:
            return value_of(qpu.run(echo_program(), parameters=[5], shots=1)) == 5

        assert served()
        elsewhere = tmp_path / "elsewhere"  # where the administrator makes keys
        shutil.copytree(guarded.key_directory, elsewhere)
        assert main(["--rotate", "node", f"--directory={elsewhere}"]) == 0
        second = keys.Pair.read(elsewhere / "node-2.secret")
        guarded.authorise(elsewhere / "node-2.public")
        eventually(lambda: pose(peer(second, "c9-00000000")) == "pong")
        os.rename(elsewhere / "node-2.secret", guarded.key_directory / "node-2.secret")
        link = guarded.node._links["emu0"]
        eventually(lambda: link._pair == second)
        assert served()  # over the connection that the old key made
        guarded.slurm.submit(8, {"qpu_emu0": 1})
        guarded.attach(8, "emu0")
    guarded.detach(7)
    (guarded.key_directory / keys.AUTHORISED / "node.public").unlink()
    guarded.slurm.submit(9, {"qpu_emu0": 1})
    guarded.attach(9, "emu0")
    assert sorted(guarded.leases("emu0")) == [8, 9]


def test_a_qpus_own_key_is_changed_by_restarts_that_lose_no_task(
    guarded: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    guarded.enter(7, "emu0", monkeypatch)
    program = echo_program()
    with openqse.connect() as qpu:
        futures = [qpu.submit(program, parameters=[i], shots=1) for i in range(10)]
        assert main(["--rotate", "emu0", f"--directory={guarded.key_directory}"]) == 0
        new = replace(guarded.site.qpu("emu0"), key=str(guarded.key_directory / "emu0-2.public"))
        guarded.site = Site(guarded.site.qpus | {"emu0": new})
        guarded.stop_qpu("emu0")
        guarded.start_qpu("emu0")
        futures += [qpu.submit(program, parameters=[i], shots=1) for i in range(10, 20)]
        with pytest.raises(TimeoutError):  # the node agent looks for the old key still
            futures[-1].result(1.0)
        guarded.stop_node()
        guarded.start_node()
        assert [value_of(future.result(30)) for future in futures] == list(range(20))
    guarded.slurm.submit(8, {"qpu_emu0": 1})
    guarded.attach(8, "emu0")


def test_a_key_that_is_taken_away_is_good_for_nothing_at_once(
    guarded: Stack, peer: Callable[..., Peer]
) -> None:
    node = peer(keys.Pair.read(guarded.key_directory / "node.secret"), "c9-00000000")
    assert pose(node) == "pong"
    (guarded.key_directory / keys.AUTHORISED / "node.public").unlink()
    eventually(lambda: pose(node) == "not-authorised")  # on the connection that it has
    assert node.say(Kind.STATUS, {})[0] == Kind.REPORT


def test_several_keys_are_authorised_at_once_each_by_itself(
    guarded: Stack, peer: Callable[..., Peer]
) -> None:
    for name in ("rack1", "rack2"):
        guarded.authorise(keys.make(guarded.key_directory / "racks", name))
    pairs = [keys.Pair.read(p) for p in (guarded.key_directory / "racks").glob("*.secret")]
    for pair in [*pairs, keys.Pair.read(guarded.key_directory / "node.secret")]:
        assert pose(peer(pair)) == "pong"
    (guarded.key_directory / keys.AUTHORISED / "rack1.public").unlink()
    rack1, rack2 = (
        keys.Pair.read(guarded.key_directory / "racks" / f"rack{n}.secret") for n in (1, 2)
    )
    eventually(lambda: pose(peer(rack1)) == "not-authorised")
    assert pose(peer(rack2)) == "pong"


def test_a_key_that_cannot_be_read_does_not_hurt_the_others(
    guarded: Stack, peer: Callable[..., Peer], caplog: pytest.LogCaptureFixture
) -> None:
    folder = guarded.key_directory / keys.AUTHORISED
    (folder / "broken.public").write_text("half a key")
    (folder / "dangling.public").symlink_to(folder / "nowhere")
    assert pose(peer(keys.Pair.read(guarded.key_directory / "node.secret"))) == "pong"
    eventually(lambda: "broken.public is not a key" in caplog.text)


def test_a_node_agent_keeps_its_key_while_the_next_one_cannot_be_used(
    guarded: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy under way, or one that others could read."""
    first = guarded.node._pair
    second = guarded.key_directory / "node-2.secret"
    second.touch(mode=0o600)
    eventually(lambda: "node-2.secret is not a key of 40 characters" in caplog.text)
    second.write_bytes(keys.Pair.anonymous().secret)
    second.chmod(0o644)
    eventually(lambda: "node-2.secret is not its owner's alone: mode 0644" in caplog.text)
    assert guarded.node._pair == first
    guarded.slurm.submit(7, {"qpu_emu0": 1})
    guarded.attach(7, "emu0")


def test_the_last_pair_of_a_name_is_used(tmp_path: Path) -> None:
    keys.make(tmp_path, "node")
    keys.make(tmp_path, "nodes")  # another name
    for expected in ("node-2", "node-3"):
        assert keys.rotate(tmp_path, "node").stem == expected
    (tmp_path / "node-2.secret").rename(tmp_path / "node-10.secret")
    assert keys.latest(tmp_path, "node").name == "node-10.secret"
    assert [path.stem for path in keys.pairs(tmp_path, "node")] == ["node", "node-3", "node-10"]
    with pytest.raises(ConfigurationError, match="Make it with 'openqse-keys emu0'"):
        keys.rotate(tmp_path, "emu0")


def test_a_qpu_agent_takes_that_of_its_pairs_that_the_site_file_names(guarded: Stack) -> None:
    guarded.stop_qpu("emu1")
    new = keys.rotate(guarded.key_directory, "emu1")
    guarded.start_qpu("emu1")  # the site file still names the old one
    guarded.stop_qpu("emu1")
    new.rename(guarded.key_directory / "emu1.public")
    guarded.start_qpu("emu1")
    answer = ask([guarded.site.qpu("emu1")], Kind.STATUS, {}, timeout=10.0)["emu1"]
    assert isinstance(answer, dict)


def test_agents_do_not_start_with_a_secret_that_others_could_read(guarded: Stack) -> None:
    guarded.stop_qpu("emu1")
    secret = guarded.key_directory / "emu1.secret"
    secret.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"mode 0640.*chmod 600"):
        guarded.start_qpu("emu1")
    secret.chmod(0o600)
    (guarded.key_directory / keys.AUTHORISED).chmod(0o777)
    with pytest.raises(ConfigurationError, match="others than its owner may put keys into"):
        guarded.start_qpu("emu1")


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
    secret.unlink()
    assert main(["emu0", "--directory", str(directory)]) == 2
    assert "emu0.public exists already" in capsys.readouterr().err
    assert not secret.exists()  # no half of a new pair beside half of the old one


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_keys_have_the_right_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        public = keys.make(tmp_path, "emu0")
    finally:
        os.umask(previous)
    assert public.stat().st_mode & 0o777 == 0o644
    assert public.with_suffix(".secret").stat().st_mode & 0o777 == 0o600


def test_a_pair_does_not_tell_its_secret() -> None:
    pair = keys.Pair.anonymous()
    assert pair.secret.decode() not in f"{pair} {pair!r}"


@pytest.mark.parametrize("text", ["", "short", "x" * 39 + "~", "ü" * 20])
def test_what_is_no_key_is_refused(guarded: Stack, text: str) -> None:
    qpu = replace(guarded.site.qpu("emu0"), key=text or " ")
    with pytest.raises(ConfigurationError, match="is not a key of 40 characters"):
        keys.of_qpu(qpu)
