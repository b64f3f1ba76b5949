"""Keys between hosts: CURVE for every connection to a QPU agent (ZeroMQ RFC 26).

A QPU agent has a key pair whose public half stands in the site file. Node agents and administrators
have pairs whose public halves lie where the QPU agents look. Who connects with another key may ask
for reports and do nothing else.

A name may have several pairs, ``node``, ``node-2``, ``node-3`` and so on, so that a key can be
changed while everything runs: each is authorised by itself, and its owner uses the last one.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from zmq.utils import z85

from openqse.errors import ConfigurationError
from openqse.site import SiteQPU
from openqse_agent.files import make_public_folder

log = logging.getLogger(__name__)

#: Name of the node agents' key, and of the administrators'.
NODE = "node"
ADMIN = "admin"
#: Folders, beside a QPU agent's secret, of the public keys of node agents and of administrators.
AUTHORISED = "nodes"
ADMINS = "admins"

_ZAP = "inproc://zeromq.zap.01"


def make(directory: Path, name: str) -> Path:
    """Makes a key pair: ``NAME.secret``, for its owner alone, and ``NAME.public``.

    Returns:
        The path of the public key.

    Raises:
        ConfigurationError: there is one of that name, or the folder cannot be written.
    """
    public, secret = zmq.curve_keypair()
    path = directory / f"{name}.public"
    try:
        make_public_folder(directory)
        if path.exists():  # before the secret is made: no half a pair is left
            raise FileExistsError(None, None, str(path))
        _write_new(path.with_suffix(".secret"), secret, 0o600)
        _write_new(path, public, 0o644)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{error.filename} exists already",
            remedy=f"To change the key, make the next one: openqse-keys --rotate {name}",
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    return path


def _write_new(path: Path, key: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # a strict umask must not hide a public key
        file.write(key + b"\n")
        file.flush()
        os.fsync(file.fileno())


def rotate(directory: Path, name: str) -> Path:
    """Makes the pair after the last one of a name: ``NAME-2``, ``NAME-3`` and so on.

    Returns:
        The path of the new public key.

    Raises:
        ConfigurationError: the name has no pair yet, or the folder cannot be written.
    """
    last = latest(directory, name)
    return make(directory, f"{name}-{_number(last, name) + 1}")


def latest(directory: Path, name: str) -> Path:
    """The secret key that the owner of a name uses: that of its last pair.

    Raises:
        ConfigurationError: there is none.
    """
    found = pairs(directory, name)
    if not found:
        raise ConfigurationError(
            f"the key {directory / name}.secret cannot be read: {os.strerror(2)}",
            remedy=f"Make it with 'openqse-keys {name}', or copy it here",
        )
    return found[-1]


def pairs(directory: Path, name: str) -> list[Path]:
    """The secret keys of a name, the last one last."""
    found = [path for path in directory.glob(f"{name}*.secret") if _number(path, name)]
    return sorted(found, key=lambda path: _number(path, name))


def _number(path: Path, name: str) -> int:
    """Which pair of a name it is: 1, 2 …; 0 for another name's."""
    rest = path.stem.removeprefix(name)
    if not rest:
        return 1
    number = rest[1:]
    return int(number) if rest[0] == "-" and number.isascii() and number.isdecimal() else 0


def read(path: Path) -> bytes:
    """The key in a file, as 40 characters of Z85.

    Raises:
        ConfigurationError: unreadable, or no key.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _checked(key, str(path))


def read_secret(path: Path) -> bytes:
    """As ``read``, of a secret key.

    Raises:
        ConfigurationError: also if others than its owner and root may read it.
    """
    try:
        check_private(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return read(path)


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the key {path} cannot be read: {error.strerror}",
        remedy="Make it with openqse-keys, or copy it here",
    )


def check_private(path: Path) -> None:
    """Sees to it that a file is this user's, or root's, and nobody else's.

    Raises:
        ConfigurationError: others may read or write it. OSError: it is not there.
    """
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o077:
        raise ConfigurationError(
            f"{path} is not its owner's alone: mode {stat.S_IMODE(status.st_mode):04o}, "
            f"uid {status.st_uid}",
            remedy=f"Whoever could read it may know it. Replace it, or: chmod 600 {path}",
        )


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

    def __repr__(self) -> str:
        return f"Pair({self.public.decode()})"  # a traceback or a log line must not tell the secret

    @staticmethod
    def read(path: Path) -> Pair:
        """The pair of a secret key's file.

        Raises:
            ConfigurationError: unreadable, readable by others, or no key.
        """
        secret = read_secret(path)
        return Pair(zmq.curve_public(secret), secret)

    @staticmethod
    def anonymous() -> Pair:
        """A pair that nobody knows."""
        return Pair(*zmq.curve_keypair())

    def use(self, socket: zmq.Socket[bytes], server: bytes | None) -> None:
        """Has a socket speak with the owner of ``server`` alone; with None, in the clear."""
        if server is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, server)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)


class Role(StrEnum):
    """What a key is good for at a QPU agent."""

    ANONYMOUS = "anonymous"
    NODE = "node agent"
    ADMIN = "administrator"


class Principal(NamedTuple):
    """Who sent a message: its role, and the name of its key's file."""

    role: Role
    name: str


ANONYMOUS = Principal(Role.ANONYMOUS, "")


class Authenticator:
    """A QPU agent's side: tells of each message who sent it, by the key of its connection.

    Keys come and go while it runs: a new one is good at once, and one that was taken away is
    anonymous from the next ``refresh`` on, on connections too that it made before.

    Args:
        secret: the QPU agent's own. Who knows it (root on its host) is an administrator.
        directory: holds the folders of authorised keys.

    Attributes:
        zap: asks who a peer is (ZAP, RFC 27); ``answer`` when it is readable.

    Raises:
        ConfigurationError: others than root may put keys into the folders.
    """

    def __init__(
        self, context: zmq.Context[Any], name: str, secret: bytes, directory: Path
    ) -> None:
        self._secret = secret
        self._own = {zmq.curve_public(secret).decode(): Principal(Role.ADMIN, name)}
        self._folders = {
            directory / AUTHORISED: Role.NODE,
            directory / ADMINS: Role.ADMIN,
        }
        for folder in self._folders:
            if folder.exists() and folder.stat().st_mode & 0o022:
                raise ConfigurationError(
                    f"others than its owner may put keys into {folder}",
                    layer="QPU agent",
                    remedy=f"chmod 755 {folder}, and look at what is in it",
                )
        self._seen: dict[Path, tuple[int, ...]] = {}
        self._principals = dict(self._own)
        self.refresh()
        self.zap: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.zap.bind(_ZAP)

    def use(self, socket: zmq.Socket[bytes]) -> None:
        """Has a socket take encrypted connections alone, once ``answer`` has seen who connects."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"qpu")

    def answer(self) -> None:
        """Answers libzmq's question: anybody may connect, and has its public key's name then."""
        _, request, _, _, _, mechanism, *credentials = self.zap.recv_multipart()
        user = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
        if user.decode() not in self._principals:
            self.refresh()
        self.zap.send_multipart([b"1.0", request, b"200", b"OK", user, b""])

    def principal(self, frame: zmq.Frame) -> Principal:
        """Who sent a frame."""
        return self._principals.get(str(frame.get("User-Id")), ANONYMOUS)

    def refresh(self) -> None:
        """Reads the folders again if a file in them has changed."""
        found: dict[Path, tuple[int, ...]] = {}
        for folder in self._folders:
            for path in folder.glob("*.public"):
                try:
                    status = path.stat()
                except OSError:  # gone since, or a link to nothing
                    continue
                found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
        if found == self._seen:
            return
        self._seen = found
        principals = {}
        for path in sorted(found):
            try:
                key = read(path).decode()
            except ConfigurationError as error:
                log.error("not authorised: %s", error)
                continue
            principals[key] = Principal(self._folders[path.parent], path.stem)
        for key, principal in principals.items():
            if self._principals.get(key) != principal:
                log.info("%s is authorised as %s: %s", key, principal.role, principal.name)
        for key, principal in self._principals.items():
            if key not in principals and key not in self._own:
                log.info("%s (%s) is no longer authorised", key, principal.name)
        self._principals = principals | self._own


class KeyWatcher:
    """The pair of a name as its owner uses it, read anew when it changes on disk.

    Raises:
        ConfigurationError: as ``latest`` and ``Pair.read``.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._refused = ""
        self.path = latest(directory, name)
        self.pair = Pair.read(self.path)

    def changed(self) -> bool:
        """Whether another pair is to be used from now on; one that cannot be read is not."""
        try:
            path = latest(self._directory, self._name)
            pair = Pair.read(path)
        except ConfigurationError as error:
            if str(error) != self._refused:  # asked every second, told once
                log.error("the key in use is kept: %s", error)
            self._refused = str(error)
            return False
        self._refused = ""
        if pair == self.pair:
            return False
        self.path, self.pair = path, pair
        log.info("from now on with the key %s (%s)", path, pair.public.decode())
        return True
