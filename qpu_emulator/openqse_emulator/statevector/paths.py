"""Many runs of one program that differ by Pauli operators: each begins where it first differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openqse_emulator.statevector import bind, execute, kernels
from openqse_emulator.statevector.branches import Use
from openqse_emulator.statevector.execute import NO_NOISE, Engine, Prepared
from openqse_emulator.statevector.team import Stopped

#: Runs that one thread takes at a time; it evolves a trunk for them.
_BUNDLE = 32
_NEVER = 2**62


class Path(NamedTuple):
    """A run: the Pauli operators that are inserted (see ``canonical``), and its shots."""

    noise: NDArray[np.int64]
    shots: NDArray[np.int64]


def follow(
    engine: Engine,
    prepared: Prepared,
    angles: NDArray[np.float64],
    paths: Sequence[Path],
    use: Use,
    stopped: Stopped,
    *,
    keep_phases: bool,
) -> None:
    """Evolves the runs of a program without collapses.

    Runs are sorted by their first Pauli operator. A *trunk* without any is evolved up to the first
    operation that has other numbers in a run; the run goes on from a copy. Where a state is more
    than one block, every run is evolved as a whole: copies would take more than they save.

    Args:
        use: given each run's state, whose memory is not its own, in one thread or another.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    planned, spaces = prepared.planned(angles, keep_phases, True)
    size = kernels.scratch_size(planned.block, planned.row, engine.dtype)
    if planned.num_qubits > planned.block:
        numbers = engine.take(planned.num_qubits)
        for path in paths:
            spaces[0].rewrite(angles, path.noise)
            bound = spaces[0].bind(planned, engine.dtype)
            engine.advance(planned, bound, numbers, 0, stopped)
            use(execute.state_of(numbers, spaces[0]), path.shots)
        engine.give_back(numbers)
        return
    order = sorted(paths, key=lambda path: path.noise[0, 0] if len(path.noise) else _NEVER)
    clean = execute.Workspace(prepared.program, True)
    clean.rewrite(angles, NO_NOISE)
    of_trunk = clean.bind(planned, engine.dtype)
    memory = [
        (execute.aligned(size, engine.dtype), execute.aligned(size, engine.dtype))
        for _ in range(len(spaces))
    ]
    states = [execute.aligned(2 << planned.num_qubits, engine.dtype) for _ in memory]
    last = len(planned.ops)

    def job(thread: int, i: int) -> None:
        (trunk, scratch), space = memory[thread], spaces[thread]

        def advance(to: NDArray[Any], bound: bind.Bound, begin: int, end: int) -> None:
            kernels.resume(
                trunk, to, states[thread], planned.block, planned.row, planned.stages,
                planned.local, planned.ops, planned.records, bound.tangents, bound.factors,
                bound.tables, bound.required, bound.scales, begin, end,
            )  # fmt: skip

        reached = 0
        for path in order[i * _BUNDLE : (i + 1) * _BUNDLE]:
            space.rewrite(angles, path.noise)
            bound = space.bind(planned, engine.dtype)
            changed = kernels.first_changed(
                planned.fills, planned.fill_ends, space.items, space.values, clean.items,
                clean.values,
            )  # fmt: skip
            begin = min(changed, max(0, last - 1))
            if begin > reached:
                advance(trunk, of_trunk, reached, begin)
                reached = begin
            advance(scratch, bound, begin if begin == reached else 0, last)
            use(execute.state_of(states[thread], space), path.shots)

    engine.team.each(-(-len(order) // _BUNDLE), job, stopped)
