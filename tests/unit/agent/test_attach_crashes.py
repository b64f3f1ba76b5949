"""An agent is killed at any step of an attach to two QPUs: the job ends up with both leases and its
sockets, or with nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from openqse_agent.node.attach import Attachments
from openqse_agent.node.hook_server import HookServer
from openqse_agent.node.job_directory import JobDirectory
from openqse_agent.node.loop import NodeAgent
from openqse_agent.node.qpu_link import QPULink
from openqse_agent.node.records import Records
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.leases import LeaseTable
from openqse_agent.qpu.leases.service import LeaseService
from tests.support.agents.stack import Refused, Stack, eventually


class Killed(BaseException):
    """Nothing catches it: the agent's loop ends at once."""


class Axe:
    """Kills the thread that takes the ``at``-th of some steps, before it or after it."""

    def __init__(self, at: int, after: bool) -> None:
        self.at = at
        self.after = after
        self.fell = threading.Event()
        self._count = 0
        self._lock = threading.Lock()

    def over(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        """Makes a method one of the steps."""
        whole = getattr(owner, name)

        def step(*args: Any, **options: Any) -> Any:
            with self._lock:
                self._count += 1
                mine = self._count == self.at
            if mine and not self.after:
                self._fall()
            result = whole(*args, **options)
            if mine:
                self._fall()
            return result

        patch.setattr(owner, name, step)

    def _fall(self) -> None:
        self.fell.set()
        raise Killed


NODE_STEPS = (
    (QPULink, "say"),
    (Attachments, "handle"),
    (NodeAgent, "_open_directory"),
    (JobDirectory, "open_relay"),
    (Records, "write"),
    (HookServer, "answer"),
)
QPU_STEPS = (
    (LeaseTable, "grant"),
    (LeaseTable, "join"),
    (Journal, "write_lease"),
    (LeaseService, "_grant"),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openqse_agent.node.qpu_link.HEARTBEAT_EVERY", 0.1)
    monkeypatch.setattr("openqse_agent.node.qpu_link.LOST_AFTER", 0.5)
    monkeypatch.setattr("openqse_agent.node.attach._ASK_AGAIN", 0.2)


@pytest.fixture(autouse=True)
def killed_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(caught: threading.ExceptHookArgs) -> None:
        if not issubclass(caught.exc_type, Killed):
            threading.__excepthook__(caught)

    monkeypatch.setattr(threading, "excepthook", hook)


def bury_node(stack: Stack) -> None:
    """Ends what the death of the process would have ended."""
    stack._node_thread.join(10)
    node = stack.node
    for opened in node._directories.values():
        opened.socket.router.close(linger=0)
        for socket in (opened.socket, *(relay.socket for relay in opened.relays.values())):
            for ready in socket.handlers:
                ready.close(linger=0)
            socket.context.term()
        for relay in opened.relays.values():
            relay._thread.join()
    for connection in node._hooks.connections.values():
        connection.socket.close()
    node._hooks._listener.close()
    node._context.destroy(linger=0)


def bury_qpu(stack: Stack, name: str) -> None:
    running = stack.qpus.pop(name)
    running.thread.join(10)
    running.agent._executor.stop(5)
    running.agent._charging.stop(5)
    running.agent._slurm._pool.shutdown()
    running.agent._journal.close()
    running.agent._context.destroy(linger=0)


def attach(stack: Stack) -> bool:
    """Whether a step of job 7 got its two QPUs."""
    try:
        stack.attach(7, "emu0,emu1")
    except (Refused, OSError, KeyError):  # an agent that dies hangs up without an answer
        return False
    return True


def both_or_none(stack: Stack) -> Callable[[], bool]:
    """Whether the job holds both leases and its sockets, or nothing."""

    def settled() -> bool:
        held = (stack.leases("emu0"), stack.leases("emu1"))
        directories = [path.name for path in stack.runtime.glob("job-*")]
        states = [x.state for running in stack.qpus.values() for x in running.agent._leases]
        if held == ([7], [7]):
            return directories == ["job-7"] and set(states) == {"active"}
        return held == ([], []) and directories == []

    return settled


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("which", ["node agent", "QPU agent"])
def test_all_or_none_outlives_a_death_at_any_step(
    make_stack: Callable[..., Stack], pool: ThreadPoolExecutor, which: str, after: bool
) -> None:
    at = 0
    while True:
        at += 1
        stack = make_stack()
        stack.slurm.submit(7, {"qpu_emu0": 1, "qpu_emu1": 1})
        axe = Axe(at, after)
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in NODE_STEPS if which == "node agent" else QPU_STEPS:
                axe.over(patch, owner, name)
            step = pool.submit(attach, stack)
            eventually(lambda axe=axe, step=step: axe.fell.is_set() or step.done())
            if axe.fell.is_set() and which == "node agent":
                bury_node(stack)
            attached = step.result(10)
        if not axe.fell.is_set():
            assert attached
            break
        if which == "node agent":
            stack.start_node()
        else:
            (dead,) = [n for n, running in stack.qpus.items() if not running.thread.is_alive()]
            bury_qpu(stack, dead)
            stack.start_qpu(dead)
        eventually(both_or_none(stack))
        assert attach(stack)
        eventually(both_or_none(stack))
        assert stack.detach(7)["STATUS"] == "ok"
        eventually(lambda stack=stack: not stack.leases("emu0") and not stack.leases("emu1"))
        stack.close()
    assert at > 6
