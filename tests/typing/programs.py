"""What a type checker sees of programs and observables. Checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import openqse


def circuits_are_built() -> None:
    builder = openqse.CircuitBuilder(2)
    theta = builder.parameter("theta")
    assert_type(theta, openqse.Angle)
    assert_type(2 * theta + 0.5, openqse.Angle)
    assert_type(
        builder.h(0).cx(0, 1).ry(theta, 0).rz(0.25, 1).measure(0, 0), openqse.CircuitBuilder
    )
    assert_type(builder.measure_all().build(), openqse.Circuit)


def circuits_say_what_they_are(circuit: openqse.Circuit) -> None:
    assert_type(circuit.num_qubits, int)
    assert_type(circuit.num_clbits, int)
    assert_type(circuit.parameters, tuple[str, ...])


def observables_are_made_of_terms() -> None:
    assert_type(
        openqse.PauliSum.from_terms({"Z0 Z1": 0.5, "X0": 1.0}, num_qubits=2), openqse.PauliSum
    )


def every_form_of_program_is_taken(qpu: openqse.QPU, circuit: openqse.Circuit) -> None:
    assert_type(qpu.run(circuit), openqse.Result)
    assert_type(qpu.run("OPENQASM 3; qubit q; bit c; c = measure q;"), openqse.Result)
    assert_type(qpu.run(Path("bell.qasm")), openqse.Result)


def what_is_no_program_is_found(qpu: openqse.QPU) -> None:
    qpu.run(3)  # type: ignore[call-overload]
    qpu.run("bell.qasm", shots="many")  # type: ignore[call-overload]


def results_say_how_many_sets_were_asked_for(
    qpu: openqse.QPU, program: str, array: NDArray[np.float64]
) -> None:
    one = qpu.run(program, parameters=[0.1])
    assert_type(one, openqse.Result)
    assert_type(one.counts, dict[str, int])
    assert_type(one.registers["c"].integers, list[int])
    assert_type(qpu.run(program, parameters={"theta": 0.1}), openqse.Result)
    several = qpu.run(program, parameters=[[0.1], [0.2]])
    assert_type(several, openqse.BatchResult)
    assert_type(several.counts, list[dict[str, int]])
    assert_type(several[0], openqse.Result)
    assert_type(qpu.run(program, parameters=array), openqse.Result | openqse.BatchResult)
    assert_type(qpu.submit(program), openqse.Future[openqse.Result])
    assert_type(qpu.map(program, array), list[openqse.Future[openqse.Result]])


def expectations_are_numbers_or_arrays(qpu: openqse.QPU, program: str, z: openqse.PauliSum) -> None:
    assert_type(qpu.expectation(program, z), float)
    assert_type(qpu.expectation(program, z, parameters=[[0.1], [0.2]]), NDArray[np.float64])
