"""The agents as processes of their own, as a site runs them: commands, files, Slurm's commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openqse import site as sites
from openqse_agent import keys
from tests.support.agents.stack import Hook, eventually

HERE = Path(__file__).parent
SLURM = HERE.parents[1] / "unit" / "agent" / "slurm"
#: The recorded job that runs and holds a slot of each QPU.
JOB = 14


@dataclass
class Agent:
    """A running agent, and what it has told systemd."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    notices: socket.socket
    told: list[str] = field(default_factory=list)

    def tells(self, state: str) -> bool:
        """Whether it has told systemd so by now."""
        while True:
            try:
                self.told.append(self.notices.recv(4096, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return state in self.told
            finally:
                assert self.process.poll() in (None, 0), self.log.read_text()

    def stop(self) -> None:
        """Ends it as systemd would; fails if it does not end well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(20) == 0, self.log.read_text()
        finally:
            self.process.kill()
            self.notices.close()


class Processes:
    """A QPU agent of emu0 and a node agent, with keys.

    Args:
        ports: TCP ports by QPU.
        uid: whose the recorded job is.
    """

    def __init__(self, directory: Path, ports: Mapping[str, int], uid: int) -> None:
        self.directory = directory
        self.keys = directory / "keys"
        self.credentials = directory / "credentials"
        self.runtime = directory / "run"
        self.state = directory / "state"
        self.hook = Hook(self.runtime / "node.sock", uid)
        self.agents: list[Agent] = []
        for name in (*ports, keys.NODE, keys.ADMIN):
            keys.make(self.keys, name)
        for folder, name in ((keys.AUTHORISED, keys.NODE), (keys.ADMINS, keys.ADMIN)):
            (self.keys / folder).mkdir(mode=0o755)
            shutil.copy(self.keys / f"{name}.public", self.keys / folder)
        self.site = directory / "openqse.toml"
        self.site.write_text(
            "".join(
                f'[qpu.{name}]\nslots = 4\nendpoint = "tcp://127.0.0.1:{port}"\n'
                f'device = "scripted"\nkey = "{self.keys / name}.public"\n'
                for name, port in ports.items()
            )
        )
        self.config = directory / "agent.toml"
        self.config.write_text(
            f'site = "{self.site}"\nkeys = "{self.keys}"\nlog_level = "debug"\n'
            f'[node]\nruntime_dir = "{self.runtime}"\n'
            f'[qpu]\nstate_dir = "{self.state}"\ncredentials = "{self.credentials}"\n'
            '[slurm]\nclient = "commands"\n'
        )
        self._slurm = directory / "slurm"
        self._slurm.mkdir()
        recorded = json.loads((SLURM / "answers" / "squeue-24.11.json").read_text())
        job = next(job for job in recorded["jobs"] if job["job_id"] == JOB)
        job |= {"user_id": uid, "end_time": int(time.time()) + 600}
        (self._slurm / "squeue.json").write_text(json.dumps({"jobs": [job]}))
        shutil.copy(SLURM / "answers" / "sshare-24.11.txt", self._slurm / "sshare.txt")

    def endpoint(self, qpu: str) -> str:
        return sites.load(self.site).qpu(qpu).endpoint

    def start_qpu(self, name: str, sandbox: Sequence[str] = ()) -> Agent:
        command = [sys.executable, str(HERE / "scripted_agent.py"), name]
        return self._start(f"qpu-{name}", command, sandbox)

    def start_node(self, sandbox: Sequence[str] = ()) -> Agent:
        command = [sys.executable, str(Path(sys.executable).with_name("openqse-node-agent"))]
        return self._start("node", [*command, "--name=c1"], sandbox)

    def _start(self, name: str, command: list[str], sandbox: Sequence[str]) -> Agent:
        address = self.directory / f"{name}.notify"
        address.unlink(missing_ok=True)
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notices.bind(str(address))
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*sandbox, *command, f"--config={self.config}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ
                | {
                    "NOTIFY_SOCKET": str(address),
                    "FAKE_SLURM": str(self._slurm),
                    "PATH": f"{SLURM / 'fakes' / 'bin'}:{os.environ['PATH']}",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
            )
        agent = Agent(name, process, log, notices)
        self.agents.append(agent)
        eventually(lambda: agent.tells("READY=1"), timeout=60)
        return agent

    def close(self) -> None:
        for agent in reversed(self.agents):
            agent.stop()
