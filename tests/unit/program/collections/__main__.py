"""Reads whole collections and says what came of it; ``ci/collections`` calls it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import qiskit.qasm2

from openqse.errors import OpenQSEError
from openqse.program.openqasm import loads

from . import library
from .compare import EXPORTERS, Verdict, judged, judged_text
from .files import texts


def _qiskit(sizes: range) -> Iterator[Verdict]:
    for name, circuit in library.circuits(sizes):
        for exporter in EXPORTERS:
            yield judged(f"{name} {exporter}", circuit, exporter)


def _mqt(sizes: range) -> Iterator[Verdict]:
    from . import mqt

    for name, circuit in mqt.circuits(sizes):
        for exporter in EXPORTERS:
            yield judged(f"{name} {exporter}", circuit, exporter)


def _qasmbench(repository: Path) -> Iterator[Verdict]:
    for folder in ("small", "medium"):
        for path, text in texts(repository, folder):
            try:
                circuit = qiskit.qasm2.loads(
                    text, custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS
                )
            except Exception as error:
                yield _read(path, text, f"Qiskit does not read it: {error}"[:160])
                continue
            if any(item.operation.name == "if_else" for item in circuit.data):
                circuit.name = "dynamic"
            yield judged_text(path, text, circuit)


def _specification(repository: Path) -> Iterator[Verdict]:
    for path, text in texts(repository, "examples"):
        yield _read(path, text, "")


def _read(name: str, text: str, why: str) -> Verdict:
    try:
        loads(text, name)
    except OpenQSEError as error:
        return Verdict(name, "refused", f"{error.message} {why}", text)
    except Exception as error:
        return Verdict(name, "wrong", f"crash: {type(error).__name__}: {error}", text)
    return Verdict(name, "read", why)


def _until_stopped(verdicts: Iterator[Verdict]) -> Iterator[Verdict]:
    """Ends at a signal, so that what was read until then is told."""
    try:
        yield from verdicts
    except KeyboardInterrupt:
        print("collections: stopped before the end", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=(3, 12), metavar=("LEAST", "MOST"))
    parser.add_argument("--qasmbench", type=Path, help="a clone of pnnl/QASMBench")
    parser.add_argument("--specification", type=Path, help="a clone of openqasm/openqasm")
    parser.add_argument("--only", help="one collection: qiskit, mqt, qasmbench, specification")
    parser.add_argument("--failures", type=Path, help="folder for the texts that fail")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sizes = range(given.sizes[0], given.sizes[1] + 1)
    collections = {"qiskit": _qiskit(sizes), "mqt": _mqt(sizes)}
    if given.qasmbench:
        collections["qasmbench"] = _qasmbench(given.qasmbench)
    if given.specification:
        collections["specification"] = _specification(given.specification)
    wrong = 0
    for title, verdicts in collections.items():
        if given.only not in (None, title):
            continue
        began, counts = time.monotonic(), Counter[str]()
        for verdict in _until_stopped(verdicts):
            counts[verdict.what] += 1
            if verdict.what in ("wrong", "refused"):
                print(f"{title}: {verdict.name}: {verdict.what}: {verdict.why}", file=sys.stderr)
                if given.failures:
                    given.failures.mkdir(parents=True, exist_ok=True)
                    file = verdict.name.replace("/", "_").replace(" ", "_")
                    (given.failures / f"{title}_{file}.qasm").write_text(verdict.text)
        wrong += counts["wrong"]
        line = {"collection": title, **counts, "seconds": round(time.monotonic() - began)}
        print(json.dumps(line), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
