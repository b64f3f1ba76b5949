"""Our emulator beside its peers: a JSON object a line, and a table at the end; see ci/bench."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.emulator import peers, report
from benchmarks.emulator.bandwidth import sweep_bandwidth
from benchmarks.emulator.engine import Kind
from benchmarks.emulator.measure import Memory, measure
from benchmarks.emulator.report import Case
from benchmarks.emulator.workers import Failed, Refused, Worker
from benchmarks.emulator.workloads import WORKLOADS

#: Seconds for everything, rounds of turns at most, and which peers.
_FULL = (2250.0, 7, peers.ALL)
_QUICK = (265.0, 3, peers.STRONGEST)
#: Sizes, qubits, beyond this one run with the most threads alone.
_LARGE = 24
#: States that must fit into free memory: a peer may hold several.
_STATES = 4

Measured = tuple[Case, dict[str, Any]]


def main() -> int:
    options = _options()
    cases = _cases(options)
    measured: list[Measured] = []
    try:
        seconds, turns, names = _QUICK if options.quick else _FULL
        if options.minutes is not None:
            seconds = 60.0 * options.minutes
        for case, made in _measure(cases, seconds, turns, names):
            measured.append((case, made))
            print(json.dumps(made), flush=True)
    except KeyboardInterrupt:
        return 130
    summary = report.means(measured)
    for made in summary:
        print(json.dumps(made), flush=True)
    text = report.table(measured, summary)
    print(text, file=sys.stderr)
    if options.table is not None:
        options.table.write_text(text + "\n")
    return int(any("error" in made for _, made in measured))


def _measure(
    cases: Sequence[Case], seconds: float, turns: int, names: Sequence[str]
) -> Iterator[Measured]:
    """The cases' lines. Those of one precision and number of threads share their workers.

    What time is left is shared out by the cases' weights, so that what one does not use is the
    others'.
    """
    end = time.monotonic() + seconds
    weights = list(itertools.accumulate(map(_weight, reversed(cases))))
    groups = itertools.groupby(cases, key=lambda case: (case.precision, case.threads))
    for (precision, threads), group in groups:
        bandwidth = sweep_bandwidth(threads)
        _say(f"{precision} precision, threads: {threads}, sweeps at {bandwidth * 1e-9:.1f} GB/s")
        memory = Memory()
        with ExitStack() as stack:
            ours, *rivals = (
                stack.enter_context(Worker(name, precision, threads)) for name in ("ours", *names)
            )
            for worker in (ours, *rivals):  # they load side by side, but none while one measures
                worker.wait()
            for case in group:
                task = WORKLOADS[case.workload].make(case.qubits)
                budget = (end - time.monotonic()) * _weight(case) / weights.pop()
                made: dict[str, Any] = {"name": case.name, "value": None, "unit": "s"}
                if budget <= 0:
                    made["unsupported"] = "no time was left"
                elif task.kind is not Kind.CLIFFORD and _STATES * _state(case) > _free_memory():
                    made["unsupported"] = "not enough memory is free"
                else:
                    try:
                        outcome = measure(
                            *(case.workload, task, precision, ours, rivals, memory),
                            budget=budget,
                            turns=turns,
                        )
                        made = report.line(case, task, outcome, bandwidth)
                    except Failed as error:
                        made["error"] = str(error)
                    except Refused as error:
                        made["unsupported"] = str(error)
                yield case, made


def _options() -> argparse.Namespace:
    def listed(kind: Callable[[str], Any], known: Sequence[Any] = ()) -> Callable[[str], list[Any]]:
        def read(text: str) -> list[Any]:
            values = [kind(item) for item in text.split(",")]
            unknown = [value for value in values if known and value not in known]
            if unknown:
                raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
            return values

        return read

    parser = argparse.ArgumentParser("ci/bench emulator", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="strongest peers, within 5 minutes")
    parser.add_argument("--minutes", type=float, metavar="N", help="to be shared out by the cases")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--only", type=listed(str, list(WORKLOADS)), metavar="WORKLOAD,…")
    parser.add_argument("--qubits", type=listed(int), metavar="N,…", help="instead of the usual")
    parser.add_argument(
        "--precision", type=listed(str, ("double", "single")), default=["double", "single"]
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=listed(int), default=sorted({min(2, cores), 1})[::-1])
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> list[Case]:
    """The cases in the order of their measuring; within a group the small ones come first."""
    cases = []
    for threads, precision in itertools.product(options.threads, options.precision):
        group = []
        for name in options.only or WORKLOADS:
            workload = WORKLOADS[name]
            if workload.exact and precision != "double":
                continue
            usual = workload.quick if options.quick else workload.full
            sizes = options.qubits or [
                size
                for size in usual
                if workload.exact or size <= _LARGE or threads == max(options.threads)
            ]
            group += [Case(name, size, precision, threads) for size in sizes]
        cases += sorted(group, key=lambda case: case.qubits)
    return cases


def _weight(case: Case) -> float:
    """A case's share of the time: trials take theirs, and states double with each qubit."""
    workload = WORKLOADS[case.workload]
    return workload.weight * (2.0 if workload.exact else 2.0 + 2.0 ** (case.qubits - 20))


def _state(case: Case) -> int:
    return report.state_bytes(case.qubits, case.precision)


def _free_memory() -> int:
    """Bytes that the machine can give without swapping."""
    with open("/proc/meminfo") as figures:
        available = next(line for line in figures if line.startswith("MemAvailable"))
    return int(available.split()[1]) * 1024


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
