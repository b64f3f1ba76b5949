"""Whose task is next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse_agent.qpu.tasks.policies import FifoQueue, Owner, Queue
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.tree import INTERACTIVE_RUN
from openqse_agent.slurm.client import AccountShare

checked = settings(max_examples=60, deadline=None)
numbers = count()


@dataclass(eq=False)
class Task:
    owner: Owner
    line: str = ""
    interactive: bool = False
    cost: float = 1.0
    number: int = field(default_factory=lambda: next(numbers))


def task(account: str, job: str = "", **more: object) -> Task:
    user = str(more.pop("user", f"user of {account}"))
    return Task(Owner(account, user, job or account), **more)  # type: ignore[arg-type]


def tree(**weights: int) -> ShareTree:
    shares = ShareTree(half_life=None)
    shares.update({name: AccountShare("", w) for name, w in weights.items()}, {}, None)
    return shares


def queue_of(
    interactive_credit: float = 0.0, idle_credit: float = 0.0, **weights: int
) -> FairQueue[Task]:
    return FairQueue(
        tree(**weights), interactive_credit=interactive_credit, idle_credit=idle_credit
    )


def serve(queue: Queue[Task], turns: int | None = None) -> list[Task]:
    """Takes and charges tasks, all or so many."""
    served: list[Task] = []
    while turns is None or len(served) < turns:
        taken = queue.pop()
        if taken is None:
            break
        served.append(taken)
        queue.charge(taken, taken.cost, 0.0)
    return served


def service(tasks: list[Task]) -> Counter[str]:
    by_account: Counter[str] = Counter()
    for served in tasks:
        by_account[served.owner.account] += served.cost  # type: ignore[assignment]
    return by_account


def test_an_empty_queue_gives_nothing() -> None:
    queue = queue_of()
    assert (queue.pop(), len(queue)) == (None, 0)
    only = task("a")
    queue.push(only)
    assert queue.pop() is only
    assert queue.pop() is None
    queue.charge(only, 1.0, 0.0)
    assert queue.pop() is None


costs = st.floats(0.001, 3.0)
weights = st.integers(1, 50)


@checked
@given(weights, weights, st.lists(costs, min_size=40, max_size=120), st.data())
def test_backlogged_accounts_are_served_by_weight_within_the_stated_bound(
    first: int, second: int, drawn: list[float], data: st.DataObject
) -> None:
    queue = queue_of(a=first, b=second)
    for i, cost in enumerate(drawn):
        queue.push(task("ab"[i % 2], cost=cost))
    served = serve(queue)
    # Both are backlogged until one has nothing left.
    last = {name: max(i for i, t in enumerate(served) if t.owner.account == name) for name in "ab"}
    both = served[: min(last.values())]
    begin = data.draw(st.integers(0, len(both)))
    end = data.draw(st.integers(begin, len(both)))
    got = service(both[begin:end])
    longest = {n: max(t.cost for t in served if t.owner.account == n) for n in "ab"}
    bound = longest["a"] / first + longest["b"] / second
    assert abs(got["a"] / first - got["b"] / second) <= bound + 1e-9


@checked
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from("12"), st.booleans(),
            costs, st.booleans(),
        ),
        max_size=150,
    )
)  # fmt: skip
def test_it_gives_every_task_once_and_is_never_idle_while_tasks_wait(
    steps: list[tuple[str, str, str, bool, float, bool]],
) -> None:
    queue = queue_of(interactive_credit=2.0, idle_credit=1.0, a=1, b=2, c=5)
    pushed: list[int] = []
    given_out: list[int] = []
    for account, user, line, interactive, cost, serves in steps:
        new = task(account, f"{account}{user}", user=user, line=line, interactive=interactive)
        new.cost = cost
        queue.push(new)
        pushed.append(new.number)
        if serves:
            (taken,) = serve(queue, 1)
            given_out.append(taken.number)
        assert len(queue) == len(pushed) - len(given_out)
        assert len(list(queue.waiting())) == len(queue)
    given_out += [t.number for t in serve(queue)]
    assert sorted(given_out) == pushed


@checked
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12"), costs), max_size=60))
def test_tasks_of_a_session_keep_their_order(steps: list[tuple[str, str, float]]) -> None:
    queue = queue_of()
    for account, line, cost in steps:
        queue.push(task(account, line=line, cost=cost))
    served = serve(queue)
    for account in "ab":
        for line in "12":
            mine = [t.number for t in served if (t.owner.account, t.line) == (account, line)]
            assert mine == sorted(mine)


def test_an_account_gains_nothing_by_splitting_into_jobs_users_and_sessions() -> None:
    queue = queue_of(a=1, b=1)
    for i in range(400):
        queue.push(task("a", f"job {i % 20}", user=f"user {i % 5}", line=f"{i % 40}"))
        queue.push(task("b"))
    got = service(serve(queue, 300))
    assert abs(got["a"] - got["b"]) <= 2


def test_jobs_of_a_user_share_by_their_slots() -> None:
    queue = queue_of()
    for _ in range(200):
        queue.push(Task(Owner("a", "u", "small", 1)))
        queue.push(Task(Owner("a", "u", "large", 3)))
    jobs = Counter(t.owner.job for t in serve(queue, 200))
    assert abs(jobs["large"] - 150) <= 2


def test_sub_accounts_share_what_their_account_has() -> None:
    shares = ShareTree(None)
    shares.update(
        {
            "physics": AccountShare("", 3),
            "ml": AccountShare("", 1),
            "hot": AccountShare("physics", 1),
            "cold": AccountShare("physics", 2),
        },
        {},
        None,
    )
    queue: FairQueue[Task] = FairQueue(shares)
    for _ in range(400):
        for account in ("hot", "cold", "ml"):
            queue.push(task(account))
    got = service(serve(queue, 400))
    assert abs(got["ml"] - 100) <= 2
    assert abs(got["hot"] - 100) <= 2
    assert abs(got["cold"] - 200) <= 2


def test_an_interactive_task_goes_before_all_batch_tasks() -> None:
    queue = queue_of(interactive_credit=2.0, a=1, b=1, c=1)
    for _ in range(50):
        queue.push(task("a"))
        queue.push(task("b"))
    serve(queue, 20)
    quick = task("c", interactive=True, cost=0.01)
    queue.push(quick)
    assert serve(queue, 1) == [quick]
    among = task("a", line="2", interactive=True, cost=0.01)  # of an account with a backlog, too
    queue.push(among)
    assert serve(queue, 1) == [among]


def test_interactive_tasks_bring_no_more_than_the_share_and_the_lead() -> None:
    queue = queue_of(interactive_credit=5.0, a=1, b=1)
    for _ in range(400):
        queue.push(task("a", interactive=True))
        queue.push(task("b"))
    got = service(serve(queue, 200))
    assert 0 <= got["a"] - got["b"] <= 5 + 2


def test_batch_tasks_wait_for_no_more_than_the_lead() -> None:
    queue = queue_of(interactive_credit=5.0, a=1, b=1)
    serve(queue)
    for _ in range(100):
        queue.push(task("a", interactive=True))
    queue.push(task("b"))
    assert [t.owner.account for t in serve(queue, 8)].index("b") <= 6


def test_a_session_runs_batch_tasks_between_its_own_interactive_ones() -> None:
    queue = queue_of()
    for _ in range(INTERACTIVE_RUN + 3):
        queue.push(task("a", interactive=True))
    queue.push(task("a"))
    kinds = [t.interactive for t in serve(queue)]
    assert kinds.index(False) == INTERACTIVE_RUN


def test_who_was_away_hoards_nothing() -> None:
    queue = queue_of(idle_credit=3.0, a=1, b=1)
    for _ in range(300):
        queue.push(task("a"))
    serve(queue, 200)
    for _ in range(100):
        queue.push(task("b"))
    got = service(serve(queue, 60))
    assert 0 <= got["b"] - got["a"] <= 3 + 2  # its unused share brings b three seconds and no more


def test_who_used_its_share_lately_has_no_head_start() -> None:
    queue = queue_of(idle_credit=3.0, a=1, b=1)
    for _ in range(50):
        queue.push(task("b"))
    serve(queue)
    for _ in range(50):
        queue.push(task("a"))
    serve(queue, 25)
    queue.push(task("b"))  # used 50 of 75
    assert abs([t.owner.account for t in serve(queue, 5)].index("b")) <= 1
    assert queue_of(idle_credit=3.0).pop() is None


@checked
@given(st.lists(st.tuples(st.sampled_from("abcd"), costs), min_size=1, max_size=80))
def test_nobody_starves(steps: list[tuple[str, float]]) -> None:
    queue = queue_of(interactive_credit=1.0, idle_credit=1.0, a=100, b=10, c=10, d=1)
    for account, cost in steps:
        queue.push(task(account, cost=cost, interactive=account == "a"))
    poor = task("d", line="poor", cost=0.1)
    queue.push(poor)
    # What the others may be given before it: by weight, and one longest slice and the credits.
    before = 0.0
    while (taken := queue.pop()) is not poor:
        assert taken is not None
        before += taken.cost if taken.owner.account != "d" else 0.0
        queue.charge(taken, taken.cost, 0.0)
        if len(queue) < 10:
            queue.push(task("a", cost=1.0, interactive=True))
    longest = 3.0
    own = sum(cost for account, cost in steps if account == "d")
    assert before <= 120 * (own + longest + 2.0) + 3 * (longest + 2.0)


def test_a_slice_ahead_waits_for_the_rest_of_its_task_at_the_head_of_the_line() -> None:
    queue = queue_of(a=1, b=1)
    long, behind, other = task("a"), task("a"), task("b")
    for one in (long, behind, other):
        queue.push(one)
    assert queue.pop() is long
    queue.charge(long, 1.0, 0.0, more=True)
    assert queue.pop() is other
    queue.charge(other, 2.0, 0.0)
    assert queue.pop() is long
    queue.charge(long, 1.0, 0.0)
    assert queue.pop() is behind


def test_more_of_a_session_can_be_taken_in_one_go() -> None:
    queue = queue_of()
    first, second, third = task("a"), task("a", cost=2.0), task("a", line="other")
    for one in (first, second, third):
        queue.push(one)
    assert queue.pop() is first
    assert queue.pop_more(first, lambda t: t.cost == 1.0) is None
    assert queue.pop_more(first, lambda t: t.cost == 2.0) is second
    assert queue.pop_more(first, lambda t: True) is None
    queue.charge(first, 1.0, 0.0)
    queue.charge(second, 2.0, 0.0)
    assert serve(queue) == [third]


def test_a_task_taken_out_of_its_turn_is_charged_like_any() -> None:
    queue = queue_of(a=1, b=1)
    for _ in range(50):
        queue.push(task("a"))
        queue.push(task("b"))
    chosen = task("a", line="other", cost=20.0)
    queue.push(chosen)
    assert queue.take(chosen)
    assert not queue.take(chosen)
    queue.charge(chosen, 8.0, 0.0, more=True)
    assert queue.take(chosen)
    queue.charge(chosen, 12.0, 0.0)
    first = service(serve(queue, 24))
    assert first["b"] >= 20  # what a had before its turn


def test_a_removed_task_is_not_given() -> None:
    queue = queue_of()
    gone, stays = task("a"), task("a")
    queue.push(gone)
    queue.push(stays)
    assert queue.remove(gone)
    assert not queue.remove(gone)
    assert serve(queue) == [stays]
    assert not queue.remove(stays)


def test_a_reservation_is_given_its_part_of_the_qpu_time() -> None:
    shares = tree(a=1, b=1)
    shares.reserve({"course": 0.75})
    queue: FairQueue[Task] = FairQueue(shares)
    for _ in range(200):
        queue.push(Task(Owner("a", "u", "lesson", reservation="course")))
        queue.push(task("a"))
        queue.push(task("b"))
    jobs = Counter(t.owner.job for t in serve(queue, 200))
    assert abs(jobs["lesson"] - 150) <= 2
    assert abs(jobs["a"] - jobs["b"]) <= 2


def test_new_weights_count_from_now_on() -> None:
    shares = tree(a=1, b=1)
    queue: FairQueue[Task] = FairQueue(shares)
    for _ in range(300):
        queue.push(task("a"))
        queue.push(task("b"))
    serve(queue, 100)
    shares.update({"a": AccountShare("", 3), "b": AccountShare("", 1)}, {}, None)
    queue.renew_weights()
    assert abs(service(serve(queue, 200))["a"] - 150) <= 2


def test_jobs_move_to_their_places_when_these_become_known() -> None:
    """As after a restart: tasks come back before Slurm has told its tree."""
    shares = ShareTree(half_life=None)
    queue: FairQueue[Task] = FairQueue(shares)
    for _ in range(300):
        for account in ("left a", "left b", "right"):
            queue.push(task(account))
    serve(queue, 3)
    running = queue.pop()
    assert running is not None
    shares.update(
        {
            "left": AccountShare("", 1),
            "left a": AccountShare("left", 100),
            "left b": AccountShare("left", 100),
            "right": AccountShare("", 1),
        },
        {},
        None,
    )
    queue.renew_weights()
    queue.charge(running, 1.0, 0.0)
    served = service(serve(queue, 200))
    assert abs(served["right"] - 100) <= 3
    assert abs(served["left a"] - 50) <= 3


def test_jobs_leave_a_reservation_that_is_no_more_and_enter_one_that_becomes_known() -> None:
    shares = tree(a=1, b=1)
    shares.reserve({"course": 0.05})
    queue: FairQueue[Task] = FairQueue(shares)
    lessons = [Task(Owner("a", "u", "lesson", reservation="course")) for _ in range(200)]
    for lesson in lessons:
        queue.push(lesson)
        queue.push(task("b"))
    serve(queue, 20)
    shares.reserve({})
    queue.renew_weights()
    assert abs(service(serve(queue, 100))["a"] - 50) <= 3
    shares.reserve({"other": 0.75})
    queue.renew_weights()
    for lesson in lessons:
        lesson.owner = Owner("a", "u", "lesson", reservation="other")
    assert abs(service(serve(queue, 100))["a"] - 75) <= 3


def assert_sound(node: Any) -> None:
    """What nodes count is what is below them, and nobody is below two."""
    for child in node.children.values():
        assert child.parent is node
        if hasattr(child, "children"):
            assert_sound(child)
    for counted in ("waiting", "pressing", "running"):
        below = sum(getattr(child, counted) for child in node.children.values())
        assert getattr(node, counted) == below


@checked
@given(
    st.lists(
        st.tuples(st.sampled_from(["push", "pop", "charge", "tree"]), st.integers(0, 2**20)),
        max_size=80,
    )
)
def test_whatever_changes_when_no_task_is_lost(steps: list[tuple[str, int]]) -> None:
    shares = tree()
    queue: FairQueue[Task] = FairQueue(shares, interactive_credit=1.0, idle_credit=1.0)
    pushed, taken, served = 0, [], 0
    for what, number in steps:
        if what == "push":
            owner = Owner("abc"[number % 3], "u", number % 7, reservation=["", "r"][number % 2])
            queue.push(Task(owner, line=str(number % 2), interactive=number % 5 == 0))
            pushed += 1
        elif what == "pop" and (found := queue.pop()) is not None:
            taken.append(found)
        elif what == "charge" and taken:
            queue.charge(taken.pop(number % len(taken)), 1.0, 0.0)
            served += 1
        elif what == "tree":
            parents = ["", "c"] if number % 2 else ["", ""]
            places = {"a": AccountShare(parents[1], 1), "c": AccountShare("", 2)}
            shares.update(places if number % 3 else {}, {}, None)
            shares.reserve({"r": 0.5} if number % 5 < 2 else {})
            queue.renew_weights()
        assert_sound(queue._root)
    for found in taken:
        queue.charge(found, 1.0, 0.0)
    assert len(serve(queue)) + len(taken) + served == pushed
    assert_sound(queue._root)


@checked
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.booleans(), costs), max_size=40
    )
)
def test_the_forecast_is_what_then_happens_and_changes_nothing(
    steps: list[tuple[str, str, bool, float]],
) -> None:
    queue = queue_of(interactive_credit=1.0, idle_credit=1.0, a=1, b=3)
    for i, (account, line, interactive, cost) in enumerate(steps):
        queue.push(task(account, line=line, interactive=interactive, cost=cost))
        if i % 3 == 0:
            serve(queue, 1)
    said = list(queue.forecast(lambda t: t.cost, 10.0))
    elapsed = 0.0
    for forecast, start in said:
        (taken,) = serve(queue, 1)
        assert taken is forecast
        assert start == pytest.approx(elapsed)
        elapsed += taken.cost
    assert queue.pop() is None


@checked
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12"), costs), max_size=20))
def test_a_task_that_may_come_is_forecast_as_if_it_were_there(
    steps: list[tuple[str, str, float]],
) -> None:
    queue = queue_of(interactive_credit=1.0, idle_credit=1.0, a=1, b=3)
    for i, (account, line, cost) in enumerate(steps):
        queue.push(task(account, line=line, cost=cost))
        if i % 3 == 0:
            serve(queue, 1)
    coming = task("a", "another job", cost=1.0)
    said = list(queue.forecast(lambda t: t.cost, 10.0, coming))
    assert coming not in queue.waiting()
    queue.push(coming)
    assert said == list(queue.forecast(lambda t: t.cost, 10.0))


def test_idle_sessions_and_jobs_are_forgotten() -> None:
    queue = queue_of()
    for i in range(5000):
        queue.push(task("a", f"job {i}", line=str(i)))
        if i % 2:
            serve(queue, 2)
    serve(queue)
    assert len(queue._jobs) < 500


def test_first_come_is_first_served_by_the_fifo() -> None:
    queue: FifoQueue[Task] = FifoQueue()
    tasks = [task("ab"[i % 2], interactive=i > 5) for i in range(10)]
    for one in tasks:
        queue.push(one)
    assert [t for t, _ in queue.forecast(lambda t: 1.0, 1.0)] == tasks
    coming = task("a", interactive=True)
    assert list(queue.forecast(lambda t: 1.0, 1.0, coming))[-1] == (coming, 10.0)
    assert serve(queue) == tasks
