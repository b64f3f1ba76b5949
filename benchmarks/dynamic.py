"""Programs with classical control on the emulator, beside Qiskit Aer in the same run.

python dynamic.py [--quick]

Teleportation chains, repeat-until-success, and repetition codes with feed-forward, without noise
and with errors of gates and of readout, 10,000 shots each. Aer runs with each of its methods that
can take the program, and the fastest counts. Prints a JSON line for each: how many times as long as
ours Aer's best method takes (goal: at least 5), the median seconds of both, and which method that
is. Both get the program as an object and are timed from there to the counts; kernels are compiled
beforehand.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit.classical import expr
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator import profile
from openqse_emulator.device import Emulator
from openqse_emulator.profile import Noise

SHOTS = 10_000
GOAL = 5.0
#: Seconds after which a method of Aer's is too slow to be the best.
PATIENCE = 45
NOISE = Noise(one_qubit=0.001, two_qubit=0.005, zero_as_one=(0.01,), one_as_zero=(0.02,))

#: A program of ours and the same as Qiskit's, and whether it is Clifford.
Pair = tuple[Circuit, QuantumCircuit, bool]


def teleportation(hops: int) -> Pair:
    """A state goes through a chain of pairs, each on qubits of its own, and is turned back."""
    n = 2 * hops + 1
    ours, theirs = CircuitBuilder(n), QuantumCircuit(n, n)
    for b in (ours, theirs):
        b.u(1.1, 0.4, -0.7, 0)
        for source in range(0, 2 * hops, 2):
            middle, target = source + 1, source + 2
            b.h(middle)
            b.cx(middle, target)
            b.cx(source, middle)
            b.h(source)
            b.measure(source, source)
            b.measure(middle, middle)
            if b is ours:
                with ours.if_(ours.bits(middle)):
                    ours.x(target)
                with ours.if_(ours.bits(source)):
                    ours.z(target)
            else:
                with theirs.if_test((theirs.clbits[middle], 1)):
                    theirs.x(target)
                with theirs.if_test((theirs.clbits[source], 1)):
                    theirs.z(target)
        b.u(-1.1, 0.7, -0.4, n - 1)
        b.measure(n - 1, n - 1)
    return ours.build(), theirs, False


def repeat_until_success(rounds: int = 20) -> Pair:
    """A rotation through two ancillas, tried until both are found in 0."""
    ours, theirs = CircuitBuilder(3), QuantumCircuit(3, 3)

    def attempt(b: CircuitBuilder | QuantumCircuit) -> None:
        b.reset(0)
        b.reset(1)
        b.h(0)
        b.h(1)
        b.ccx(0, 1, 2)
        b.s(2)
        b.ccx(0, 1, 2)
        b.h(0)
        b.h(1)
        b.measure(0, 0)
        b.measure(1, 1)

    ours.h(2)
    theirs.h(2)
    attempt(ours)
    attempt(theirs)
    left, more = ours.integer(rounds), ours.integer()
    with ours.loop():
        failed = ours.bits(0, 2)
        with ours.if_(failed):
            ours.compute(Op.SUB, left, left, ours.constant(1))
            ours.compute(Op.LT, more, ours.constant(0), left)
            with ours.if_(more):
                ours.z(2)
                attempt(ours)
                ours.continue_loop()
        ours.break_loop()
    with theirs.for_loop(range(rounds - 1)):
        failed = expr.bit_or(expr.lift(theirs.clbits[0]), theirs.clbits[1])
        with theirs.if_test(failed):
            theirs.z(2)
            attempt(theirs)
    ours.h(2).measure(2, 2)
    theirs.h(2)
    theirs.measure(2, 2)
    return ours.build(), theirs, False


def repetition_code(qubits: int, rounds: int = 3, *, turned: bool = False) -> Pair:
    """A superposition of the two code words, or of one that is turned, kept by corrections."""
    distance = (qubits + 1) // 2
    checks, bits = distance - 1, rounds * (distance - 1)
    register = ClassicalRegister(bits + distance, "c")
    ours = CircuitBuilder(qubits, bits + distance)
    theirs = QuantumCircuit(QuantumRegister(qubits), register)
    for b in (ours, theirs):
        b.h(0) if not turned else b.ry(0.7, 0)
        for q in range(1, distance):
            b.cx(q - 1, q)
        for first in range(0, bits, checks):
            for k in range(checks):
                b.cx(k, distance + k)
            for k in range(checks):
                b.cx(k + 1, distance + k)
            for k in range(checks):
                b.measure(distance + k, first + k)
            for k in range(checks):
                b.reset(distance + k)
            for q in range(distance):
                # A data qubit is flipped where all checks beside it, and no next ones, fire.
                fire = [first + k for k in (q - 1, q) if 0 <= k < checks]
                quiet = [first + k for k in (q - 2, q + 1) if 0 <= k < checks]
                if b is ours:
                    _correct(ours, q, fire, quiet)
                else:
                    terms = [expr.lift(register[k]) for k in fire]
                    terms += [expr.bit_not(expr.lift(register[k])) for k in quiet]
                    condition = terms[0]
                    for term in terms[1:]:
                        condition = expr.bit_and(condition, term)
                    with theirs.if_test(condition):
                        theirs.x(q)
        for q in range(distance):
            b.measure(q, bits + q)
    return ours.build(), theirs, not turned


def _correct(b: CircuitBuilder, qubit: int, fire: list[int], quiet: list[int]) -> None:
    condition = b.integer()
    b.compute(Op.MOVE, condition, b.constant(1))
    for bit in fire:
        b.compute(Op.AND, condition, condition, b.bits(bit))
    for bit in quiet:
        other = b.bits(bit)
        b.compute(Op.EQ, other, other, b.constant(0))
        b.compute(Op.AND, condition, condition, other)
    with b.if_(condition):
        b.x(qubit)


PROGRAMS: dict[str, Callable[[], Pair]] = {
    "teleportation.5": lambda: teleportation(5),
    "teleportation.10": lambda: teleportation(10),
    "repeat_until_success": repeat_until_success,
    "repetition.9": lambda: repetition_code(9),
    "repetition.17": lambda: repetition_code(17),
    "repetition.9.turned": lambda: repetition_code(9, turned=True),
    "repetition.17.turned": lambda: repetition_code(17, turned=True),
}


def noise_model() -> NoiseModel:
    """``NOISE`` as Aer has it, whose figures count the identity among the errors."""
    model = NoiseModel()
    one, two = (
        depolarizing_error(NOISE.one_qubit * 4 / 3, 1),
        depolarizing_error(NOISE.two_qubit * 16 / 15, 2),
    )
    model.add_all_qubit_quantum_error(one, ["h", "x", "u", "ry"])
    model.add_all_qubit_quantum_error(two, ["cx"])
    # The emulator makes a Toffoli gate of six native ones, three on each pair of neighbours.
    three = depolarizing_error(1 - (1 - NOISE.two_qubit * 16 / 15) ** 3, 2)
    still = depolarizing_error(0, 1)
    model.add_all_qubit_quantum_error(still.tensor(three).compose(three.tensor(still)), ["ccx"])
    (zero,), (one_,) = NOISE.zero_as_one, NOISE.one_as_zero
    model.add_all_qubit_readout_error(ReadoutError([[1 - zero, zero], [one_, 1 - one_]]))
    return model


def methods(circuit: QuantumCircuit, clifford: bool) -> list[str]:
    """Aer's methods that can take a program, with any noise of ``NOISE``."""
    able = ["matrix_product_state"]
    if clifford:
        able.append("stabilizer")
    if circuit.num_qubits <= 20:
        able.append("statevector")
    if circuit.num_qubits <= 9:
        able.append("density_matrix")
    return able


def theirs_alone(name: str, method: str, noisy: bool, runs: int) -> None:
    """Prints Aer's median seconds for a program by one method, and its counts."""
    _, circuit, _ = PROGRAMS[name]()
    simulator = AerSimulator(method=method, noise_model=noise_model() if noisy else None)
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        result = simulator.run(circuit, shots=SHOTS).result()
        if not result.success:
            sys.exit(result.status)
        counts = result.get_counts()
        took.append(time.perf_counter() - began)
    print(json.dumps([statistics.median(took), method, counts]))


def theirs_best(
    name: str, circuit: QuantumCircuit, clifford: bool, noisy: bool, runs: int
) -> tuple[float, str, dict[str, int]]:
    """Median seconds of Aer's fastest method, its name, and its counts.

    Each method has a process of its own, which is ended when it takes too long.
    """
    best: tuple[float, str, dict[str, int]] = math.inf, "none", {}
    for method in methods(circuit, clifford):
        command = [sys.executable, __file__, "--aer", name, method, str(int(noisy)), str(runs)]
        try:
            told = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            print(f"aer {method}, {name}: {error}", file=sys.stderr)
            continue
        seconds, by, counts = json.loads(told.stdout)
        if seconds < best[0]:
            best = seconds, by, counts
    return best


def ours_alone(
    emulator: Emulator, circuit: Circuit, runs: int
) -> tuple[float, str, dict[str, int]]:
    """Median seconds of the emulator, its method, and its counts."""
    took = []
    for i in range(runs + 1):
        began = time.perf_counter()
        prepared = emulator.prepare(circuit)
        samples = emulator.run(prepared, np.zeros((1, 0)), SHOTS, i, lambda: False)
        rows, numbers = np.unique(samples.memory[0], axis=0, return_counts=True)
        counts = {
            format(int.from_bytes(row.tobytes(), "little"), f"0{circuit.num_outputs}b"): int(number)
            for row, number in zip(rows, numbers, strict=True)
        }
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:]), samples.method.partition(":")[0], counts


def ones(counts: dict[str, int]) -> list[float]:
    """How often each bit is 1, by which both are compared."""
    total = sum(counts.values())
    keys = [(key.replace(" ", ""), number) for key, number in counts.items()]
    return [
        sum(number for key, number in keys if key[-1 - bit] == "1") / total
        for bit in range(len(keys[0][0]))
    ]


def main() -> None:
    if sys.argv[1:2] == ["--aer"]:
        name, method, noisy_, runs = sys.argv[2:]
        theirs_alone(name, method, noisy_ == "1", int(runs))
        return
    quick = "--quick" in sys.argv[1:]
    loaded = replace(profile.load(), max_qubits=64)
    for noisy in (False, True):
        emulator = Emulator(replace(loaded, noise=NOISE if noisy else Noise()))
        for name, make in PROGRAMS.items():
            ours, theirs, clifford = make()
            seconds, method, counts = ours_alone(emulator, ours, 3 if quick else 7)
            best, aer, others = theirs_best(name, theirs, clifford, noisy, 1 if quick else 3)
            pairs = zip(ones(counts), ones(others), strict=True) if others else ()
            line = {
                "name": f"dynamic.{name}{'.noisy' * noisy}",
                "value": round(best / seconds, 2) if others else None,
                "unit": "times as long as ours",
                "goal": GOAL,
                "ours_s": round(seconds, 5),
                "ours_method": method,
                "aer_s": round(best, 5) if others else f"over {PATIENCE} by every method",
                "aer_method": aer,
                "bits_apart": round(max((abs(a - b) for a, b in pairs), default=0.0), 4),
            }
            print(json.dumps(line), flush=True)
        emulator.close()


if __name__ == "__main__":
    main()
