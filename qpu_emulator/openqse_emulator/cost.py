"""What engines cost, in seconds of one thread: about, to choose between them.

The figures are of one core of an EPYC of 2023. What matters is their proportion.
"""

from __future__ import annotations

import math

from openqse_emulator import density, noise
from openqse_emulator.noise import Kind, Sequenced

#: A product of a pass over a density matrix; an operation, until it is part of a pass.
_PRODUCT, _FUSED = 1.3e-10, 8e-6
#: An operation on an amplitude; a state, whatever its size; an operation of a program's plan.
_AMPLITUDE, _STATE, _PLANNED = 5e-11, 1.3e-4, 8e-7


def of_density(sequence: Sequenced, num_qubits: int, num_outputs: int, *, observed: bool) -> float:
    """Of a density matrix.

    Args:
        observed: whether no outcomes are told apart.
    """
    products = density.products(sequence, num_qubits, num_outputs, observed=observed)
    return _FUSED * len(sequence) + _PRODUCT * products


def of_branches(sequence: Sequenced, num_qubits: int, branches: float) -> float:
    """Of a state vector in so many branches."""
    return _PLANNED * len(sequence) + branches * _evolution(sequence, num_qubits)


def of_trajectories(sequence: Sequenced, num_qubits: int, shots: int, collapses: int) -> float:
    """Of trajectories.

    Args:
        collapses: measurements, resets and Kraus operators, at which every state may branch.
    """
    states, variants = _states(sequence, shots)
    branched = min(float(shots), states * 2.0 ** min(collapses, 64))
    planned = _PLANNED * len(sequence) * (1 + variants)
    return planned + branched * _evolution(sequence, num_qubits)


def _evolution(sequence: Sequenced, num_qubits: int) -> float:
    return _STATE + _AMPLITUDE * len(sequence) * 2.0**num_qubits


def _states(sequence: Sequenced, shots: int) -> tuple[float, float]:
    """How many states shots need, which share one if the same happens to them, and how many of
    these need a plan of their own, for a qubit may decay or leak.

    Shots to which one thing happens may share a state, those to which more does are taken not to.
    """
    nothing, once, rarely = 0.0, 0.0, 0.0  # logarithm of a probability; sum of odds; of decays
    chances: list[tuple[float, int]] = []
    for channel in noise.channels(sequence):
        chance = min(sum(channel.probabilities), 1 - 1e-9)
        if channel.kind is Kind.KRAUS or not chance:
            continue
        nothing += math.log1p(-chance)
        once += chance / (1 - chance)
        chances.append((chance, len(channel.probabilities)))
        if channel.kind is not Kind.PAULI:
            rarely += math.log1p(-chance)
    spared = math.exp(nothing)
    single = sum(
        count * -math.expm1(-shots * spared * chance / (1 - chance) / count)
        for chance, count in chances
    )
    several = shots * max(0.0, 1 - spared * (1 + once))
    return 1 + single + several, min(single + several, -shots * math.expm1(rarely))
