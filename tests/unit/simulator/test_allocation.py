"""Which jobs run: in order, and behind the first those that do not hold it up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openqse_simulator.allocation import Allocator
from openqse_simulator.traces import Job, Site


def job(name: str, **needs: object) -> Job:
    return Job(name, "a", "u", 0.0, (), **needs)  # type: ignore[arg-type]


def names(started: list[tuple[Job, int]]) -> list[str]:
    return [each.name for each, _ in started]


def test_jobs_start_in_order_while_there_is_room() -> None:
    allocator = Allocator(Site(nodes=3, qpus=1, slots=4))
    first, second, third = job("1", nodes=2), job("2", nodes=2), job("3", nodes=2)
    assert names(allocator.submit(first, 0)) == ["1"]
    assert names(allocator.submit(second, 1)) == []
    assert names(allocator.submit(third, 2)) == []
    assert names(allocator.end(first, 3)) == ["2"]
    assert names(allocator.end(second, 4)) == ["3"]


def test_slots_are_waited_for_like_nodes() -> None:
    allocator = Allocator(Site(nodes=9, qpus=1, slots=2))
    first, alone = job("1"), job("2", exclusive=True)
    assert names(allocator.submit(first, 0)) == ["1"]
    assert names(allocator.submit(alone, 0)) == []
    assert names(allocator.end(first, 1)) == ["2"]


def test_jobs_get_the_qpu_that_they_name_or_the_one_with_most_free_slots() -> None:
    allocator = Allocator(Site(nodes=9, qpus=3, slots=2))
    assert allocator.submit(job("1", qpu=0), 0)[0][1] == 0
    assert allocator.submit(job("2"), 0)[0][1] == 1
    assert allocator.submit(job("3", slots=2), 0)[0][1] == 2
    assert allocator.submit(job("4", qpu=1), 0)[0][1] == 1
    assert allocator.submit(job("5", qpu=1), 0) == []


def test_a_short_job_is_backfilled_and_a_long_one_only_where_it_is_not_in_the_way() -> None:
    allocator = Allocator(Site(nodes=4, qpus=2, slots=4))
    running = job("running", nodes=3, limit=100)
    allocator.submit(running, 0)
    assert names(allocator.submit(job("first", nodes=3, limit=100), 1)) == []
    assert names(allocator.submit(job("two nodes", nodes=2, limit=1), 2)) == []
    # One node is free beside the first, whoever takes it for however long.
    long = job("long", nodes=1, limit=1000)
    assert names(allocator.submit(long, 3)) == ["long"]
    assert names(allocator.end(long, 4)) == []
    assert names(allocator.end(running, 5)) == ["first"]

    allocator = Allocator(Site(nodes=4, qpus=2, slots=4))
    running = job("running", nodes=3, limit=100)
    allocator.submit(running, 0)
    allocator.submit(job("first", nodes=4, limit=100), 1)
    assert names(allocator.submit(job("too long", nodes=1, limit=99), 2)) == []
    assert names(allocator.submit(job("short", nodes=1, limit=98), 2)) == ["short"]


needs = st.tuples(st.integers(1, 6), st.integers(1, 3), st.floats(1, 50), st.booleans())


@given(st.lists(st.tuples(needs, st.floats(0, 20)), max_size=25), st.data())
def test_nothing_is_given_twice_and_everybody_runs(
    drawn: list[tuple[tuple[int, int, float, bool], float]], data: st.DataObject
) -> None:
    site = Site(nodes=6, qpus=2, slots=3)
    allocator = Allocator(site)
    running: dict[Job, int] = {}
    ran: list[str] = []
    now = 0.0

    def note(started: list[tuple[Job, int]]) -> None:
        for each, qpu in started:
            running[each] = qpu
            ran.append(each.name)
        assert sum(each.nodes for each in running) <= site.nodes
        for qpu in range(site.qpus):
            here = [each for each, on in running.items() if on == qpu]
            taken = sum(site.slots if each.exclusive else each.slots for each in here)
            assert taken <= site.slots

    for number, ((nodes, slots, limit, exclusive), pause) in enumerate(drawn):
        now += pause
        made = job(f"{number}", nodes=nodes, slots=slots, limit=limit, exclusive=exclusive)
        note(allocator.submit(made, now))
        if running and data.draw(st.booleans()):
            ended = data.draw(st.sampled_from(sorted(running, key=lambda each: each.name)))
            del running[ended]
            note(allocator.end(ended, now))
    while running:
        ended = next(iter(running))
        del running[ended]
        note(allocator.end(ended, now))
    assert sorted(ran) == sorted(f"{i}" for i in range(len(drawn)))
