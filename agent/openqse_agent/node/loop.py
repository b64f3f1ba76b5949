"""The node agent: a plain poller loop that owns this node's sockets and clocks.

Three sides meet here: the SPANK plugin (a root-only Unix socket), the ranks of the attached jobs (a
private directory for each job) and the QPU agents (one connection each). The loop sees what begins,
renews and ends a job's use of its QPUs; the tasks themselves go through the relays.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from openqse.errors import (
    ConfigurationError,
    InternalError,
    LeaseDenied,
    NoLease,
    OpenQSEError,
    ProtocolError,
    from_wire,
)
from openqse.site import Site
from openqse.wire import limits
from openqse.wire.frames import (
    Frame,
    decode_body,
    decode_header,
    encode,
    encode_error,
    task_of,
)
from openqse.wire.messages import Header, Kind, header
from openqse_agent import config as configuration
from openqse_agent import keys
from openqse_agent.files import make_public_folder
from openqse_agent.node import hooks
from openqse_agent.node.job_socket import JobSocket, credentials, give, has_ended
from openqse_agent.node.jobs import Attaching, Holding, Job
from openqse_agent.node.qpu_link import QPULink
from openqse_agent.node.records import Records
from openqse_agent.node.relays import Relay
from openqse_agent.notify import Notifier

log = logging.getLogger("node-agent")

#: Folder of the jobs' records, beside their directories.
RECORDS = "attached"
#: Seconds that the plugin has to send its request.
_HOOK_DEADLINE = 5.0
#: Seconds after which a QPU agent that has not answered an attach is asked again.
_ASK_AGAIN = 1.0
#: Seconds for the QPU agents to confirm that a job has left.
_DETACH_TIMEOUT = 3.0
#: Longest sleep of the loop: the resolution of its deadlines and heartbeats.
_TICK_MS = 200
#: Seconds between looks at this node's key on disk.
_KEY_EVERY = 1.0
#: Messages taken from one socket before the others get their turn.
_DRAIN = 128


@dataclass
class _Hook:
    """A connection of the SPANK plugin."""

    connection: socket.socket
    began: float
    data: bytes = b""
    read: bool = False


@dataclass
class _AttachWaiter:
    """An attach under way, the exchange that waits for it, and its partners for the same job."""

    state: Attaching
    asked_at: float
    hooks: list[tuple[hooks.Attach, _Hook]]


@dataclass
class _DetachWaiter:
    """A detach under way: QPU agents that have not confirmed, and the exchanges that wait."""

    job_id: int
    deadline: float
    silent: set[str]
    hooks: list[_Hook]


@dataclass
class _Door:
    """A job's private directory: the agent's own socket, and a relay for each of its QPUs."""

    job: Job
    directory: Path
    front: JobSocket
    relays: dict[str, Relay] = field(default_factory=dict)
    revoked: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return str(self.front.path)


class NodeAgent:
    """The agent of one compute node; ``run`` serves until ``stop``."""

    def __init__(self, config: configuration.AgentConfig, site: Site, name: str) -> None:
        self._config = config.node
        self._window = config.qpu.tasks_per_session
        self._site = site
        self._name = name
        guarded = any(qpu.key for qpu in site.qpus.values())
        self._key = keys.KeyWatcher(config.keys, keys.NODE) if guarded else None
        self._pair = self._key.pair if self._key else keys.Pair.anonymous()
        self._look_at_key = 0.0
        self._context: zmq.Context[Any] = zmq.Context()
        self._poller = zmq.Poller()
        self._running = True
        self._doors: dict[int, _Door] = {}
        self._by_socket: dict[Any, Callable[[], None]] = {}
        self._hooks: dict[int, _Hook] = {}
        self._attaching: dict[int, _AttachWaiter] = {}
        self._detaching: dict[int, _DetachWaiter] = {}
        # Fresh for each run of the agent: a QPU agent must not mistake it for its predecessor.
        self._identity = f"{name}-{secrets.token_hex(8)}"
        self._runtime = self._config.runtime_dir
        make_public_folder(self._runtime)  # jobs pass through it to their own folders
        self._records = Records(self._runtime / RECORDS)
        # Sockets are made in here, which nobody else can enter, and moved to their places.
        self._staging = self._runtime / ".new"
        _remove(self._staging)
        self._staging.mkdir(mode=0o700, exist_ok=True)
        self._stopped = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watch(self._stopped, lambda: None)
        self._uplinks: dict[str, QPULink] = {}
        for qpu in site.qpus.values():
            uplink = self._uplinks[qpu.name] = QPULink(
                self._context, qpu, self._identity.encode(), self._pair
            )
            self._watch(uplink.socket, partial(self._from_qpu, uplink))
        self._reopen()
        self._listener = self._listen()

    # --- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until ``stop`` is called."""
        log.info("serving on %s; QPUs: %s", self._runtime / hooks.SOCKET, ", ".join(self._uplinks))
        next_tick = 0.0
        notifier = Notifier()
        notifier.ready()
        while self._running:
            for ready, _ in self._poller.poll(_TICK_MS):
                handler = self._by_socket.get(ready)
                if handler is not None:  # else closed by a handler before it in this round
                    handler()
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_MS / 1000
                self._tick(now)
                notifier.alive(now)
        notifier.stopping()
        self._shut_down()

    def stop(self) -> None:
        """Ends ``run``; may be called from a signal handler."""
        if self._running:
            os.eventfd_write(self._stopped, 1)  # first: once it knows, the loop closes it
            self._running = False

    def _watch(self, ready: Any, handler: Callable[[], None]) -> None:
        self._by_socket[ready] = handler
        self._poller.register(ready, zmq.POLLIN)

    def _unwatch(self, ready: Any) -> None:
        if self._by_socket.pop(ready, None) is not None:
            self._poller.unregister(ready)

    def _tick(self, now: float) -> None:
        if self._key is not None and now >= self._look_at_key:
            self._look_at_key = now + _KEY_EVERY
            if self._key.changed():
                self._pair = self._key.pair
        held: dict[str, dict[str, int]] = {name: {} for name in self._uplinks}
        for door in self._doors.values():
            for holding in door.job.holdings.values():
                held[holding.qpu][holding.lease] = holding.generation
        for name, uplink in self._uplinks.items():
            uplink.beat(now, held[name], list(self._attaching))
            old = uplink.socket
            uplink.rekey(self._pair)
            found_lost = uplink.check(now)
            if uplink.socket is not old:
                self._unwatch(old)
                self._watch(uplink.socket, partial(self._from_qpu, uplink))
            if found_lost:
                log.error("%s", uplink.unavailable())
        for job_id, attaching in list(self._attaching.items()):
            if now > attaching.state.deadline:
                silent = self._uplinks[attaching.state.silent[0]]
                self._refuse(job_id, silent.unavailable())
            elif now - attaching.asked_at > _ASK_AGAIN:
                attaching.asked_at = now
                self._ask_for(attaching.state, attaching.state.silent)
        for detaching in list(self._detaching.values()):
            if now > detaching.deadline:
                self._detached(detaching)
        for hook in list(self._hooks.values()):
            if not hook.read and now - hook.began > _HOOK_DEADLINE:
                self._answer(hook, hooks.format_error(ProtocolError("no request in time")))

    def _shut_down(self) -> None:
        log.info("stopping")
        for door in list(self._doors.values()):  # its record and directory wait for the next run
            self._close_sockets(door)
        for hook in self._hooks.values():
            hook.connection.close()
        self._listener.close()
        os.close(self._stopped)
        (self._runtime / hooks.SOCKET).unlink(missing_ok=True)
        _remove(self._staging)
        self._context.destroy(linger=200)

    # --- the SPANK plugin's side -----------------------------------------------------------------

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        staged = self._staging / hooks.SOCKET
        listener.bind(str(staged))
        listener.listen(128)
        give(staged, self._runtime / hooks.SOCKET, os.geteuid(), os.getegid())
        self._watch(listener.fileno(), self._accept)
        return listener

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # out of descriptors, or the plugin has hung up already
            log.error("a hook request could not be accepted: %s", error)
            return
        connection.setblocking(False)
        _, uid, _ = credentials(connection)
        if uid not in (0, os.geteuid()):
            log.warning("refused a hook request from uid %d", uid)
            connection.close()
            return
        hook = _Hook(connection, time.monotonic())
        self._hooks[connection.fileno()] = hook
        self._watch(connection.fileno(), lambda: self._from_hook(hook))

    def _from_hook(self, hook: _Hook) -> None:
        try:
            data = hook.connection.recv(limits.MAX_HOOK_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close_hook(hook)
            return
        hook.data += data
        try:
            if not hooks.complete(hook.data):
                return
            # The request is whole: what else arrives (the plugin hanging up) no longer matters.
            hook.read = True
            self._unwatch(hook.connection.fileno())
            request = hooks.parse(hook.data)
            if isinstance(request, hooks.Attach):
                self._attach(request, hook)
            elif isinstance(request, hooks.Probe):
                self._answer(hook, hooks.format_success({}, 0))
            else:
                self._detach(request.job_id, hook)
        except OpenQSEError as error:
            log.warning("refused a hook request: %s", error.at("node agent"))
            self._answer(hook, hooks.format_error(error))
        except Exception as error:  # a defect must cost its request, not the node
            log.exception("a hook request could not be handled")
            self._answer(hook, hooks.format_error(InternalError(repr(error), layer="node agent")))

    def _answer(self, hook: _Hook, block: bytes) -> None:
        try:
            hook.connection.sendall(block)  # far below the socket's buffer
        except OSError as error:
            log.warning("the SPANK plugin did not take its answer: %s", error)
        self._close_hook(hook)

    def _close_hook(self, hook: _Hook) -> None:
        if self._hooks.pop(hook.connection.fileno(), None) is not None:
            self._unwatch(hook.connection.fileno())
            hook.connection.close()

    # --- attach ----------------------------------------------------------------------------------

    def _attach(self, request: hooks.Attach, hook: _Hook) -> None:
        for name in request.qpus:
            self._site.qpu(name)
        door = self._doors.get(request.job_id)
        if door is not None and door.job.restart_count != request.restart_count:
            # A requeued job whose epilog did not reach this agent.
            self._leave(door.job.id, door.job.leases)
            self._close_door(door)
            door = None
        waiter = self._attaching.get(request.job_id)
        if waiter is not None:  # another step of the job is attaching: this one follows
            waiter.hooks.append((request, hook))
            return
        job = (
            door.job
            if door
            else Job(request.job_id, request.uid, request.gid, request.restart_count)
        )
        missing = job.missing(request, self._site)
        if not missing:
            assert door is not None
            self._grant(door, hook)
            return
        for name in missing:
            if self._uplinks[name].lost:
                log.info("asking %s again, which did not answer lately", name)
        now = time.monotonic()
        state = Attaching(request, now + self._config.attach_timeout, tuple(missing))
        self._attaching[job.id] = _AttachWaiter(state, now, [(request, hook)])
        self._ask_for(state, missing)

    def _ask_for(self, state: Attaching, qpus: Sequence[str]) -> None:
        """Asks QPU agents for a job's leases; asking again changes nothing."""
        request = state.request
        for name in qpus:
            self._uplinks[name].stir()
            self._uplinks[name].say(
                Kind.ATTACH,
                request.job_id.to_bytes(8, "big"),
                {
                    "job_id": request.job_id,
                    "uid": request.uid,
                    "node": self._name,
                    "restart_count": request.restart_count,
                    "slots": request.qpus[name],
                    "mode": request.mode,
                },
                time_left=max(0.0, state.deadline - time.monotonic()),
            )

    def _granted(self, uplink: QPULink, head: Header, body: dict[str, Any]) -> None:
        waiter = self._attaching.get(int.from_bytes(head.task, "big"))
        name = uplink.qpu.name
        if waiter is None or name not in waiter.state.asked:
            return  # too late: the attach was refused and taken back
        time_left = body["time_left"]
        waiter.state.granted[name] = Holding(
            qpu=name,
            lease=head.lease,
            generation=head.generation,
            slots=body["slots"],
            mode=body["mode"],
            ends_at=None if time_left is None else time.monotonic() + time_left,
            capabilities=body["capabilities"],
            slurm_us=body["slurm_us"],
        )
        if waiter.state.complete:
            self._finish_attach(waiter)

    def _finish_attach(self, waiter: _AttachWaiter) -> None:
        request = waiter.state.request
        try:
            door = self._doors.get(request.job_id) or self._open_door(
                Job(request.job_id, request.uid, request.gid, request.restart_count)
            )
            for name in waiter.state.granted:
                self._open_relay(door, name)
            for name in request.qpus:  # in the order of the request, which the environment shows
                if name in waiter.state.granted:
                    door.job.holdings[name] = waiter.state.granted[name]
            self._records.write(door.job)
        except (OSError, zmq.ZMQError) as error:
            self._take_back(request.job_id, waiter.state.asked)
            self._refuse(
                request.job_id,
                LeaseDenied(
                    f"the job's sockets under {self._runtime} cannot be made: {error}",
                    layer="node agent",
                    remedy="Ask the administrator to look at the file system of this node",
                ),
            )
            return
        del self._attaching[request.job_id]
        log.info("job %d attached: %s", request.job_id, ", ".join(door.job.holdings))
        self._grant(door, waiter.hooks[0][1])
        for follower, hook in waiter.hooks[1:]:
            try:
                self._attach(follower, hook)
            except OpenQSEError as error:
                self._answer(hook, hooks.format_error(error))

    def _grant(self, door: _Door, hook: _Hook) -> None:
        now = time.monotonic()
        environment = door.job.environment(door.path, self._site, now)
        elapsed = int((now - hook.began) * 1e6)
        self._answer(hook, hooks.format_success(environment, elapsed))

    def _refuse(self, job_id: int, error: OpenQSEError) -> None:
        """Ends an attach without a lease: what was granted, or may be on its way, is given back."""
        waiter = self._attaching.pop(job_id)
        log.warning("job %d not attached: %s", job_id, error)
        self._leave(job_id, dict.fromkeys(waiter.state.asked, ""))
        for _, hook in waiter.hooks:
            self._answer(hook, hooks.format_error(error))

    def _take_back(self, job_id: int, qpus: Sequence[str]) -> None:
        """Undoes what an attach that failed here has made."""
        door = self._doors.get(job_id)
        if door is None:
            return
        for name in qpus:
            door.job.holdings.pop(name, None)
            relay = door.relays.pop(name, None)
            if relay is not None:
                self._close_relay(relay)
        if not door.job.holdings:
            self._close_door(door)

    def _reopen(self) -> None:
        """Lets the jobs of an earlier run of this agent go on where their ranks look for it."""
        jobs = {job.id: job for job in self._records.read()}
        for stale in self._runtime.glob("job-*"):  # their sockets died with that run
            if not any(stale == self._directory(job_id) for job_id in jobs):
                log.warning("removing %s, left by an earlier run of this agent", stale)
            self._discard(stale)
        for job in jobs.values():
            for name in job.holdings.keys() - self._uplinks.keys():
                log.warning("job %d held %s, which the site no longer has", job.id, name)
                del job.holdings[name]
            try:
                door = self._open_door(job)
                for name in job.holdings:
                    self._open_relay(door, name)
                log.info("job %d goes on: %s", job.id, ", ".join(job.holdings))
            except (OSError, zmq.ZMQError) as error:
                log.error("job %d cannot go on, its sockets cannot be made: %s", job.id, error)
                self._take_back(job.id, list(job.holdings))
                self._records.remove(job.id)

    def _discard(self, directory: Path) -> None:
        """Removes a job's directory, whatever its user has made of it.

        First it goes where that user can add nothing to it; what cannot be removed stays there.
        """
        aside = self._staging / f"{directory.name}-{secrets.token_hex(4)}"
        try:
            os.rename(directory, aside)
        except OSError as error:
            log.error("%s stays: %s", directory, error)
            return
        _remove(aside)

    def _directory(self, job_id: int) -> Path:
        return self._runtime / f"job-{job_id}"

    def _open_door(self, job: Job) -> _Door:
        directory = self._directory(job.id)
        directory.mkdir(mode=0o700)
        try:
            front = self._open_front(job, directory / hooks.SOCKET)
            os.chown(directory, job.uid, job.gid)  # last: until now nobody else can enter
        except BaseException:
            self._discard(directory)
            raise
        door = self._doors[job.id] = _Door(job, directory, front)
        self._watch(front.router, lambda: self._from_ranks(door))
        return door

    def _open_relay(self, door: _Door, qpu: str) -> None:
        front = self._open_front(door.job, door.directory / f"{qpu}.sock")
        uplink = self._uplinks[qpu]
        door.relays[qpu] = Relay(
            front, door.job.id, uplink.qpu.endpoint, self._identity, self._pair, uplink.server_key
        )

    def _open_front(self, job: Job, path: Path) -> JobSocket:
        front = JobSocket(path, self._staging, job.id, job.uid, job.gid)
        for ready, handler in front.handlers.items():
            self._watch(ready, handler)
        return front

    def _unwatch_front(self, front: JobSocket) -> None:
        for ready in front.handlers:
            self._unwatch(ready)

    def _close_relay(self, relay: Relay) -> None:
        self._unwatch_front(relay.front)
        relay.close()

    def _close_sockets(self, door: _Door) -> None:
        for relay in door.relays.values():
            self._close_relay(relay)
        self._unwatch_front(door.front)
        self._unwatch(door.front.router)
        door.front.router.close(linger=0)
        door.front.close()

    def _close_door(self, door: _Door) -> None:
        self._records.remove(door.job.id)  # first: what is not recorded is not held
        self._close_sockets(door)
        self._doors.pop(door.job.id, None)
        self._discard(door.directory)

    # --- detach ----------------------------------------------------------------------------------

    def _leave(self, job_id: int, leases: Mapping[str, str]) -> None:
        """Tells QPU agents that the job no longer uses them from here.

        Args:
            leases: by QPU the lease that is meant; empty for whichever the job has. A message that
                is lost is made up for by the heartbeats, which state what this node holds.
        """
        for name, lease in leases.items():
            self._uplinks[name].stir()
            self._uplinks[name].say(
                Kind.DETACH,
                job_id.to_bytes(8, "big"),
                {"job_id": job_id, "node": self._name, "lease": lease},
            )

    def _detach(self, job_id: int, hook: _Hook) -> None:
        if job_id in self._attaching:
            self._refuse(job_id, LeaseDenied("the job has ended", layer="node agent"))
        under_way = self._detaching.get(job_id)
        if under_way is not None and job_id not in self._doors:
            under_way.hooks.append(hook)
            return
        door = self._doors.get(job_id)
        # A job unknown here may still be attached by an earlier run of this agent: ask everybody.
        leases = door.job.leases if door else dict.fromkeys(self._uplinks, "")
        if door is not None:
            self._close_door(door)
        waiter = _DetachWaiter(job_id, time.monotonic() + _DETACH_TIMEOUT, set(leases), [hook])
        self._detaching[job_id] = waiter
        self._leave(job_id, leases)
        log.info("job %d detached", job_id)

    def _confirmed(self, uplink: QPULink, head: Header) -> None:
        waiter = self._detaching.get(int.from_bytes(head.task, "big"))
        if waiter is not None:
            waiter.silent.discard(uplink.qpu.name)
            if not waiter.silent:
                self._detached(waiter)

    def _detached(self, waiter: _DetachWaiter) -> None:
        if self._detaching.get(waiter.job_id) is waiter:
            del self._detaching[waiter.job_id]
        if waiter.silent:
            log.warning(
                "job %d: no confirmation from the QPU agent of %s; its lease ends when it lapses",
                waiter.job_id,
                ", ".join(sorted(waiter.silent)),
            )
        for hook in waiter.hooks:
            elapsed = int((time.monotonic() - hook.began) * 1e6)
            self._answer(hook, hooks.format_success({}, elapsed))

    # --- the ranks' side -------------------------------------------------------------------------

    def _from_ranks(self, door: _Door) -> None:
        router = door.front.router
        for _ in range(_DRAIN):
            try:
                first = router.recv(zmq.NOBLOCK, copy=False)  # only a frame tells who sent it
                session, frames = first.bytes, router.recv_multipart()
            except zmq.ZMQError:  # nothing more, or closed by an answer to the last one
                return
            try:
                head = decode_header(frames)
                if head.kind == Kind.HELLO:
                    process = int(first.get("User-Id"))
                    door.front.admit(process)
                    router.send_multipart([session, *self._welcome(door, head, process)])
                elif head.kind == Kind.PING:
                    router.send_multipart([session, *self._pong(door, head)])
                else:
                    raise ProtocolError(
                        f"the node agent takes no {head.kind!r} messages from ranks",
                        layer="node agent",
                    )
            except OpenQSEError as error:
                answer = encode_error(task_of(frames), error.at("node agent"))
                router.send_multipart([session, *answer])
            except Exception as error:  # a defect must cost its message, not the node
                log.exception("a rank's message could not be handled")
                failure = InternalError(repr(error), layer="node agent")
                router.send_multipart([session, *encode_error(task_of(frames), failure)])

    def _holding(self, door: _Door, lease: str) -> Holding:
        reason = door.revoked.get(lease)
        if reason is not None:
            raise NoLease(reason, layer="QPU agent", remedy="Submit the job again")
        return door.job.by_lease(lease)

    def _welcome(self, door: _Door, head: Header, process: int) -> list[Frame]:
        leases = [
            {
                "id": holding.lease,
                "qpu": holding.qpu,
                "slots": holding.slots,
                "mode": holding.mode,
                "generation": holding.generation,
                "capabilities": holding.capabilities,
                "socket": str(door.relays[holding.qpu].front.path),
            }
            for holding in door.job.holdings.values()
        ]
        body = {
            "job_id": door.job.id,
            "node": self._name,
            "process": process,
            "window": self._window,
            "leases": leases,
        }
        return encode(header(Kind.WELCOME, head.task), body)

    def _pong(self, door: _Door, head: Header) -> list[Frame]:
        holding = self._holding(door, head.lease)
        uplink = self._uplinks[holding.qpu]
        if uplink.lost:
            raise uplink.unavailable()
        return encode(
            header(Kind.PONG, head.task, lease=holding.lease, generation=holding.generation)
        )

    # --- the QPU agents' side --------------------------------------------------------------------

    def _from_qpu(self, uplink: QPULink) -> None:
        for _ in range(_DRAIN):
            try:
                _, *frames = uplink.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            uplink.heard()
            try:
                self._from_agent(uplink, frames)
            except Exception:  # from a QPU agent of another release, or a defect
                log.exception("a message of the QPU agent of %s failed", uplink.qpu.name)

    def _from_agent(self, uplink: QPULink, frames: list[bytes]) -> None:
        head, body = decode_header(frames), decode_body(frames)
        if head.kind == Kind.LEASE:
            self._granted(uplink, head, body)
        elif head.kind == Kind.DETACHED:
            self._confirmed(uplink, head)
        elif head.kind == Kind.PONG:
            self._renew(uplink, body)
        elif head.kind == Kind.ERROR:
            job_id = int.from_bytes(head.task, "big")
            error = from_wire(body)
            if job_id in self._attaching:
                self._refuse(job_id, error)
            elif str(error) != uplink.complaint:  # a heartbeat's comes every second
                uplink.complaint = str(error)
                log.error("the QPU agent of %s refused: %s", uplink.qpu.name, error)

    def _renew(self, uplink: QPULink, body: dict[str, Any]) -> None:
        """Takes in the answer to a heartbeat: generations, and which leases are no more."""
        uplink.beaten()
        generations: dict[str, int] = body["leases"]
        revoked: dict[str, str] = body["revoked"]
        uplink.gone = {
            lease: ended
            for lease, processes in body["processes"].items()
            if (ended := list(filter(has_ended, processes)))
        }
        for door in list(self._doors.values()):
            holding = door.job.holdings.get(uplink.qpu.name)
            if holding is None:
                continue
            if holding.lease in generations:
                holding.generation = generations[holding.lease]
            elif holding.lease in revoked:
                log.warning("job %d: %s", door.job.id, revoked[holding.lease])
                door.revoked[holding.lease] = revoked[holding.lease]
                del door.job.holdings[uplink.qpu.name]
                self._close_relay(door.relays.pop(uplink.qpu.name))
                if door.job.holdings:
                    self._records.write(door.job)
                else:
                    self._close_door(door)


def _remove(directory: Path) -> None:
    """Removes a directory, or as much of it as can be removed."""
    try:
        shutil.rmtree(directory, ignore_errors=True)
    except RecursionError:  # a user has nested folders a thousand deep
        log.error("%s cannot be removed, it is too deep: rm -r does it", directory)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="openqse-node-agent",
        description="Broker between the MPI ranks of this node's jobs and the site's QPU agents.",
    )
    made.add_argument(
        "--name",
        metavar="NAME",
        default=socket.gethostname().partition(".")[0],
        help="this node's name in messages and logs (default: the host's)",
    )
    configuration.add_option(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """The command ``openqse-node-agent``."""
    command = parser()
    arguments, config, site = configuration.parse(command, argv)
    try:
        agent = NodeAgent(config, site, arguments.name)
    except ConfigurationError as error:
        command.exit(2, f"{command.prog}: {error.at('node agent')}\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0
