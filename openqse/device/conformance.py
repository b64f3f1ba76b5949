"""The suite that any device is held against: what it declares it does, and does right.

Each check is a method of ``Suite`` whose docstring says what must hold. Programs are small and
their outcomes clear-cut, so that hardware with its noise passes as well as an emulator: bits are
compared by majority. ``run`` gives a ``Finding`` for each check; ``openqse device check NAME``
prints them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import pi
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from openqse.device.contract import (
    Capabilities,
    Device,
    Expectations,
    Outcome,
    Samples,
    Work,
    check,
    check_program,
    check_work,
)
from openqse.device.running import verify
from openqse.device.slicing import Join, slices
from openqse.device.trials import Trials
from openqse.errors import NotSupported, OpenQSEError, TaskCancelled, UnsupportedInput
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse.program.program import Program
from openqse.program.translate import translated

#: Shots of a check, and qubits at most.
SHOTS, QUBITS = 200, 5
#: Seconds within which a device answers what it answers at any moment.
_AT_ONCE = 1.0
#: Tasks under way at once that are tried, at most.
_MOST = 8

T = TypeVar("T")


class Verdict(StrEnum):
    """How a check came out."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # the device does not declare what it is about


@dataclass(frozen=True)
class Finding:
    """A check, how it came out, and what was seen."""

    check: str
    verdict: Verdict
    detail: str = ""


class Failed(Exception):
    """A device does other than it declares."""


class Skipped(Exception):
    """A check is of something that a device does not declare."""


def run(
    device: Device[Any, Any], patience: float = 120.0, bound: float = 10.0, budget: float = 60.0
) -> Iterator[Finding]:
    """Holds a device against the suite, and closes it.

    Args:
        patience: seconds after which a check that does not end has failed. The device is then given
            up: the checks that are left are skipped.
        bound: seconds within which a task that is cancelled ends.
        budget: seconds of QPU time that one task may take; checks that need more are skipped.
    """
    suite = Suite(device, bound, budget)
    stuck = ""
    for held in CHECKS:
        name = held.__name__
        if stuck:
            yield Finding(name, Verdict.SKIPPED, f"{stuck} has not ended")
            continue
        finding = _attempt(name, partial(held, suite), patience)
        if finding is None:
            stuck = name
            finding = Finding(name, Verdict.FAILED, f"it did not end within {patience:g} s")
        yield finding


def _attempt(name: str, attempt: Callable[[], str], patience: float) -> Finding | None:
    """What came of a check; None if it did not end in time."""
    found: list[Finding] = []

    def work() -> None:
        try:
            found.append(Finding(name, Verdict.PASSED, attempt()))
        except Skipped as reason:
            found.append(Finding(name, Verdict.SKIPPED, str(reason)))
        except Failed as reason:
            found.append(Finding(name, Verdict.FAILED, str(reason)))
        except OpenQSEError as error:
            found.append(Finding(name, Verdict.FAILED, str(error)))
        except Exception as error:
            text = f"an error that is not typed: {type(error).__name__}: {error}"
            found.append(Finding(name, Verdict.FAILED, text))

    thread = threading.Thread(target=work, name=f"conformance-{name}", daemon=True)
    thread.start()
    thread.join(patience)
    return found[0] if found else None


def _ensure(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def _needed(made: T | None, what: str) -> T:
    if made is None:
        raise Skipped(f"no program for it in the declared gates: {what}")
    return made


class Suite:
    """The checks; each returns what was seen, or raises ``Failed`` or ``Skipped``."""

    def __init__(self, device: Device[Any, Any], bound: float, budget: float) -> None:
        self.device = device
        self.bound = bound
        self.budget = budget
        self.offered: Capabilities = device.capabilities
        self.trials = Trials(self.offered)
        self.qubits = min(self.offered.num_qubits, QUBITS)
        self.shots = min(self.offered.max_shots, SHOTS)

    # --- what checks are made of -----------------------------------------------------------------

    def program(self, circuit: Circuit) -> Program:
        """A circuit as a program that the device takes."""
        try:
            program = translated(circuit.program, self.offered.formats)
        except UnsupportedInput as error:
            raise Skipped(error.message) from error
        check_program(program, self.offered)
        return program

    def work(self, circuit: Circuit, **changed: Any) -> Work:
        """What a task with a circuit asks."""
        sets = np.empty((1, len(circuit.parameters)))
        return replace(Work(circuit.digest, sets, self.shots), **changed)

    def submit(self, circuit: Circuit, prepared: Any, work: Work) -> Any:
        """Begins a task that the device offers to run and can afford."""
        check_work(work, self.offered)
        seconds = self.expected(prepared, work)
        if seconds is not None and seconds > self.budget:
            raise Skipped(f"it would take {seconds:.3g} s of QPU time")
        return self.device.submit(prepared, work)

    def expected(self, prepared: Any, work: Work) -> float | None:
        """QPU time that work is said to take, seconds; None where the device cannot say."""
        try:
            return self.device.estimate(prepared, work) * 1e-9
        except NotSupported:
            return None

    def outcome(self, circuit: Circuit, prepared: Any = None, **changed: Any) -> Outcome:
        """Runs a task to its end; what it gave, verified."""
        prepared = self.device.prepare(self.program(circuit)) if prepared is None else prepared
        work = self.work(circuit, **changed)
        handle = self.submit(circuit, prepared, work)
        size = (circuit.num_outputs + 7) // 8
        outcome = verify(self.device.wait(handle), work, size)
        _ensure(bool(outcome.calibration), "the outcome names no calibration")
        return outcome

    def bits(self, circuit: Circuit, outcome: Outcome) -> NDArray[np.uint8]:
        """Bits of an outcome, uint8 ``(k, shots, bits)``."""
        assert isinstance(outcome.data, Samples)
        count = circuit.num_outputs
        return np.unpackbits(outcome.data.memory, axis=-1, count=count, bitorder="little")

    def majority(self, circuit: Circuit, outcome: Outcome) -> list[list[int]]:
        """Of each set, the value that each bit has most often."""
        shares: NDArray[np.float64] = self.bits(circuit, outcome).mean(axis=1)
        return [[int(share > 0.5) for share in row] for row in shares]

    # --- the checks ------------------------------------------------------------------------------

    def describes_itself(self) -> str:
        """Its descriptor can be, crosses the wire, and stays; it is ready and has a calibration."""
        offered, device = self.offered, self.device
        _ensure(offered.num_qubits > 0 and offered.max_shots > 0, "no qubits, or no shots")
        _ensure(len(offered.formats) > 0, "it takes no program format")
        pairs = offered.coupling or ()
        reached = all(0 <= q < offered.num_qubits for pair in pairs for q in pair)
        _ensure(reached, "it couples qubits that it does not have")
        _ensure(all(a != b for a, b in pairs), "it couples a qubit with itself")
        read = Capabilities.from_wire(offered.to_wire())
        _ensure(read == offered, "its descriptor is not of the declared types")
        _ensure(device.capabilities == offered, "its descriptor changes")
        _ensure(device.capacity >= 1, f"a capacity of {device.capacity}")
        status = device.status()
        _ensure(status.ready, f"it is not ready: {status.reason}")
        _ensure(bool(device.calibration().id), "its calibration has no id")
        return f"{offered.num_qubits} qubits, {offered.max_shots} shots, capacity {device.capacity}"

    def samples_bits_in_order(self) -> str:
        """A program that flips some qubits gives those bits, qubit 0 first."""
        ones = frozenset(q for q in range(self.qubits) if q % 3 == 0)
        circuit = _needed(self.trials.word(self.qubits, ones), "flipping a qubit")
        prepared = self.device.prepare(self.program(circuit))
        wanted = [[int(q in ones) for q in range(self.qubits)]]
        for _ in range(2):  # what is prepared is good for many runs
            found = self.majority(circuit, self.outcome(circuit, prepared))
            _ensure(found == wanted, f"bits {found[0]} where {wanted[0]} were expected")
        return "".join(map(str, reversed(wanted[0])))

    def samples_at_random(self) -> str:
        """A qubit that was turned half way is as often 0 as 1."""
        circuit = _needed(self.trials.halves(1), "turning a qubit half way")
        share = float(self.bits(circuit, self.outcome(circuit)).mean())
        # Binomial with 200 shots: 0.25 is seven standard deviations away.
        _ensure(0.25 < share < 0.75 or self.shots < 50, f"a 1 in {share:.0%} of the shots")
        return f"a 1 in {share:.0%} of the shots"

    def entangles(self) -> str:
        """Two qubits that were entangled give equal bits."""
        circuit = _needed(self.trials.pair(), "entangling two qubits")
        (bits,) = self.bits(circuit, self.outcome(circuit))
        equal = float((bits[:, 0] == bits[:, 1]).mean())
        _ensure(equal > 0.6, f"equal bits in {equal:.0%} of the shots alone")
        return f"equal bits in {equal:.0%} of the shots"

    def binds_parameters(self) -> str:
        """Each set of parameters has its own samples, in order."""
        circuit = _needed(self.trials.turned(self.qubits), "turning a qubit by a parameter")
        wanted = [[(i >> q) & 1 for q in range(self.qubits)] for i in (0, 1, 2, 1, 3)]
        sets = np.array(wanted, np.float64) * pi
        found = self.majority(circuit, self.outcome(circuit, parameters=sets))
        _ensure(found == wanted, f"bits {found} where {wanted} were expected")
        return f"{len(wanted)} sets"

    def gives_expectations(self) -> str:
        """Where declared, an observable has its expectation for each set of parameters."""
        if not self.offered.expectation:
            raise Skipped("it offers no expectation")
        circuit = _needed(self.trials.turned(self.qubits), "turning a qubit by a parameter")
        last = self.qubits - 1
        observable = PauliSum.from_terms({f"Z{last}": 2.0, "I": 0.5}, self.qubits)
        sets = np.zeros((2, self.qubits))
        sets[1, last] = pi
        changed = {"parameters": sets, "shots": 0, "observable": observable}
        outcome = self.outcome(circuit, **changed)
        assert isinstance(outcome.data, Expectations)
        values = outcome.data.values
        right = bool(np.abs(values - np.array([2.5, -1.5])).max() < 1.0)
        _ensure(right, f"{values.tolist()} where 2.5 and -1.5 were expected")
        return f"{values[0]:.3f} and {values[1]:.3f}"

    def measures_and_resets_in_the_course(self) -> str:
        """Where declared, a qubit is measured, reset and measured again."""
        if not self.offered.dynamic_circuits:
            raise Skipped("it runs no dynamic circuits")
        circuit = _needed(self.trials.again(), "flipping a qubit")
        found = self.majority(circuit, self.outcome(circuit))
        _ensure(found == [[1, 0]], f"bits {found[0]} where [1, 0] were expected")
        return "a 1, then a 0"

    def acts_on_outcomes(self) -> str:
        """Where declared, a gate is applied or not by what was measured before."""
        if not self.offered.dynamic_circuits:
            raise Skipped("it runs no dynamic circuits")
        circuit = _needed(self.trials.fed_forward(), "flipping a qubit of three")
        found = self.majority(circuit, self.outcome(circuit))
        _ensure(found == [[1, 1, 0]], f"bits {found[0]} where [1, 1, 0] were expected")
        return "of two branches the right one"

    def keeps_to_seeds(self) -> str:
        """Where declared, equal seeds give equal samples, and others do not."""
        if not self.offered.seeds:
            raise Skipped("it takes no seeds")
        circuit = _needed(self.trials.halves(self.qubits), "turning a qubit half way")
        runs = [self.bits(circuit, self.outcome(circuit, seed=seed)) for seed in (7, 7, 8)]
        _ensure(np.array_equal(runs[0], runs[1]), "one seed gave two results")
        _ensure(self.shots < 50 or not np.array_equal(runs[0], runs[2]), "a seed changes nothing")
        return "two of three alike"

    def adds_slices_up(self) -> str:
        """Where declared, slices have the samples and the QPU time of the whole."""
        if not self.offered.slices:
            raise Skipped("it runs no slices")
        circuit = _needed(self.trials.halves(self.qubits), "turning a qubit half way")
        prepared = self.device.prepare(self.program(circuit))
        seed = 5 if self.offered.seeds else None
        shots = min(self.offered.max_shots, 10 * self.shots)
        sets = np.empty((2, 0))
        whole = self.outcome(circuit, prepared, shots=shots, seed=seed, parameters=sets)
        work = self.work(circuit, shots=shots, seed=seed, parameters=sets)
        join, count = Join(work), 0
        for part in slices(work, 7, 1, self.offered.seeds):
            handle = self.submit(circuit, prepared, part)
            join.add(verify(self.device.wait(handle), part))
            count += 1
        joined = join.outcome()
        _ensure(
            joined.data.qpu_time_ns == whole.data.qpu_time_ns,
            f"slices of {joined.data.qpu_time_ns} ns and a whole of {whole.data.qpu_time_ns} ns",
        )
        alike = np.array_equal(self.bits(circuit, joined), self.bits(circuit, whole))
        _ensure(alike or seed is None, "slices with a seed have other samples than the whole")
        return f"{count} slices"

    def takes_what_it_declares(self) -> str:
        """A program on the last of its qubits, and a task of all its shots."""
        wide = _needed(self.trials.last(), "flipping a qubit")
        found = self.majority(wide, self.outcome(wide))
        _ensure(found == [[1]], "the last qubit was not flipped")
        circuit = _needed(self.trials.word(1, frozenset({0})), "flipping a qubit")
        self.outcome(circuit, shots=self.offered.max_shots)
        return f"{self.offered.num_qubits} qubits; {self.offered.max_shots} shots"

    def refuses_what_it_does_not_declare(self) -> str:
        """The contract refuses by name what the descriptor does not offer."""
        circuit = _needed(self.trials.word(1, frozenset()), "nothing")
        observable = PauliSum.from_terms({"Z0": 1.0}, 1)
        works = [("too many shots", self.work(circuit, shots=self.offered.max_shots + 1))]
        if not self.offered.expectation:
            works.append(("an expectation", self.work(circuit, shots=0, observable=observable)))
        if not self.offered.seeds:
            works.append(("a seed", self.work(circuit, seed=1)))
        if not self.offered.slices:
            works.append(("a slice", self.work(circuit, first_set=1)))
        asked = [(what, circuit, work) for what, work in works]
        if circuit.program.format in self.offered.formats:
            asked += [(what, c, self.work(c)) for what, c in self.trials.refused()]
        for what, program, work in asked:
            try:
                check(program.program, work, self.offered)
            except OpenQSEError:
                continue
            raise Failed(f"{what} is not refused")
        return ", ".join(what for what, _, _ in asked)

    def refuses_garbage_by_a_typed_error(self) -> str:
        """Bytes that are no program are refused by a typed error."""
        for form in self.offered.formats:
            try:
                self.device.prepare(Program(form, b"\x00garbage"))
            except OpenQSEError:
                continue
            raise Failed(f"{form!r}: prepared as if it were a program")
        return ", ".join(self.offered.formats)

    def estimates_what_it_charges(self) -> str:
        """Where it has a model of its timing, an estimate is near to what is then charged."""
        circuit = _needed(self.trials.word(self.qubits, frozenset({0})), "flipping a qubit")
        prepared = self.device.prepare(self.program(circuit))
        try:
            said = self.device.estimate(prepared, self.work(circuit))
        except NotSupported as error:
            raise Skipped("it has no model of its timing") from error
        charged = self.outcome(circuit, prepared).data.qpu_time_ns
        _ensure(said >= 0, f"an estimate of {said} ns")
        near = said <= 10 * charged + 1 and charged <= 10 * said + 1
        _ensure(near, f"{said} ns said and {charged} ns charged")
        return f"{said} ns said, {charged} ns charged"

    def keeps_several_tasks_apart(self) -> str:
        """As many tasks as it takes at once are under way, and each has its own result."""
        count = min(self.device.capacity, _MOST)
        circuit = _needed(self.trials.turned(self.qubits), "turning a qubit by a parameter")
        prepared = self.device.prepare(self.program(circuit))
        wanted = [[(i >> q) & 1 for q in range(self.qubits)] for i in range(count)]
        works = [self.work(circuit, parameters=np.array([row]) * pi) for row in wanted]
        handles = [self.submit(circuit, prepared, work) for work in works]
        for row, work, handle in reversed(list(zip(wanted, works, handles, strict=True))):
            (found,) = self.majority(circuit, verify(self.device.wait(handle), work))
            _ensure(found == row, f"a task gave {found} where {row} was expected")
        return f"{count} at once"

    def long(self) -> tuple[Circuit, Any, Work]:
        """A task that takes a while."""
        circuit = _needed(self.trials.halves(min(self.offered.num_qubits, 16)), "a half turn")
        prepared = self.device.prepare(self.program(circuit))
        work = self.work(circuit, shots=self.offered.max_shots)
        seconds = self.expected(prepared, work) or 0.0
        sets = max(1, min(20, int(self.budget / seconds))) if seconds else 1
        return circuit, prepared, replace(work, parameters=np.empty((sets, 0)))

    def polls_and_cancels(self) -> str:
        """A look at a task does not wait for it; one that is cancelled ends soon."""
        circuit, prepared, work = self.long()
        handle = self.submit(circuit, prepared, work)
        began = time.monotonic()
        looked = self.device.wait(handle, 0.0)
        took = time.monotonic() - began
        _ensure(took < _AT_ONCE, f"a look at a task took {took:.2f} s")
        looked = looked or self.device.wait(handle, 0.05)  # so that it really runs
        began = time.monotonic()
        self.device.cancel(handle)
        took = time.monotonic() - began
        _ensure(took < _AT_ONCE, f"cancelling took {took:.2f} s")
        how = "it had ended before"
        if looked is None:
            try:
                ended = self.device.wait(handle, self.bound) is not None
                how = "it was faster"
            except TaskCancelled:
                ended, how = True, f"cancelled after {time.monotonic() - began:.3f} s"
            _ensure(ended, f"it goes on {self.bound:g} s after it was cancelled")
        self.device.cancel(handle)  # of a task that has ended it changes nothing
        return how

    def answers_at_any_moment(self) -> str:
        """Status, calibration, descriptor and capacity answer at once while a task is under way."""
        circuit, prepared, work = self.long()
        handle = self.submit(circuit, prepared, work)
        self.device.wait(handle, 0.0)  # it is under way
        slowest, errors = [0.0], []

        def ask() -> None:
            for _ in range(5):
                began = time.monotonic()
                try:
                    self.device.status()
                    self.device.calibration()
                    _ensure(self.device.capabilities == self.offered, "its descriptor changes")
                    _ensure(self.device.capacity >= 1, "it has no capacity")
                except Exception as error:
                    errors.append(error)
                slowest.append(time.monotonic() - began)

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5 * _AT_ONCE)
        waiting = any(thread.is_alive() for thread in threads)
        self.device.cancel(handle)
        with suppress(OpenQSEError):
            self.device.wait(handle, self.bound)
        _ensure(not errors, f"it raised {errors[:1]}")
        _ensure(not waiting and max(slowest) < _AT_ONCE, f"{max(slowest):.2f} s for an answer")
        return f"at most {max(slowest) * 1e3:.1f} ms"

    def closes(self) -> str:
        """Closed it is not ready, and says why."""
        self.device.close()
        status = self.device.status()
        _ensure(not status.ready, "it is ready though it was closed")
        _ensure(bool(status.reason), "it is not ready and does not say why")
        return status.reason


#: The checks, in order; the last one closes the device.
CHECKS: tuple[Callable[[Suite], str], ...] = (
    Suite.describes_itself,
    Suite.samples_bits_in_order,
    Suite.samples_at_random,
    Suite.entangles,
    Suite.binds_parameters,
    Suite.gives_expectations,
    Suite.measures_and_resets_in_the_course,
    Suite.acts_on_outcomes,
    Suite.keeps_to_seeds,
    Suite.adds_slices_up,
    Suite.takes_what_it_declares,
    Suite.refuses_what_it_does_not_declare,
    Suite.refuses_garbage_by_a_typed_error,
    Suite.estimates_what_it_charges,
    Suite.keeps_several_tasks_apart,
    Suite.polls_and_cancels,
    Suite.answers_at_any_moment,
    Suite.closes,
)
