"""Messages are lost, agents die, sessions misbehave: every result arrives once and is charged once,
and nobody waits for somebody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zmq
from test_tasks import echo_program, value_of

import openqse
from openqse.device import Work
from openqse.errors import DeadlineExceeded, LimitExceeded, StorageError, TaskCancelled
from openqse.site import Site
from openqse.wire import limits
from openqse.wire.frames import decode_body, decode_header, encode, unbundle
from openqse.wire.messages import Kind, header
from openqse.wire.tasks import encode_task
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.tasks.intake import Intake
from tests.support.agents.stack import Stack, eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions and heartbeats often, so that the tests need not wait for them."""
    monkeypatch.setattr("openqse.client.recovery.ASK_EVERY", 0.2)
    monkeypatch.setattr("openqse_agent.node.qpu_link.HEARTBEAT_EVERY", 0.2)


def charged(stack: Stack) -> int:
    """Tasks that job 7 was charged for."""
    return sum(used.tasks for used in stack.qpus["emu0"].agent._journal.usage(7))


def all_right(futures: dict[Any, int], timeout: float = 60) -> None:
    """Every task gives its own result."""
    seen = [(futures[f], value_of(f.result())) for f in openqse.as_completed(futures, timeout)]
    assert sorted(seen) == [(value, value) for value in sorted(futures.values())]


# --- lost messages --------------------------------------------------------------------------------


def test_results_that_are_lost_are_sent_again_and_not_run_again(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, lost = stack.qpus["emu0"].agent._intake, []
    send = intake._send

    def lose(address: Any, frames: Any) -> None:
        if len(lost) < 5 and decode_header(frames).kind in (Kind.RESULT, Kind.BUNDLE):
            lost.append(frames)
        else:
            send(address, frames)

    monkeypatch.setattr(intake, "_send", lose)
    futures = {rank.submit(echo_program(), parameters=[i], shots=1): i for i in range(100)}
    all_right(futures)
    assert len(lost) == 5
    assert charged(stack) == 100
    assert stack.qpus["emu0"].device.sets == 100


def test_tasks_and_cancellations_that_are_lost_are_sent_again(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, lost = Intake.take, []

    def lose(self: Intake, address: Any, head: Any, frames: Any) -> None:
        if head.kind in (Kind.RUN, Kind.CANCEL) and (head.kind, head.task) not in lost:
            lost.append((head.kind, head.task))  # each is heard when it comes again
        else:
            take(self, address, head, frames)

    monkeypatch.setattr(Intake, "take", lose)
    all_right({rank.submit(echo_program(), parameters=[i], shots=1): i for i in range(30)})
    assert charged(stack) == 30
    stack.qpus["emu0"].device.hold.clear()
    future = rank.submit(echo_program(), parameters=[1])
    with pytest.raises(DeadlineExceeded):
        future.result(1.0)
    assert len(stack.qpus["emu0"].agent._intake.tasks) == 1
    future.cancel()
    with pytest.raises(TaskCancelled):
        future.result(20)
    assert len(lost) == 32


def test_a_task_that_takes_long_is_asked_after_and_not_sent_again(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Kind] = []
    take = Intake.take

    def listen(self: Intake, address: Any, head: Any, frames: Any) -> None:
        heard.append(head.kind)
        take(self, address, head, frames)

    monkeypatch.setattr(Intake, "take", listen)
    stack.qpus["emu0"].device.hold.clear()
    future = rank.submit(echo_program(), parameters=[5])
    with pytest.raises(DeadlineExceeded):
        future.result(1.5)
    stack.qpus["emu0"].device.hold.set()
    assert value_of(future.result(10)) == 5
    assert heard.count(Kind.RESYNC) >= 3
    assert heard.count(Kind.RUN) == 1


class Wire:
    """The network between a node and a QPU agent; while it is cut nothing passes and nobody is
    told."""

    def __init__(self, towards: int) -> None:
        self._towards = towards
        self.uncut = threading.Event()
        self.uncut.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._towards))
            except OSError:
                return
            self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if self.uncut.is_set():
                    other.sendall(data)
                else:
                    self.uncut.wait()
                    break  # what was sent meanwhile is lost, and the connection with it
        except OSError:
            pass
        finally:
            for each in (one, other):
                each.close()

    def close(self) -> None:
        self.uncut.set()
        self._listener.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
def wire(stack: Stack) -> Iterator[Wire]:
    """The wire to emu0, through which the stack's node agent speaks from now on."""
    wire = Wire(stack.ports["emu0"])
    stack.stop_node()
    through = replace(stack.site.qpu("emu0"), endpoint=f"tcp://127.0.0.1:{wire.port}")
    stack.site = Site(stack.site.qpus | {"emu0": through})
    stack.start_node()
    yield wire
    wire.close()


def test_a_network_that_is_cut_for_a_while_loses_nothing(
    wire: Wire, stack: Stack, enter: Callable[..., None]
) -> None:
    enter()
    with openqse.connect() as qpu:
        program = echo_program()
        assert value_of(qpu.run(program, parameters=[1], shots=1)) == 1
        futures = {qpu.submit(program, parameters=[i], shots=1): i for i in range(20)}
        wire.uncut.clear()
        futures |= {qpu.submit(program, parameters=[i], shots=1): i for i in range(20, 30)}
        one, *_ = futures
        with pytest.raises(DeadlineExceeded):
            list(openqse.as_completed(futures, timeout=5))
        wire.uncut.set()
        all_right(futures)
        assert one.done()
    assert charged(stack) == 31


# --- agents die -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["node agent", "QPU agent"])
def test_an_agent_that_is_restarted_in_the_middle_of_things_loses_nothing(
    rank: openqse.QPU, stack: Stack, which: str
) -> None:
    program = echo_program()
    done = threading.Event()
    seen: list[int] = []

    def work() -> None:
        for i in range(2000):
            seen.append(value_of(rank.run(program, parameters=[i], shots=1)))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(2):
        before = len(seen)
        eventually(lambda before=before: len(seen) > before + 50 or done.is_set())
        if which == "node agent":
            stack.stop_node()
            stack.start_node()
        else:
            stack.stop_qpu("emu0")
            stack.start_qpu("emu0")
    thread.join(60)
    assert seen == list(range(2000))
    assert charged(stack) == 2000


def test_a_job_goes_on_under_its_lease_after_its_node_agent_was_killed(
    rank: openqse.QPU, stack: Stack
) -> None:
    assert rank.lease is not None
    stack.stop_node()
    stack.start_node()
    result = rank.run(echo_program(), parameters=[3], shots=1)
    assert (value_of(result), result.lease_id) == (3, rank.lease.id)
    with openqse.connect() as again:
        assert again.lease == rank.lease


def test_a_rank_that_is_told_of_silence_waits_for_its_node_agent_all_the_same(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse.client.recovery.TELL_AFTER", 0.3)
    stack.stop_node()
    future = rank.submit(echo_program(), parameters=[3], shots=1)
    with pytest.raises(DeadlineExceeded):  # not NoLease: the job's sockets are still there
        future.result(1.5)
    stack.start_node()
    assert value_of(future.result(20)) == 3


def test_a_job_that_ended_while_its_node_agent_was_away_is_told(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse.client.recovery.TELL_AFTER", 1.0)
    stack.stop_node()
    stack.slurm.end(7)
    stack.start_node()
    eventually(lambda: stack.leases("emu0") == [])  # asked after at once, not after a TTL
    with pytest.raises(openqse.OpenQSEError, match=r"revoked|no lease|are gone"):
        rank.run(echo_program(), parameters=[1])
    eventually(lambda: list(stack.runtime.glob("job-*")) == [])


# --- ids ------------------------------------------------------------------------------------------


class Raw:
    """A session that says what it likes, through the job's relay.

    Args:
        unread: answers that its own process takes in before it reads them; 0 means all.
    """

    def __init__(
        self, stack: Stack, context: zmq.Context[Any], session: bytes, unread: int = 0
    ) -> None:
        self.lease = stack.qpus["emu0"].agent._leases.of_job(7)
        assert self.lease is not None
        self.session = session
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.RCVHWM, unread)
        self.socket.connect(f"ipc://{stack.runtime}/job-7/emu0.sock")
        self._arrived: list[Any] = []

    def say(self, kind: Kind, task: bytes, body: Any = None, buffers: Any = ()) -> None:
        assert self.lease is not None
        head = header(kind, task, lease=self.lease.id, generation=self.lease.generation)
        self.socket.send_multipart(encode(head, body, buffers))

    def run(self, number: int, program: openqse.Circuit, shots: int = 1, **more: Any) -> None:
        work = Work(bytes.fromhex(program.id), np.empty((1, 0)), shots=shots)
        body, buffers = encode_task(work, program.program)
        self.say(Kind.RUN, self.session + number.to_bytes(8, "big"), body | more, buffers)

    def hear(self) -> tuple[str, int, dict[str, Any]]:
        """Kind, number and body of the next answer."""
        if not self._arrived:
            assert self.socket.poll(10_000), "no answer"
            frames = self.socket.recv_multipart()
            bundle = decode_header(frames).kind == Kind.BUNDLE
            self._arrived.extend(unbundle(frames) if bundle else [frames])
        frames = self._arrived.pop(0)
        head = decode_header(frames)
        return head.kind, int.from_bytes(head.task[8:], "big"), decode_body(frames)


@pytest.fixture
def raw(enter: Callable[..., None], stack: Stack) -> Iterator[Callable[[bytes], Raw]]:
    enter()
    context: zmq.Context[Any] = zmq.Context()
    yield lambda session: Raw(stack, context, session)
    context.destroy(linger=0)


SMALL = openqse.CircuitBuilder(1).measure_all().build()


def test_a_task_that_is_sent_again_is_answered_again_until_its_answer_is_taken(
    raw: Callable[[bytes], Raw], stack: Stack
) -> None:
    session = raw(b"session0")
    for _ in range(3):
        session.run(1, SMALL)
        assert session.hear()[:2] == (Kind.RESULT, 1)
    assert stack.qpus["emu0"].device.started._value == 1
    session.run(2, SMALL, acknowledged=[1])
    assert session.hear()[:2] == (Kind.RESULT, 2)
    session.run(1, SMALL)  # to run it for nothing, since it was charged already
    kind, _, body = session.hear()
    assert (kind, body["message"]) == (Kind.ERROR, "a task id that was used before")
    assert charged(stack) == 2


def test_an_id_that_was_used_is_known_even_when_its_session_is_forgotten(
    raw: Callable[[bytes], Raw], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SESSIONS_PER_JOB", 2)
    for session in (b"session0", b"session1", b"session2"):
        one = raw(session)
        one.run(1, SMALL)
        assert one.hear()[0] == Kind.RESULT
    (ledger,) = stack.qpus["emu0"].agent._intake.ledgers.values()
    assert list(ledger.sessions) == [b"session1", b"session2"]
    one = raw(b"session0")
    one.run(1, SMALL)
    assert one.hear()[2]["message"] == "a task id that was used before"
    one.run(2, SMALL)
    assert one.hear()[0] == Kind.RESULT


def test_memory_for_results_is_flat_while_a_client_takes_them(
    rank: openqse.QPU, stack: Stack
) -> None:
    program = echo_program()
    for start in range(0, 3000, 100):
        futures = [rank.submit(program, parameters=[i], shots=1) for i in range(start, start + 100)]
        assert [value_of(f.result(10)) for f in futures] == list(range(start, start + 100))
        (ledger,) = stack.qpus["emu0"].agent._intake.ledgers.values()
        (session,) = ledger.sessions.values()
        assert len(session.kept) <= 200
        assert session.tasks == ledger.tasks == session.size == 0


# --- flow control ---------------------------------------------------------------------------------


def parked(stack: Stack) -> int:
    """Tasks of the job that are parked, once all that it has left are."""
    agent = stack.qpus["emu0"].agent
    executor = agent._executor
    eventually(lambda: executor.parked() and len(executor.parked()) == len(agent._intake.tasks))
    return len(executor.parked())


def test_a_session_that_takes_no_results_waits_and_the_others_do_not(
    raw: Callable[[bytes], Raw], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SESSION_UNACKNOWLEDGED_BYTES", 20_000)
    stuck = raw(b"session0")
    for number in range(20):
        stuck.run(number, SMALL, shots=10_000)  # results of 10 kB, that it does not read
    agent = stack.qpus["emu0"].agent
    waiting = parked(stack)
    (ledger,) = agent._intake.ledgers.values()
    assert waiting >= 10
    other = raw(b"session1")
    for number in range(50):
        other.run(number, SMALL, acknowledged=[number - 1] if number else [])
        assert other.hear()[:2] == (Kind.RESULT, number)
    assert parked(stack) == waiting
    had = set()
    for _ in range(20):  # once it takes them, it gets the rest, in whatever order
        kind, number, _ = stuck.hear()
        assert kind == Kind.RESULT
        had.add(number)
        stuck.say(Kind.ACKNOWLEDGE, stuck.session, {"acknowledged": [number]})
    assert had == set(range(20))
    eventually(lambda: ledger.kept_size < 20_000 and not agent._executor.parked())
    assert charged(stack) == 70


def test_tasks_that_wait_for_a_session_end_with_their_lease(
    raw: Callable[[bytes], Raw], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SESSION_UNACKNOWLEDGED_BYTES", 5_000)
    stuck = raw(b"session0")
    for number in range(5):
        stuck.run(number, SMALL, shots=10_000)
    agent = stack.qpus["emu0"].agent
    parked(stack)
    assert stack.detach(7)["STATUS"] == "ok"
    eventually(lambda: not agent._intake.tasks and not agent._intake.ledgers)


def test_a_flood_of_tasks_is_refused_by_name_and_slows_nobody(
    raw: Callable[[bytes], Raw], rank: openqse.QPU, stack: Stack
) -> None:
    stack.qpus["emu0"].device.hold.clear()
    flood = raw(b"session0")
    for number in range(5000):
        flood.run(number, SMALL)
    for _ in range(5000 - stack.tasks_per_session):
        kind, _, body = flood.hear()
        assert (kind, body["details"]) == (Kind.ERROR, {"limit": "tasks_per_session"})
    future = rank.submit(echo_program(), parameters=[3], shots=1)
    stack.qpus["emu0"].device.hold.set()
    assert value_of(future.result(10)) == 3


def test_a_client_waits_rather_than_have_too_many_bytes_on_their_way(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BYTES_IN_FLIGHT", 100_000)
    stack.qpus["emu0"].device.hold.clear()
    batch = np.ones((5_000, 1))
    futures = [rank.submit(echo_program(8), parameters=batch, shots=1) for _ in range(2)]
    with pytest.raises(DeadlineExceeded, match="bytes of tasks are unanswered"):
        rank.submit(echo_program(8), parameters=batch, shots=1, timeout=0.3)
    stack.qpus["emu0"].device.hold.set()
    futures.append(rank.submit(echo_program(8), parameters=batch, shots=1))
    assert all(f.result(10).memory.shape == (5_000, 1, 8) for f in futures)


def test_a_program_that_is_too_large_is_refused_by_both_sides(
    raw: Callable[[bytes], Raw], rank: openqse.QPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_PROGRAM_BYTES", 20)
    with pytest.raises(LimitExceeded) as caught:
        rank.run(echo_program(), parameters=[1])
    assert caught.value.details == {"limit": "MAX_PROGRAM_BYTES"}
    session = raw(b"session0")
    session.run(1, SMALL)
    assert session.hear()[2]["details"] == {"limit": "MAX_PROGRAM_BYTES"}


# --- a full disk ----------------------------------------------------------------------------------


def test_tasks_wait_for_a_disk_that_is_full_and_go_on_when_there_is_space(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank.run(echo_program(), parameters=[0], shots=1)
    agent = stack.qpus["emu0"].agent
    _fill(agent._journal, monkeypatch)
    future = rank.submit(echo_program(), parameters=[4], shots=1)
    eventually(lambda: agent._settling.error is not None)
    with pytest.raises(DeadlineExceeded):
        future.result(0.5)
    agent._journal._db.execute("PRAGMA max_page_count = 1000000")
    assert value_of(future.result(10)) == 4
    assert charged(stack) == 2


def test_tasks_that_have_waited_long_for_a_full_disk_end_with_an_error_that_says_so(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.qpu.journal.settling._PATIENCE", 0.3)
    agent = stack.qpus["emu0"].agent
    _fill(agent._journal, monkeypatch)
    with pytest.raises(StorageError, match=r"QPU agent: the journal .* disk is full"):
        rank.run(echo_program(), parameters=[4], shots=1)
    with pytest.raises(StorageError):
        rank.run(echo_program(), parameters=[4], shots=1)
    agent._journal._db.execute("PRAGMA max_page_count = 1000000")
    eventually(lambda: agent._settling.error is None)
    assert value_of(rank.run(echo_program(), parameters=[4], shots=1)) == 4


def _fill(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills the disk, and the log of charges with what cannot be settled."""
    from test_journal import charge

    with journal._lock:
        (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
    number = 0
    while journal.has_room:
        journal.charge([charge(b"%d" % i, 99) for i in range(number, number + 500)])
        number += 500


@pytest.mark.parametrize("process", [2**40, 2**31, -1, "7", True, None])
def test_a_made_up_process_is_refused_and_nobodys(
    raw: Callable[[bytes], Raw], stack: Stack, process: Any
) -> None:
    """Node agents are not even asked whether it has ended: the answer would be an error."""
    liar = raw(b"8 bytes.")
    liar.run(1, SMALL, process=process)
    kind, number, body = liar.hear()
    assert (kind, number, body["code"]) == (Kind.ERROR, 1, "protocol")
    assert body["details"] == {"kind": "run", "field": "process"}
    assert liar.lease is not None
    assert stack.qpus["emu0"].agent._intake.processes(liar.lease, stack.node._name) == []


def test_a_process_need_not_say_which_it_is(raw: Callable[[bytes], Raw], stack: Stack) -> None:
    nobody = raw(b"8 bytes.")
    nobody.run(1, SMALL, process=0)
    assert nobody.hear()[:2] == (Kind.RESULT, 1)
    assert nobody.lease is not None
    assert stack.qpus["emu0"].agent._intake.processes(nobody.lease, stack.node._name) == []
