"""What a QPU agent tells of its queue and of the shares in it, as rows of its reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice

from openqse.wire.messages import Latency
from openqse.wire.reports import QueueRow, ShareRow
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.task import Task


def queue_rows(
    qpu: str, executor: Executor, parked: Sequence[Task], limit: int, now: float
) -> list[QueueRow]:
    """The task that runs, those that wait in the order in which they are to start, and those whose
    sessions have to take results first.

    Args:
        parked: the last of these.
        limit: most rows. now: monotonic seconds.
    """
    rows = [_row(qpu, executor, task, "running", now) for task in executor.running]
    elapsed = executor.expected_to_run()
    listed = set()
    forecast = islice(executor.forecast(), limit - len(rows))
    for position, (task, start) in enumerate(forecast, 1):
        row = _row(qpu, executor, task, "waiting", now)
        rows.append(replace(row, position=position, start_s=elapsed + start))
        listed.add(task.id)
    if len(rows) < limit:  # what comes later than a forecast looks
        later = (task for task in executor.waiting() if task.id not in listed)
        rows += [_row(qpu, executor, task, "waiting", now) for task in later]
    rows += [_row(qpu, executor, task, "parked", now) for task in parked]
    return rows[:limit]


def _row(qpu: str, executor: Executor, task: Task, state: str, now: float) -> QueueRow:
    lease = task.lease
    return QueueRow(
        qpu=qpu,
        task=task.id.hex(),
        job_id=lease.job_id,
        user=lease.user,
        account=lease.account,
        session=task.session.id.hex(),
        latency=Latency.INTERACTIVE if task.interactive else Latency.BATCH,
        state=state,
        shots=task.shots,
        shots_done=task.shots_done,
        waited_s=max(0.0, now - task.arrived),  # it may have come since
        position=None,
        start_s=None,
        qpu_s=executor.expected_qpu_time(task),
    )


def share_rows(qpu: str, executor: Executor, shares: ShareTree, now: float) -> list[ShareRow]:
    """The fair tree with each account's and user's usage and waiting tasks."""
    tree = executor.alone(lambda: shares.rows(now))  # the thread charges it meanwhile
    owners = [task.owner for task in executor.waiting()]
    waiting = Counter((owner.account, owner.user) for owner in owners)
    waiting += Counter((owner.account, "") for owner in owners)
    return [ShareRow(qpu=qpu, **asdict(row), tasks=waiting[row.account, row.user]) for row in tree]


def wait_report(executor: Executor) -> dict[str, float]:
    """How many turns of others tasks waited that began lately: percentiles by latency class."""
    report: dict[str, float] = {}
    for interactive, name in ((False, Latency.BATCH), (True, Latency.INTERACTIVE)):
        waits = sorted(executor.waits[interactive].copy())
        for part in (50, 99) if waits else ():
            report[f"{name}_wait_slices_p{part}"] = waits[len(waits) * part // 100]
    return report
