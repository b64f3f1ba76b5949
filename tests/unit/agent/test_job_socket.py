"""A job's sockets on its node: one process that misbehaves slows no other and costs no memory."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from test_delivery import SMALL, Raw, charged
from test_tasks import echo_program, value_of

import openqse
from openqse.errors import LimitExceeded
from openqse.wire import limits
from openqse.wire.frames import decode_body, decode_header, encode
from openqse.wire.messages import Header, Kind, header
from openqse_agent.node.job_socket import JobSocket, has_ended
from tests.support.agents.stack import Stack, eventually

#: Connections that a job may have in these tests.
FEW = 8

#: Connects without a word, as often as it is told, and says when asked how many of these are cut.
HALF_OPEN = """
import select, socket, sys
poller, sockets = select.poll(), []
for _ in range(int(sys.argv[2])):
    sockets.append(socket.socket(socket.AF_UNIX))
    sockets[-1].connect(sys.argv[1])
    poller.register(sockets[-1], 0)
print("connected", flush=True)
for question in sys.stdin:
    print(sum(bool(event & select.POLLHUP) for _, event in poller.poll(0)), flush=True)
"""

#: Connects as ranks do, as often as it is told, and stays.
GREEDY = """
import sys, time, zmq
context = zmq.Context()
sockets = [context.socket(zmq.DEALER) for _ in range(int(sys.argv[2]))]
for each in sockets:
    each.connect("ipc://" + sys.argv[1])
print("connected", flush=True)
sys.stdin.readline()
"""

#: Connects and hangs up, for as long as it lives.
RESTLESS = """
import socket, sys
connected = 0
while True:
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(sys.argv[1])
        except OSError:
            continue
    connected += 1
    if connected == int(sys.argv[2]):
        print("connected", flush=True)
"""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_PER_JOB", FEW)


Spawn = Callable[[str, Path, int], "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts a process of the job that connects to one of its sockets, and waits until it has."""
    started = []

    def spawn(program: str, path: Path, connections: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(connections)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        return process

    yield spawn
    for process in started:
        with process:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    """What it says when it is asked."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.fixture
def job(stack: Stack, enter: Callable[..., None]) -> Path:
    """The directory of a job that this process is in."""
    enter()
    return stack.runtime / "job-7"


@pytest.fixture
def greet(job: Path) -> Iterator[Callable[[], Any]]:
    """Connects to the node agent and greets it; the connection and what it answers."""
    context: zmq.Context[Any] = zmq.Context()

    def greet() -> tuple[zmq.Socket[bytes], Kind, dict[str, Any]]:
        one: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        one.connect(f"ipc://{job / 'node.sock'}")
        one.send_multipart(encode(header(Kind.HELLO)))
        assert one.poll(10_000), "no answer"
        frames = one.recv_multipart()
        return one, Kind(decode_header(frames).kind), decode_body(frames)

    yield greet
    context.destroy(linger=0)


def runs() -> None:
    """A rank that connects now has its task run."""
    with openqse.connect() as qpu:
        assert value_of(qpu.run(echo_program(), parameters=[5], shots=1, timeout=10)) == 5


@pytest.mark.usefixtures("few")
def test_who_has_too_many_connections_is_told_and_has_its_others(greet: Callable[[], Any]) -> None:
    held = [greet() for _ in range(FEW)]
    assert {kind for _, kind, _ in held} == {Kind.WELCOME}
    refused, kind, error = greet()
    assert (kind, error["code"], error["layer"]) == (Kind.ERROR, "limit", "node agent")
    assert error["details"] == {"limit": "CONNECTIONS_PER_JOB"}
    assert f"has {FEW} connections to node.sock" in error["message"]
    with pytest.raises(LimitExceeded, match="Have fewer processes on a node"):
        openqse.connect()
    refused.close()
    held.pop()[0].close()
    eventually(lambda: greet()[1] == Kind.WELCOME)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("socket", ["node.sock", "emu0.sock"])
def test_a_flood_of_half_open_connections_is_cut_off_and_keeps_nobody_out(
    spawn: Spawn, stack: Stack, job: Path, socket: str
) -> None:
    with openqse.connect() as qpu:
        flood = spawn(HALF_OPEN, job / socket, 200)
        assert value_of(qpu.run(echo_program(), parameters=[4], shots=1, timeout=10)) == 4
        runs()
        eventually(lambda: int(answer(flood)) >= 200 - 2 * FEW)
        assert value_of(qpu.run(echo_program(), parameters=[4], shots=1, timeout=10)) == 4


@pytest.mark.usefixtures("few")
def test_a_process_that_connects_for_ever_keeps_nobody_out(
    spawn: Spawn, stack: Stack, job: Path
) -> None:
    with openqse.connect() as qpu:
        for socket in ("node.sock", "emu0.sock"):
            spawn(GREEDY, job / socket, 10 * FEW)  # libzmq connects again whatever is cut
        for _ in range(20):
            runs()
            assert value_of(qpu.run(echo_program(), parameters=[4], shots=1, timeout=10)) == 4
        opened = stack.node._directories[7]
        for waiting in (opened.socket, opened.relays["emu0"].socket):
            eventually(lambda socket=waiting: len(socket._processes) <= 2 * FEW)


@pytest.mark.parametrize("socket", ["node.sock", "emu0.sock"])
def test_a_job_ends_while_its_socket_is_flooded(
    spawn: Spawn, stack: Stack, job: Path, socket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the news of it has filled its queue, so that libzmq's own thread waits."""
    monkeypatch.setattr(JobSocket, "_take_in", lambda self, most: None)
    spawn(RESTLESS, job / socket, 2000)
    assert stack.detach(7)["STATUS"] == "ok"
    assert not job.exists()


def test_a_process_that_says_it_has_taken_what_it_does_not_read_fills_no_memory(
    spawn: Spawn, stack: Stack, enter: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MESSAGES_UNREAD", 10)
    enter()
    context: zmq.Context[Any] = zmq.Context()
    liar = Raw(stack, context, b"session0", unread=1)
    for number in range(400):
        liar.run(number, SMALL, shots=10_000, acknowledged=[number - 1] if number else [])
        eventually(lambda number=number: charged(stack) == number + 1)
    runs()
    heard = 0
    while liar.socket.poll(500):
        liar.socket.recv_multipart()
        heard += 1
    assert 0 < heard < 200
    context.destroy(linger=0)


# --- processes that end ---------------------------------------------------------------------------

#: A rank that sends tasks and computes on.
RANK = """
import sys, time, openqse
qpu = openqse.connect()
program = openqse.CircuitBuilder(1).measure_all().build()
futures = [qpu.submit(program, shots=1) for _ in range(int(sys.argv[2]))]
print("connected", flush=True)
sys.stdin.readline()
print(sum(future.result().counts["0"] for future in futures), flush=True)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openqse_agent.node.qpu_link.HEARTBEAT_EVERY", 0.1)


def held_up(stack: Stack, spawn: Spawn, job: Path, tasks: int) -> subprocess.Popen[str]:
    """A rank whose tasks are at the QPU agent, the first of them running."""
    stack.qpus["emu0"].device.hold.clear()
    rank = spawn(RANK, job / "emu0.sock", tasks)
    eventually(lambda: len(stack.qpus["emu0"].agent._intake.tasks) == tasks)
    return rank


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("restarted", [False, True])
def test_the_tasks_of_a_killed_rank_are_cancelled_and_no_others(
    spawn: Spawn, stack: Stack, job: Path, restarted: bool
) -> None:
    agent = stack.qpus["emu0"].agent
    with openqse.connect() as qpu:
        killed = held_up(stack, spawn, job, 20)
        mine = [qpu.submit(echo_program(), parameters=[i], shots=1) for i in range(5)]
        eventually(lambda: len(agent._intake.tasks) == 25)
        if restarted:  # it dies while its node agent is away
            stack.stop_node()
        killed.send_signal(signal.SIGKILL)
        if restarted:
            stack.start_node()
        eventually(lambda: len(agent._intake.tasks) == 5)
        (ledger,) = agent._intake.ledgers.values()
        assert len(ledger.sessions) == 1
        assert ledger.tasks == 5
        stack.qpus["emu0"].device.hold.set()
        assert [value_of(future.result(30)) for future in mine] == list(range(5))
    assert charged(stack) == 5  # what was cancelled costs nothing
    assert stack.qpus["emu0"].device.stopped == 1


@pytest.mark.usefixtures("quick")
def test_a_rank_that_computes_on_or_reconnects_keeps_its_tasks(
    spawn: Spawn, stack: Stack, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank = held_up(stack, spawn, job, 20)
    agent, beats = stack.qpus["emu0"].agent, []
    take = agent._lease_service.take

    def heartbeat(address: Any, head: Header, frames: Any) -> None:
        if head.kind == Kind.HEARTBEAT:
            beats.append(head)
        take(address, head, frames)

    monkeypatch.setattr(agent._lease_service, "take", heartbeat)
    stack.stop_node()
    stack.start_node()
    eventually(lambda: len(beats) >= 5)
    assert len(agent._intake.tasks) == 20
    stack.qpus["emu0"].device.hold.set()
    assert answer(rank) == "20"
    assert charged(stack) == 20


@pytest.mark.usefixtures("quick")
def test_results_that_a_killed_rank_has_not_taken_are_dropped(
    spawn: Spawn, stack: Stack, job: Path
) -> None:
    killed = spawn(RANK, job / "emu0.sock", 10)
    agent = stack.qpus["emu0"].agent
    eventually(lambda: charged(stack) == 10)
    (ledger,) = agent._intake.ledgers.values()
    assert ledger.kept_size > 0
    killed.send_signal(signal.SIGKILL)
    eventually(lambda: not ledger.sessions)
    assert (ledger.kept_size, ledger.tasks) == (0, 0)


def test_a_process_has_ended_when_it_is_dead_though_nobody_has_reaped_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not has_ended(process.pid)
        process.kill()
        eventually(lambda: has_ended(process.pid))
        process.wait()
        assert has_ended(process.pid)
    assert not has_ended(1)
    assert not has_ended(2**40)  # a number that somebody made up
