"""The matrices of the operations."""

from __future__ import annotations

import numpy as np
import pytest

from openqse.program.gates import CLASSICAL, NON_UNITARY, SIGNATURES, Op, matrix

from . import reference

UNITARY = [op for op in Op if op not in NON_UNITARY]
ANGLES = (0.7, -1.9, 2.6)


@pytest.mark.parametrize("op", UNITARY)
def test_matrix_is_the_definition_and_unitary(op: Op) -> None:
    angles = ANGLES[: SIGNATURES[op].angles]
    found = matrix(op, angles)
    targets = SIGNATURES[op].targets
    assert targets is not None
    assert found.shape == (2**targets, 2**targets)
    assert found.dtype == np.complex128
    np.testing.assert_allclose(found, reference.gate(op, angles), atol=1e-14)
    np.testing.assert_allclose(found @ found.conj().T, np.eye(2**targets), atol=1e-14)


@pytest.mark.parametrize(("op", "inverse"), [(Op.S, Op.SDG), (Op.T, Op.TDG), (Op.SX, Op.SXDG)])
def test_daggered_gates_are_inverses(op: Op, inverse: Op) -> None:
    np.testing.assert_allclose(matrix(op) @ matrix(inverse), np.eye(2), atol=1e-15)


@pytest.mark.parametrize("op", [op for op in UNITARY if SIGNATURES[op].angles == 1])
def test_negated_angle_is_the_inverse(op: Op) -> None:
    product = matrix(op, (1.3,)) @ matrix(op, (-1.3,))
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-15)


def test_u_has_a_real_corner_and_the_stated_inverse() -> None:
    theta, phi, lam = ANGLES
    assert matrix(Op.U, ANGLES)[0, 0].imag == 0
    product = matrix(Op.U, ANGLES) @ matrix(Op.U, (-theta, -lam, -phi))
    np.testing.assert_allclose(product, np.eye(2), atol=1e-15)


def test_a_fixed_matrix_cannot_be_spoiled_by_its_receiver() -> None:
    matrix(Op.X)[0, 0] = 5
    assert matrix(Op.X)[0, 0] == 0


@pytest.mark.parametrize("op", sorted(NON_UNITARY))
def test_other_operations_have_no_matrix(op: Op) -> None:
    with pytest.raises(ValueError, match="no matrix"):
        matrix(op)


def test_operation_codes_are_those_of_the_wire_format() -> None:
    names = [
        *("GPHASE", "ID", "X", "Y", "Z", "H", "S", "SDG", "T", "TDG", "SX", "SXDG", "P"),
        *("RX", "RY", "RZ", "U", "SWAP", "RXX", "RYY", "RZZ"),
    ]
    others = {
        "MEASURE": 32,
        "RESET": 33,
        "BARRIER": 34,
        "DELAY": 35,
        "BOX": 36,
        "END_BOX": 37,
        **{op.name: int(op) for op in CLASSICAL},
    }
    assert {op.name: int(op) for op in Op} == {n: i for i, n in enumerate(names)} | others
