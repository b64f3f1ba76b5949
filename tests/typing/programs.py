"""What a type checker sees of programs and observables. Checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

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
    qpu.run(3)  # type: ignore[arg-type]
    qpu.run("bell.qasm", shots="many")  # type: ignore[arg-type]
