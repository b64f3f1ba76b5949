"""What a session does when messages are lost and agents die, without any of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.client import recovery
from openqse.client.recovery import (
    AskNode,
    AskTasks,
    CancelAgain,
    End,
    ForgetPrograms,
    GiveUp,
    Recovery,
    Resend,
    Silent,
)
from openqse.errors import DeviceError, ProtocolError, StaleLease, UnknownProgram
from openqse.wire.task_ids import number_of

SESSION = b"session0"


def task(number: int) -> bytes:
    return SESSION + number.to_bytes(8, "big")


A, B, C = map(task, (1, 2, 3))


def stale(generation: object) -> StaleLease:
    return StaleLease("it was granted again", generation=generation)


def test_young_tasks_are_left_alone() -> None:
    assert Recovery(1).look(10.0, {}) == []
    assert Recovery(1).look(10.0, {A: 9.5, B: 9.9}) == []


def test_when_one_task_is_old_all_are_asked_after() -> None:
    """The agent drops its answers to those that are not named."""
    assert Recovery(1).look(10.0, {A: 9.0, B: 9.9}) == [AskTasks((A, B))]


def test_while_a_question_is_open_the_node_agent_is_asked_too() -> None:
    state = Recovery(1)
    state.look(10.0, {A: 9.0})
    assert state.look(10.25, {A: 9.0}) == [AskNode(), AskTasks((A,))]
    state.heard()
    assert state.look(11.0, {A: 9.0}) == [AskTasks((A,))]


def test_the_user_is_told_once_in_each_silence() -> None:
    state = Recovery(1)
    for _ in range(2):
        state.look(10.0, {A: 9.0})
        assert state.look(14.9, {A: 9.0})[0] == AskNode()
        assert state.look(15.0, {A: 9.0})[0] == Silent(first=True)
        assert state.look(16.0, {A: 9.0})[0] == Silent(first=False)
        state.heard()


def test_an_agent_that_is_silent_for_too_long_is_given_up() -> None:
    state = Recovery(1)
    state.look(10.0, {A: 9.0})
    assert state.look(10.0 + recovery.PATIENCE, {A: 9.0}) == [GiveUp(recovery.PATIENCE)]
    assert state.look(50.0, {B: 49.0}) == [AskTasks((B,))]  # for whoever tries again


def test_what_the_agent_lacks_is_sent_again_if_it_was_due() -> None:
    state = Recovery(1)
    state.look(10.0, {A: 9.0, B: 9.0, C: 9.9})
    assert state.resynced(1, {2}, {A, B, C}) == [Resend((A,), counted=False), CancelAgain((B,))]
    assert state.resynced(1, set(), {A, B, C}) == []  # an answer that comes twice


def test_what_was_answered_before_the_agent_said_what_it_has_is_not_sent_again() -> None:
    state = Recovery(1)
    state.look(10.0, {A: 9.0, B: 9.0})
    assert state.resynced(1, set(), {B}) == [Resend((B,), counted=False)]


def test_a_restarted_agent_gets_everything_again() -> None:
    again = [ForgetPrograms(), Resend((A, B), counted=True)]
    state = Recovery(1)
    state.look(10.0, {A: 9.0, B: 9.9})
    assert state.resynced(2, set(), [A, B]) == again
    assert state.generation == 2
    assert Recovery(1).renewed(3, [A, B]) == again
    assert Recovery(3).renewed(3, [A, B]) == Recovery(3).renewed(2, [A, B]) == []


def test_an_error_of_a_task_ends_it() -> None:
    error = DeviceError("broken")
    assert Recovery(1).failed(A, error, 0, [A, B]) == [End(error, A)]


def test_an_error_of_an_unknown_task_changes_nothing() -> None:
    assert Recovery(1).failed(A, DeviceError("broken"), 0, [B]) == []


@pytest.mark.parametrize("whose", [SESSION, b""])
def test_an_error_of_the_session_ends_all_its_tasks(whose: bytes) -> None:
    error = ProtocolError("no version in common")
    assert Recovery(1).failed(whose, error, 0, [A]) == [End(error)]


def test_a_program_that_the_agent_lacks_is_sent_again_a_few_times() -> None:
    error = UnknownProgram("not here")
    again = [ForgetPrograms(A), Resend((A,), counted=True)]
    assert Recovery(1).failed(A, error, 0, [A]) == again
    assert Recovery(1).failed(A, error, recovery.MAX_RESENDS, [A]) == [End(error, A)]


@pytest.mark.parametrize("whose", [A, C, SESSION])
def test_a_stale_lease_means_a_new_generation(whose: bytes) -> None:
    state = Recovery(1)
    again = [ForgetPrograms(), Resend((A, B), counted=True)]
    assert state.failed(whose, stale(2), 0, [A, B]) == again
    assert state.generation == 2


def test_a_task_that_crossed_the_news_of_a_generation_is_sent_again() -> None:
    assert Recovery(2).failed(A, stale(2), 0, [A]) == [Resend((A,), counted=True)]


@pytest.mark.parametrize("generation", [1, 0, None, "3", True])
def test_a_stale_lease_that_names_no_later_generation_ends_the_task(generation: object) -> None:
    error = stale(generation)
    assert Recovery(2).failed(A, error, 0, [A]) == [End(error, A)]
    assert Recovery(2).failed(A, stale(2), recovery.MAX_RESENDS, [A])[0] != Resend((A,), True)


class Agent:
    """A QPU agent as far as a session sees it: it runs tasks, keeps answers, and may restart."""

    def __init__(self) -> None:
        self.generation = 1
        self.has: set[bytes] = set()
        self.answered: set[bytes] = set()
        self.runs: list[tuple[int, bytes]] = []

    def take(self, each: bytes) -> None:
        if each not in self.has | self.answered:
            self.has.add(each)
            self.runs.append((self.generation, each))

    def restart(self) -> None:
        self.generation += 1
        self.has, self.answered = set(), set()


class World:
    """A session, its agent, and a network that loses what it is told to lose."""

    def __init__(self, tasks: int) -> None:
        self.now = 0.0
        self.agent = Agent()
        self.state = Recovery(1)
        self.unanswered = {task(number): 0.0 for number in range(tasks)}
        self.delivered: list[bytes] = []

    def send(self, tasks: tuple[bytes, ...], loses: bool) -> None:
        for each in () if loses else tasks:
            self.agent.take(each)

    def answer(self, loses: bool) -> None:
        """The agent ends a task."""
        for each in sorted(self.agent.has)[:1]:
            self.agent.has.remove(each)
            self.agent.answered.add(each)
            if not loses:
                self.deliver(each)

    def deliver(self, each: bytes) -> None:
        self.state.heard()
        if self.unanswered.pop(each, None) is not None:
            self.delivered.append(each)

    def look(self, loses: bool) -> None:
        self.now += recovery.ASK_EVERY
        for action in self.state.look(self.now, dict(self.unanswered)):
            assert not isinstance(action, GiveUp)
            if isinstance(action, AskTasks) and not loses:
                self.resync(action.tasks)

    def resync(self, tasks: tuple[bytes, ...]) -> None:
        self.agent.answered &= set(tasks)
        # A client sends again, under the generation that it knows, what the agent has answered: the
        # agent gives the answer that it kept.
        waiting = {number_of(each) for each in self.agent.has.intersection(tasks)}
        self.state.heard()
        generation = self.agent.generation
        for action in self.state.resynced(generation, waiting, list(self.unanswered)):
            if isinstance(action, Resend):
                for each in action.tasks:
                    if each in self.agent.answered:
                        self.deliver(each)
                    else:
                        self.agent.take(each)


STEPS = st.lists(
    st.tuples(st.sampled_from(["answer", "look", "restart"]), st.booleans()), max_size=25
)


@settings(max_examples=200, deadline=None)
@given(tasks=st.integers(1, 6), first=st.booleans(), steps=STEPS)
def test_every_task_is_delivered_once_whatever_is_lost(
    tasks: int, first: bool, steps: list[tuple[str, bool]]
) -> None:
    world = World(tasks)
    world.send(tuple(world.unanswered), loses=first)
    for step, loses in steps:
        if step == "restart":
            world.agent.restart()
        elif step == "answer":
            world.answer(loses)
        else:
            world.look(loses)
        if world.state.open_since is not None and world.now - world.state.open_since > 20:
            world.state.heard()  # this is about less than giving up
    for _ in range(3 * tasks + 3):  # now nothing is lost any more
        world.look(loses=False)
        world.answer(loses=False)
    assert not world.unanswered
    assert sorted(world.delivered) == [task(number) for number in range(tasks)]
    assert len(set(world.agent.runs)) == len(world.agent.runs)  # once in each generation
