"""Whose task is next."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse_agent.qpu.queue import INTERACTIVE_RUN, FairQueue

checked = settings(max_examples=60, deadline=None)


@dataclass(frozen=True)
class Task:
    account: str
    number: int = 0
    interactive: bool = False
    session: str = ""


def backlog(queue: FairQueue[Task], account: str, size: int, interactive: bool = False) -> None:
    for i in range(size):
        queue.push(Task(account, i, interactive))


def drain(queue: FairQueue[Task]) -> list[Task]:
    tasks = []
    while (task := queue.pop()) is not None:
        tasks.append(task)
    return tasks


def test_an_empty_queue_gives_nothing() -> None:
    queue: FairQueue[Task] = FairQueue()
    assert (queue.pop(), len(queue)) == (None, 0)
    queue.push(Task("a"))
    assert queue.pop() == Task("a")
    assert queue.pop() is None


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_is_positive(weight: float) -> None:
    with pytest.raises(ValueError, match="'a' must be positive"):
        FairQueue[Task]().set_weight("a", weight)


weights = st.floats(0.01, 1.0)


@checked
@given(weights, weights, st.integers(2, 400))
def test_two_backlogged_accounts_are_served_in_the_ratio_of_their_weights(
    first: float, second: float, pops: int
) -> None:
    queue: FairQueue[Task] = FairQueue()
    for account, weight in (("a", first), ("b", second)):
        queue.set_weight(account, weight)
        backlog(queue, account, pops)
    served = {"a": 0, "b": 0}
    heavy, light = ("a", "b") if first >= second else ("b", "a")
    ratio = min(first, second) / max(first, second)
    for _ in range(pops):
        task = queue.pop()
        assert task is not None
        served[task.account] += 1
        # In a turn the heavier account is served once and the lighter gains ``ratio`` of a task.
        assert abs(served[light] - ratio * served[heavy]) <= 1 + ratio + 1e-9


def test_only_the_ratio_of_weights_matters() -> None:
    orders = []
    for scale in (1e-6, 1.0, 1e6):
        queue: FairQueue[Task] = FairQueue()
        for account, weight in (("a", 3.0), ("b", 1.0)):
            queue.set_weight(account, weight * scale)
            backlog(queue, account, 12)
        orders.append([queue.pop() for _ in range(12)])
    assert orders[0] == orders[1] == orders[2]
    assert sum(task.account == "a" for task in orders[0] if task) == 9


def test_an_account_that_was_idle_has_saved_nothing() -> None:
    queue: FairQueue[Task] = FairQueue()
    backlog(queue, "a", 100)
    for _ in range(50):
        queue.pop()
    backlog(queue, "b", 50)
    served = [task.account for task in (queue.pop() for _ in range(20)) if task]
    assert 9 <= served.count("b") <= 11


def test_a_light_account_waits_a_bounded_number_of_tasks() -> None:
    queue: FairQueue[Task] = FairQueue()
    queue.set_weight("light", 0.01)
    backlog(queue, "heavy", 1000)
    queue.push(Task("light"))
    position = [task.account for task in drain(queue)].index("light")
    assert 0 < position <= 101


tasks = st.builds(Task, st.sampled_from("abc"), st.just(0), st.booleans())
histories = st.lists(tasks | st.none(), max_size=80)  # None takes a task out


@checked
@given(histories, st.dictionaries(st.sampled_from("abc"), weights))
def test_every_task_comes_out_once_and_in_order_and_never_late(
    history: list[Task | None], weights: dict[str, float]
) -> None:
    queue: FairQueue[Task] = FairQueue()
    for account, weight in weights.items():
        queue.set_weight(account, weight)
    numbers = count()
    waiting: dict[tuple[str, bool], list[Task]] = {}
    size = 0
    for step in [*history, *[None] * len(history)]:
        if step is not None:
            task = Task(step.account, next(numbers), step.interactive)
            waiting.setdefault((task.account, task.interactive), []).append(task)
            queue.push(task)
            size += 1
        else:
            taken = queue.pop()
            assert (taken is not None) == (size > 0)  # work conserving
            if taken is not None:
                assert waiting[taken.account, taken.interactive].pop(0) == taken
                size -= 1
        assert len(queue) == size
    assert size == 0


@checked
@given(st.lists(st.sampled_from("xyz"), min_size=1, max_size=60))
def test_sessions_of_an_account_take_turns_each_with_its_tasks_in_order(sent: list[str]) -> None:
    queue: FairQueue[Task] = FairQueue()
    for i, session in enumerate(sent):
        queue.push(Task("a", i, session=session))
    served = drain(queue)
    for session in set(sent):
        own = [i for i, of in enumerate(sent) if of == session]
        assert [task.number for task in served if task.session == session] == own
    # While two of them have tasks waiting, neither is ahead by more than one.
    for one, other in itertools.combinations(set(sent), 2):
        left = {one: sent.count(one), other: sent.count(other)}
        ahead = 0
        for task in served:
            if min(left.values()) == 0:
                break
            if task.session in left:
                left[task.session] -= 1
                ahead += 1 if task.session == one else -1
                assert abs(ahead) <= 1


def test_a_task_taken_out_leaves_its_sessions_others_in_order() -> None:
    queue: FairQueue[Task] = FairQueue()
    tasks = [Task("a", i, session="xy"[i % 2]) for i in range(6)]
    for task in tasks:
        queue.push(task)
    assert queue.remove(tasks[2])
    assert not queue.remove(tasks[2])
    assert [task.number for task in drain(queue)] == [0, 1, 4, 3, 5]


def test_interactive_tasks_go_first_but_batch_tasks_wait_a_bounded_time() -> None:
    queue: FairQueue[Task] = FairQueue()
    backlog(queue, "a", 5)
    backlog(queue, "a", 100, interactive=True)
    kinds = [task.interactive for task in drain(queue)]
    run = [True] * INTERACTIVE_RUN + [False]
    assert kinds == run * 5 + [True] * (100 - 5 * INTERACTIVE_RUN)


def test_interactive_tasks_that_keep_coming_do_not_starve_batch_tasks() -> None:
    queue: FairQueue[Task] = FairQueue()
    queue.push(Task("a", 1))
    served = []
    for i in range(INTERACTIVE_RUN + 1):
        queue.push(Task("a", i, True))
        queue.push(Task("a", i, True))
        served.append(queue.pop())
    assert Task("a", 1) in served


def test_an_interactive_task_does_not_jump_the_queue_of_another_account() -> None:
    queue: FairQueue[Task] = FairQueue()
    backlog(queue, "a", 10)
    backlog(queue, "b", 10, interactive=True)
    accounts = [task.account for task in drain(queue)]
    assert all(accounts[:n].count("b") <= n // 2 + 1 for n in range(1, 20))


def test_a_removed_task_is_not_served() -> None:
    queue: FairQueue[Task] = FairQueue()
    backlog(queue, "a", 3)
    queue.push(Task("b", interactive=True))
    assert queue.remove(Task("a", 1))
    assert not queue.remove(Task("a", 1))
    assert not queue.remove(Task("c"))
    assert not queue.remove(Task("b"))  # of the other class
    assert queue.remove(Task("b", interactive=True))
    assert len(queue) == 2
    assert drain(queue) == [Task("a", 0), Task("a", 2)]
