"""Keys between hosts: CURVE for every connection to a QPU agent (ZeroMQ RFC 26).

A QPU agent has a key pair whose public half stands in the site file; node agents have pairs whose
public halves lie where the QPU agents look. Who connects with another key may ask for reports and
do nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from openqse.errors import ConfigurationError
from openqse.site import SiteQPU

log = logging.getLogger(__name__)

#: Name of the node agents' key.
NODE = "node"
#: Folder, beside the keys, of the public keys of node agents that QPU agents believe.
AUTHORISED = "nodes"

_ZAP = "inproc://zeromq.zap.01"


def make(directory: Path, name: str) -> Path:
    """Makes a key pair: ``NAME.secret``, for its owner alone, and ``NAME.public``.

    Returns:
        The path of the public key.

    Raises:
        ConfigurationError: there is one of that name, or the folder cannot be written.
    """
    public, secret = zmq.curve_keypair()
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for suffix, key, mode in (("secret", secret, 0o600), ("public", public, 0o644)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(directory / f"{name}.{suffix}", flags, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(key + b"\n")
    except FileExistsError as error:
        raise ConfigurationError(
            f"{error.filename} exists already",
            remedy="Move it away to make a new pair, and give out the new public key",
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    return directory / f"{name}.public"


def read(path: Path) -> bytes:
    """The key in a file, as 40 characters of Z85.

    Raises:
        ConfigurationError: unreadable, or no key.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            f"the key {path} cannot be read: {error.strerror}",
            remedy="Make it with openqse-keys, or copy it here",
        ) from error
    return _checked(key, str(path))


def of_qpu(qpu: SiteQPU) -> bytes | None:
    """The public key of a QPU's agent, as the site file says; None where it names none.

    Raises:
        ConfigurationError: the site file's key is none, or the file that it names.
    """
    if qpu.key is None:
        return None
    if qpu.key.startswith("/"):
        return read(Path(qpu.key))
    return _checked(qpu.key.encode(), f"key of [qpu.{qpu.name}]")


def _checked(key: bytes, where: str) -> bytes:
    try:
        if len(key) == 40 and len(z85.decode(key)) == 32:
            return key
    except Exception:  # whatever z85 stumbles over
        log.debug("not Z85: %s", where)
    raise ConfigurationError(f"{where} is not a key of 40 characters (Z85)")


@dataclass(frozen=True)
class Pair:
    """The key pair with which a client of QPU agents speaks."""

    public: bytes
    secret: bytes

    @staticmethod
    def read(path: Path) -> Pair:
        """The pair of a secret key's file.

        Raises:
            ConfigurationError: unreadable, or no key.
        """
        secret = read(path)
        return Pair(zmq.curve_public(secret), secret)

    @staticmethod
    def of_a_guest() -> Pair:
        """A pair that nobody knows."""
        return Pair(*zmq.curve_keypair())

    def use(self, socket: zmq.Socket[bytes], server: bytes | None) -> None:
        """Has a socket speak with the owner of ``server`` alone; with None, in the clear."""
        if server is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, server)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)


class Guard:
    """A QPU agent's side: tells node agents from guests at each connection.

    Attributes:
        zap: asks who a peer is (ZAP, RFC 27); ``answer`` when it is readable.
    """

    def __init__(self, context: zmq.Context[Any], secret: bytes, authorised: Path) -> None:
        self._secret = secret
        self._authorised = authorised
        self.zap: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.zap.bind(_ZAP)

    def use(self, socket: zmq.Socket[bytes]) -> None:
        """Has a socket take encrypted connections alone, once ``answer`` has seen who connects."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"qpu")

    def answer(self) -> None:
        """Answers libzmq's question; keys are read anew each time, so that they can be changed."""
        _, request, _, _, _, mechanism, *credentials = self.zap.recv_multipart()
        known = mechanism == b"CURVE" and z85.encode(credentials[0]) in set(self._keys())
        user = _NODE_USER if known else b"guest"
        self.zap.send_multipart([b"1.0", request, b"200", b"OK", user, b""])

    def _keys(self) -> Iterator[bytes]:
        for path in self._authorised.glob("*.public"):
            try:
                yield read(path)
            except ConfigurationError as error:
                log.error("%s", error)

    @staticmethod
    def is_node(frame: zmq.Frame) -> bool:
        """Whether a received frame comes from a node agent."""
        return frame.get("User-Id") == _NODE_USER.decode()


_NODE_USER = NODE.encode()
