"""The QPU agent: a plain poller loop that hands messages to whom they concern.

The device runs in the executor's thread, but for tasks known to be short, and slurmctld is asked in
threads of a small pool, so that the loop waits for neither.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
from typing import Any

import zmq

from openqse import device
from openqse.errors import (
    ConfigurationError,
    InternalError,
    OpenQSEError,
    ProtocolError,
    StorageError,
)
from openqse.site import SiteQPU
from openqse.wire.frames import decode_header, encode_error, task_of, unbundle
from openqse.wire.messages import Header, Kind
from openqse_agent import config as configuration
from openqse_agent import keys
from openqse_agent.clock import SYSTEM, Clock
from openqse_agent.poller import Poller
from openqse_agent.qpu.addresses import Address, origin
from openqse_agent.qpu.charges.commit import GroupCommit
from openqse_agent.qpu.charges.writeback import Accounting
from openqse_agent.qpu.credentials import credentials
from openqse_agent.qpu.journal.database import Journal
from openqse_agent.qpu.journal.settling import Settling
from openqse_agent.qpu.leases import service as leases
from openqse_agent.qpu.leases.admission import Admission
from openqse_agent.qpu.leases.service import LeaseService
from openqse_agent.qpu.leases.table import LeaseTable
from openqse_agent.qpu.listener import FOR_ALL, Listener
from openqse_agent.qpu.questions import Questions
from openqse_agent.qpu.reports.service import MOST_WAITING, Reports, Sources
from openqse_agent.qpu.service import maintenance
from openqse_agent.qpu.service.maintenance import Maintenance, load
from openqse_agent.qpu.tasks import intake
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.intake import Intake
from openqse_agent.qpu.tasks.registry import QUEUES
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.task import Task
from openqse_agent.qpu.tasks.weights import Weights
from openqse_agent.slurm import choice
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

#: Threads that ask slurmctld.
_ASKING = 4


class QPUAgent:
    """The agent of one QPU; ``run`` serves until ``stop``."""

    def __init__(
        self,
        config: configuration.AgentConfig,
        qpu: SiteQPU,
        driver: device.Device[Any, Any],
        client: slurm.SlurmClient,
        clock: Clock = SYSTEM,
    ) -> None:
        self._qpu = qpu
        self._poller = Poller(clock)
        self._context: zmq.Context[Any] = zmq.Context()
        windows = config.qpu.state_dir / f"{qpu.name}.windows"
        try:
            self._listener = Listener(self._context, qpu, config.keys, self._poller, self._take)
            drained = load(windows, qpu.name)
            self._journal = Journal(config.qpu.state_dir / f"{qpu.name}.sqlite", clock)
        except ConfigurationError:
            self._context.destroy(linger=0)
            self._poller.close()
            raise
        # What anybody may ask has a thread of its own: whoever asks much waits, and no job does.
        self._slurm = Questions(self._poller, _ASKING, "slurm")
        self._lookups = Questions(self._poller, 1, "reports", MOST_WAITING)
        self._leases = LeaseTable(qpu.name, qpu.slots, self._journal.restore(clock.monotonic()))
        self._settling = Settling(self._journal)
        self._accounting = Accounting(qpu.name, self._journal, client, self._slurm.ask)
        self._open_queue(config.qpu, driver, clock)
        self._maintenance = Maintenance(
            qpu,
            windows,
            drained,
            client,
            clock,
            ask=self._slurm.ask,
            send=self._listener.send,
            hold=self._executor.hold,
        )
        self._intake = self._open_intake(config.qpu, clock)
        self._admission = Admission(qpu, self._leases, config.qpu.lease_ttl)
        self._lease_service = self._open_leases(client, driver, clock)
        self._reports = self._open_reports(driver, clock)

    def _open_queue(
        self, config: configuration.QPUConfig, driver: device.Device[Any, Any], clock: Clock
    ) -> None:
        self._shares = ShareTree()
        self._queue = QUEUES[config.policy](self._shares, config)
        self._charging: GroupCommit[Task] = GroupCommit(self._journal)
        self._executor = Executor(
            driver,
            self._charging,
            config.programs,
            self._queue,
            config.slice,
            self._qpu.name,
            config.watermark,
            clock,
        )
        self._poller.watch(self._charging.ready, self._charged)

    def _open_intake(self, config: configuration.QPUConfig, clock: Clock) -> Intake:
        return Intake(
            self._leases,
            self._journal,
            self._settling,
            self._executor,
            config.tasks_per_session,
            clock,
            explained=self._maintenance.explained,
            send=self._listener.send,
        )

    def _open_leases(
        self, client: slurm.SlurmClient, driver: device.Device[Any, Any], clock: Clock
    ) -> LeaseService:
        weights = Weights(self._shares, self._queue, self._executor)
        weights.remember(self._journal, self._slurm.ask, clock)
        return LeaseService(
            self._qpu,
            self._admission,
            self._journal,
            client,
            driver.capabilities.to_wire(),
            self._intake,
            clock,
            ask=self._slurm.ask,
            send=self._listener.send,
            set_shares=weights.set,
        )

    def _open_reports(self, driver: device.Device[Any, Any], clock: Clock) -> Reports:
        sources = Sources(
            self._qpu,
            driver,
            self._leases,
            self._admission,
            self._journal,
            self._settling,
            self._executor,
            self._shares,
            self._intake,
            self._maintenance,
        )
        return Reports(
            sources,
            clock,
            ask=self._slurm.ask,
            look_up=self._lookups.ask,
            send=self._listener.send,
        )

    # --- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until ``stop`` is called."""
        log.info(
            "serving %s on %s: %d slots, %d leases from the journal",
            self._qpu.name,
            self._qpu.endpoint,
            self._qpu.slots,
            len(self._leases),
        )
        # While short tasks wait the loop only glances at its sockets between two turns.
        self._poller.run(self._tick, self._turn, lambda: self._executor.waits_for_turn)
        self._shut_down()

    def stop(self) -> None:
        """Ends ``run``; may be called from a signal handler."""
        self._poller.stop()

    def _turn(self) -> None:
        self._executor.turn()
        for task, outcome, _ in self._charging.turn(busy=self._executor.waits_for_turn):
            self._intake.answer(task, outcome)
        self._intake.send_results()

    def _charged(self) -> None:
        os.eventfd_read(self._charging.ready)  # ``_turn`` does the rest

    def _tick(self, now: float) -> None:
        self._listener.refresh()
        self._settling.tick(now)
        self._intake.tick(now)
        self._lease_service.tick()
        self._maintenance.tick(now)
        self._accounting.tick(now)

    def _shut_down(self) -> None:
        log.info("stopping; leases stay in the journal")
        self._executor.stop(timeout=5.0)
        self._charging.stop(timeout=5.0)
        self._slurm.close()
        self._lookups.close()
        try:
            self._journal.close()
        except StorageError as error:
            log.error("charges stay in the journal's log: %s", error)
        self._context.destroy(linger=200)
        self._poller.close()

    # --- messages --------------------------------------------------------------------------------

    def _take(
        self,
        address: Address,
        frames: list[bytes],
        principal: keys.Principal,
        bundled: bool = False,
    ) -> None:
        try:
            head = decode_header(frames)
            self._listener.authorise(head.kind, principal)
            if head.kind != Kind.BUNDLE:
                self._handle(address, head, frames, principal)
            elif bundled:
                raise ProtocolError("a bundle within a bundle")
            else:
                for message in unbundle(frames):
                    self._take(address, message, principal, bundled=True)
        except OpenQSEError as error:
            self._listener.send(address, encode_error(task_of(frames), error.at("QPU agent")))
        except Exception as error:  # a defect must cost its message, not the QPU
            log.exception("a message could not be handled")
            failure = InternalError(repr(error), layer="QPU agent")
            self._listener.send(address, encode_error(task_of(frames), failure))

    def _handle(
        self, address: Address, head: Header, frames: list[bytes], principal: keys.Principal
    ) -> None:
        if head.kind in intake.KINDS:
            self._intake.take(address, head, frames)
        elif head.kind in maintenance.KINDS:
            self._maintenance.take(address, head, frames, principal.name)
        elif origin(address[0]).job_id is None and head.kind in leases.KINDS:
            self._lease_service.take(address, head, frames)
        elif origin(address[0]).job_id is None and head.kind in FOR_ALL:
            self._reports.take(address, head, frames)
        else:  # a relay speaks for ranks
            raise ProtocolError(
                f"a QPU agent takes no {head.kind!r} messages from here", layer="QPU agent"
            )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="openqse-qpu-agent",
        description="Owns one QPU of the site: its leases, queue, journal and device.",
    )
    made.add_argument("qpu", help="name of the QPU in the site file")
    configuration.add_option(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """The command ``openqse-qpu-agent``."""
    command = parser()
    arguments, config, site = configuration.parse(command, argv)
    try:
        qpu = site.qpu(arguments.qpu)
        driver = device.load(qpu.device, qpu.profile, credentials(config.qpu.credentials, qpu))
        client = choice.connect(config.slurm.client, config.slurm.timeout)
        agent = QPUAgent(config, qpu, driver, client)
    except ConfigurationError as error:
        command.exit(2, f"{command.prog}: {error}\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    gc.collect()
    gc.freeze()  # what a device's compiler leaves behind need not be looked through again
    agent.run()
    return 0
