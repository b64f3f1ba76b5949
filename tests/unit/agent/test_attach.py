"""Attach and detach through the whole chain: plugin, node agent, QPU agents, slurmctld."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

import openqse
from openqse.wire.frames import decode_body, encode
from openqse.wire.messages import Kind, header
from openqse_agent.cli.ask import ask
from openqse_agent.node.events import Leave
from openqse_agent.node.loop import NodeAgent
from openqse_agent.qpu.leases import Lease, State
from tests.support.agents.stack import Hook, Refused, Stack, eventually, records
from tests.support.ports import free_ports

OTHER_UID = 12345


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for tests that leave nothing in it."""
    ports = dict(zip(("emu0", "emu1"), free_ports(2), strict=True))
    stack = Stack(tmp_path_factory.mktemp("shared"), ports)
    yield stack
    stack.close()


@pytest.fixture
def second_node(stack: Stack, tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """``attach`` at a node agent named c2 with a runtime directory of its own."""
    config = replace(stack.config, node=replace(stack.config.node, runtime_dir=tmp_path / "c2"))
    agent = NodeAgent(config, stack.site, "c2")
    thread = threading.Thread(target=agent.run, name="node c2")
    thread.start()
    yield Hook(config.node.runtime_dir / "node.sock", os.getuid()).attach
    agent.stop()
    thread.join(10)
    assert not thread.is_alive()


def lease(stack: Stack, name: str = "emu0") -> Lease:
    (found,) = stack.qpus[name].agent._leases
    return found


# --- what a step gets -----------------------------------------------------------------------------


def test_a_step_gets_the_environment_of_ours_and_of_other_centres(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 2, "qpu_emu1": 1})
    environment = stack.attach(7, "emu1,emu0:2")
    ids = {name: lease(stack, name).id for name in ("emu0", "emu1")}
    for name in ids:
        assert 590 <= int(environment.pop(f"{name}_QRMI_JOB_TIMEOUT_SECONDS")) <= 600
    assert int(environment.pop("OPENQSE_SLURMCTLD_US")) >= 0
    assert environment == {
        "OPENQSE_SOCKET": str(stack.runtime / "job-7" / "node.sock"),
        "OPENQSE_QPUS": "emu1:1,emu0:2",
        "OPENQSE_JOB_ID": "7",
        "QRMI_JOB_ID": "7",
        "QRMI_JOB_UID": str(os.getuid()),
        "QRMI_JOB_QPU_RESOURCES": "emu1,emu0",
        "QRMI_JOB_QPU_TYPES": "openqse,openqse",
        "SLURM_JOB_QPU_RESOURCES": "emu1,emu0",
        "SLURM_JOB_QPU_TYPES": "openqse,openqse",
        "emu0_QRMI_JOB_ACQUISITION_TOKEN": ids["emu0"],
        "emu1_QRMI_JOB_ACQUISITION_TOKEN": ids["emu1"],
    }


def test_a_job_without_a_time_limit_gets_no_timeout(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 1})
    shared.slurm.limit(7, None)
    assert "emu0_QRMI_JOB_TIMEOUT_SECONDS" not in shared.attach(7, "emu0")
    shared.detach(7)


def test_the_lease_is_what_slurmctld_says_the_job_holds(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 3, "nastran": 5}, account="ml")
    assert stack.attach(7, "emu0")["OPENQSE_QPUS"] == "emu0:3"
    granted = lease(stack)
    assert (granted.slots, granted.account, granted.user) == (3, "ml", "alice")
    assert (granted.nodes, granted.generation) == ({"c1"}, 1)


def test_the_jobs_directory_and_socket_are_its_users_alone(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 1})
    path = Path(shared.attach(7, "emu0")["OPENQSE_SOCKET"])
    for file, mode in ((path.parent, 0o700), (path, 0o600)):
        found = file.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (mode, os.getuid())
    assert stat.S_ISSOCK(path.stat().st_mode)
    shared.detach(7)
    assert stat.S_IMODE((shared.runtime / "node.sock").stat().st_mode) == 0o600


def test_the_second_step_of_a_job_is_answered_without_slurmctld(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 2})
    first = stack.attach(7, "emu0:2")
    stack.slurm.down = True
    second = stack.attach(7, "emu0:1")
    for environment in (first, second):
        del environment["emu0_QRMI_JOB_TIMEOUT_SECONDS"]
    assert first == second
    assert stack.slurm.questions == [[7]]
    assert stack.leases("emu0") == [7]


def test_a_later_step_may_add_a_qpu_that_the_job_holds(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 1, "qpu_emu1": 1})
    assert shared.attach(7, "emu0")["OPENQSE_QPUS"] == "emu0:1"
    assert shared.attach(7, "emu1")["OPENQSE_QPUS"] == "emu0:1,emu1:1"
    shared.detach(7)


def test_all_nodes_of_a_job_cost_slurmctld_one_question(
    stack: Stack, second_node: Callable[..., dict[str, str]]
) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 2})
    with ThreadPoolExecutor() as pool:
        here, there = pool.submit(stack.attach, 7, "emu0"), pool.submit(second_node, 7, "emu0")
        tokens = {f.result(10)["emu0_QRMI_JOB_ACQUISITION_TOKEN"] for f in (here, there)}
    assert tokens == {lease(stack).id}
    assert lease(stack).nodes == {"c1", "c2"}
    assert stack.slurm.questions == [[7]]
    stack.detach(7)
    assert lease(stack).nodes == {"c2"}


def test_two_steps_that_attach_at_once_share_one_lease(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 2, "qpu_emu1": 1})
    with ThreadPoolExecutor() as pool:
        steps = [pool.submit(stack.attach, 7, qpus) for qpus in ("emu0", "emu0:2", "emu1", "emu0")]
        answers = [step.result(10) for step in steps]
    assert len({a["OPENQSE_SOCKET"] for a in answers}) == 1
    assert "emu1" in answers[2]["OPENQSE_QPUS"]
    assert (stack.leases("emu0"), stack.leases("emu1")) == ([7], [7])
    assert [7] * len(stack.slurm.questions) == [q for (q,) in stack.slurm.questions]
    assert len(stack.slurm.questions) <= 2  # one for each QPU


# --- refusals -------------------------------------------------------------------------------------


def refused(stack: Stack, complaint: str, *args: object, **options: object) -> None:
    """The step is refused in those words, and nothing of its job is left."""
    with pytest.raises(Refused, match=complaint):
        stack.attach(*args, **options)  # type: ignore[arg-type]
    eventually(lambda: not any(stack.leases(name) for name in stack.qpus))
    assert list(stack.runtime.glob("job-*")) == []


@pytest.mark.parametrize(
    ("request_", "licenses", "complaint"),
    [
        ("emu0:3", {"qpu_emu0": 2}, r"QPU agent: job 7 holds 2 slot\(s\) of emu0 .* asks for 3"),
        ("emu0", {"qpu_emu1": 1}, "slurmctld: job 7 holds no slot of emu0"),
        ("emu0", {"emu0": 1}, "slurmctld: job 7 holds no slot of emu0"),
        ("emu0", {}, "slurmctld: job 7 holds no slot of emu0.*--qpu=emu0"),
        ("emu9", {"qpu_emu0": 1}, r"no QPU 'emu9' \(known: emu0, emu1\)"),
        ("emu0:0", {"qpu_emu0": 1}, "slots of 'emu0'"),
        ("emu0,emu1", {"qpu_emu0": 1}, "job 7 holds no slot of emu1"),
    ],
)
def test_a_step_gets_no_more_than_its_job_holds(
    shared: Stack, request_: str, licenses: dict[str, int], complaint: str
) -> None:
    shared.slurm.submit(7, licenses)
    refused(shared, complaint, 7, request_)


def test_a_later_step_gets_no_more_than_its_job_holds(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 2})
    shared.attach(7, "emu0")
    with pytest.raises(Refused, match=r"holds 2 slot\(s\) of emu0 and its step asks for 3"):
        shared.attach(7, "emu0:3")
    assert shared.leases("emu0") == [7]
    shared.detach(7)


@pytest.mark.parametrize("earlier", [False, True], ids=["first step", "later step"])
def test_exclusive_use_needs_all_slots(stack: Stack, earlier: bool) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 2})
    if earlier:
        stack.attach(7, "emu0")
    with pytest.raises(Refused, match="holds 2 of the 4 slots of emu0; exclusive use takes all"):
        stack.attach(7, "emu0:2", mode="exclusive")
    stack.slurm.end(7)
    stack.detach(7)
    stack.slurm.submit(8, {"qpu_emu0": 4})
    assert stack.attach(8, "emu0:4", mode="exclusive")["OPENQSE_QPUS"] == "emu0:4"


def test_a_job_of_somebody_else_is_refused(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 1})
    complaint = f"slurmctld: job 7 belongs to uid {os.getuid()}, not {OTHER_UID}"
    refused(shared, complaint, 7, "emu0", uid=OTHER_UID)


def test_a_job_that_slurmctld_does_not_know_or_has_ended_is_refused(shared: Stack) -> None:
    refused(shared, "job 70 holds no slot", 70, "emu0")
    shared.slurm.submit(7, {"qpu_emu0": 1})
    shared.slurm.end(7)
    refused(shared, "job 7 holds no slot", 7, "emu0")


def test_a_job_gets_no_lease_while_slurmctld_is_down(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 1})
    shared.slurm.down = True
    refused(shared, "slurmctld: slurmctld does not answer. Check it", 7, "emu0")
    shared.slurm.down = False
    assert shared.attach(7, "emu0")
    shared.detach(7)


def test_of_two_qpus_a_job_gets_both_or_none(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 2, "qpu_emu1": 1})
    stack.stop_qpu("emu1")
    refused(stack, "QPU agent: the QPU agent of emu1 at .* does not answer", 7, "emu0,emu1")
    stack.start_qpu("emu1")
    assert stack.attach(7, "emu0,emu1")["OPENQSE_QPUS"] == "emu0:2,emu1:1"


def test_slurm_having_given_more_licenses_than_the_qpu_has_slots_is_refused_at_once(
    shared: Stack,
) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 9})
    before = len(shared.slurm.questions)
    refused(shared, r"9 slot\(s\) of emu0 asked for and 4 of 4 free.*site check", 7, "emu0")
    assert len(shared.slurm.questions) - before <= 2


def test_slots_of_jobs_that_run_are_not_given_twice(shared: Stack) -> None:
    for job in (7, 8):
        shared.slurm.submit(job, {"qpu_emu0": 3})
    shared.attach(7, "emu0")
    with pytest.raises(Refused, match="1 of 4 free, though Slurm gave"):
        shared.attach(8, "emu0")
    assert shared.leases("emu0") == [7]
    shared.detach(7)


def test_slots_of_a_job_that_ended_unheard_are_given_to_the_next(shared: Stack) -> None:
    for job in (7, 8):
        shared.slurm.submit(job, {"qpu_emu0": 3})
    shared.attach(7, "emu0")
    shared.slurm.end(7)
    shared.attach(8, "emu0")
    assert shared.leases("emu0") == [8]
    shared.detach(7)
    shared.detach(8)


@pytest.mark.parametrize(
    "block",
    [
        b"\0",
        b"garbage\0\0",
        records(VERSION=2, OP="detach", JOB_ID=7),
        records(VERSION=1, OP="dance", JOB_ID=7),
        records(VERSION=1, OP="detach", JOB_ID="seven"),
        records(VERSION=1, OP="detach", JOB_ID="9" * 5000),
        records(VERSION=1, OP="detach", JOB_ID=7) + b"more",
        b"x" * 65537,
    ],
    ids=lambda block: repr(block[:30]),
)
def test_a_malformed_hook_request_is_answered_with_an_error(shared: Stack, block: bytes) -> None:
    fields = dict(shared.exchange(block))
    assert (fields["STATUS"], fields["LAYER"]) == ("error", "node agent")
    assert "InternalError" not in fields["MESSAGE"]
    assert shared.detach(7)["STATUS"] == "ok"


def test_a_hook_that_hangs_up_early_leaves_nothing_behind(shared: Stack) -> None:
    before = len(shared.node._poller)
    for part in (b"", b"VERSION=1\0OP="):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hook:
            hook.connect(str(shared.runtime / "node.sock"))
            hook.sendall(part)
    assert shared.detach(7)["STATUS"] == "ok"
    eventually(lambda: len(shared.node._poller) == before and not shared.node._hooks.connections)


# --- requeue and detach ---------------------------------------------------------------------------


def test_a_requeued_job_gets_a_new_lease(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 3})
    first = shared.attach(7, "emu0")["emu0_QRMI_JOB_ACQUISITION_TOKEN"]
    second = shared.attach(7, "emu0", restarts=1)["emu0_QRMI_JOB_ACQUISITION_TOKEN"]
    assert first != second
    granted = lease(shared)
    assert (granted.id, granted.restart_count, granted.nodes) == (second, 1, {"c1"})
    assert shared.qpus["emu0"].agent._admission._ended[first]
    shared.detach(7)


def test_a_requeued_job_is_told_from_its_former_run_on_each_node(
    stack: Stack, second_node: Callable[..., dict[str, str]]
) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 3})
    stack.attach(7, "emu0")
    second_node(7, "emu0")
    stack.attach(7, "emu0", restarts=1)
    assert lease(stack).nodes == {"c1"}
    second_node(7, "emu0", restarts=1)
    assert lease(stack).nodes == {"c1", "c2"}


def test_detach_removes_directory_socket_and_lease_and_may_be_repeated(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 1, "qpu_emu1": 1})
    shared.attach(7, "emu0,emu1")
    for _ in range(3):
        answer = shared.detach(7)
        assert (answer["STATUS"], answer["VERSION"]) == ("ok", "1")
        assert int(answer["ELAPSED_US"]) >= 0
        assert (shared.leases("emu0"), shared.leases("emu1")) == ([], [])
        assert list(shared.runtime.glob("job-*")) == []


def test_detach_of_a_job_that_never_attached_succeeds(shared: Stack) -> None:
    assert shared.detach(99)["STATUS"] == "ok"


def test_two_detaches_of_a_job_at_once_are_both_answered(shared: Stack) -> None:
    shared.slurm.submit(7, {"qpu_emu0": 1})
    shared.attach(7, "emu0")
    block = records(VERSION=1, OP="detach", JOB_ID=7)
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(shared.exchange, block) for _ in range(8)]
        assert all(dict(a.result(10))["STATUS"] == "ok" for a in answers)
    assert not shared.node._hooks.connections


def test_a_job_that_attached_before_the_node_agent_was_restarted_can_be_detached(
    stack: Stack,
) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.attach(7, "emu0")
    stack.stop_node()
    stack.start_node()
    assert stack.leases("emu0") == [7]
    assert stack.detach(7)["STATUS"] == "ok"
    assert stack.leases("emu0") == []


def test_a_job_attaches_again_after_the_node_agent_was_restarted(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 1})
    first = stack.attach(7, "emu0")
    stack.stop_node()
    stack.start_node()
    again = stack.attach(7, "emu0")
    for environment in (first, again):
        del environment["emu0_QRMI_JOB_TIMEOUT_SECONDS"]
        del environment["OPENQSE_SLURMCTLD_US"]
    assert again == first


def test_detach_does_not_wait_for_a_qpu_agent_that_is_down(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.node.attach._DETACH_TIMEOUT", 0.3)
    stack.slurm.submit(7, {"qpu_emu0": 1, "qpu_emu1": 1})
    stack.attach(7, "emu0,emu1")
    stack.stop_qpu("emu1")
    assert stack.detach(7)["STATUS"] == "ok"
    assert stack.leases("emu0") == []
    assert list(stack.runtime.glob("job-*")) == []


def test_only_the_lapsed_lease_of_an_ended_job_is_revoked(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(lease_ttl=0.4)
    for job in (7, 8):
        stack.slurm.submit(job, {"qpu_emu0": 1})
        stack.attach(job, "emu0")
    stack.stop_node()  # no more heartbeats
    try:
        stack.slurm.down = True
        eventually(lambda: len(stack.slurm.questions) >= 4)
        assert stack.leases("emu0") == [7, 8]
        stack.slurm.down = False
        stack.slurm.end(7)
        eventually(lambda: stack.leases("emu0") == [8])
        asked = len(stack.slurm.questions)
        eventually(lambda: len(stack.slurm.questions) > asked + 1)
        assert stack.leases("emu0") == [8]
    finally:
        stack.start_node()


def test_a_lease_of_a_job_that_runs_is_kept_whoever_renews_it(
    make_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.node.qpu_link.HEARTBEAT_EVERY", 0.1)
    stack = make_stack(lease_ttl=0.5)
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.attach(7, "emu0")
    eventually(lambda: lease(stack).state == State.ACTIVE)
    eventually(lambda: len(stack.slurm.questions) >= 3)
    assert stack.leases("emu0") == [7]
    assert stack.qpus["emu0"].agent._leases.lapsed(time.monotonic(), 0.5) == []


def test_the_lease_of_a_job_that_ended_is_revoked_though_its_node_renews_it(
    make_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its epilog never came: the node agent was down just then."""
    monkeypatch.setattr("openqse_agent.node.qpu_link.HEARTBEAT_EVERY", 0.1)
    stack = make_stack(lease_ttl=0.5)
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.attach(7, "emu0")
    stack.slurm.end(7)
    eventually(lambda: stack.leases("emu0") == [])
    eventually(lambda: list(stack.runtime.glob("job-*")) == [])


@pytest.mark.parametrize("left", [{}, {"qpu_emu0": 1}, {"qpu_emu1": 2}])
def test_a_job_that_gave_licenses_back_loses_its_lease(
    make_stack: Callable[..., Stack], left: dict[str, int]
) -> None:
    """Else Slurm would start a job for which there are no slots."""
    stack = make_stack(lease_ttl=0.5)
    stack.slurm.submit(7, {"qpu_emu0": 2})
    stack.attach(7, "emu0")
    stack.slurm.known[7] = replace(stack.slurm.known[7], licenses=left)
    eventually(lambda: stack.leases("emu0") == [])


def test_a_job_that_ran_into_its_time_limit_loses_an_expired_lease(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(lease_ttl=30.0)
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.slurm.limit(7, 0.5)
    stack.attach(7, "emu0")
    held = lease(stack)
    stack.slurm.known[7] = replace(stack.slurm.known[7], running=False, state="TIMEOUT")
    eventually(lambda: held.state == State.EXPIRED)  # long before a TTL has passed
    assert stack.leases("emu0") == []


@pytest.mark.parametrize("ahead", [-3600.0, 0.0, 3600.0])
def test_no_clock_ends_a_lease_and_a_limit_that_was_extended_counts(
    make_stack: Callable[..., Stack], ahead: float
) -> None:
    stack = make_stack(lease_ttl=30.0)
    stack.slurm.ahead = ahead
    for job, left in ((7, 600.0), (8, 0.3)):
        stack.slurm.submit(job, {"qpu_emu0": 1})
        stack.slurm.limit(job, left)
        environment = stack.attach(job, "emu0")
        assert int(environment["emu0_QRMI_JOB_TIMEOUT_SECONDS"]) in (int(left), int(left) - 1)
    stack.slurm.limit(8, 900.0)
    agent = stack.qpus["emu0"].agent
    eventually(lambda: [8] in stack.slurm.questions[2:])
    eventually(lambda: agent._admission._reconciling is None)
    assert stack.slurm.questions == [[7], [8], [8]]
    assert stack.leases("emu0") == [7, 8]


def status(stack: Stack) -> dict[str, Any]:
    answer = ask([stack.site.qpu("emu0")], Kind.STATUS, {}, 5.0)["emu0"]
    assert isinstance(answer, dict)
    return answer


def test_slurmctld_being_unreachable_suspends_revocation_and_is_reported(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(lease_ttl=0.3)
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.attach(7, "emu0")
    assert (status(stack)["slurmctld"], status(stack)["revocation_suspended"]) == ("", False)
    stack.slurm.down = True
    stack.slurm.end(7)
    eventually(lambda: status(stack)["revocation_suspended"])
    assert "slurmctld does not answer" in status(stack)["slurmctld"]
    assert stack.leases("emu0") == [7]
    stack.slurm.down = False
    eventually(lambda: stack.leases("emu0") == [])
    assert (status(stack)["slurmctld"], status(stack)["revocation_suspended"]) == ("", False)


# --- agents die between asking and holding --------------------------------------------------------


def test_a_node_agent_that_dies_between_asking_and_holding_leaves_no_lease(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or none survives it: the next run states what it holds, and that is neither."""
    stack.slurm.submit(7, {"qpu_emu0": 1, "qpu_emu1": 1})
    stack.stop_qpu("emu1")
    with ThreadPoolExecutor() as pool:
        attach = pool.submit(stack.attach, 7, "emu0,emu1")
        eventually(lambda: stack.leases("emu0") == [7])
        # Killed: it neither refuses nor gives back, and its messages go no further.
        monkeypatch.setattr(NodeAgent, "_leave", lambda *_: None)
        stack.stop_node()
        assert attach.exception(10) is not None
    monkeypatch.undo()
    stack.start_node()
    eventually(lambda: stack.leases("emu0") == [])
    stack.start_qpu("emu1")
    assert stack.attach(7, "emu0,emu1")["OPENQSE_QPUS"] == "emu0:1,emu1:1"


def test_a_detach_that_was_lost_is_made_up_for(stack: Stack) -> None:
    for job in (7, 8):
        stack.slurm.submit(job, {"qpu_emu0": 1, "qpu_emu1": 1})
    stack.attach(7, "emu0,emu1")
    stack.attach(8, "emu0")
    stack.stop_qpu("emu0")
    detached = threading.Thread(target=stack.detach, args=(7,))
    detached.start()
    eventually(lambda: stack.leases("emu1") == [])
    # What the node agent has said to the agent that is down is lost with the connection.
    link = stack.node._links["emu0"]
    eventually(lambda: link.lost)
    stack.start_qpu("emu0")
    detached.join(10)
    eventually(lambda: stack.leases("emu0") == [8])


def test_a_former_run_of_a_node_agent_is_fenced_off(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.attach(7, "emu0")
    former = stack.node._identity.encode()
    stack.stop_node()
    stack.start_node()
    eventually(lambda: lease(stack).state == State.ACTIVE)
    context: zmq.Context[Any] = zmq.Context()
    try:
        late = context.socket(zmq.DEALER)
        late.setsockopt(zmq.ROUTING_ID, former)
        late.connect(stack.site.qpu("emu0").endpoint)
        for kind, body in (
            (Kind.HEARTBEAT, {"leases": {}, "asking": []}),
            (Kind.DETACH, {"job_id": 7}),
        ):
            late.send_multipart([b"", *encode(header(kind), body)])
            assert late.poll(10_000)
            _, *frames = late.recv_multipart()
            assert decode_body(frames)["code"] == "stale-lease"
    finally:
        context.destroy(linger=0)
    assert stack.leases("emu0") == [7]


def test_a_former_lease_of_a_job_cannot_be_detached_in_place_of_its_next(stack: Stack) -> None:
    stack.slurm.submit(7, {"qpu_emu0": 1})
    first = stack.attach(7, "emu0")["emu0_QRMI_JOB_ACQUISITION_TOKEN"]
    stack.attach(7, "emu0", restarts=1)
    stack.node._leave(Leave("emu0", 7, first))
    eventually(lambda: stack.node._links["emu0"]._waiting_since is None)
    assert stack.leases("emu0") == [7]


def test_a_record_that_cannot_be_read_costs_its_job_alone(stack: Stack) -> None:
    for job in (7, 8):
        stack.slurm.submit(job, {"qpu_emu0": 1})
        stack.attach(job, "emu0")
    stack.stop_node()
    (stack.runtime / "attached" / "7.json").write_text('{"id": 7}')
    stack.start_node()
    assert sorted(path.name for path in stack.runtime.glob("job-*")) == ["job-8"]
    eventually(lambda: stack.leases("emu0") == [8])


def test_a_revoked_lease_closes_the_jobs_socket(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.node.qpu_link.HEARTBEAT_EVERY", 0.1)
    for job in (7, 8):
        stack.slurm.submit(job, {"qpu_emu0": 3})
    stack.attach(7, "emu0")
    stack.slurm.end(7)
    stack.attach(8, "emu0")
    eventually(lambda: [d.name for d in stack.runtime.glob("job-*")] == ["job-8"])


def test_folders_too_deep_to_be_removed_harm_neither_their_job_nor_the_agents_next_run(
    stack: Stack,
) -> None:
    def bury() -> None:
        here = os.getcwd()
        os.chdir(stack.runtime / "job-7")
        try:
            for _ in range(1100):
                os.mkdir("d")
                os.chdir("d")
        finally:
            os.chdir(here)

    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.attach(7, "emu0")
    bury()
    try:
        stack.stop_node()
        stack.start_node()
        eventually(lambda: (stack.runtime / "job-7" / "node.sock").exists())
        bury()
        stack.detach(7)
        eventually(lambda: stack.leases("emu0") == [])
        assert list(stack.runtime.glob("job-*")) == []
        stack.slurm.submit(8, {"qpu_emu0": 1})
        stack.attach(8, "emu0")
    finally:
        subprocess.run(["rm", "-r", *stack.runtime.glob(".new/job-7*")], check=True)


def test_many_jobs_leave_no_thread_descriptor_directory_or_lease_behind(stack: Stack) -> None:
    def cycle(job: int) -> None:
        stack.slurm.submit(job, {"qpu_emu0": 1, "qpu_emu1": 1})
        for name, value in stack.attach(job, "emu0,emu1").items():
            if name == "OPENQSE_SOCKET":
                os.environ[name] = value
        with openqse.connect("emu0") as qpu:
            qpu.run(openqse.CircuitBuilder(1).measure_all().build(), shots=1)
        with pytest.raises(Refused):
            stack.attach(job + 1000, "emu0,emu1")
        stack.detach(job)

    def left() -> tuple[int, int, int, int]:
        return (
            len(os.listdir("/proc/self/fd")),
            # The pools that ask slurmctld grow to four threads when they see fit.
            sum(not thread.name.startswith("slurm") for thread in threading.enumerate()),
            len(list(stack.runtime.iterdir())),
            len(stack.node._poller),
        )

    try:
        cycle(1)
        gc.collect()  # what earlier tests left to the collector
        before = left()
        for job in range(2, 22):
            cycle(job)
        eventually(lambda: all(now <= then for now, then in zip(left(), before, strict=True)))
    finally:
        os.environ.pop("OPENQSE_SOCKET", None)
    assert (stack.leases("emu0"), stack.leases("emu1")) == ([], [])


# --- another user ---------------------------------------------------------------------------------

VISITOR = """
import os, socket, sys
import openqse, openqse.client.remote, zmq
from openqse.errors import AgentUnavailable, NoLease
uid, message, *paths = int(sys.argv[1]), bytes.fromhex(sys.argv[2]), *sys.argv[3:]
os.setgroups([]), os.setgid(uid), os.setuid(uid)
try:
    with openqse.connect(timeout=0.5) as qpu:
        print("client", end=" ")
except (AgentUnavailable, NoLease):
    pass
for path in paths:
    try:
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)
        print("entry", end=" ")
    except PermissionError:
        pass
    dealer = zmq.Context.instance().socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect("ipc://" + path)
    dealer.send(message)
    if dealer.poll(10_000 if uid == 12345 else 300):
        print("answer", end=" ")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_cannot_use_a_jobs_socket() -> None:
    message = encode(header(Kind.RUN, b"task"))[0].hex()
    # Not under pytest's own directory, which nobody else can enter anyway.
    directory = Path(tempfile.mkdtemp(prefix="openqse-"))
    directory.chmod(0o755)
    stack = Stack(directory, dict(zip(("emu0", "emu1"), free_ports(2), strict=True)))

    def visit(uid: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", VISITOR, str(uid), message, *sockets],
            cwd="/",
            env={"OPENQSE_SOCKET": sockets[0]},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        stack.slurm.submit(7, {"qpu_emu0": 1})
        stack.slurm.known[7] = replace(stack.slurm.known[7], uid=OTHER_UID)
        own = Path(stack.attach(7, "emu0", uid=OTHER_UID)["OPENQSE_SOCKET"])
        sockets = sorted(map(str, own.parent.iterdir()), key=lambda path: path != str(own))
        assert len(sockets) == 2  # the node agent's and the QPU's
        assert visit(OTHER_UID) == "client entry answer entry answer"
        assert visit(OTHER_UID + 1) == ""
        # Even where somebody has opened the directory, the peer's credentials are checked.
        for path in (own.parent, *own.parent.iterdir()):
            path.chmod(0o777)
        assert visit(OTHER_UID + 1) == "entry entry"
    finally:
        stack.close()
        shutil.rmtree(directory)
