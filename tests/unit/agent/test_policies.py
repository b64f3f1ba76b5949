"""The orders of tasks that a site can choose from."""

from __future__ import annotations

from dataclasses import replace

from openqse_agent.config import POLICIES, QPUConfig
from openqse_agent.qpu.tasks.registry import QUEUES
from openqse_agent.qpu.tasks.shares import ShareTree


def test_each_policy_that_the_configuration_takes_makes_a_queue_and_no_other_does() -> None:
    assert set(QUEUES) == set(POLICIES)
    for policy in POLICIES:
        assert len(QUEUES[policy](ShareTree(), replace(QPUConfig(), policy=policy))) == 0
