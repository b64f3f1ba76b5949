"""What every test in the cluster has: the cluster, its own jobs, and proof that nothing is left."""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator, Iterator

import pytest

from tests.support.accounting import UsageBefore, raw_usage
from tests.support.containers import Cluster, NotUp, until, with_programs
from tests.support.jobs import Jobs

#: Seconds within which everything of an ended job is gone.
GONE = 15.0


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The running cluster, free of other jobs."""
    try:
        with with_programs() as running:
            _wait_free(running, 60, "before the tests: the cluster is used by others, or")
            yield running
    except NotUp as error:
        pytest.exit(f"the cluster is not up: {error}", returncode=3)


@pytest.fixture(scope="session", autouse=True)
def usage_before(cluster: Cluster) -> UsageBefore:
    return UsageBefore(raw_usage(cluster), cluster.check("date +%FT%T").out.strip())


@pytest.fixture(autouse=True)
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """After each test: no job, lease, license, job directory or process; all nodes idle."""
    yield
    _wait_free(cluster, GONE, "after the test")


def _wait_free(cluster: Cluster, deadline: float, when: str) -> None:
    found: list[str] = []

    def free() -> bool:
        found[:] = cluster.left_behind()
        return not found

    try:
        until(free, deadline, when)
    except AssertionError:
        pytest.fail(f"{when} there is left after {deadline:g} s:\n" + "\n".join(found))


@pytest.fixture
def jobs(cluster: Cluster, nothing_left: None, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """Submits jobs under a name of the test's own; those that are left are cancelled."""
    stem = re.sub(r"\W+", "-", request.node.name)[:40].strip("-")
    mine = Jobs(cluster, f"{stem}-{secrets.token_hex(3)}")
    yield mine
    mine.cancel()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the ends of all services' logs with a failure."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and cluster is not None:
        report.sections.append(("logs of the cluster", cluster.logs()))
    return report
