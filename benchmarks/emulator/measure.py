"""One case: settings tried, engines in turn, results held against each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.emulator.engine import Kind, Setting, Task
from benchmarks.emulator.workers import Failed, Refused, Runs, TooSlow, Worker

#: A peer that takes longer than this many times ours is not asked again.
_HOPELESS = 20.0
#: A peer that takes longer than this many times the best one cannot become the best.
_BEATEN = 2.0
#: Numbers of qubits from which on what was found at one size is taken to hold for larger ones.
_SETTLED = 20
#: Seconds between two engines' turns: threads of the one before stop spinning.
_SETTLE = 0.01
#: Seconds of an engine's turn, at least.
_TURN = 0.05
#: Rounds of turns that there are whatever the budget, if one takes no more than so many seconds: no
#: single one, which something may have disturbed, is to decide.
_LEAST_TURNS, _LEAST_SECONDS = 3, 2.0
#: Relative errors that engines may differ by.
_TOLERANCE = {"double": 1e-8, "single": 2e-4}


@dataclass
class Timing:
    """An engine's runs of a case by one setting.

    Attributes:
        laps: the seconds of each phase, for each run.
        peak_bytes: of memory, the most of any run.
    """

    engine: str
    setting: Setting
    laps: list[dict[str, float]]
    peak_bytes: int

    @property
    def label(self) -> str:
        return " ".join([self.engine, *(f"{key}={value}" for key, value in self.setting.items())])

    @property
    def seconds(self) -> float:
        """The median of the whole."""
        return statistics.median(sum(phases.values()) for phases in self.laps)

    @property
    def parts(self) -> dict[str, float]:
        """The medians of the phases."""
        phases = self.laps[0]
        return {name: statistics.median(lap[name] for lap in self.laps) for name in phases}

    def add(self, runs: Runs) -> None:
        self.laps += runs.laps
        self.peak_bytes = max(self.peak_bytes, runs.peak_bytes)


@dataclass
class Memory:
    """What the cases so far have taught, for larger ones of the same workload.

    Attributes:
        settings: the best setting of a peer for a workload.
        hopeless: why a peer is not asked about a workload any more.
    """

    settings: dict[tuple[str, str], Setting] = field(default_factory=dict)
    hopeless: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class Outcome:
    """Of a case.

    Attributes:
        ours: our timing.
        peers: theirs, the best first, of those that agree with us.
        skipped: by peer, why there is none or just a trial.
        disagreements: by peer, how its result differs from ours.
    """

    ours: Timing
    peers: list[Timing]
    skipped: dict[str, str]
    disagreements: dict[str, str]


def measure(
    workload: str,
    task: Task,
    precision: str,
    ours: Worker,
    peers: Sequence[Worker],
    memory: Memory,
    *,
    budget: float,
    turns: int,
) -> Outcome:
    """Measures a task by our engine and its peers.

    Each peer's settings are tried once; then those engines that may be the best, and ours, run in
    turn, so that all of them see the same machine.

    Args:
        budget: seconds after which neither another trial nor another round of turns begins.
        turns: rounds at most.

    Raises:
        Refused: our engine cannot do it, or failed.
    """
    end = time.monotonic() + budget
    (setting,) = ours.begin(task)
    first = ours.run(setting, _burst(budget), 60 + 5 * budget, probe=True)
    assert first.probe is not None
    us = Timing("ours", setting, first.laps, first.peak_bytes)
    contest = _Contest(workload, task, precision, us, first.probe, memory, budget)
    for peer in peers:
        if contest.tried and time.monotonic() > end:
            contest.skipped[peer.name] = "no time was left"
        else:
            contest.try_out(peer)
    best = min((timing.seconds for timing in contest.tried.values()), default=0.0)
    racing = {
        name: timing
        for name, timing in contest.tried.items()
        if timing.seconds < _BEATEN * best and name not in contest.skipped
    }
    _take_turns(ours, us, [peer for peer in peers if peer.name in racing], racing, end, turns)
    ranked = sorted(contest.tried.values(), key=lambda timing: timing.seconds)
    return Outcome(us, ranked, contest.skipped, contest.disagreements)


class _Contest:
    """The trials of the peers."""

    def __init__(
        self,
        workload: str,
        task: Task,
        precision: str,
        ours: Timing,
        expected: NDArray[np.complex128],
        memory: Memory,
        budget: float,
    ) -> None:
        self._workload = workload
        self._task = task
        self._precision = precision
        self._quickest = min(sum(phases.values()) for phases in ours.laps)
        self._expected = expected
        self._memory = memory
        self._budget = budget
        self.tried: dict[str, Timing] = {}
        self.skipped: dict[str, str] = {}
        self.disagreements: dict[str, str] = {}

    def try_out(self, peer: Worker) -> None:
        """Tries a peer's settings and keeps the best, unless its result is wrong."""
        key = peer.name, self._workload
        settled = self._task.num_qubits >= _SETTLED and self._task.kind is Kind.STATE
        if settled and key in self._memory.hopeless:
            self.skipped[peer.name] = self._memory.hopeless[key]
            return
        try:
            settings = peer.begin(self._task)
            if self._task.num_qubits > _SETTLED and key in self._memory.settings:
                settings = [self._memory.settings[key]]
            timing = self._best(peer, settings)
        except TooSlow as error:
            self.skipped[peer.name] = str(error)
            if settled:
                self._memory.hopeless[key] = f"{error} with {self._task.num_qubits} qubits"
            return
        except Failed as error:
            self.skipped[peer.name] = f"failed: {error}"
            return
        except Refused as error:
            self.skipped[peer.name] = str(error)
            return
        if timing is None:
            return
        self.tried[peer.name] = timing
        self._memory.settings[key] = timing.setting
        factor = timing.seconds / self._quickest
        if factor > _HOPELESS:
            self.skipped[peer.name] = f"one trial: {factor:.0f} times ours"
            if settled:
                text = f"{factor:.0f} times ours with {self._task.num_qubits} qubits"
                self._memory.hopeless[key] = text

    def _best(self, peer: Worker, settings: Sequence[Setting]) -> Timing | None:
        """The quickest trial; nothing if a result is wrong."""
        best: Timing | None = None
        limit = min(10 + _HOPELESS * self._quickest, max(5.0, 2 * self._budget))
        for setting in settings:
            runs = peer.run(setting, _burst(self._budget), limit, probe=True)
            assert runs.probe is not None
            wrong = disagreement(self._task, self._precision, self._expected, runs.probe)
            if wrong is not None:
                label = Timing(peer.name, setting, [], 0).label
                self.disagreements[label] = wrong
                return None
            quickest = min(runs.laps, key=lambda phases: sum(phases.values()))
            timing = Timing(peer.name, setting, [quickest], runs.peak_bytes)
            if best is None or timing.seconds < best.seconds:
                best = timing
            if best.seconds > _HOPELESS * self._quickest:
                break
        return best


def _take_turns(
    ours: Worker,
    us: Timing,
    peers: Sequence[Worker],
    racing: Mapping[str, Timing],
    end: float,
    turns: int,
) -> None:
    """Lets ours and the peers run in turn; what was measured in trials is replaced."""
    rivals = [(ours, us), *((peer, racing[peer.name]) for peer in peers)]
    for turn in range(turns):
        left = end - time.monotonic()
        took = sum(max(_TURN, timing.seconds) for _, timing in rivals)
        if took > left and (turn >= _LEAST_TURNS or took > _LEAST_SECONDS):
            break
        for worker, timing in list(rivals):
            time.sleep(_SETTLE)
            try:
                runs = worker.run(timing.setting, _TURN, 60 + 5 * timing.seconds)
            except Failed:
                if worker is ours:
                    raise
                rivals.remove((worker, timing))  # its trial stands
                continue
            if turn == 0:
                timing.laps.clear()
            timing.add(runs)


def _burst(budget: float) -> float:
    """Seconds of runs in a row in a trial."""
    return min(0.05, budget / 50)


def disagreement(
    task: Task, precision: str, ours: NDArray[np.complex128], theirs: NDArray[np.complex128]
) -> str | None:
    """How two engines' probes differ, if by more than rounding or the luck of sampling allow."""
    if ours.shape != theirs.shape:
        return f"{theirs.size} numbers where ours are {ours.size}"
    if task.kind is Kind.STATE:
        # A global phase is nobody's to choose; a typical amplitude is 2^(-n/2).
        overlap = np.vdot(theirs, ours)
        phase = overlap / abs(overlap) if overlap else 1.0
        error = float(np.linalg.norm(ours - phase * theirs))
        scale = float(np.linalg.norm(ours)) + (len(ours) / 2**task.num_qubits) ** 0.5
        allowed = _TOLERANCE[precision]
    elif task.observable is not None:
        error = float(np.abs(ours - theirs).max())
        scale = float(np.abs(task.observable.coefficients).sum())
        allowed = _TOLERANCE[precision]
    else:
        # Two frequencies of as many shots differ by their deviations; six of these are allowed.
        error, scale = float(np.abs(ours - theirs).max()), 1.0
        allowed = 6 * (0.5 / task.shots) ** 0.5
    relative = error / scale
    return None if relative <= allowed else f"differs by {relative:.2g}, allowed {allowed:.2g}"
