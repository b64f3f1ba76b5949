"""A QPU agent that gives the reports that a test wants, and the commands that ask it."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

from openqse.errors import OpenQSEError
from openqse.wire.frames import decode_body, decode_header, encode, encode_error
from openqse.wire.messages import Kind, header
from openqse_agent.cli import main as cli


class FakeAgent:
    """Answers each kind of question with what stands in ``reports``; ``close`` ends it.

    Attributes:
        asked: the bodies of the questions so far, by kind.
    """

    def __init__(self, **reports: dict[str, Any] | OpenQSEError) -> None:
        self.reports = reports
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self._context: zmq.Context[Any] = zmq.Context()
        router = self._context.socket(zmq.ROUTER)
        self.port = router.bind_to_random_port("tcp://127.0.0.1")
        self._thread = threading.Thread(target=self._serve, args=(router,), name="fake agent")
        self._thread.start()

    def _serve(self, router: Any) -> None:
        try:
            while True:
                peer, session, *frames = router.recv_multipart()
                head = decode_header(frames)
                self.asked.setdefault(head.kind, []).append(decode_body(frames))
                report = self.reports[head.kind]
                if isinstance(report, OpenQSEError):
                    answer = encode_error(head.task, report)
                else:
                    answer = encode(header(Kind.REPORT, head.task), report)
                router.send_multipart([peer, session, *answer])
        except zmq.ContextTerminated:
            pass
        finally:
            router.close(linger=0)

    def close(self) -> None:
        self._context.term()
        self._thread.join(10)
        assert not self._thread.is_alive()


class Says:
    """Runs ``openqse`` commands.

    Attributes:
        complaint: what the last one printed to stderr.
    """

    def __init__(self, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._site = site
        self._capsys = capsys
        self.complaint = ""

    def __call__(self, command: str, code: int = 0) -> str:
        """What a command prints or, where its exit code is to be 2, complains of."""
        self._capsys.readouterr()
        assert cli.main([*shlex.split(command), f"--site={self._site}"]) == code
        printed, self.complaint = self._capsys.readouterr()
        if code == 2:
            assert printed == ""
            assert self.complaint.count("\n") == 1
            return self.complaint
        return printed
