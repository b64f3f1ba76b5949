"""What a decision of the fair queue costs with 100 and with 100,000 tasks waiting.

Prints one JSON line: microseconds to take a task, charge it and queue another, with 100,000; beside
it the same with 100, in turn, and the ratio of the two (goal: no more than 2).
"""

import json
import random
import time
from dataclasses import dataclass

from openqse_agent.qpu.tasks.policies import Owner
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.slurm.client import AccountShare

DECISIONS = 5000
ROUNDS = 9


@dataclass(eq=False, slots=True)
class Task:
    owner: Owner
    line: int
    interactive: bool
    cost: float


def filled(tasks):
    """A queue of 20 accounts with that many tasks waiting, 10 in each session."""
    shares = ShareTree()
    accounts = {f"account {i}": AccountShare("", 1 + i) for i in range(20)}
    shares.update(accounts, {}, None)
    queue = FairQueue(shares, interactive_credit=2.0, idle_credit=1.0)
    draw = random.Random(1)
    for i in range(tasks):
        session = i // 10
        job = session // 8
        owner = Owner(f"account {job % 20}", f"user {job % 100}", job)
        queue.push(Task(owner, session, i % 7 == 0, draw.random()))
    return queue


def decide(queue):
    """Seconds of one decision."""
    began = time.perf_counter()
    for _ in range(DECISIONS):
        task = queue.pop()
        queue.charge(task, task.cost, 0.0)
        queue.push(task)
    return (time.perf_counter() - began) / DECISIONS


def main():
    few, many = filled(100), filled(100_000)
    seconds = {"few": [], "many": []}
    for _ in range(ROUNDS):
        seconds["few"].append(decide(few))
        seconds["many"].append(decide(many))
    value, beside = min(seconds["many"]) * 1e6, min(seconds["few"]) * 1e6
    line = {"name": "queue.decision", "value": round(value, 2), "unit": "us"}
    print(json.dumps({**line, "with_100": round(beside, 2), "ratio": round(value / beside, 2)}))


if __name__ == "__main__":
    main()
