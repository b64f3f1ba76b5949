"""What a task would take of the QPU, and when it would start, if it came now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openqse.errors import InternalError, LimitExceeded, OpenQSEError
from openqse.wire import limits
from openqse.wire.messages import Header, Latency
from openqse.wire.reports import EstimateQuestion
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.policies import Owner
from openqse_agent.qpu.tasks.sessions import Address

log = logging.getLogger("qpu-agent")

Row = dict[str, Any]


@dataclass(eq=False, slots=True)
class Coming:
    """A task that is not there, as the queue needs to know it."""

    owner: Owner
    interactive: bool
    line: bytes = b""


class Estimates:
    """Answers questions for estimates, one after the other.

    The device says what a task takes, in between two tasks; the queue, in a thread of its own as it
    may be long, when it would start.

    Args:
        max_shots: of the device.
        ask: has a question answered in a thread, and its answer brought back.
        look_up: the same, for one that takes a while; raises LimitExceeded if many wait already.
        answer: sends a row, or the error that there is in its place.
    """

    def __init__(
        self,
        qpu: str,
        executor: Executor,
        max_shots: int,
        ask: Callable[[Callable[[], Any], Callable[[Any], None]], None],
        look_up: Callable[[Callable[[], Any], Callable[[Any], None]], None],
        answer: Callable[[Address, Header, Row | OpenQSEError], None],
    ) -> None:
        self._qpu = qpu
        self._executor = executor
        self._max_shots = max_shots
        self._ask = ask
        self._look_up = look_up
        self._answer = answer

    def asked(self, address: Address, head: Header, body: Row) -> None:
        """Takes a question.

        Raises:
            ProtocolError, LimitExceeded: malformed, or too much.
        """
        asked = EstimateQuestion.read(body)
        self._check(asked)
        # A job with one slot, among its user's.
        owner = Owner(asked.account, asked.user, "")
        coming = Coming(owner, asked.latency == Latency.INTERACTIVE)

        def estimated() -> int | OpenQSEError:
            try:
                program = asked.envelope.around(asked.program)
                return self._executor.estimate(program, asked.shots, asked.parameter_sets)
            except OpenQSEError as error:
                return error.at("QPU agent")
            except Exception as error:
                log.exception("an estimate failed")
                return InternalError(repr(error), layer="QPU agent")

        def answer(said: Any) -> None:
            self._answer(address, head, said)

        def forecast() -> None:
            said = estimated()
            try:
                if isinstance(said, OpenQSEError):
                    raise said
                took = said
                self._look_up(lambda: self._row(coming, took), answer)
            except OpenQSEError as error:
                refusal = error
                self._ask(lambda: refusal, answer)

        self._executor.aside(forecast)

    def _check(self, asked: EstimateQuestion) -> None:
        for name, value, most in (
            ("bytes of program", len(asked.program), limits.MAX_PROGRAM_BYTES),
            ("shots", asked.shots, self._max_shots),
            ("parameter sets", asked.parameter_sets, limits.MAX_MESSAGE_BYTES // 8),
        ):
            if not 1 <= value <= most:
                raise LimitExceeded(
                    f"{value} {name}; {self._qpu} takes 1 to {most} in one task",
                    layer="QPU agent",
                    limit=name,
                )

    def _row(self, coming: Coming, qpu_time_ns: int) -> Row:
        executor = self._executor
        ahead, elapsed = len(executor.running), executor.expected_to_run()
        place: Row = {"wait_s": None, "position": None, "tasks_ahead": None}
        for position, (other, start) in enumerate(executor.forecast(coming), 1):
            if other is coming:
                place = {
                    "wait_s": elapsed + start,
                    "position": position,
                    "tasks_ahead": ahead + position - 1,
                }
                break
        return {"qpu": self._qpu, "qpu_s": qpu_time_ns * 1e-9} | place
