"""Which engine computes what, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openqse.errors import NotSupported
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse_emulator import noise, profile
from openqse_emulator.choice import Choice, Task, choose
from openqse_emulator.noise import NoiseModel
from openqse_emulator.profile import Engine, Method

from .test_noise import model

ENGINE = Engine(threads=1, memory_bytes=2**30)
DEPHASING: dict[str, object] = {"one_qubit": 0.01}
RELAXING: dict[str, object] = {"one_qubit": 0.01, "t1_ns": (1000.0,)}
LEAKING: dict[str, object] = {"leakage_per_ns": 1e-3}


def clifford(n: int = 3) -> Circuit:
    builder = CircuitBuilder(n).h(0).h(1)
    for q in range(n - 1):
        builder.cx(q, q + 1)
    return builder.measure_all().build()


def rotated(n: int = 3) -> Circuit:
    """Qubit 1 idles for a while."""
    return CircuitBuilder(n).rx(0.3, 0).rx(0.3, 0).rx(0.3, 1).cx(0, 1).measure_all().build()


def chosen(
    circuit: Circuit,
    shots: int | None = 1000,
    engine: Engine = ENGINE,
    **figures: object,
) -> Choice:
    """For so many shots; for an expectation, where that is None."""
    task = Task(4096, observed=True) if shots is None else Task(shots)
    sequence = noise.sequence(circuit, model(**figures), measurements=not task.observed)
    return choose(circuit, engine, sequence, task, angles=circuit.bind()[0])


def test_clifford_programs_go_to_the_stabilizer_engine() -> None:
    found = chosen(clifford())
    assert found.method == "stabilizer"
    assert found.reason == "the program is Clifford and has no noise"
    found = chosen(clifford(), **DEPHASING)
    assert found.method == "stabilizer"
    assert found.reason == "the program is Clifford and the noise is Pauli"
    assert chosen(clifford(600)).bytes < 2**24


def test_programs_without_noise_go_to_the_state_vector() -> None:
    found = chosen(rotated(10))
    assert found == Choice("statevector", "the program has no noise", 16 * 2**10)
    single = chosen(rotated(10), engine=replace(ENGINE, precision="single"))
    assert single.bytes == 8 * 2**10
    misread = chosen(rotated(10), zero_as_one=(0.1,))
    assert misread.method == "statevector"


def test_unbound_parameters_are_taken_for_no_clifford_angles() -> None:
    builder = CircuitBuilder(1)
    circuit = builder.rx(builder.parameter("a"), 0).build()
    assert choose(circuit, ENGINE, list(circuit.operations()), Task(1)).method == "statevector"


def brickwall(n: int, depth: int) -> Circuit:
    builder = CircuitBuilder(n)
    for layer in range(depth):
        for q in range(n):
            builder.rx(0.3 + q, q).rz(0.7, q)
        for q in range(layer % 2, n - 1, 2):
            builder.cx(q, q + 1)
    return builder.measure_all().build()


def test_density_matrices_are_taken_where_they_are_cheaper() -> None:
    found = chosen(brickwall(8, 10), 1000, **RELAXING)
    assert (found.method, found.bytes) == ("density", 8 * 4**8)
    assert found.reason == "a density matrix of 8 qubits costs less than 1000 trajectories"
    found = chosen(brickwall(8, 10), 2, **RELAXING)
    assert (found.method, found.bytes) == ("trajectories", 16 * 2**8)
    assert found.reason == "2 trajectories cost less than a density matrix of 8 qubits"
    assert chosen(rotated(12), None, **RELAXING).method == "density"


def test_trajectories_are_weighed_by_the_states_that_shots_need() -> None:
    """Shots to which the same happens share a state: those of a quiet program do."""
    circuit = brickwall(12, 20)
    noisy = NoiseModel.of(profile.load("superconducting_noisy"))
    sequence = noise.sequence(circuit, noisy)
    found = choose(circuit, ENGINE, sequence, Task(5000))
    assert found.method == "trajectories"
    assert choose(circuit, ENGINE, sequence, Task(100_000)).method == "density"
    assert chosen(circuit, 100_000, one_qubit=1e-6).method == "trajectories"
    assert chosen(circuit, 100_000, one_qubit=1e-2).method == "density"


def test_branches_make_density_matrices_dearer() -> None:
    def measured(times: int) -> Circuit:
        builder = CircuitBuilder(8).rx(0.3, 0).rx(0.3, 0)
        for q in range(1, 8):
            builder.rx(0.3, q).cx(0, q)
        for clbit in range(times):
            builder.measure(0, clbit).rx(0.3, 0).cx(0, 1 + clbit % 7)
        return builder.measure(0, times).build()

    found = chosen(measured(2), 200, **RELAXING)
    assert (found.method, found.bytes) == ("density", 3 * 8 * 4**8)
    assert chosen(measured(12), 200, **RELAXING).method == "trajectories"


def test_expectations_are_exact_where_outcomes_are_few() -> None:
    def measured(times: int, n: int) -> Circuit:
        builder = CircuitBuilder(n)
        for q in range(n):
            builder.rx(0.3, q)
        for clbit in range(times):
            builder.measure(0, clbit).rx(0.3, 0)
        return builder.build()

    assert chosen(measured(12, 13), None) == Choice(
        "statevector",
        "the program has no noise; exact, over all outcomes on the way",
        13 * 16 * 2**13,
    )
    many = chosen(measured(13, 13), None)
    assert many.reason == "the program has no noise; the mean of 4096 trajectories"
    assert not many.exact
    assert chosen(measured(13, 3), None).method == "density"
    noisy = chosen(measured(1, 13), None, **RELAXING)
    assert noisy.reason.endswith("at most 12; the mean of 4096 trajectories")


def test_what_no_density_matrix_can_hold_goes_to_trajectories() -> None:
    assert chosen(rotated(13), 10**9, **RELAXING).method == "trajectories"
    leaking = chosen(rotated(3), 10**9, **LEAKING, **RELAXING)
    assert leaking.method == "trajectories"
    assert leaking.reason == "the program has noise, and its qubits leak"
    small = replace(ENGINE, memory_bytes=8 * 4**6)
    assert chosen(rotated(6), 10**9, small, **RELAXING).method == "density"
    assert chosen(rotated(7), 10**9, small, **RELAXING).method == "trajectories"


@pytest.mark.parametrize(
    ("method", "circuit", "figures", "says"),
    [
        ("statevector", rotated(), RELAXING, "there is noise"),
        ("stabilizer", rotated(), DEPHASING, "it is not Clifford"),
        ("stabilizer", clifford(), RELAXING, "the noise is more than Pauli errors"),
        ("density", clifford(13), {}, "it has 13 qubits, and density matrices at most 12"),
        ("density", rotated(), LEAKING, "its qubits leak"),
    ],
)
def test_method_that_cannot_is_refused(
    method: Method, circuit: Circuit, figures: dict[str, object], says: str
) -> None:
    with pytest.raises(NotSupported, match=says) as caught:
        chosen(circuit, engine=replace(ENGINE, method=method), **figures)
    assert caught.value.layer == "device"
    assert caught.value.details == {"method": method}


@pytest.mark.parametrize("method", ["statevector", "stabilizer", "density", "trajectories"])
def test_method_that_can_is_taken(method: Method) -> None:
    found = chosen(clifford(), engine=replace(ENGINE, method=method))
    assert (found.method, found.reason) == (method, "the profile asks for it")


def test_program_that_does_not_fit_is_refused_with_the_bytes() -> None:
    engine = replace(ENGINE, memory_bytes=16 * 2**20)
    assert chosen(rotated(20), engine=engine).method == "statevector"
    with pytest.raises(NotSupported) as caught:
        chosen(rotated(21), engine=engine)
    error = caught.value
    assert error.layer == "device"
    assert error.details == {"num_qubits": 21, "bytes": 2**25, "memory_bytes": 2**24}
    assert "takes 3.36e+7 bytes; a program may take 1.68e+7" in error.message


def test_branches_that_wait_for_their_turn_are_counted() -> None:
    def measured(times: int) -> Circuit:
        builder = CircuitBuilder(20).rx(0.3, 0)
        for _ in range(times):
            builder.measure(0, 0).rx(0.3, 0)
        return builder.measure_all().build()

    state = 16 * 2**20
    assert chosen(measured(1)).bytes == 2 * state
    assert chosen(measured(2), shots=1000).bytes == 3 * state
    assert chosen(measured(100), shots=1000).bytes == 11 * state
    with pytest.raises(NotSupported, match="a program may take"):
        chosen(measured(2), engine=replace(ENGINE, memory_bytes=2 * state))


def test_bytes_that_no_number_on_the_wire_holds_are_still_told() -> None:
    with pytest.raises(NotSupported, match=r"1\.80e\+308 bytes") as caught:
        chosen(rotated(1020))
    assert caught.value.details["bytes"] == 2**63 - 1
