"""The QPU agent's socket: who sends a message, and what they may ask."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from openqse.errors import ConfigurationError, NotAuthorised
from openqse.site import SiteQPU
from openqse.wire import limits
from openqse.wire.frames import Frame, send
from openqse.wire.messages import Kind
from openqse_agent import keys
from openqse_agent.poller import Poller
from openqse_agent.qpu.addresses import Address

log = logging.getLogger("qpu-agent")

#: Messages taken before completions and clocks get their turn.
_DRAIN = 256

#: What anybody may ask: reports.
FOR_ALL = frozenset({Kind.STATUS, Kind.LEASES, Kind.USAGE, Kind.QUEUE, Kind.SHARE, Kind.ESTIMATE})
#: What administrators may ask besides, and nobody else.
FOR_ADMINS = frozenset({Kind.DRAIN, Kind.RESUME})
#: Who sends where the QPU has no key: whoever reaches its port, for nodes.
_UNPROVEN = keys.Principal(keys.Role.NODE, "")

_POLLIN = int(zmq.POLLIN)

Take = Callable[[Address, list[bytes], keys.Principal], None]
"""Gets a message, and who sent it."""


class Listener:
    """The socket of a QPU.

    Args:
        directory: of this host's keys.
        take: gets each message.

    Raises:
        ConfigurationError: the port is in use, or the keys do not fit.
    """

    def __init__(
        self, context: zmq.Context[Any], qpu: SiteQPU, directory: Path, poller: Poller, take: Take
    ) -> None:
        self._qpu = qpu
        self._take = take
        self.authenticator = _authenticator(context, qpu, directory)
        self._router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self._bind()
        poller.watch(self._router, self._receive)
        if self.authenticator is not None:
            poller.watch(self.authenticator.zap, self.authenticator.answer)

    def _bind(self) -> None:
        router = self._router
        limits.apply(router)
        for option, value in (
            (zmq.HEARTBEAT_IVL, limits.TRANSPORT_HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, 3 * limits.TRANSPORT_HEARTBEAT_MS),
            # A node that connects again before its old connection is given up takes its place.
            (zmq.ROUTER_HANDOVER, 1),
        ):
            router.setsockopt(option, value)
        if self.authenticator is not None:
            self.authenticator.use(router)
        port = self._qpu.endpoint.rpartition(":")[2]
        try:
            router.bind(f"tcp://*:{port}")
        except zmq.ZMQError as error:
            raise ConfigurationError(
                f"cannot listen on port {port} for {self._qpu.name}: {error}",
                layer="QPU agent",
                remedy="Is another agent of this QPU running?",
            ) from error

    def _receive(self) -> None:
        router = self._router
        for _ in range(_DRAIN):
            if self.authenticator is None:
                peer, session, *frames = router.recv_multipart()
                principal = _UNPROVEN
            else:
                first = router.recv(copy=False)  # only a frame tells who sent it
                peer, principal = first.bytes, self.authenticator.principal(first)
                session, *frames = router.recv_multipart()
            self._take((peer, session), frames, principal)
            if not int(router.getsockopt(zmq.EVENTS)) & _POLLIN:
                return

    def send(self, address: Address, frames: list[Frame]) -> None:
        """Sends a message."""
        send(self._router, [*address, *frames])

    def refresh(self) -> None:
        """Takes over keys that have come or gone."""
        if self.authenticator is not None:
            self.authenticator.refresh()

    def authorise(self, kind: str, principal: keys.Principal) -> None:
        """Sees to it that a message comes from whom it may come.

        Raises:
            NotAuthorised: the principal's key is not good for it.
        """
        if kind in FOR_ALL:
            return
        if kind in FOR_ADMINS:
            wanted, whose = keys.Role.ADMIN, "administrators"
            remedy = (
                "Run it as root on this QPU agent's host, or with a key whose public half lies in "
                f"the folder '{keys.ADMINS}' there (openqse-keys {keys.ADMIN})"
            )
            if self.authenticator is None:
                remedy = f"Without keys nobody can prove it: openqse-keys {self._qpu.name}"
        else:
            wanted, whose = keys.Role.NODE, "the site's node agents"
            remedy = "Put the node agents' public key into the folder of authorised keys"
        if principal.role is not wanted:
            raise NotAuthorised(
                f"{self._qpu.name} takes {kind!r} messages from {whose} alone",
                layer="QPU agent",
                remedy=remedy,
            )


def _authenticator(
    context: zmq.Context[Any], qpu: SiteQPU, directory: Path
) -> keys.Authenticator | None:
    """What tells principals apart; None where the site file has no key for the QPU."""
    public = keys.of_qpu(qpu)
    if public is None:
        log.warning(
            "the site file has no key for %s: messages are in the clear, and whoever reaches "
            "its port can speak for a node",
            qpu.name,
        )
        return None
    path = keys.latest(directory, qpu.name)
    for pair in map(keys.Pair.read, keys.pairs(directory, qpu.name)):
        if pair.public == public:
            return keys.Authenticator(context, qpu.name, pair.secret, directory)
    raise ConfigurationError(
        f"{path} is not the secret of the key that the site file has for {qpu.name}",
        layer="QPU agent",
        remedy="Put its public key into the site file, or the right secret here",
    )
