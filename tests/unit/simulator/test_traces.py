"""Traces as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from openqse.errors import ConfigurationError
from openqse_simulator import sources, traces
from openqse_simulator.scenarios import SCENARIOS
from openqse_simulator.site import simulate
from openqse_simulator.traces import Trace


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    trace = SCENARIOS[name](500, np.random.default_rng(3))
    traces.save(trace, tmp_path / "trace")
    read = sources.load(tmp_path / "trace")
    assert (read.site, read.shares, read.tasks) == (trace.site, trace.shares, trace.tasks)
    assert simulate(read, "fair").figures() == simulate(trace, "fair").figures()


def written(path: Path, *lines: object) -> Trace:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return sources.load(path)


SITE = {"site": {"nodes": 2, "qpus": 1, "slots": 4}, "shares": {"chem": 3}}
JOB = {"job": "1", "account": "chem", "user": "alice", "submitted": 1.5}


def test_what_has_a_default_may_be_left_out(tmp_path: Path) -> None:
    trace = written(
        tmp_path / "trace", SITE, JOB | {"account": "other"}, {"job": "1", "seconds": 0.5}
    )
    (job,) = trace.jobs
    assert trace.shares == {"chem": 3, "other": 1}
    assert (job.nodes, job.slots, job.qpu, job.exclusive) == (1, 1, None, False)
    assert job.sessions[0].seconds.tolist() == [0.5]
    assert job.sessions[0].think.tolist() == [0.0]


def test_sessions_and_times_are_told_apart(tmp_path: Path) -> None:
    trace = written(
        tmp_path / "trace",
        SITE,
        JOB,
        {"job": "1", "session": "a", "seconds": 1, "at": 3},
        {"job": "1", "session": "b", "seconds": 2, "think": 4, "interactive": True, "window": 5},
        {"job": "1", "session": "a", "seconds": 3, "at": 9},
    )
    a, b = trace.jobs[0].sessions
    assert (a.timed, a.seconds.tolist(), a.think.tolist()) == (True, [1, 3], [3, 9])
    assert (b.timed, b.window, b.interactive.tolist()) == (False, 5, [True])


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["nonsense"],
        [{"site": {"moons": 1}, "shares": {}}],
        [SITE, {"job": "1", "seconds": 1}],
        [SITE, JOB | {"nodes": 3}],
        [SITE, JOB | {"colour": "red"}],
        [SITE, JOB, {"job": "1", "seconds": 1}, {"job": "1", "seconds": 1, "at": 2}],
    ],
)
def test_what_is_no_trace_is_refused(lines: list[object], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no trace"):
        written(tmp_path / "trace", *lines)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no trace"):
        sources.load(tmp_path / "nothing")
