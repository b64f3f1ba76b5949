"""The node agent: a plain poller loop that owns this node's sockets.

Three sides meet here: the SPANK plugin (a root-only Unix socket), the ranks of the attached jobs (a
private directory for each job) and the QPU agents (one connection each). The loop sees what begins,
renews and ends a job's use of its QPUs, and carries out what ``attach`` decides; the tasks
themselves go through the relays.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import signal
import socket
from functools import partial
from typing import Any

import zmq

from openqse.errors import ConfigurationError, OpenQSEError
from openqse.site import Site
from openqse.wire import leases as wire
from openqse.wire.control import Failure
from openqse.wire.frames import decode_header
from openqse.wire.messages import Kind
from openqse_agent import config as configuration
from openqse_agent import keys
from openqse_agent.clock import SYSTEM, Clock
from openqse_agent.files import make_public_folder
from openqse_agent.node import events, hooks
from openqse_agent.node.attach import Attachments, directory
from openqse_agent.node.greetings import Greetings
from openqse_agent.node.hook_server import HookServer
from openqse_agent.node.job_directory import JobDirectory, discard, remove
from openqse_agent.node.job_socket import JobSocket
from openqse_agent.node.jobs import Job, unavailable
from openqse_agent.node.qpu_link import QPULink
from openqse_agent.node.records import Records
from openqse_agent.node.relays import Relay
from openqse_agent.poller import Poller

log = logging.getLogger("node-agent")

#: Folder of the jobs' records, beside their directories.
RECORDS = "attached"
#: Seconds between looks at this node's key on disk.
_KEY_EVERY = 1.0
#: Messages taken from one socket before the others get their turn.
_DRAIN = 128


class NodeAgent:
    """The agent of one compute node; ``run`` serves until ``stop``."""

    def __init__(
        self, config: configuration.AgentConfig, site: Site, name: str, clock: Clock = SYSTEM
    ) -> None:
        self._name = name
        self._clock = clock
        guarded = any(qpu.key for qpu in site.qpus.values())
        self._key = keys.KeyWatcher(config.keys, keys.NODE) if guarded else None
        self._pair = self._key.pair if self._key else keys.Pair.anonymous()
        self._look_at_key = 0.0
        self._context: zmq.Context[Any] = zmq.Context()
        self._poller = Poller(clock)
        # Fresh for each run of the agent: a QPU agent must not mistake it for its predecessor.
        self._identity = f"{name}-{secrets.token_hex(8)}"
        self._runtime = config.node.runtime_dir
        make_public_folder(self._runtime)  # jobs pass through it to their own folders
        self._records = Records(self._runtime / RECORDS)
        # Sockets are made in here, which nobody else can enter, and moved to their places.
        self._staging = self._runtime / ".new"
        remove(self._staging)
        self._staging.mkdir(mode=0o700, exist_ok=True)
        self._links: dict[str, QPULink] = {}
        for qpu in site.qpus.values():
            identity = self._identity.encode()
            link = self._links[qpu.name] = QPULink(self._context, qpu, identity, self._pair, clock)
            self._poller.watch(link.socket, partial(self._from_qpu, link))
        self._greetings = Greetings(name, config.qpu.tasks_per_session, self._links)
        self._attachments = Attachments(site, self._runtime, config.node.attach_timeout)
        self._directories: dict[int, JobDirectory] = {}
        self._restore()
        self._hooks = HookServer(
            self._staging, self._runtime, self._poller, clock, self._from_plugin
        )

    def _restore(self) -> None:
        """Lets the jobs of an earlier run of this agent go on where their ranks look for it."""
        jobs = {job.id: job for job in self._records.read()}
        for stale in self._runtime.glob("job-*"):  # their sockets died with that run
            if not any(stale == directory(self._runtime, job_id) for job_id in jobs):
                log.warning("removing %s, left by an earlier run of this agent", stale)
            discard(stale, self._staging)
        for job in jobs.values():
            self._handle(events.Restored(job))

    # --- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until ``stop`` is called."""
        log.info("serving on %s; QPUs: %s", self._hooks.path, ", ".join(self._links))
        self._poller.run(self._tick)
        self._shut_down()

    def stop(self) -> None:
        """Ends ``run``; may be called from a signal handler."""
        self._poller.stop()

    def _tick(self, now: float) -> None:
        if self._key is not None and now >= self._look_at_key:
            self._look_at_key = now + _KEY_EVERY
            if self._key.changed():
                self._pair = self._key.pair
        for link in self._links.values():
            self._keep_alive(link, now)
        self._handle(events.Tick())
        self._hooks.tick(now)

    def _keep_alive(self, link: QPULink, now: float) -> None:
        """Sends a heartbeat, and connects anew where need be."""
        link.heartbeat(now, self._attachments.held(link.qpu.name), self._attachments.asking)
        old = link.socket
        link.rekey(self._pair)
        found_lost = link.check(now)
        if link.socket is not old:
            self._poller.unwatch(old)
            self._poller.watch(link.socket, partial(self._from_qpu, link))
        if found_lost:
            log.error("%s", unavailable(link.qpu))

    def _shut_down(self) -> None:
        log.info("stopping")
        for opened in self._directories.values():  # their records wait for the next run
            opened.close()
        self._hooks.close()
        remove(self._staging)
        self._context.destroy(linger=200)
        self._poller.close()

    # --- what comes in ---------------------------------------------------------------------------

    def _from_plugin(self, hook: events.HookId, request: hooks.Attach | hooks.Detach) -> None:
        if isinstance(request, hooks.Attach):
            self._handle(events.StepAttaches(hook, request))
        else:
            self._handle(events.JobEnds(hook, request.job_id))

    def _from_qpu(self, link: QPULink) -> None:
        for _ in range(_DRAIN):
            try:
                _, *frames = link.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            link.heard()
            try:
                self._hear(link, frames)
            except OpenQSEError as error:  # from a QPU agent of another release
                log.error("a message of the QPU agent of %s: %s", link.qpu.name, error)
            except Exception:  # a defect must cost its message, not the node
                log.exception("a message of the QPU agent of %s failed", link.qpu.name)

    def _hear(self, link: QPULink, frames: list[bytes]) -> None:
        head, qpu = decode_header(frames), link.qpu.name
        job_id = int.from_bytes(head.task, "big")
        if head.kind == Kind.LEASE:
            grant = wire.LeaseGrant.of(frames)
            self._handle(events.Granted(qpu, job_id, head.lease, head.generation, grant))
        elif head.kind == Kind.DETACHED:
            self._handle(events.Left(qpu, job_id))
        elif head.kind == Kind.PONG:
            pong = wire.Pong.of(frames)
            link.acknowledged(pong.processes)
            self._handle(events.Renewed(qpu, pong))
        elif head.kind == Kind.ERROR:
            error = Failure.of(frames).error
            if self._attachments.asks_for(job_id):
                self._handle(events.Refused(qpu, job_id, error))
            elif str(error) != link.complaint:  # a heartbeat's comes every second
                link.complaint = str(error)
                log.error("the QPU agent of %s refused: %s", qpu, error)

    # --- what goes out ---------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        for action in self._attachments.handle(event, self._clock.monotonic()):
            self._carry_out(action)

    def _carry_out(self, action: events.Action) -> None:
        match action:
            case events.Ask():
                self._ask(action)
            case events.Leave():
                self._leave(action)
            case events.Open(job, qpus):
                self._open(job, qpus)
            case events.CloseQPU(job_id, qpu):
                if job_id in self._directories:
                    self._directories[job_id].close_relay(qpu)
            case events.Write(job):
                self._write(job)
            case events.Close(job_id):
                self._close(job_id)
            case events.Succeed(hook, environment):
                elapsed = self._hooks.elapsed_us(hook)
                self._hooks.answer(hook, hooks.format_success(environment, elapsed))
            case events.Fail(hook, error):
                self._hooks.answer(hook, hooks.format_error(error.at("node agent")))

    def _ask(self, ask: events.Ask) -> None:
        link, request = self._links[ask.qpu], ask.request
        if link.lost:
            log.info("asking %s again, which did not answer lately", ask.qpu)
        link.mark_dirty()
        message = wire.Attach(
            job_id=request.job_id,
            uid=request.uid,
            node=self._name,
            restart_count=request.restart_count,
            slots=request.qpus[ask.qpu],
            mode=wire.Mode(request.mode),
        )
        link.say(message, request.job_id.to_bytes(8, "big"), ask.time_left)

    def _leave(self, leave: events.Leave) -> None:
        link = self._links.get(leave.qpu)
        if link is not None:
            link.mark_dirty()
            message = wire.Detach(leave.job_id, self._name, leave.lease)
            link.say(message, leave.job_id.to_bytes(8, "big"))

    def _open(self, job: Job, qpus: tuple[str, ...]) -> None:
        """Makes and records what a job needs, and tells how that went."""
        error: str | None = None
        try:
            opened = self._directories.get(job.id)
            if opened is None:
                opened = self._open_directory(job)
            for qpu in qpus:
                opened.open_relay(qpu, partial(self._connect, self._links[qpu], job.id))
            self._records.write(job)
        except Exception as failure:  # whatever it is, the step must be told
            if not isinstance(failure, OSError | zmq.ZMQError):
                log.exception("job %d could not be opened", job.id)
            error = str(failure)
        self._handle(events.Opened(job.id, error))

    def _open_directory(self, job: Job) -> JobDirectory:
        path = directory(self._runtime, job.id)
        opened = JobDirectory(path, self._staging, job, self._poller, self._greetings.serve)
        self._directories[job.id] = opened
        return opened

    def _connect(self, link: QPULink, job_id: int, behind: JobSocket) -> Relay:
        endpoint, key = link.qpu.endpoint, link.server_key
        return Relay(behind, job_id, endpoint, self._identity, self._pair, key)

    def _write(self, job: Job) -> None:
        try:
            self._records.write(job)
        except OSError as error:
            log.error("a change of job %d is not recorded: %s", job.id, error)

    def _close(self, job_id: int) -> None:
        self._records.remove(job_id)  # first: what is not recorded is not held
        opened = self._directories.pop(job_id, None)
        if opened is not None:
            opened.remove()


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
