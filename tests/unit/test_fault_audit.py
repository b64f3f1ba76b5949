"""What the audit of a seed finds, and what it rightly does not mind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.cluster.faults.audit import (
    Answer,
    Charge,
    Fault,
    Rank,
    Recovery,
    Verdict,
    audit,
    parse,
    percentile,
)
from benchmarks.cluster.faults.census import Held, grown

JOB, SESSION = 7, "00112233aabbccdd"


def task(number: int) -> str:
    return f"{SESSION}{number + 1:016x}"


def answer(number: int, at: float = 1.0) -> Answer:
    return Answer(number, task(number), 500, at, True)


def charge(number: int, at: float = 1.0) -> Charge:
    return Charge(task(number), JOB, 500, at)


RANK = Rank(JOB, 0, "c1", 42, (answer(0), answer(1), answer(2)), (), {"event": "done", "sent": 3})
WRONG = answer(2)._replace(right=False)
CHARGES = [charge(0), charge(1), charge(2)]
REFUSED = {"event": "refused", "number": 3, "task": task(3), "code": "device", "text": "disk full"}


def findings(rank: Rank, charges: list[Charge], killed: bool = False) -> set[str]:
    verdict = audit([rank], [JOB] if killed else [], charges, [])
    return set(verdict.findings)


def test_a_rank_with_all_its_results_is_sound() -> None:
    verdict = audit([RANK], [], CHARGES, [])
    assert verdict.sound
    assert verdict.results == 3


@pytest.mark.parametrize(
    ("rank", "charges", "found"),
    [
        (replace(RANK, answers=RANK.answers[:2]), CHARGES[:2], {"lost"}),  # no third result
        (RANK, CHARGES[:2], {"lost"}),  # a result that nobody was charged for
        (replace(RANK, ended=None), CHARGES, {"lost"}),  # waits for ever
        (replace(RANK, ended={"event": "failed", "code": "no-lease"}), CHARGES, {"lost"}),
        (replace(RANK, answers=(*RANK.answers[:2], WRONG)), CHARGES, {"lost"}),
        (replace(RANK, answers=(*RANK.answers, answer(2))), CHARGES, {"doubled"}),
        (RANK, [*CHARGES, charge(2)], {"doubled"}),  # charged twice
        (RANK, [*CHARGES, charge(3)], {"doubled"}),  # charged and not delivered
        (RANK, [*CHARGES[:2], charge(2)._replace(qpu_time_ns=501)], {"doubled"}),
        (RANK, [*CHARGES[:2], charge(2)._replace(job=8)], {"doubled"}),  # somebody else's
        (replace(RANK, refused=(REFUSED,)), CHARGES, {"lost"}),
    ],
)
def test_what_is_wrong_is_found(rank: Rank, charges: list[Charge], found: set[str]) -> None:
    assert findings(rank, charges) == found


@pytest.mark.parametrize(
    "state", ["drained", "draining", "drained*", "down", "down*", "fail", "failing", "down$"]
)
def test_a_node_that_is_out_of_service_is_found(state: str) -> None:
    verdict = Verdict()
    verdict.note_left([f"c1 is {state}"])
    assert verdict.findings == {"drained": [f"c1 is {state}"]}
    assert not verdict.sound


@pytest.mark.parametrize(
    "left",
    [
        "c1 is allocated",
        "c1 is completing",
        "job 7 of alice is RUNNING",
        "lease: emu0  7  alice",
        "LicenseName=qpu_emu0 Total=4 Used=1 Free=3 Reserved=0 Remote=no",
        "c1 has /run/openqse/job-7",
        "c1 runs 4711 python drained.py",
        "cannot say: sinfo: error: slurmctld is down",
    ],
)
def test_what_is_left_of_a_job_is_found(left: str) -> None:
    verdict = Verdict()
    verdict.note_left([left])
    assert verdict.findings == {"leaked": [left]}


CALM = Held(descriptors=20, threads=5, sockets=1, files=3)


@pytest.mark.parametrize("what", ["descriptors", "threads", "sockets", "files"])
@pytest.mark.parametrize("agent", ["node-agent on c1", "qpu-agent-emu0 on qpu"])
def test_an_agent_that_holds_more_than_before_is_found(agent: str, what: str) -> None:
    more = replace(CALM, **{what: getattr(CALM, what) + 5})
    (found,) = grown({agent: CALM}, {agent: more})
    assert found.startswith(f"{agent} holds ")
    assert grown({agent: more}, {agent: CALM}) == []  # fewer is no leak


def test_an_agent_that_is_gone_is_found() -> None:
    assert grown({"node-agent on c1": CALM}, {}) == ["node-agent on c1 does not run"]


def test_threads_that_ask_slurmctld_are_no_leak() -> None:
    agent, asked = "qpu-agent-emu0 on qpu", replace(CALM, threads=CALM.threads + 4)
    assert grown({agent: CALM}, {agent: asked}) == []
    assert grown({"node-agent on c1": CALM}, {"node-agent on c1": asked}) != []


def test_a_killed_rank_may_miss_results_and_be_charged_for_them() -> None:
    killed = replace(RANK, answers=RANK.answers[:1], ended=None)
    assert findings(killed, CHARGES, True) == set()


def test_a_killed_rank_still_pays_for_what_it_got() -> None:
    assert findings(replace(RANK, ended=None), CHARGES[:2], True) == {"lost"}


def test_a_rank_of_a_killed_job_ends_with_a_typed_error() -> None:
    typed = replace(RANK, ended={"event": "failed", "code": "no-lease"})
    untyped = replace(RANK, ended={"event": "broke", "text": "KeyError()"})
    assert findings(typed, CHARGES, True) == set()
    assert findings(untyped, CHARGES, True) == {"lost"}


def test_recovery_ends_with_the_first_result_charged_after_the_fault() -> None:
    killed = Fault("qpu-agent", "emu0", 10.0, 10.0)
    on_its_way, new = answer(1, at=10.1), answer(2, at=12.5)
    rank = replace(RANK, answers=(answer(0), on_its_way, new))
    charges = [charge(0), charge(1, at=9.9), charge(2, at=12.4)]
    assert audit([rank], [], charges, [killed]).recoveries == [Recovery("qpu-agent", 2.5)]


def test_a_fault_that_another_overtakes_is_not_timed() -> None:
    faults = [Fault("cut", "c1", 9.0, 10.0), Fault("node-agent", "c1", 11.0, 11.0)]
    rank = replace(RANK, answers=(answer(0, at=12.5), answer(1, at=13.0), answer(2, at=14.0)))
    charges = [charge(0, at=12.0), charge(1, at=12.9), charge(2, at=13.9)]
    assert audit([rank], [], charges, faults).recoveries == [Recovery("node-agent", 1.5)]
    elsewhere = [faults[0], faults[1]._replace(target="c2")]
    assert audit([rank], [], charges, elsewhere).recoveries == [Recovery("cut", 2.5)]


def test_a_line_cut_short_by_a_kill_counts_for_nothing() -> None:
    began = json.dumps({"event": "began", "node": "c1", "pid": 42}) + "\n"
    whole = json.dumps(list(answer(0))) + "\n"
    assert parse(JOB, 0, began + whole + whole[:20]) == replace(
        RANK, answers=(answer(0),), ended=None
    )
    assert parse(JOB, 0, began[:10]) is None


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile([1.0], 0.99) == 1.0
