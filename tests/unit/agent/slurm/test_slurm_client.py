"""Both Slurm clients under one contract, and what is particular to each."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract import agree, fails, holds_back, records_use, tells

from openqse.errors import ConfigurationError, SlurmError
from openqse_agent.slurm.binding import Binding
from openqse_agent.slurm.choice import connect
from openqse_agent.slurm.client import (
    AccountShare,
    FairTree,
    Job,
    QPUUse,
    Reservation,
    SlurmClient,
)
from openqse_agent.slurm.commands import Commands

HERE = Path(__file__).parent
FAKES = HERE / "fakes"
ANSWERS = HERE / "answers"
PATIENCE = 20.0  # seconds; no test waits for it
UNKNOWN = 99999

JOB = Job(
    id=14,
    running=True,
    state="RUNNING",
    uid=2001,
    user="alice",
    account="chem",
    licenses={"qpu_emu0": 1, "qpu_emu1": 1},
    end_time=1795408413,
    restart_count=0,
    leader=14,
)
PENDING = replace(JOB, running=False, state="PENDING", licenses={})
RECORDED = {
    job.id: replace(job, leader=16 if job.id == 17 else job.id)
    for job in (
        replace(JOB, id=2, account="organic", licenses={}, end_time=None),  # no time limit
        JOB,
        replace(PENDING, id=15, end_time=None),  # the rest of an array, whose id it has
        replace(JOB, id=21, licenses={"qpu_emu0": 1}),  # a running task of that array
        replace(JOB, id=16, licenses={"qpu_emu0": 1}),  # a heterogeneous job
        replace(JOB, id=17, licenses={}),  # its other component
        replace(PENDING, id=18, end_time=1795408533),
        replace(PENDING, id=19, state="COMPLETED", end_time=1795408294),
        replace(JOB, id=20, licenses={"qpu_emu0": 1}, end_time=1795408414, reservation="r1"),
    )
}
TREE = FairTree(
    half_life=7 * 86400.0,
    reset_period="NONE",
    accounts={
        "chem": AccountShare("", 3),
        "organic": AccountShare("chem", 2),
        "pool": AccountShare("chem", None),
        "ml": AccountShare("", 1),
    },
    users={
        ("root", "root"): 1,
        ("chem", "alice"): 1,
        ("organic", "alice"): 1,  # by an association for each of two partitions
        ("pool", "alice"): None,
        ("pool", "bob"): 4,
        ("ml", "bob"): 1,
    },
    usage={
        ("root", ""): 687,
        ("root", "root"): 0,
        ("chem", ""): 421,
        ("chem", "alice"): 319,
        ("organic", ""): 10,
        ("organic", "alice"): 7 + 2,
        ("pool", ""): 4,
        ("pool", "alice"): 0,
        ("pool", "bob"): 4,
        ("ml", ""): 265,
        ("ml", "bob"): 265,
    },
)
EMU0 = {"emu0": QPUUse(12.5, 40, 4000, 3.25)}
SAID0 = "openqse:qpu_time/emu0=12.5,tasks/emu0=40,shots/emu0=4000,waited/emu0=3.25"


class Slurm:
    """The fakes, and the answers and the fault that they are to show from now on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.answer("squeue-24.11.json")
        for recorded, name in (
            ("sshare-24.11.txt", "sshare.txt"),
            ("config-24.11.txt", "config.txt"),
            ("sacct-24.11.json", "sacct.json"),
        ):
            shutil.copy(ANSWERS / recorded, directory / name)

    def answer(self, recorded: str) -> None:
        shutil.copy(ANSWERS / recorded, self._directory / "squeue.json")

    def answer_job(self, **changed: Any) -> None:
        """Answers one recorded job, with some keys changed, or removed where None."""
        recorded = json.loads((ANSWERS / "squeue-24.11.json").read_text())
        answer = {"last_update": recorded["last_update"], **recorded["jobs"][1], **changed}
        kept = {key: value for key, value in answer.items() if value is not None}
        told = {"last_update": kept.pop("last_update", None), "jobs": [kept]}
        (self._directory / "squeue.json").write_text(json.dumps(told))

    def shares(self, text: str) -> None:
        (self._directory / "sshare.txt").write_text(text)

    def config(self, text: str) -> None:
        (self._directory / "config.txt").write_text(text)

    def comments(self, job: int) -> list[tuple[str, str]]:
        """The admin and the system comment of each record of a job in the accounting."""
        rows = json.loads((self._directory / "sacct.json").read_text())
        mine = [row for row in rows if row["JobIDRaw"] == str(job)]
        return [(row["AdminComment"], row["SystemComment"]) for row in mine]

    def comment(self, job: int, **comments: str) -> None:
        """Has the records of a job say this."""
        path = self._directory / "sacct.json"
        rows = json.loads(path.read_text())
        changed = [row | comments if row["JobIDRaw"] == str(job) else row for row in rows]
        path.write_text(json.dumps(changed))

    def overtake(self, text: str) -> None:
        """Another, who has read the records, writes this right after the next who writes."""
        (self._directory / "overtaken").write_text(text)

    def reserved(self, **reservation: Any) -> None:
        """Has it know one reservation, of whatever kind."""
        (self._directory / "reservations.json").write_text(json.dumps([reservation]))

    def fault(self, kind: str) -> None:
        (self._directory / "fault").write_text(kind)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    monkeypatch.setenv("PATH", str(FAKES / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPATH", str(FAKES), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(FAKES))
    return Slurm(tmp_path)


Make = Callable[[float], SlurmClient]


@pytest.fixture
def binding(slurm: Slurm) -> Iterator[Callable[[float], Binding]]:
    made: list[Binding] = []

    def make(timeout: float) -> Binding:
        made.append(Binding(timeout))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture(params=["commands", "pyslurm"])
def make(request: pytest.FixtureRequest, slurm: Slurm) -> Make:
    return Commands if request.param == "commands" else request.getfixturevalue("binding")


@pytest.fixture
def client(make: Make) -> SlurmClient:
    return make(PATIENCE)


def test_tells_every_kind_of_job_as_it_is(client: SlurmClient) -> None:
    tells(client, RECORDED, UNKNOWN)


def test_what_is_left_of_a_time_limit_is_told_by_slurmctlds_clock(
    slurm: Slurm, client: SlurmClient
) -> None:
    left = {id: job.remaining for id, job in client.jobs(RECORDED).items()}
    assert left.pop(20) == 114
    assert {id for id, remaining in left.items() if remaining == 113} == {14, 16, 17, 21}
    assert {id for id, remaining in left.items() if remaining is None} == {2, 15, 18, 19}
    over = {"set": True, "infinite": False, "number": 1795408299}
    slurm.answer_job(end_time=over)
    assert client.jobs([14])[14].remaining == -1
    slurm.answer_job(last_update=None)
    assert client.jobs([14]) == {14: JOB}
    assert client.jobs([14])[14].remaining is None


def test_a_suspended_job_keeps_its_licenses(slurm: Slurm, client: SlurmClient) -> None:
    slurm.answer("squeue-24.11-requeueing.json")
    assert client.jobs([14]) == {14: replace(JOB, state="SUSPENDED")}


def test_a_requeued_job_holds_nothing_until_it_runs_again(
    slurm: Slurm, client: SlurmClient
) -> None:
    slurm.answer("squeue-24.11-requeueing.json")
    ended = client.jobs([20])[20]
    assert (ended.running, ended.licenses, ended.restart_count) == (False, {}, 1)
    slurm.answer("squeue-24.11-requeued.json")
    again = client.jobs([20])[20]
    assert (again.running, again.licenses, again.restart_count) == (True, {"qpu_emu0": 1}, 1)


def test_of_alternatives_the_allocated_license_counts(slurm: Slurm, client: SlurmClient) -> None:
    slurm.answer("squeue-25.11.json")
    jobs = client.jobs([14, 18])
    assert jobs[14].licenses == {"qpu_emu1": 1}
    assert jobs[18].licenses == {}


def test_alternatives_alone_say_nothing_of_what_is_held(slurm: Slurm, client: SlurmClient) -> None:
    slurm.answer_job(licenses="qpu_emu0:4|qpu_emu1:1")
    assert client.jobs([14]) == {14: replace(JOB, licenses={})}


def test_tells_the_fair_tree_as_it_is(client: SlurmClient) -> None:
    assert client.fair_tree() == TREE


@pytest.mark.parametrize("before", ["", "paid by  grant 7\n(see |wiki|)"])
def test_clients_of_several_qpus_record_the_use_of_one_job(
    slurm: Slurm, make: Make, before: str
) -> None:
    slurm.comment(116, AdminComment=before)
    records_use(make(PATIENCE), make(PATIENCE), 116, lambda: slurm.comments(116)[0][0])


def test_the_use_of_one_who_was_overtaken_is_written_again(
    slurm: Slurm, client: SlurmClient
) -> None:
    other = SAID0.replace("emu0", "emu1")
    slurm.overtake(other)
    assert not client.record_use(116, EMU0)
    assert slurm.comments(116) == [(other, "")]
    assert not client.record_use(116, EMU0)
    assert client.record_use(116, EMU0)
    assert slurm.comments(116) == [(f"{other},{SAID0.removeprefix('openqse:')}", "")]


@pytest.mark.parametrize("job", [114, 117], ids=["last of an array", "first of a het job"])
def test_no_other_job_of_that_id_is_written_to(slurm: Slurm, client: SlurmClient, job: int) -> None:
    client.record_use(job, EMU0)
    for id in (114, 115, 116, 117, 118):
        assert slurm.comments(id) == [(SAID0 if id == job else "", "")]


def test_each_record_of_a_resized_job_says_the_same(slurm: Slurm, client: SlurmClient) -> None:
    assert not client.record_use(127, EMU0)
    assert client.record_use(127, EMU0)
    assert slurm.comments(127) == [(SAID0, ""), (SAID0, "")]


def test_a_comment_with_quotes_is_left_and_the_other_one_taken(
    slurm: Slurm, client: SlurmClient
) -> None:
    assert not client.record_use(120, EMU0)
    assert client.record_use(120, EMU0)
    assert slurm.comments(120) == [('{"a": "b"}', SAID0)]


@pytest.mark.parametrize("text", ["it's", "x" * 65500])
def test_a_record_that_cannot_be_added_to_is_left(
    slurm: Slurm, client: SlurmClient, text: str
) -> None:
    slurm.comment(116, AdminComment=text, SystemComment=text)
    error = fails(lambda: client.record_use(116, EMU0), PATIENCE, "slurmdbd")
    assert "AdminComment or SystemComment" in error.remedy
    assert slurm.comments(116) == [(text, text)]


@pytest.mark.parametrize(("job", "said"), [(UNKNOWN, "no record"), (119, "no end")])
def test_a_job_that_has_not_ended_for_slurmdbd_is_told(
    client: SlurmClient, job: int, said: str
) -> None:
    error = fails(lambda: client.record_use(job, EMU0), PATIENCE, "slurmdbd")
    assert said in error.message


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("slurmdbd down", "Connection refused"),
        ("refused", "privilege"),
        ("garbage", "cannot be read"),
    ],
)
def test_a_use_that_cannot_be_recorded_is_told_and_nothing_is_written(
    slurm: Slurm, client: SlurmClient, fault: str, said: str
) -> None:
    slurm.fault(fault)
    assert said in fails(lambda: client.record_use(116, EMU0), PATIENCE, "slurmdbd").message
    slurm.fault("")
    assert slurm.comments(116) == [("", "")]
    assert not client.record_use(116, EMU0)


def test_holds_licenses_back_and_gives_them_back(client: SlurmClient) -> None:
    holds_back(client, {"qpu_emu0": 4}, "openqse_emu0_1")


def test_other_reservations_are_left_out(slurm: Slurm, client: SlurmClient) -> None:
    slurm.reserved(name="nodes", licenses="", start=1, end=2**33)
    assert client.reservations() == {}


def test_what_slurmctld_refuses_is_told_in_its_words(client: SlurmClient) -> None:
    now = time.time()
    for licenses, said in (({"qpu_emu0": 40}, "license"), ({"qpu_nosuch": 1}, "license")):
        wanted = Reservation("openqse_emu0_1", licenses, now, None)
        assert said in fails(lambda wanted=wanted: client.reserve(wanted), PATIENCE).message


def test_no_question_is_put_for_no_job(slurm: Slurm, client: SlurmClient) -> None:
    slurm.fault("down")
    assert client.jobs([]) == {}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("down", "Unable to contact slurm controller"),
        ("garbage", "many|<html>|not listed|tomorrow|Unspecified"),
    ],
)
def test_a_fault_is_told_and_passes(
    slurm: Slurm, client: SlurmClient, fault: str, said: str
) -> None:
    slurm.fault(fault)
    for question in (
        lambda: client.jobs([14]),
        lambda: client.jobs([14, 16]),
        client.fair_tree,
        client.reservations,
    ):
        error = fails(question, PATIENCE)
        assert any(part in error.message for part in said.split("|"))
    slurm.fault("")
    assert client.jobs([14]) == {14: JOB}


def test_an_answer_that_does_not_come_is_given_up_at_the_deadline(slurm: Slurm, make: Make) -> None:
    client = make(1.0)
    slurm.fault("hang")
    assert "1 s" in fails(lambda: client.jobs([14]), within=2.0).message
    fails(client.fair_tree, within=2.0)
    fails(lambda: client.record_use(116, EMU0), within=2.0, layer="slurmdbd")
    slurm.fault("")
    assert client.fair_tree() == TREE


def test_threads_may_ask_at_once(client: SlurmClient) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda id: client.jobs([id]), RECORDED, timeout=PATIENCE)
        assert [*answers] == [{id: job} for id, job in RECORDED.items()]


# Slurm's commands


@pytest.mark.parametrize("release", ["22.05", "25.11"])
def test_other_releases_are_read(slurm: Slurm, release: str) -> None:
    slurm.answer(f"squeue-{release}.json")
    jobs = Commands(PATIENCE).jobs([2, 14, 18])
    running = jobs[14]
    assert (running.running, running.end_time, running.restart_count) == (True, 1795408413, 2)
    assert running.reservation == "r1"
    assert running.licenses["qpu_emu1"] == 1
    unlimited = jobs[2]
    assert (unlimited.end_time, unlimited.licenses) == (None, {})
    assert (unlimited.uid, unlimited.user, unlimited.account) == (2009, "2009", "")
    assert unlimited.reservation == ""
    assert not jobs[18].running
    assert jobs[18].licenses == {}


@pytest.mark.parametrize("none", [0xFFFFFFFE, "Infinity", ""])
def test_a_time_limit_that_is_no_number_is_none(slurm: Slurm, none: Any) -> None:
    slurm.answer_job(time_limit=none)
    assert Commands(PATIENCE).jobs([14])[14].end_time is None


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": None},
        {"user_id": {"set": False, "infinite": False, "number": 0}},
        {"job_state": None},
        {"job_state": []},
        {"job_state": {"current": "RUNNING"}},
        {"licenses": "qpu_emu0:many"},
        {"licenses": 2},
        {"end_time": "tomorrow"},
        {"restart_cnt": [1]},
        {"time_limit": {"number": 2}},
    ],
    ids=str,
)
def test_a_record_that_cannot_be_read_is_an_error(slurm: Slurm, changed: Mapping[str, Any]) -> None:
    slurm.answer_job(**changed)
    error = fails(lambda: Commands(PATIENCE).jobs([14]), PATIENCE)
    assert "squeue --json cannot be read" in error.message


@pytest.mark.parametrize(
    "text",
    ["", "root|||0\n  chem||1|0\n", "root|||0\n chem|1|0\n", "root|||0\n a||x|0\n"],
)
def test_a_tree_that_cannot_be_read_is_an_error(slurm: Slurm, text: str) -> None:
    slurm.shares(text)
    assert "cannot be read" in fails(Commands(PATIENCE).fair_tree, PATIENCE).message


def test_a_cluster_without_multifactor_priority_forgets_in_a_week(slurm: Slurm) -> None:
    slurm.config("PriorityType            = priority/basic\n")
    tree = Commands(PATIENCE).fair_tree()
    assert (tree.half_life, tree.reset_period) == (7 * 86400, "NONE")


def test_a_configuration_without_half_life_is_an_error(slurm: Slurm) -> None:
    slurm.config("PriorityType            = priority/multifactor\n")
    error = fails(Commands(PATIENCE).fair_tree, PATIENCE)
    assert "PriorityDecayHalfLife" in error.message


def test_the_users_settings_do_not_change_the_answer(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fake fails where it sees any of these but the first.
    for name in ("SLURM_CONF", "SLURM_CLUSTERS", "SQUEUE_STATES", "SQUEUE_USERS"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert Commands(PATIENCE).jobs([14]) == {14: JOB}


def test_a_machine_without_slurm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    error = fails(lambda: Commands(PATIENCE).jobs([14]), PATIENCE)
    assert error.message == "squeue cannot be started: No such file or directory"


# pyslurm


def test_libslurm_may_end_the_process_that_loads_it(
    slurm: Slurm, binding: Callable[[float], Binding]
) -> None:
    client = binding(PATIENCE)
    slurm.fault("fatal")
    assert "ended" in fails(lambda: client.jobs([14]), PATIENCE).message
    assert "ended" in fails(client.reservations, PATIENCE).message
    slurm.fault("")
    assert client.jobs([14]) == {14: JOB}


def test_waiting_for_a_turn_counts(slurm: Slurm, binding: Callable[[float], Binding]) -> None:
    client = binding(1.0)
    slurm.fault("hang")
    first = threading.Thread(target=lambda: fails(lambda: client.jobs([14]), within=2.0))
    first.start()
    fails(lambda: client.jobs([16]), within=2.0)
    first.join(PATIENCE)


def test_the_worker_ends_with_the_agent(slurm: Slurm) -> None:
    ask = "import os; from openqse_agent.slurm.binding import Binding; b = Binding(20)"
    tell = "print(open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read()); os._exit(1)"
    agent = subprocess.run(
        [sys.executable, "-c", f"{ask}; {tell}"], capture_output=True, text=True, timeout=PATIENCE
    )
    worker = Path("/proc") / agent.stdout.strip()
    assert worker.name.isdigit()
    deadline = time.monotonic() + PATIENCE
    while worker.exists() and "(zombie)" not in (worker / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_installed_pyslurm_agrees_with_the_commands() -> None:
    try:
        installed = Binding(PATIENCE)
    except SlurmError as error:
        pytest.skip(error.message)
    with closing(installed):
        try:
            installed.jobs([1])
        except SlurmError as error:
            pytest.skip(error.message)
        agree(installed, Commands(PATIENCE), [1, 2, 3])


# The choice


def test_auto_takes_pyslurm_where_it_answers(
    slurm: Slurm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = connect("auto", PATIENCE)
    assert isinstance(client, Binding)
    client.close()
    assert caplog.messages == ["slurmctld is asked by pyslurm 25.11.2, which answers here"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("fatal", "the process that loads pyslurm ended"),
        ("down", "Unable to contact slurm controller"),
    ],
)
def test_auto_takes_the_commands_where_pyslurm_does_not_answer(
    slurm: Slurm, caplog: pytest.LogCaptureFixture, fault: str, why: str
) -> None:
    caplog.set_level(logging.INFO)
    slurm.fault(fault)
    assert isinstance(connect("auto", PATIENCE), Commands)
    assert why in caplog.text


def test_a_named_client_is_taken(slurm: Slurm) -> None:
    assert isinstance(connect("commands", PATIENCE), Commands)
    slurm.fault("down")  # slurmctld may start after the agents
    named = connect("pyslurm", PATIENCE)
    assert isinstance(named, Binding)
    named.close()
    slurm.fault("fatal")
    fails(lambda: connect("pyslurm", PATIENCE), PATIENCE)


def test_another_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="slurmrestd"):
        connect("slurmrestd", PATIENCE)
