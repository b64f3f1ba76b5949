"""Two hybrid jobs, half classical and half quantum, share a QPU, or have it one after the other.

ci/bench utilisation            each takes 50 seconds if it has the QPU for itself
ci/bench utilisation --quick    15

The jobs are rounds of QStone's VQE (tests/cluster/programs/hybrid.py). The emulated QPU takes as
long for a task as hardware would.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.cluster.sharing import qstone
from tests.support.containers import Cluster, NotUp, with_programs
from tests.support.jobs import START, Jobs

QPU = "emu0"
USER = "alice"
SITE, PROFILE = "/etc/openqse/openqse.toml", "/etc/openqse/real-time.toml"
#: QPU time of a shot of QStone's circuits with the profile superconducting, milliseconds.
SHOT_MS = 0.2615


@dataclass(frozen=True)
class Load:
    """What each job does.

    Attributes:
        seconds: that it takes if it has the QPU for itself, about. shots: of a task.
        spread: by what part tasks and classical work between them are longer or shorter.
    """

    seconds: float
    shots: int
    spread: float

    def arguments(self, seed: int) -> str:
        """Of hybrid.py."""
        classical_ms = round(self.shots * SHOT_MS)
        rounds = max(1, round(self.seconds * 1e3 / (2 * classical_ms)))
        return f"{rounds} {self.shots} {classical_ms} {self.spread} {seed}"


@dataclass(frozen=True)
class Job:
    """What came of a job.

    Attributes:
        first, ended: when it sent its first task, and when its last round ended, in seconds since
            1970.
        quantum: seconds of that time in which it waited for results.
    """

    first: float
    ended: float
    quantum: float

    @property
    def quantum_part(self) -> float:
        return self.quantum / (self.ended - self.first)


@dataclass(frozen=True)
class Run:
    """What came of two jobs that were submitted one right after the other.

    Attributes:
        busy: seconds that the device ran tasks.
        submitted: when the first of them was; seconds since 1970.
    """

    busy: float
    submitted: float
    jobs: tuple[Job, ...]

    @property
    def utilisation(self) -> float:
        """The part of the time from the first task to the last result in which the device ran."""
        return self.busy / (
            max(job.ended for job in self.jobs) - min(job.first for job in self.jobs)
        )

    @property
    def makespan(self) -> float:
        """Seconds from submission to the end of both."""
        return max(job.ended for job in self.jobs) - self.submitted

    @property
    def first(self) -> float:
        """Seconds from submission to the end of the job that was submitted first."""
        return self.jobs[0].ended - self.submitted

    def __str__(self) -> str:
        jobs = ", ".join(f"{j.ended - j.first:.1f} s ({j.quantum_part:.1%})" for j in self.jobs)
        return (
            f"busy {self.busy:.1f} s, {self.utilisation:.1%}; the first ended after "
            f"{self.first:.1f} s, both after {self.makespan:.1f} s; quantum part: {jobs}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="ci/bench utilisation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--shots", type=int, default=1000, help="of a task (default: 1000)")
    parser.add_argument(
        "--spread",
        type=float,
        default=0.0,
        help="draw each task's shots, and the classical work after it, within ± this part of them",
    )
    arguments = parser.parse_args()
    load = Load(15.0 if arguments.quick else 50.0, arguments.shots, arguments.spread)
    try:
        with with_programs() as cluster, real_time(cluster), with_qstone(cluster) as folder:
            run(cluster, folder, Load(0.0, 10, 0.0))  # Python's files are compiled and cached now
            exclusive = run(cluster, folder, load, "--qpu-mode=exclusive")
            say(f"exclusive: {exclusive}")
            shared = run(cluster, folder, load)
            say(f"shared: {shared}")
    except NotUp as error:
        say(f"the cluster is not up: {error}")
        return 3
    except subprocess.CalledProcessError as error:
        say(f"QStone could not be installed: {error}\n{error.stderr}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    figures = {
        "shared": shared.utilisation,
        "exclusive": exclusive.utilisation,
        "makespan_ratio": exclusive.makespan / shared.makespan,
        "first_delay": shared.first / exclusive.first - 1.0,
        "first_quantum_part": exclusive.jobs[0].quantum_part,
        "second_quantum_part": exclusive.jobs[1].quantum_part,
    }
    for name, value in figures.items():
        print(json.dumps({"name": f"utilisation.{name}", "value": round(value, 4)}), flush=True)
    return 0


def say(text: str) -> None:
    print(f"utilisation: {text}", file=sys.stderr, flush=True)


@contextmanager
def real_time(cluster: Cluster) -> Iterator[None]:
    """Has the emulated QPU take as long for a task as hardware would."""

    def change(command: str) -> None:
        cluster.check(command, service="qpu")
        cluster.check(["supervisorctl", "restart", f"qpu-agent-{QPU}"], service="qpu")
        cluster.wait_ready("qpu")

    profiles = "$(python -c 'import openqse_emulator as e; print(e.__path__[0])')/profiles"
    write = f"(echo real_time = true; cat {profiles}/superconducting.toml) >{PROFILE}"
    try:
        change(f"{write} && sed -i '/^.qpu.{QPU}.$/a profile = \"{PROFILE}\"' {SITE}")
        yield
    finally:
        change(f"sed -i '\\|^profile = \"{PROFILE}\"$|d' {SITE} && rm -f {PROFILE}")


@contextmanager
def with_qstone(cluster: Cluster) -> Iterator[str]:
    """QStone in the user's home until the end: its folder."""
    try:
        yield qstone.install(cluster, USER)
    finally:
        qstone.remove(cluster, USER)


def run(cluster: Cluster, folder: str, load: Load, *options: str) -> Run:
    """Submits both jobs and waits for their ends."""
    jobs = Jobs(cluster, f"hybrid-{secrets.token_hex(3)}")
    before, submitted = busy(cluster), time.time()
    try:
        ids = [
            jobs.submit(
                f"--qpu={QPU}",
                *options,
                wrap=f"PYTHONPATH={folder} srun -n1 python cluster-tests/hybrid.py "
                + load.arguments(seed),
                user=USER,
            )
            for seed in (1, 2)
        ]
        deadline = 2 * START + 4 * load.seconds
        for job in ids:
            jobs.wait(job, "COMPLETED", deadline)
    finally:
        jobs.cancel()
    ended = tuple(Job(**jobs.lines(job, USER)[-1]) for job in ids)
    return Run(busy(cluster) - before, submitted, ended)


def busy(cluster: Cluster) -> float:
    """Seconds that the QPU's device has run tasks so far."""
    (status,) = json.loads(cluster.check(["openqse", "status", QPU, "--json"]).out)
    return float(status["busy_s"])


if __name__ == "__main__":
    sys.exit(main())
