"""The jobs of one test: submitted under its name, watched with deadlines, cancelled at its end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.containers import Cluster, Command, Output, json_lines, until

#: Seconds in which a job on a free cluster starts; generous, for machines that do more than this.
START = 45.0


def python(program: str, *arguments: str) -> list[str]:
    """The command line of a test program, from the user's home."""
    return ["python", f"cluster-tests/{program}", *arguments]


@dataclass(frozen=True)
class Jobs:
    """Submits jobs under one name."""

    cluster: Cluster
    name: str

    def start(self, command: str, *arguments: str, user: str = "alice", **options: Any) -> Command:
        """Starts srun, salloc or sbatch; options as of ``Cluster.start``."""
        argv = [command, f"--job-name={self.name}", *arguments]
        return self.cluster.start(argv, user=user, **options)

    def run(self, command: str, *arguments: str, user: str = "alice", **options: Any) -> Output:
        """Runs srun, salloc or sbatch to its end, whatever its exit code."""
        return self.start(command, *arguments, user=user, **options).result()

    def srun(self, *arguments: str, **options: Any) -> Output:
        """An srun that must succeed."""
        output = self.run("srun", *arguments, **{"deadline": 60, **options})
        assert output.code == 0, f"srun {shlex.join(arguments)}: {output}"
        return output

    def submit(self, *arguments: str, wrap: Sequence[str] | str = (), user: str = "alice") -> int:
        """Submits a batch job whose output is kept, and gives its id."""
        if wrap:
            text = wrap if isinstance(wrap, str) else shlex.join(wrap)
            arguments = (*arguments, f"--wrap={text}")
        output = f"--output=/home/{user}/cluster-tests/%A_%a.out"
        if not any("--array" in argument for argument in arguments):
            output = output.replace("_%a", "")
        said = self.run("sbatch", "--parsable", output, *arguments, user=user)
        assert said.code == 0, f"sbatch {shlex.join(arguments)}: {said}"
        return int(said.out.split(";")[0])

    def describe(self, job: int) -> dict[str, str]:
        """Slurm's record of a job, by field."""
        said = self.cluster.check(["scontrol", "show", "job", "-o", str(job)])
        return dict(re.findall(r"(\S+?)=(\S*)", said.out.splitlines()[0]))

    def wait(self, job: int, state: str, deadline: float = START, **fields: str) -> dict[str, str]:
        """Waits until a job is in a state and its record has these values."""

        def reached() -> dict[str, str]:
            record = self.describe(job)
            now = {"JobState": record["JobState"]} | {key: record.get(key, "") for key in fields}
            last.update(record)
            return record if now == {"JobState": state, **fields} else {}

        last: dict[str, str] = {}
        what = f"job {job} is {state} {fields or ''}"
        try:
            return until(reached, deadline, what)
        except AssertionError as error:
            record = {key: last.get(key) for key in ("JobState", "Reason", "Restarts", "ExitCode")}
            raise AssertionError(f"{error} {record}\n{self.output(job)}") from None

    def output(self, job: int | str, user: str = "alice") -> str:
        """What a batch job has written so far."""
        return self.cluster.run(f"cat /home/{user}/cluster-tests/{job}.out").out

    def lines(self, job: int | str, user: str = "alice") -> list[dict[str, Any]]:
        """The JSON lines that a batch job has written so far."""
        return json_lines(self.output(job, user))

    def until_lines(
        self, job: int | str, count: int, deadline: float = START
    ) -> list[dict[str, Any]]:
        """Waits until a batch job has written this many JSON lines."""

        def written() -> list[dict[str, Any]]:
            lines = self.lines(job)
            return lines if len(lines) >= count else []

        try:
            return until(written, deadline, f"{count} lines of job {job}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output(job)}") from None

    def cancel(self, *jobs: int) -> None:
        """Cancels these jobs, or all of this test."""
        which = [str(job) for job in jobs] or [f"--name={self.name}"]
        self.cluster.check(["scancel", *which])

    def own_queue(self) -> str:
        """What of this test is queued or running."""
        return self.cluster.check(["squeue", "-h", f"--name={self.name}", "-o", "%A %T %r"]).out


def environment_of(lines: Sequence[Mapping[str, Any]], name: str) -> set[Any]:
    """The values of one key in all lines."""
    return {line[name] for line in lines}
