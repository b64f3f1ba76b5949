"""The node agent's own connection to a QPU agent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from openqse.site import SiteQPU
from openqse.wire.leases import Probe
from openqse_agent.clock import SYSTEM
from openqse_agent.keys import Pair
from openqse_agent.node.qpu_link import LOST_AFTER, QPULink


@pytest.fixture
def keyed() -> Iterator[str]:
    """Where a QPU agent listens that has a key."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    server = context.socket(zmq.ROUTER)
    server.curve_server = True
    _, server.curve_secretkey = zmq.curve_keypair()
    port = server.bind_to_random_port("tcp://127.0.0.1")
    yield f"tcp://127.0.0.1:{port}"
    context.destroy(linger=0)


@pytest.fixture
def link(keyed: str) -> Iterator[QPULink]:
    """A link of a node whose site file does not know that key."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    qpu = SiteQPU("emu0", 4, keyed, "emulator")
    yield QPULink(context, qpu, b"n1", Pair.anonymous(), SYSTEM)
    context.destroy(linger=0)


def test_a_qpu_agent_that_refuses_the_handshake_is_lost_and_holds_nobody_up(link: QPULink) -> None:
    deadline = time.monotonic() + 20
    while link.socket.poll(0, zmq.POLLOUT):  # until the handshake was refused
        assert time.monotonic() < deadline
    saying = threading.Thread(target=link.say, args=(Probe(),), daemon=True)
    saying.start()
    saying.join(20)
    assert not saying.is_alive()
    assert link.check(SYSTEM.monotonic() + LOST_AFTER)
    assert link.lost
