"""The running container cluster as a test sees it: commands, files, conditions with deadlines."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import shlex
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import DockerException, NotFound

T = TypeVar("T")

PROGRAMS = Path(__file__).parents[1] / "cluster" / "programs"
USERS = ("alice", "bob")
SERVICES = ("login", "slurmctld", "slurmdbd", "db", "qpu")
COMPUTE = ("c1", "c2")
LOG_LINES = 40
#: Seconds beyond a command's own deadline before the connection to its container is given up.
_GRACE = 20.0


class NotUp(Exception):
    """The cluster is not there; the message says what to do."""


class Late(AssertionError):
    """Something did not happen within its deadline."""


@dataclass(frozen=True)
class Output:
    """What a command said: exit code, stdout, stderr, and seconds that it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of stdout."""
        return json_lines(self.out)

    def __str__(self) -> str:
        return f"exit code {self.code} after {self.seconds:.1f} s\n{self.out}\n{self.err}"


def json_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a text that are JSON objects."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@dataclass(frozen=True)
class Command:
    """A command that runs in a container."""

    text: str
    deadline: float
    _future: Future[Output]

    @property
    def ended(self) -> bool:
        return self._future.done()

    def result(self) -> Output:
        """Waits for its end.

        Raises:
            Late: it was killed at its deadline, or its container no longer answers.
        """
        try:
            output = self._future.result(self.deadline + _GRACE)
        except TimeoutError:
            raise Late(f"the container does not answer: {self.text}") from None
        if output.code in (124, 137):
            raise Late(f"killed after {self.deadline:g} s: {self.text}\n{output}")
        return output


def until(condition: Callable[[], T], deadline: float, what: str) -> T:
    """Polls until ``condition()`` is true, and gives its value.

    Raises:
        Late: ``deadline`` seconds passed; says what was waited for and the last value.
    """
    ends = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > ends:
            raise Late(f"not within {deadline:g} s: {what}; at last: {value!r}")
        time.sleep(0.1)


@contextlib.contextmanager
def with_programs() -> Iterator[Cluster]:
    """The running cluster, with the test programs in the users' homes until the end.

    Raises:
        NotUp: it does not run.
    """
    cluster = Cluster()
    try:
        cluster.install_programs()
        yield cluster
    finally:
        cluster.remove_programs()
        cluster.close()


class Cluster:
    """The containers of ``ci/cluster up``."""

    def __init__(self) -> None:
        try:
            self._docker = docker.DockerClient.from_env(timeout=300, max_pool_size=32)
            names = {container.name for container in self._docker.containers.list()}
        except DockerException as error:
            raise NotUp("no Docker engine answers; run ci/cluster up") from error
        missing = [name for name in (*SERVICES, *COMPUTE) if f"openqse-{name}" not in names]
        if missing:
            raise NotUp(f"not running: {', '.join(missing)}; run ci/cluster up")
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="exec")
        for service in (*SERVICES, *COMPUTE):
            ready = self.ready(service)
            if ready.code:
                raise NotUp(f"{service} does not serve: {ready.out.strip()}; run ci/cluster up")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._docker.close()

    # --- commands --------------------------------------------------------------------------------

    def start(
        self,
        command: str | Sequence[str],
        *,
        user: str = "root",
        service: str = "login",
        deadline: float = 30,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Command:
        """Starts a command (text is for a shell) that is killed after ``deadline`` seconds."""
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        if stdin:  # too long for an argument
            path = self._put(f"/home/{user}/cluster-tests", f"stdin-{secrets.token_hex(4)}", stdin)
            argv = ["bash", "-c", '"${@:2}" <"$1"', "bash", path, *argv]
        argv = ["timeout", "--kill-after=5", f"{deadline:g}", *argv]
        future = self._threads.submit(self._execute, argv, user, service, environment)
        return Command(shlex.join(argv), deadline, future)

    def run(
        self,
        command: str | Sequence[str],
        *,
        user: str = "root",
        service: str = "login",
        deadline: float = 30,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Output:
        """Runs a command to its end, whatever its exit code."""
        return self.start(
            command,
            user=user,
            service=service,
            deadline=deadline,
            environment=environment,
            stdin=stdin,
        ).result()

    def check(self, command: str | Sequence[str], **options: Any) -> Output:
        """Runs a command that must succeed; options as of ``run``."""
        output = self.run(command, **options)
        assert output.code == 0, f"{command}: {output}"
        return output

    def _execute(
        self,
        argv: Sequence[str],
        user: str,
        service: str,
        environment: Mapping[str, str] | None,
    ) -> Output:
        api = self._docker.api
        home = "/root" if user == "root" else f"/home/{user}"
        began = time.monotonic()
        made = api.exec_create(
            f"openqse-{service}",
            list(argv),
            user=user,
            workdir=home,
            environment=dict(environment or {}),
        )
        out, err = api.exec_start(made["Id"], demux=True)
        code = api.exec_inspect(made["Id"])["ExitCode"]
        return Output(
            code,
            (out or b"").decode(errors="replace"),
            (err or b"").decode(errors="replace"),
            time.monotonic() - began,
        )

    # --- files -----------------------------------------------------------------------------------

    def _put(self, folder: str, name: str, text: str) -> str:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
        self._docker.containers.get("openqse-login").put_archive(folder, archive.getvalue())
        return f"{folder}/{name}"

    def read(self, folder: str) -> dict[str, str]:
        """The files of a folder that all containers share, by name; none if it is not there."""
        try:
            parts, _ = self._docker.containers.get("openqse-login").get_archive(folder)
        except NotFound:
            return {}
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
            files = ((Path(entry.name).name, tar.extractfile(entry)) for entry in tar)
            return {name: file.read().decode() for name, file in files if file is not None}

    def copy(self, folder: Path, user: str, name: str) -> None:
        """Copies a folder into a user's home, which all containers share."""
        uid = int(self.check(f"id -u {user}").out)

        def own(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            entry.uid = entry.gid = uid
            return None if "__pycache__" in entry.name else entry

        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.add(folder, name, filter=own)
            archive.seek(0)
            self._docker.containers.get("openqse-login").put_archive(f"/home/{user}", archive)

    def install_programs(self) -> None:
        """Copies tests/cluster/programs into each user's home, which all containers share."""
        for user in USERS:
            self.copy(PROGRAMS, user, "cluster-tests")

    def remove_programs(self) -> None:
        for user in USERS:
            self.run(f"rm -rf /home/{user}/cluster-tests")

    # --- services --------------------------------------------------------------------------------

    def ready(self, service: str) -> Output:
        """Whether the service serves, by its container's own check."""
        return self.run(["/usr/local/lib/openqse-cluster/ready"], service=service)

    def wait_ready(self, service: str) -> None:
        until(lambda: self.ready(service).code == 0, 60, f"{service} serves")

    @contextlib.contextmanager
    def stopped(self, *programs: tuple[str, str]) -> Iterator[None]:
        """Stops programs, given as (service, program), and starts them again at the end."""
        try:
            for service, program in programs:
                self.check(["supervisorctl", "stop", program], service=service)
            yield
        finally:
            begun = [
                self.start(["supervisorctl", "start", program], service=service)
                for service, program in programs
            ]
            for command in begun:
                command.result()
            for service, _ in programs:
                self.wait_ready(service)

    def kill(self, service: str) -> None:
        """Kills a container with all that runs in it."""
        self._docker.containers.get(f"openqse-{service}").kill()

    def restart(self, service: str) -> None:
        """Starts a container that was killed, if it does not run."""
        self._docker.containers.get(f"openqse-{service}").start()

    def address(self, service: str) -> str:
        """The container's address in the cluster's network."""
        container = self._docker.containers.get(f"openqse-{service}")
        (network,) = container.attrs["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def configure_network(self, service: str, *arguments: str) -> None:
        """Runs ``ip`` on a container's network.

        The cluster's containers have no privilege to do so: a container that shares the network and
        lives for this one command has it.
        """
        name = f"openqse-{service}"
        image = self._docker.containers.get(name).attrs["Image"]
        self._docker.containers.run(
            image,
            list(arguments),
            entrypoint="ip",
            network_mode=f"container:{name}",
            cap_add=["NET_ADMIN"],
            remove=True,
        )

    def logs(self) -> str:
        """The ends of all logs of all services."""
        tail = f"tail -n {LOG_LINES} /var/log/openqse/*.log"
        texts = []
        for service in (*SERVICES, *COMPUTE):
            try:
                said = self.run(tail, service=service)
                texts.append(f"##### {service}\n{said.out}{said.err}")
            except (DockerException, Late) as error:
                texts.append(f"##### {service}: {error}")
        return "\n".join(texts)

    # --- what is held ----------------------------------------------------------------------------

    def leases(self, *qpus: str) -> list[dict[str, Any]]:
        """What the QPU agents say is held."""
        rows: list[dict[str, Any]] = json.loads(
            self.check(["openqse", "leases", "--json", *qpus]).out
        )
        return rows

    def usage(self, job: int) -> list[dict[str, Any]]:
        """What the job was charged, one row for each QPU."""
        rows: list[dict[str, Any]] = json.loads(
            self.check(["openqse", "usage", "--job", str(job), "--json"]).out
        )
        return rows

    def node_states(self) -> dict[str, str]:
        """Slurm's state of each node, lower case."""
        lines = self.check(["sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T"]).out.splitlines()
        return dict(line.split() for line in lines)

    def left_behind(self) -> list[str]:
        """What is in use: jobs, leases, licenses, nodes, job directories, users' processes."""
        asked = [
            self.start(command)
            for command in (
                "squeue -h -o 'job %A of %u is %T'",
                "openqse leases | sed '1d; s/^/lease: /'",
                "scontrol show licenses -o | grep -vE 'Total=([0-9]+) Used=0 Free=\\1 '",
                "sinfo -h -N -p batch -o '%N is %T' | grep -v ' is idle$'",
            )
        ]
        local = (
            "for d in /run/openqse/job-*; do [ ! -e $d ] || echo $HOSTNAME has $d; done;"
            "pgrep -u alice,bob -a | sed s/^/$HOSTNAME' runs '/"
        )
        asked += [self.start(local, service=node) for node in COMPUTE]
        found = []
        for command in asked:
            output = command.result()
            found += output.out.splitlines()
            found += [f"cannot say: {line}" for line in output.err.splitlines()]
        return found
