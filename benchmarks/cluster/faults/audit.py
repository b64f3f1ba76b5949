"""Holds what ranks wrote against what was charged: pure, on values."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

from benchmarks.cluster.faults.plan import KINDS

#: What sinfo says of a node to which Slurm gives no jobs; a sign after it says, for one, that the
#: node does not answer.
_OUT_OF_SERVICE = re.compile(r"\S+ is (drain(ed|ing)?|down|fail(ing)?)[*~#!%$@^-]?")


class Answer(NamedTuple):
    """A result as a rank got it: ``at`` seconds since the epoch."""

    number: int
    task: str
    qpu_time_ns: int
    at: float
    right: bool


class Charge(NamedTuple):
    """A row of the QPU agent's journal."""

    task: str
    job: int
    qpu_time_ns: int
    at: float


@dataclass(frozen=True)
class Rank:
    """What one rank wrote.

    Attributes:
        refused: tasks that ended with an error. ended: the last line, None if it was killed.
    """

    job: int
    rank: int
    node: str
    pid: int
    answers: tuple[Answer, ...] = ()
    refused: tuple[Mapping[str, Any], ...] = ()
    ended: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"rank {self.rank} of job {self.job} on {self.node}"

    @property
    def session(self) -> str | None:
        """With what all its task ids begin."""
        known = [answer.task for answer in self.answers]
        known += [line["task"] for line in self.refused]
        return known[0][:16] if known else None


def parse(job: int, rank: int, text: str) -> Rank | None:
    """Reads a rank's file; None if it has not begun. A last line cut short counts for nothing."""
    answers: list[Answer] = []
    events: dict[str, list[dict[str, Any]]] = {}
    for line in text[: text.rfind("\n") + 1].splitlines():
        value = json.loads(line)
        if isinstance(value, list):
            answers.append(Answer(*value))
        else:
            events.setdefault(value["event"], []).append(value)
    if "began" not in events:
        return None
    (began,) = events["began"]
    ends = [line for name in ("done", "failed", "broke") for line in events.get(name, [])]
    return Rank(
        job,
        rank,
        began["node"],
        began["pid"],
        tuple(answers),
        tuple(events.get("refused", [])),
        ends[-1] if ends else None,
    )


class Fault(NamedTuple):
    """A fault as it happened: ``ended`` is when its cause was gone, seconds since the epoch."""

    kind: str
    target: str
    began: float
    ended: float


class Recovery(NamedTuple):
    """Seconds from the end of a fault to a rank's first new result."""

    kind: str
    seconds: float


@dataclass
class Verdict:
    """What was found wrong, in words, and how long recovery took."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    results: int = 0

    def note_left(self, texts: Iterable[str]) -> None:
        """Notes what is left of jobs, in words; a node that is out of service is not left but lost.

        Of a node they are "NAME is STATE", as sinfo words it.
        """
        for text in texts:
            out_of_service = _OUT_OF_SERVICE.fullmatch(text)
            (self.drained if out_of_service else self.leaked).append(text)

    @property
    def findings(self) -> dict[str, list[str]]:
        found = {
            "lost": self.lost,
            "doubled": self.doubled,
            "leaked": self.leaked,
            "drained": self.drained,
        }
        return {name: texts for name, texts in found.items() if texts}

    @property
    def sound(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        counts = [f"{self.results} results"]
        counts += [f"{len(texts)} {name}" for name, texts in self.findings.items()]
        slowest = max(self.recoveries, key=lambda recovery: recovery.seconds, default=None)
        if slowest is not None:
            counts.append(f"{slowest.seconds:.2f} s to recover from {slowest.kind}")
        return ", ".join(counts)


def audit(
    ranks: Sequence[Rank],
    killed: Iterable[int],
    charges: Sequence[Charge],
    faults: Sequence[Fault],
) -> Verdict:
    """Finds what was lost or doubled.

    Args:
        killed: jobs that a fault was meant to kill.
        charges: of these ranks' jobs, all.
    """
    verdict = Verdict(results=sum(len(rank.answers) for rank in ranks))
    killed = set(killed)
    _audit_charges(ranks, charges, verdict)
    by_session: dict[str | None, list[Charge]] = {}
    for charge in charges:
        by_session.setdefault(charge.task[:16], []).append(charge)
    for rank in ranks:
        charged = {charge.task: charge for charge in by_session.get(rank.session, [])}
        _audit_answers(rank, charged, verdict)
        if rank.job in killed:
            _audit_killed(rank, verdict)
        else:
            _audit_survivor(rank, charged, verdict)
    survivors = [rank for rank in ranks if rank.job not in killed]
    instants = {charge.task: charge.at for charge in charges}
    verdict.recoveries = list(recoveries(survivors, instants, faults))
    return verdict


def _audit_charges(ranks: Sequence[Rank], charges: Sequence[Charge], verdict: Verdict) -> None:
    for task, times in Counter(charge.task for charge in charges).items():
        if times > 1:
            verdict.doubled.append(f"task {task} is charged {times} times")
    sessions = {(rank.job, rank.session) for rank in ranks}
    jobs_with_silent_ranks = {rank.job for rank in ranks if rank.session is None}
    for charge in charges:
        known = (charge.job, charge.task[:16]) in sessions
        if not known and charge.job not in jobs_with_silent_ranks:
            verdict.doubled.append(
                f"task {charge.task} is charged to job {charge.job}, not its own"
            )


def _audit_answers(rank: Rank, charged: Mapping[str, Charge], verdict: Verdict) -> None:
    """What holds for every result, whatever happened to its rank afterwards."""
    for number, times in Counter(answer.number for answer in rank.answers).items():
        if times > 1:
            verdict.doubled.append(f"{rank} got {times} results of its task {number}")
    for answer in rank.answers:
        charge = charged.get(answer.task)
        if not answer.right:
            verdict.lost.append(f"{rank} got a wrong result of its task {answer.number}")
        if charge is None:
            verdict.lost.append(f"{rank} got task {answer.number}, which is not charged")
        elif charge.qpu_time_ns != answer.qpu_time_ns:
            verdict.doubled.append(
                f"{rank}: task {answer.number} is charged {charge.qpu_time_ns} ns and said "
                f"{answer.qpu_time_ns} ns"
            )


def _audit_killed(rank: Rank, verdict: Verdict) -> None:
    """A rank of a killed job was killed with it, or ended with a typed error."""
    if rank.ended is not None and rank.ended["event"] == "broke":
        verdict.lost.append(f"{rank}, whose job was killed, got no typed error: {rank.ended}")


def _audit_survivor(rank: Rank, charged: Mapping[str, Charge], verdict: Verdict) -> None:
    """A surviving rank has every result; it was charged for those and for nothing else."""
    for line in rank.refused:
        verdict.lost.append(f"{rank}: task {line['number']} ended with {line['text']}")
    if rank.ended is None or rank.ended["event"] != "done":
        what = rank.ended or "nothing: it was killed, or waited for ever"
        verdict.lost.append(f"{rank} should have survived; its last word: {what}")
        return
    had = {answer.number for answer in rank.answers}
    for number in range(rank.ended["sent"]):
        if number not in had:
            verdict.lost.append(f"{rank} has no result of its task {number}")
    for task in charged.keys() - {answer.task for answer in rank.answers}:
        verdict.doubled.append(f"{rank}: task {task} is charged and was not delivered")


def recoveries(
    ranks: Sequence[Rank], charged_at: Mapping[str, float], faults: Sequence[Fault]
) -> Iterator[Recovery]:
    """For each fault and each rank that it hit, the time to the first new result.

    A result is new if its task was charged after the fault had ended: what was still on its way
    does not count. Where another fault hits a rank before it had any, that one alone is counted.
    """
    for rank in ranks:
        hits = [fault for fault in faults if KINDS[fault.kind].hits(fault.target, rank.node)]
        for fault, following in zip_longest(hits, hits[1:]):
            news = (
                answer.at
                for answer in rank.answers
                if charged_at.get(answer.task, 0.0) > fault.ended and answer.at > fault.ended
            )
            first = min(news, default=None)
            if first is not None and (following is None or first < following.began):
                yield Recovery(fault.kind, first - fault.ended)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
