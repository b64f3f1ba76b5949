"""The suite for devices: the emulator passes, a device that lies does not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from openqse import device
from openqse.device import Outcome, Samples, ThreadDevice
from openqse.device.conformance import CHECKS, Verdict, run
from openqse.errors import TaskCancelled
from openqse.testing import ScriptedService
from openqse_agent.cli.main import main
from openqse_emulator import profile
from openqse_emulator.device import Emulator, create


def failed(tried: Any, **settings: Any) -> dict[str, str]:
    """The checks that a device fails, and why."""
    findings = list(run(tried, **settings))
    assert [finding.check for finding in findings] == [check.__name__ for check in CHECKS]
    return {f.check: f.detail for f in findings if f.verdict is Verdict.FAILED}


@pytest.mark.parametrize("name", profile.names())
def test_the_emulator_passes_with_each_profile(name: str) -> None:
    findings = list(run(create(name)))
    assert {finding.verdict for finding in findings} == {Verdict.PASSED}


def emulator(**changed: Any) -> ThreadDevice[Any]:
    """The emulator, small, declaring other than it does."""
    made = Emulator(replace(profile.load(), max_qubits=5, max_shots=2000))
    made._capabilities = replace(made.capabilities, **changed)
    return ThreadDevice(made)


def test_a_device_that_declares_less_passes_and_what_it_leaves_out_is_skipped() -> None:
    tried = emulator(
        gates=("rx", "rz", "cx"),
        coupling=((0, 1), (1, 2)),
        dynamic_circuits=False,
        expectation=False,
        seeds=False,
        slices=False,
    )
    findings = {finding.check: finding for finding in run(tried)}
    skipped = {name for name, finding in findings.items() if finding.verdict is Verdict.SKIPPED}
    assert skipped == {
        "acts_on_outcomes",
        "gives_expectations",
        "measures_and_resets_in_the_course",
        "keeps_to_seeds",
        "adds_slices_up",
    }
    assert {f.verdict for f in findings.values()} == {Verdict.PASSED, Verdict.SKIPPED}
    refused = findings["refuses_what_it_does_not_declare"].detail
    for what in ("too many shots", "a seed", "a slice", "an expectation", "the gate t", "(0, 2)"):
        assert what in refused


class Lying(ThreadDevice[Any]):
    """The emulator, with what becomes of its outcomes."""

    def __init__(self, change: Callable[[Outcome], Any], **declared: Any) -> None:
        super().__init__(emulator(**declared).driver)
        self.change = change

    def wait(self, handle: Any, timeout: float | None = None) -> Any:
        outcome = super().wait(handle, timeout)
        return None if outcome is None else self.change(outcome)


def samples(change: Callable[[Samples], Any]) -> Callable[[Outcome], Outcome]:
    def changed(outcome: Outcome) -> Outcome:
        data = outcome.data
        return replace(outcome, data=change(data)) if isinstance(data, Samples) else outcome

    return changed


def flipped(data: Samples) -> Samples:
    """The bits in the other order."""
    bits = np.unpackbits(data.memory, axis=-1, count=5, bitorder="little")[..., ::-1]
    return replace(data, memory=np.packbits(bits, axis=-1, bitorder="little"))


LIES: dict[str, tuple[Callable[[Outcome], Any], str]] = {
    "bits in another order": (samples(flipped), "samples_bits_in_order"),
    "zeros": (samples(lambda d: replace(d, memory=0 * d.memory)), "samples_at_random"),
    "sets in another order": (
        samples(lambda d: replace(d, memory=d.memory[::-1])),
        "binds_parameters",
    ),
    "shots left out": (
        samples(lambda d: replace(d, memory=d.memory[:, 1:])),
        "samples_bits_in_order",
    ),
    "a QPU time of its own": (
        samples(lambda d: replace(d, qpu_time_ns=d.qpu_time_ns + time.perf_counter_ns() % 997)),
        "adds_slices_up",
    ),
    "far too much QPU time": (
        samples(lambda d: replace(d, qpu_time_ns=100 * d.qpu_time_ns)),
        "estimates_what_it_charges",
    ),
    "no calibration": (lambda outcome: replace(outcome, calibration=""), "samples_bits_in_order"),
    "something else": (lambda outcome: {"00": 200}, "samples_bits_in_order"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_device_that_lies_fails(lie: str) -> None:
    change, check = LIES[lie]
    assert check in failed(Lying(change))


def test_a_device_that_does_not_keep_to_seeds_fails() -> None:
    draw = np.random.default_rng(1)

    def noise(data: Samples) -> Samples:
        return replace(
            data, memory=data.memory ^ draw.integers(32, size=data.memory.shape, dtype=np.uint8)
        )

    assert failed(Lying(samples(noise)))["keeps_to_seeds"] == "one seed gave two results"


def test_a_device_that_declares_what_it_cannot_do_fails() -> None:
    tried = emulator(num_qubits=6, max_shots=3000)
    assert "takes_what_it_declares" in failed(tried)


class Careless(ThreadDevice[Any]):
    """The emulator, without care for tasks and callers."""

    def __init__(self) -> None:
        super().__init__(emulator().driver)

    def prepare(self, program: Any) -> Any:
        try:
            return super().prepare(program)
        except Exception:
            raise KeyError("circuit") from None

    def submit(self, prepared: Any, work: Any) -> Any:
        return [super().submit(prepared, work), time.monotonic()]

    def wait(self, handle: Any, timeout: float | None = None) -> Any:
        """Each task of the suite's long ones takes two seconds, whatever happens."""
        run, began = handle
        ends = began + (2.0 if run.work.shots > 1000 and run.work.seed is None else 0.0)
        left = ends - time.monotonic()
        time.sleep(max(0.0, left if timeout is None else min(left, timeout)))
        return super().wait(run, timeout) if time.monotonic() >= ends else None

    def cancel(self, handle: Any) -> None:
        pass

    def status(self) -> Any:
        time.sleep(1.2)
        return device.READY

    def close(self) -> None:
        pass


def test_a_careless_device_fails_by_name() -> None:
    found = failed(Careless(), bound=0.5)
    assert found["refuses_garbage_by_a_typed_error"].startswith("an error that is not typed")
    assert found["polls_and_cancels"] == "it goes on 0.5 s after it was cancelled"
    assert "for an answer" in found["answers_at_any_moment"]
    assert found["closes"] == "it is ready though it was closed"


def test_a_device_that_never_answers_is_given_up() -> None:
    service = ScriptedService()  # whose tasks nobody ends
    found = {finding.check: finding for finding in run(service, patience=0.2)}
    assert found["samples_bits_in_order"].detail == "it did not end within 0.2 s"
    assert found["closes"].verdict is Verdict.SKIPPED
    for job in list(service.jobs):
        service.end(job, TaskCancelled("the test is over"))


def test_the_command_prints_each_check_and_fails_if_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["device", "check", "emulator", "--profile", "trapped_ion"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("passed   describes itself")
    assert lines[-1] == f"{len(CHECKS)} checks, 0 failed"
    monkeypatch.setattr(device, "load", lambda *_: emulator(num_qubits=6))
    assert main(["device", "check", "emulator", "--json"]) == 1
    found = {f["check"]: f for f in json.loads(capsys.readouterr().out)}
    assert found["takes_what_it_declares"]["verdict"] == "failed"
    assert "6 qubits" in found["takes_what_it_declares"]["detail"]
