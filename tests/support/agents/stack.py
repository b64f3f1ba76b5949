"""A whole stack in one process: QPU agents, a node agent and the plugin's side of the hook."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from openqse.device import ThreadDevice
from openqse.site import Site, SiteQPU
from openqse.testing import ScriptedDevice
from openqse.testing.slurm import ScriptedSlurm
from openqse_agent import keys
from openqse_agent.config import AgentConfig, NodeConfig, QPUConfig
from openqse_agent.node.loop import NodeAgent
from openqse_agent.qpu.loop import QPUAgent


@dataclass
class RunningQPU:
    agent: QPUAgent
    device: ScriptedDevice
    thread: threading.Thread


@dataclass
class Stack:
    """Everything between a step and its devices; ``close`` stops all of it."""

    directory: Path
    ports: dict[str, int]
    slots: dict[str, int] = field(default_factory=lambda: {"emu0": 4, "emu1": 1})
    slurm: ScriptedSlurm = field(default_factory=ScriptedSlurm)
    lease_ttl: float = 30.0
    tasks_per_session: int = 32
    keys: bool = False

    def __post_init__(self) -> None:
        self.key_directory = self.directory / "keys"
        if self.keys:
            for name in (*self.slots, keys.NODE):
                keys.make(self.key_directory, name)
            self.authorise(self.key_directory / "node.public")
        self.site = Site({name: self._qpu(name) for name in self.slots})
        self.config = AgentConfig(
            keys=self.key_directory,
            node=NodeConfig(runtime_dir=self.directory / "run", attach_timeout=1.0),
            qpu=QPUConfig(
                state_dir=self.directory / "state",
                lease_ttl=self.lease_ttl,
                tasks_per_session=self.tasks_per_session,
            ),
        )
        self.qpus: dict[str, RunningQPU] = {}
        for name in self.slots:
            self.start_qpu(name)
        self.node: NodeAgent
        self.start_node()

    def _qpu(self, name: str) -> SiteQPU:
        key = str(self.key_directory / f"{name}.public") if self.keys else None
        endpoint = f"tcp://127.0.0.1:{self.ports[name]}"
        return SiteQPU(name, self.slots[name], endpoint, "scripted", key=key)

    def authorise(self, public: Path) -> None:
        """Makes the QPU agents believe the owner of a key."""
        folder = self.key_directory / keys.AUTHORISED
        folder.mkdir(mode=0o755, exist_ok=True)
        (folder / public.name).write_bytes(public.read_bytes())

    def start_qpu(self, name: str) -> None:
        driver = ScriptedDevice()
        device = ThreadDevice(driver)
        agent = QPUAgent(self.config, self.site.qpu(name), device, self.slurm)
        thread = threading.Thread(target=agent.run, name=name)
        thread.start()
        self.qpus[name] = RunningQPU(agent, driver, thread)

    def stop_qpu(self, name: str) -> None:
        running = self.qpus.pop(name)
        running.device.hold.set()
        running.agent.stop()
        running.thread.join(10)
        assert not running.thread.is_alive()

    def start_node(self, name: str = "c1") -> None:
        self.node = NodeAgent(self.config, self.site, name)
        self._node_thread = threading.Thread(target=self.node.run, name="node")
        self._node_thread.start()

    def stop_node(self) -> None:
        self.node.stop()
        self._node_thread.join(10)
        assert not self._node_thread.is_alive()

    def close(self) -> None:
        self.node.stop()
        for running in self.qpus.values():  # all are told before the first is waited for
            running.agent.stop()
        self.stop_node()
        for name in list(self.qpus):
            self.stop_qpu(name)

    @property
    def runtime(self) -> Path:
        return self.config.node.runtime_dir

    def write_site(self, path: Path) -> Path:
        """Writes the site file, as commands read it, of a stack with keys."""
        path.write_text(
            "".join(
                f'[qpu.{q.name}]\nslots = {q.slots}\nendpoint = "{q.endpoint}"\n'
                f'device = "scripted"\nkey = "{q.key}"\n'
                for q in self.site.qpus.values()
            )
        )
        return path

    def leases(self, name: str) -> list[int]:
        """Ids of the jobs that hold leases of a QPU."""
        return [lease.job_id for lease in self.qpus[name].agent._leases]

    # --- the plugin's side -----------------------------------------------------------------------

    @property
    def _hook(self) -> Hook:
        return Hook(self.runtime / "node.sock", os.getuid())

    def exchange(self, block: bytes, timeout: float = 5.0) -> list[tuple[str, str]]:
        return self._hook.exchange(block, timeout)

    def attach(self, job_id: int, qpus: str, **options: Any) -> dict[str, str]:
        return self._hook.attach(job_id, qpus, **options)

    def enter(self, job_id: int, qpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Puts this process into a job, as the plugin does with a rank."""
        for name, value in self.attach(job_id, qpus).items():
            monkeypatch.setenv(name, value)

    def detach(self, job_id: int) -> dict[str, str]:
        return self._hook.detach(job_id)


class Hook:
    """The plugin's side of a node agent.

    Args:
        path: the hook socket.
        uid: whose jobs attach where nothing else is said.
    """

    def __init__(self, path: Path, uid: int) -> None:
        self._path = path
        self.uid = uid

    def exchange(self, block: bytes, timeout: float = 5.0) -> list[tuple[str, str]]:
        """Sends raw bytes to the hook socket; the records of the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hook:
            hook.settimeout(timeout)
            hook.connect(str(self._path))
            hook.sendall(block)
            answer = b""
            while chunk := hook.recv(65536):
                answer += chunk
        records = answer.rstrip(b"\0").decode().split("\0") if answer else []
        return [(key, value) for key, _, value in (r.partition("=") for r in records)]

    def attach(
        self,
        job_id: int,
        qpus: str,
        *,
        mode: str = "shared",
        uid: int | None = None,
        restarts: int = 0,
    ) -> dict[str, str]:
        """Attaches a step; the environment it gets.

        Raises:
            Refused: as the user would read it.
        """
        uid = self.uid if uid is None else uid
        answer = self.exchange(
            records(
                VERSION=1,
                OP="attach",
                JOB_ID=job_id,
                STEP_ID=0,
                UID=uid,
                GID=os.getgid(),
                RESTART_COUNT=restarts,
                QPU=qpus,
                MODE=mode,
            )
        )
        fields = dict(answer)
        if fields["STATUS"] != "ok":
            raise Refused(f"{fields['LAYER']}: {fields['MESSAGE']}. {fields['REMEDY']}")
        sets = (value.partition("=") for key, value in answer if key == "SET")
        return {name: value for name, _, value in sets}

    def detach(self, job_id: int) -> dict[str, str]:
        return dict(self.exchange(records(VERSION=1, OP="detach", JOB_ID=job_id)))


class Refused(Exception):
    """A step was not attached."""


def records(**values: object) -> bytes:
    return b"".join(f"{k}={v}".encode() + b"\0" for k, v in values.items()) + b"\0"


def eventually(condition: Any, timeout: float = 10.0) -> None:
    """Waits until a condition holds; fails when it does not within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)
