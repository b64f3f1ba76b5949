"""Injects faults seed after seed and prints what was found; `ci/bench faults` runs it.

ci/bench faults              seeds 1 to 500
ci/bench faults --quick      seeds 1 to 5
ci/bench faults --seed N     one seed, as a run printed it; may be given again for more
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from benchmarks.cluster.faults.audit import Recovery, Verdict, percentile
from benchmarks.cluster.faults.drive import Stage
from benchmarks.cluster.faults.plan import KINDS, plan
from tests.support.containers import NotUp, with_programs

SEEDS, QUICK = 500, 5
#: Findings of one kind that are printed for a seed.
SHOWN = 5


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="ci/bench faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true")
    which.add_argument("--seed", type=int, action="append")
    arguments = parser.parse_args()
    last = QUICK if arguments.quick else SEEDS
    seeds = arguments.seed or range(1, last + 1)
    found: Counter[str] = Counter()
    recoveries: list[Recovery] = []
    try:
        with with_programs() as cluster, Stage(cluster) as stage:
            for seed in seeds:
                verdict = run(stage, seed)
                found += Counter({name: len(texts) for name, texts in verdict.findings.items()})
                recoveries += verdict.recoveries
    except NotUp as error:
        say(f"the cluster is not up: {error}")
        return 3
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    tell_recoveries(recoveries)
    for name in ("lost", "doubled", "leaked", "drained"):
        print(json.dumps({"name": f"faults.{name}", "value": found[name], "unit": "findings"}))
    agents = [recovery.seconds for recovery in recoveries if KINDS[recovery.kind].agent]
    p99 = round(percentile(agents, 0.99), 3) if agents else None
    print(json.dumps({"name": "faults.recovery_p99", "value": p99, "unit": "s"}), flush=True)
    return 1 if found.total() else 0


def run(stage: Stage, seed: int) -> Verdict:
    """Runs one seed and prints what came of it."""
    chosen = plan(seed)
    say(f"seed {seed}: {chosen}")
    began = time.monotonic()
    verdict = stage.run(chosen)
    seconds = time.monotonic() - began
    say(f"seed {seed}: {verdict} ({seconds:.1f} s)")
    for name, texts in verdict.findings.items():
        for text in texts[:SHOWN]:
            say(f"seed {seed}: {name}: {text}")
        if len(texts) > SHOWN:
            say(f"seed {seed}: {name}: … and {len(texts) - SHOWN} more")
    if not verdict.sound:
        say(f"seed {seed}: run it again with: ci/bench faults --seed {seed}")
    return verdict


def tell_recoveries(recoveries: list[Recovery]) -> None:
    """Prints how long recovery from each kind of fault took."""
    for kind in KINDS:
        seconds = [recovery.seconds for recovery in recoveries if recovery.kind == kind]
        if seconds:
            median, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
            say(
                f"recovery from {kind}: median {median:.2f} s, p99 {p99:.2f} s, "
                f"{len(seconds)} times"
            )


def say(text: str) -> None:
    print(f"faults: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
