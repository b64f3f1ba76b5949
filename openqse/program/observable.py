"""Observables: real sums of Pauli products."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openqse.errors import ArgumentError, ProgramError

_FACTOR = re.compile(r"([IXYZ])(\d+)")
_CODES = {"I": 0, "X": 1, "Y": 2, "Z": 3}


@dataclass(frozen=True, eq=False)
class PauliSum:
    """``sum(coefficients[t] * product of Paulis paulis[t])``.

    Attributes:
        coefficients: float64 ``(terms,)``.
        paulis: uint8 ``(terms, num_qubits)``; 0 is I, 1 X, 2 Y, 3 Z.

    Raises:
        ProgramError: shapes disagree, an unknown Pauli, or a coefficient that is not finite.
    """

    coefficients: NDArray[np.float64]
    paulis: NDArray[np.uint8]

    def __post_init__(self) -> None:
        # Copies: a task on its way must not change with what its caller has.
        coefficients = _real(self.coefficients)
        paulis = np.array(self.paulis, dtype=np.uint8, order="C")
        if coefficients.ndim != 1 or paulis.ndim != 2 or len(coefficients) != len(paulis):
            raise ProgramError("an observable needs one coefficient for each row of Paulis")
        if len(coefficients) == 0 or paulis.shape[1] == 0:
            raise ProgramError("an observable needs at least one term and one qubit")
        if paulis.max() > 3:
            raise ProgramError("a Pauli code is not 0 (I), 1 (X), 2 (Y) or 3 (Z)")
        if not np.isfinite(coefficients).all():
            raise ProgramError("a coefficient of the observable is not a finite number")
        object.__setattr__(self, "coefficients", coefficients)
        object.__setattr__(self, "paulis", paulis)

    @property
    def num_qubits(self) -> int:
        """Qubits that the observable is on."""
        return int(self.paulis.shape[1])

    @staticmethod
    def from_terms(
        terms: Mapping[str, complex] | Iterable[tuple[str, complex]], num_qubits: int
    ) -> PauliSum:
        """Reads terms such as ``{"Z0 Z1": -1.0, "X3": 0.5, "I": 2.0}``.

        Args:
            terms: coefficients by product. A complex one, as other libraries hold them, is taken
                where its imaginary part is 0.

        Raises:
            ArgumentError: a term cannot be read, names a qubit twice or out of range, or its
                coefficient is not a real number.
        """
        pairs = list(terms.items() if isinstance(terms, Mapping) else terms)
        paulis = np.zeros((len(pairs), num_qubits), dtype=np.uint8)
        for row, (text, _) in enumerate(pairs):
            seen: set[int] = set()
            for factor in [] if text.strip() == "I" else text.split():
                match = _FACTOR.fullmatch(factor)
                if match is None:
                    raise ArgumentError(
                        f"observable term {text!r}: cannot read {factor!r}",
                        remedy="Write factors as in 'Z0 Z1' or 'X3'; 'I' alone is the identity",
                    )
                qubit = int(match[2])
                if qubit >= num_qubits or qubit in seen:
                    raise ArgumentError(
                        f"observable term {text!r}: qubit {qubit} is named twice or is not one of "
                        f"the {num_qubits} qubits"
                    )
                seen.add(qubit)
                paulis[row, qubit] = _CODES[match[1]]
        return PauliSum(_real([c for _, c in pairs]), paulis)

    def to_wire(self) -> dict[str, Any]:
        """The observable as plain values, for a task."""
        return {
            "qubits": self.num_qubits,
            "coefficients": self.coefficients.astype("<f8").tobytes(),
            "paulis": self.paulis.tobytes(),
        }

    @staticmethod
    def from_wire(body: dict[str, Any]) -> PauliSum:
        """The observable that ``to_wire`` wrote.

        Raises:
            ProgramError: not an observable.
        """
        try:
            coefficients = np.frombuffer(body["coefficients"], dtype="<f8")
            paulis = np.frombuffer(body["paulis"], dtype=np.uint8)
            return PauliSum(coefficients, paulis.reshape(-1, int(body["qubits"])))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ProgramError(f"not an observable: {error}") from error


def _real(coefficients: ArrayLike) -> NDArray[np.float64]:
    """Coefficients as float64, in an array of their own.

    Raises:
        ArgumentError: one of them is not a real number.
    """
    if isinstance(coefficients, np.ndarray) and coefficients.dtype == np.float64:
        return np.array(coefficients, order="C")  # as they come with every task
    try:
        values = np.array(coefficients, dtype=np.complex128, order="C")
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"a coefficient of the observable is not a number: {error}") from None
    if (np.abs(values.imag) > 0).any():
        first = values[values.imag != 0].flat[0]
        raise ArgumentError(
            f"coefficient {first} of the observable is complex, so that it is not Hermitian",
            remedy="Give real coefficients; take the expectation of real and imaginary part apart",
        )
    return np.ascontiguousarray(values.real)
