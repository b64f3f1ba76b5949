"""Programs and agents of different releases: what they speak, and who is told to update."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest

import openqse
from openqse.client import link
from openqse.errors import ProtocolError
from openqse.wire import versions
from openqse.wire.frames import Frame
from openqse.wire.versions import Versions

PROGRAM = openqse.CircuitBuilder(1).measure_all().build()


def test_a_program_of_the_next_release_speaks_what_the_agents_know(
    enter: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter()
    monkeypatch.setattr(link, "SPOKEN", Versions(1, 2))
    with openqse.connect() as qpu:
        assert qpu._transport.link.held.version == 1  # type: ignore[attr-defined]
        assert qpu.run(PROGRAM, shots=3).shots == 3


def test_agents_of_the_next_release_speak_what_a_program_knows(
    enter: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "SPOKEN", Versions(1, 2))
    enter()
    with openqse.connect() as qpu:
        assert qpu._transport.link.held.version == 1  # type: ignore[attr-defined]
        assert qpu.run(PROGRAM, shots=3).shots == 3


@pytest.mark.parametrize(
    ("program", "agent", "older"),
    [
        (Versions(1, 1), Versions(2, 3), "later release of openqse for the program"),
        (Versions(2, 3), Versions(1, 1), "later release of openqse for the QPU agent of emu0"),
    ],
)
def test_a_program_that_has_no_version_in_common_is_told_who_is_behind(
    enter: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    program: Versions,
    agent: Versions,
    older: str,
) -> None:
    monkeypatch.setattr(versions, "SPOKEN", agent)
    enter()
    monkeypatch.setattr(link, "SPOKEN", program)
    with pytest.raises(ProtocolError, match=older) as caught:
        openqse.connect()
    assert str(program) in str(caught.value)
    assert str(agent) in str(caught.value)


def test_a_task_in_a_version_that_the_agent_does_not_speak_ends_with_its_words(
    enter: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter()
    written = link.Link.task_frames

    def of_another_release(self: link.Link, pending: link.Pending) -> list[Frame]:
        head, *rest = written(self, pending)
        return [msgpack.packb([9, *msgpack.unpackb(head)[1:]]), *rest]

    with openqse.connect() as qpu:
        with monkeypatch.context() as patch:
            patch.setattr(link.Link, "task_frames", of_another_release)
            with pytest.raises(ProtocolError, match="version 9; this side speaks 1"):
                qpu.run(PROGRAM, shots=3)
        assert qpu.run(PROGRAM, shots=3).shots == 3
