"""Files and sockets are their owner's alone from the moment they are made, whatever the umask."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from openqse_agent.node.job_socket import JobSocket
from openqse_agent.node.relays import Relay
from tests.support.agents.stack import Refused, Stack, eventually


@pytest.fixture
def no_umask() -> Iterator[None]:
    """What is not asked for is not taken away: every mode is the one that the code gives."""
    previous = os.umask(0)
    yield
    os.umask(previous)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def binds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Unix sockets as they are bound: name, and mode of the folder at that moment."""
    seen: list[tuple[str, int]] = []

    def note(path: str) -> None:
        seen.append((path, mode(Path(path).parent)))

    zmq_bind, plain_bind = zmq.Socket.bind, socket.socket.bind

    def bind_zmq(self: zmq.Socket[Any], address: str) -> Any:
        if address.startswith("ipc://"):
            note(address.removeprefix("ipc://"))
        return zmq_bind(self, address)

    def bind_plain(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            note(address)
        plain_bind(self, address)

    monkeypatch.setattr(zmq.Socket, "bind", bind_zmq)
    monkeypatch.setattr(socket.socket, "bind", bind_plain)
    return seen


@pytest.mark.usefixtures("no_umask")
def test_every_socket_is_bound_where_nobody_else_can_enter(
    binds: list[tuple[str, int]], make_stack: Callable[..., Stack]
) -> None:
    stack = make_stack(keys=True)
    stack.slurm.submit(7, {"qpu_emu0": 1, "qpu_emu1": 1})
    stack.attach(7, "emu0,emu1")
    assert len(binds) == 4  # the hook, the job's own, and a relay for each QPU
    assert {folder for _, folder in binds} == {0o700}
    assert len({name for name, _ in binds}) == 4
    job = stack.runtime / "job-7"
    assert mode(stack.runtime) == 0o755  # jobs' users pass through it
    assert mode(stack.runtime / "node.sock") == 0o600
    assert mode(job) == 0o700
    assert {path.name: mode(path) for path in job.iterdir()} == {
        "node.sock": 0o600,
        "emu0.sock": 0o600,
        "emu1.sock": 0o600,
    }
    assert list((stack.runtime / ".new").iterdir()) == []  # all are in their places


@pytest.mark.usefixtures("no_umask")
def test_what_jobs_were_charged_is_the_agents_to_read(stack: Stack) -> None:
    state = stack.config.qpu.state_dir
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.attach(7, "emu0")
    assert mode(state) == 0o700
    assert {mode(path) for path in state.iterdir()} == {0o600}
    assert len(list(state.iterdir())) > 2


def test_root_follows_nothing_that_a_user_put_in_a_sockets_place(tmp_path: Path) -> None:
    """The job's folder is the job's user's: a link there must not lead root to give a file away."""
    victim = tmp_path / "shadow"
    victim.write_text("root's alone")
    victim.chmod(0o640)
    owner = victim.stat().st_uid
    folder, staging = tmp_path / "job-7", tmp_path / ".new"
    folder.mkdir()
    staging.mkdir(mode=0o700)
    path = folder / "emu0.sock"
    path.symlink_to(victim)
    opened = JobSocket(path, staging, 7, os.getuid(), os.getgid())
    assert stat.S_ISSOCK(path.lstat().st_mode)
    opened.router.close()
    opened.close()
    assert (mode(victim), victim.stat().st_uid) == (0o640, owner)
    assert victim.read_text() == "root's alone"


def test_a_user_who_spoils_its_own_folder_spoils_its_own_job_alone(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 1, "qpu_emu1": 1})
    stack.attach(7, "emu0")
    job = stack.runtime / "job-7"
    (job / "emu1.sock" / "full").mkdir(parents=True)
    with pytest.raises(Refused, match="sockets under"):
        stack.attach(7, "emu0,emu1")
    (job / "emu0.sock").unlink()
    (job / "emu0.sock").mkdir()
    assert stack.detach(7)["STATUS"] == "ok"
    assert not job.exists()
    eventually(lambda: stack.leases("emu0") == stack.leases("emu1") == [])


def test_a_relay_ends_whatever_stands_in_its_place(tmp_path: Path, stack: Stack) -> None:
    folder = tmp_path / "spoiled"
    folder.mkdir()
    opened = JobSocket(folder / "emu0.sock", stack.runtime / ".new", 7, os.getuid(), os.getgid())
    relay = Relay(opened, 7, stack.site.qpu("emu0").endpoint, "c1-0", stack.node._pair, None)
    (folder / "emu0.sock").unlink()
    (folder / "emu0.sock").mkdir()
    relay.close()
