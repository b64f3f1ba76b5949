"""Observables as sums of Pauli products."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqse.errors import ArgumentError, ProgramError
from openqse.program.observable import PauliSum


def test_terms_are_read() -> None:
    observable = PauliSum.from_terms({"Z0 Z1": -1.0, "X3": 0.5, "I": 2.0, "Y2 X0": 1.5}, 4)
    assert observable.num_qubits == 4
    assert observable.coefficients.tolist() == [-1.0, 0.5, 2.0, 1.5]
    assert observable.paulis.tolist() == [[3, 3, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 2, 0]]


def test_terms_may_repeat_in_a_list_of_pairs() -> None:
    assert PauliSum.from_terms([("Z0", 1.0), ("Z0", 2.0)], 1).coefficients.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("term", ["A0", "Z", "Z-1", "Z0Z1", "Z2", "Z0 X0", "z0", "Z٣"])
def test_unreadable_terms_are_refused(term: str) -> None:
    with pytest.raises(ArgumentError, match="observable term"):
        PauliSum.from_terms({term: 1.0}, 2)


@pytest.mark.parametrize(
    ("coefficients", "paulis"),
    [
        ([1.0, 2.0], [[0]]),
        ([1.0], [0]),
        ([], np.zeros((0, 1))),
        ([1.0], [[]]),
        ([1.0], [[4]]),
        ([np.nan], [[1]]),
        ([np.inf], [[1]]),
    ],
)
def test_inconsistent_arrays_are_refused(coefficients: list[float], paulis: list[int]) -> None:
    with pytest.raises(ProgramError):
        PauliSum(np.array(coefficients), np.array(paulis, dtype=np.uint8))


@st.composite
def observables(draw: st.DrawFn) -> PauliSum:
    terms, qubits = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    finite = st.floats(allow_nan=False, allow_infinity=False)
    coefficients = draw(st.lists(finite, min_size=terms, max_size=terms))
    row = st.lists(st.integers(0, 3), min_size=qubits, max_size=qubits)
    paulis = draw(st.lists(row, min_size=terms, max_size=terms))
    return PauliSum(np.array(coefficients), np.array(paulis, dtype=np.uint8))


@given(observables())
def test_wire_round_trip(observable: PauliSum) -> None:
    read = PauliSum.from_wire(observable.to_wire())
    assert read.coefficients.tobytes() == observable.coefficients.tobytes()
    assert read.paulis.tolist() == observable.paulis.tolist()


_ANYTHING = st.one_of(
    st.none(), st.integers(-3, 9), st.floats(), st.text(max_size=4), st.binary(max_size=16)
)


@given(
    st.dictionaries(st.sampled_from(["qubits", "coefficients", "paulis"]), _ANYTHING, max_size=3)
)
def test_anything_else_from_the_wire_is_a_program_error(body: dict[str, object]) -> None:
    with suppress(ProgramError):
        PauliSum.from_wire(body)


def test_complex_coefficients_are_taken_where_they_are_real() -> None:
    assert PauliSum.from_terms({"X0": 1 + 0j}, 1).coefficients.tolist() == [1.0]
    assert PauliSum(np.array([2 + 0j]), np.array([[3]])).coefficients.dtype == np.float64
    for wrong, reason in ((1j, "complex"), ("x", "not a number"), ([1, [2]], "not a number")):
        with pytest.raises(ArgumentError, match=reason):
            PauliSum.from_terms({"X0": wrong}, 1)  # type: ignore[dict-item]
