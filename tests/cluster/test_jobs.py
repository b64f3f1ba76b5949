"""Every way into Slurm brings every rank to its QPU, and nothing stays behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.containers import Cluster
from tests.support.jobs import START, Jobs, environment_of, python


def _ran_on(lines: list[dict[str, Any]], ranks: int, qpu: str = "emu0") -> None:
    assert sorted(line["rank"] for line in lines) == list(range(ranks))
    assert environment_of(lines, "qpu") == {qpu}
    assert all(line["correlated"] for line in lines)


def test_srun_on_two_nodes(jobs: Jobs) -> None:
    lines = jobs.srun("--qpu=emu0:2", "-N2", "-n4", *python("bell.py")).lines
    _ran_on(lines, ranks=4)
    assert environment_of(lines, "node") == {"c1", "c2"}
    assert environment_of(lines, "slots") == {2}
    assert len(environment_of(lines, "lease")) == 1  # the job's, on whatever node


def test_srun_of_two_qpus(jobs: Jobs) -> None:
    lines = jobs.srun("--qpu=emu0,emu1", "-n2", *python("bell.py", "emu0", "emu1")).lines
    assert sorted((line["rank"], line["qpu"]) for line in lines) == [
        (rank, qpu) for rank in (0, 1) for qpu in ("emu0", "emu1")
    ]
    assert all(line["correlated"] for line in lines)


def test_sbatch_and_its_steps(jobs: Jobs) -> None:
    step = " ".join(["srun", *python("bell.py")])
    job = jobs.submit("--qpu=emu1", "-N2", "-n2", wrap=f"{step} && {step}")
    jobs.wait(job, "COMPLETED")
    lines = jobs.lines(job)
    assert len(lines) == 4
    _ran_on(lines[:2], ranks=2, qpu="emu1")
    _ran_on(lines[2:], ranks=2, qpu="emu1")
    assert len(environment_of(lines, "lease")) == 1  # steps follow each other in one lease


def test_batch_script_itself_reaches_the_qpu(jobs: Jobs) -> None:
    job = jobs.submit("--qpu=emu1", wrap=python("bell.py"))
    jobs.wait(job, "COMPLETED")
    _ran_on(jobs.lines(job), ranks=1, qpu="emu1")


def test_srun_in_salloc(jobs: Jobs) -> None:
    inside = " ".join(["srun", *python("bell.py")])
    output = jobs.run("salloc", "--qpu=emu0", "-N2", "-n2", "bash", "-c", inside, deadline=60)
    assert output.code == 0, output
    _ran_on(output.lines, ranks=2)


def test_array_tasks_take_turns(jobs: Jobs) -> None:
    """Three array tasks on a QPU of one slot: each is a job of its own, with a lease of its own."""
    job = jobs.submit("--qpu=emu1", "--array=1-3", wrap=["srun", *python("bell.py")])
    lines = []
    for index in (1, 2, 3):
        (line,) = jobs.until_lines(f"{job}_{index}", 1, 2 * START)
        lines.append(line)
    assert [line["array_task"] for line in lines] == ["1", "2", "3"]
    assert environment_of(lines, "qpu") == {"emu1"}
    assert all(line["correlated"] for line in lines)
    assert len(environment_of(lines, "lease")) == 3


def test_heterogeneous_srun(jobs: Jobs) -> None:
    """Components on two nodes, each with a QPU of its own; the QPUs belong to the whole job."""
    output = jobs.srun(
        "--qpu=emu0,emu1", "-N1", *python("bell.py", "emu0"),
        ":", "-N1", *python("bell.py", "emu1"),
    )  # fmt: skip
    assert sorted((line["rank"], line["qpu"]) for line in output.lines) == [
        (0, "emu0"),
        (1, "emu1"),
    ]
    assert environment_of(output.lines, "node") == {"c1", "c2"}


def test_heterogeneous_sbatch(jobs: Jobs) -> None:
    job = jobs.submit("cluster-tests/het.sbatch")
    lines = jobs.until_lines(job, 2)
    assert sorted((line["rank"], line["qpu"]) for line in lines) == [(0, "emu0"), (1, "emu1")]
    jobs.wait(job, "COMPLETED")


def test_qpus_of_a_later_component_are_refused(jobs: Jobs) -> None:
    output = jobs.run("srun", "--qpu=emu0", "-N1", "true", ":", "--qpu=emu1", "-N1", "true")
    assert output.code != 0
    assert "name them, and --qpu-mode, with its first component" in output.err
    assert not jobs.own_queue()


def test_programs_that_use_qrmi_find_the_qpus(jobs: Jobs) -> None:
    ask = "import json, qrmi; print(json.dumps(qrmi.get_job_qpu_resources_and_types()))"
    output = jobs.srun("--qpu=emu1,emu0:2", "python", "-c", ask)
    assert json.loads(output.out) == [["emu1", "emu0"], ["openqse", "openqse"]]


def test_a_program_outside_of_a_step_is_told_what_to_do(jobs: Jobs) -> None:
    output = jobs.run("srun", *python("bell.py"), deadline=60)
    assert output.code != 0
    assert "NoLease" in output.err
    assert "srun --qpu=NAME" in output.err


@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_mode_reaches_the_ranks(jobs: Jobs, mode: str) -> None:
    (line,) = jobs.srun("--qpu=emu0", f"--qpu-mode={mode}", *python("bell.py")).lines
    assert line["mode"] == mode
    assert line["slots"] == (4 if mode == "exclusive" else 1)


def test_the_vqe_of_the_examples(jobs: Jobs, cluster: Cluster) -> None:
    folder = "/opt/openqse/share/examples/vqe"
    job = jobs.submit(f"--chdir={folder}", f"{folder}/vqe.sbatch")
    jobs.wait(job, "COMPLETED", deadline=180)
    text = jobs.output(job)
    last = text.splitlines()[-1]
    assert last.startswith("demo: ok "), text
    assert "ranks=4 nodes=2" in last
    # What the program believes to have used is what it is charged.
    (row,) = cluster.usage(job)
    assert f"qpu_seconds={row['qpu_time_ns'] * 1e-9:.3f} " in last
