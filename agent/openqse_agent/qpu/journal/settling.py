"""Has the journal settle its log, and says when tasks have waited for that long enough."""

from __future__ import annotations

import logging

from openqse.errors import StorageError
from openqse_agent.qpu.journal.database import Journal

log = logging.getLogger("qpu-agent")

#: Seconds for which tasks wait for a journal that takes no charges, before they are refused.
_PATIENCE = 30.0


class Settling:
    """Carries the charges of the log over, time and again.

    Attributes:
        error: why the database does not take them now; None if it does.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._failed_at = 0.0
        self.error: StorageError | None = None

    def tick(self, now: float) -> None:
        """Tries; ``now`` in monotonic seconds."""
        try:
            self._journal.settle()
        except StorageError as error:
            if self.error is None:
                log.error("charges stay in the journal's log: %s", error)
                self._failed_at = now
            self.error = error
        else:
            if self.error is not None:
                log.warning("the journal takes charges again")
                self.error = None

    def refusal(self, now: float) -> StorageError | None:
        """Why tasks are refused: their charges have waited too long for room. None if they are
        not."""
        if self.error is None or self._journal.has_room or now - self._failed_at <= _PATIENCE:
            return None
        return self.error
