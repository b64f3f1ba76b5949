"""What cannot be is refused early, by a message that says what can."""

from __future__ import annotations

import shlex

import pytest

from tests.support.jobs import Jobs, python


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--qpu=nosuch"], "no QPU 'nosuch'; it has emu0 (4 slots), emu1 (1 slot)"),
        (["--qpu=emu0:99"], "'emu0' has 4 slots; ask for at most that many"),
        (["--qpu=emu0:0"], "slots of 'emu0' must be a whole number from 1 to 65535"),
        (["--qpu="], "name at least one QPU, as in --qpu=emu0 or --qpu=emu0:2,emu1"),
        (["--qpu=emu0:1,emu0:1"], "'emu0' is named twice"),
        (["--qpu=emu0", "--qpu-mode=odd"], "the mode is 'shared' or 'exclusive'"),
        (["--qpu-mode=exclusive"], "name the QPUs too, as in --qpu=emu0 --qpu-mode=exclusive"),
        (["--qpu=emu0", "--licenses=qpu_emu1"], "ask for these with --qpu alone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refused_at_submission(jobs: Jobs, options: list[str], says: str) -> None:
    """By all three commands alike; nothing is queued."""
    begun = [
        jobs.start("srun", *options, "true"),
        jobs.start("salloc", *options, "true"),
        jobs.start("sbatch", *options, "--wrap=true"),
    ]
    for command in begun:
        output = command.result()
        assert output.code not in (0, None), output
        assert says in output.err, output
        assert "openqse: " in output.err
    assert not jobs.own_queue()


def test_a_step_asks_for_no_more_than_its_job_holds(jobs: Jobs) -> None:
    steps = [
        ["srun", "--qpu=emu0:4", "true"],
        ["srun", "--qpu=emu1", "true"],
        ["srun", "--qpu-mode=exclusive", "true"],
        ["srun", *python("bell.py")],
    ]
    script = "; ".join(f"{shlex.join(step)}; echo code=$?" for step in steps)
    output = jobs.run("salloc", "--qpu=emu0", "-N1", "bash", "-c", script, deadline=60)
    codes = [line for line in output.out.splitlines() if line.startswith("code=")]
    assert codes == ["code=1", "code=1", "code=1", "code=0"], output
    assert "holds 1 slot(s) of emu0 and its step asks for 4" in output.err
    assert "when the job is submitted: --qpu=emu0:4" in output.err
    assert "holds no slot of emu1" in output.err
    assert "exclusive use takes all" in output.err


def test_an_environment_gives_no_right_to_a_qpu(jobs: Jobs) -> None:
    """Whatever a user exports, slurmctld is asked what the job holds."""
    script = "OPENQSE_QPUS=emu0:1 srun true; echo code=$?"
    output = jobs.run("salloc", "-N1", "bash", "-c", script, deadline=60)
    assert "code=1" in output.out, output
    assert "slurmctld: job" in output.err
    assert "holds no slot of emu0" in output.err


def test_licenses_alone_open_no_qpu(jobs: Jobs) -> None:
    """Slurm grants a license to whoever names it; the ranks have no lease by that."""
    output = jobs.run("srun", "--licenses=qpu_emu0:1", *python("bell.py"), deadline=60)
    assert output.code != 0
    assert "NoLease" in output.err
