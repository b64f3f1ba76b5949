"""Plans as values: every item has its place, in an order that gives the same state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse_emulator.statevector import plan
from openqse_emulator.statevector.canonical import EXCHANGE, FUSION, PHASE1, PHASE2, ROTATION
from openqse_emulator.statevector.plan import Plan

from . import reference
from .circuits import FREE, TOLERANCE, assert_same_state, never, random_circuit
from .conftest import Engines
from .items import Items, rewritten


@st.composite
def plans(draw: st.DrawFn, *, keep_phases: bool = True) -> tuple[Circuit, Items, Plan]:
    """A circuit without free parameters, its items, and a plan with blocks of any size."""
    circuit = random_circuit(
        draw(st.integers(1, 11)),
        draw(st.integers(0, 40)),
        np.random.default_rng(draw(st.integers(0, 2**32))),
    ).build()
    found = rewritten(circuit, circuit.bind()[0], noisy=draw(st.booleans()))
    n = max(circuit.num_qubits, plan.LEAST_QUBITS)
    block = draw(st.integers(plan.LEAST_QUBITS, n))
    dtype = draw(st.sampled_from(list(TOLERANCE)))
    return circuit, found, plan.plan(found.items, n, dtype, block=block, keep_phases=keep_phases)


def items_of(planned: Plan) -> list[list[int]]:
    """The items of each operation, in order."""
    pieces = np.split(planned.fills[:, plan.FILL_ITEM], planned.fill_ends[:-1])
    return [list(dict.fromkeys(piece.tolist())) for piece in pieces] if len(planned.ops) else []


@settings(max_examples=80, deadline=None)
@given(plans())
def test_every_item_that_does_something_is_in_one_operation(
    made: tuple[Circuit, Items, Plan],
) -> None:
    _, found, planned = made
    placed = [i for items in items_of(planned) for i in items]
    assert len(set(placed)) == len(placed)
    rotated: set[int] = set()
    for i, (kind, p, q, row) in enumerate(found.items.tolist()):
        if kind == FUSION and row:  # of its numbers alone
            assert i not in placed
        elif kind in (ROTATION, FUSION) or (kind == EXCHANGE and p in rotated):
            rotated |= {p} if kind == ROTATION else {p, q}
            assert i in placed
        elif i not in placed:  # it acts on qubits that are zero
            assert kind in (PHASE1, PHASE2, EXCHANGE)
            assert rotated.isdisjoint({p, q} if kind == PHASE2 else {p})


@settings(max_examples=80, deadline=None)
@given(plans())
def test_operations_in_order_are_the_circuit(made: tuple[Circuit, Items, Plan]) -> None:
    circuit, found, planned = made
    order = [i for items in items_of(planned) for i in items]
    assert_same_state(found.state(order), reference.state(circuit))


@settings(max_examples=80, deadline=None)
@given(plans())
def test_rotations_and_fusions_are_of_local_qubits(made: tuple[Circuit, Items, Plan]) -> None:
    _, found, planned = made
    operations = items_of(planned)
    for stage, local in zip(planned.stages, planned.local, strict=True):
        assert len(set(local.tolist())) == planned.block
        assert sum(1 << q for q in local.tolist()) == stage[plan.STAGE_LOCAL]
        for o in range(stage[plan.STAGE_BEGIN], stage[plan.STAGE_END]):
            kinds = {int(found.items[i, 0]) for i in operations[o]}
            kind = planned.ops[o, plan.OP_KIND]
            if kind == plan.ROTATE:
                assert kinds == {ROTATION}
            elif kind == plan.PERMUTE:
                assert EXCHANGE in kinds <= {EXCHANGE, ROTATION}
            else:
                assert ROTATION not in kinds
            for i in operations[o]:
                assert found.items[i, 0] != ROTATION or found.items[i, 1] in local
            if kind == plan.MIX:
                (fusion,) = operations[o]
                assert set(found.items[fusion, 1:3].tolist()) <= set(local.tolist())


@settings(max_examples=80, deadline=None)
@given(plans(keep_phases=False))
def test_phases_that_no_outcome_depends_on_are_left_out(
    made: tuple[Circuit, Items, Plan],
) -> None:
    circuit, found, planned = made
    order = [i for items in items_of(planned) for i in items]
    left_out = found.items[sorted(set(range(len(found.items))) - set(order))]
    assert not (left_out[:, 0] == ROTATION).any()
    assert left_out[left_out[:, 0] == FUSION, 3].all()
    probabilities = np.abs(found.state(order)) ** 2
    np.testing.assert_allclose(probabilities, np.abs(reference.state(circuit)) ** 2, atol=1e-12)


def test_rotations_after_a_ladder_of_exchanges_take_no_pass_of_their_own() -> None:
    builder = CircuitBuilder(10)
    for _ in range(2):
        for q in range(10):
            builder.ry(0.1 + q, q)
        for q in range(9):
            builder.cx(q, q + 1)
    circuit = builder.build()
    found = rewritten(circuit, circuit.bind()[0])
    kinds = plan.plan(found.items, 10, np.float64, block=10).ops[:, plan.OP_KIND].tolist()
    ladder = kinds.index(plan.PERMUTE)
    assert set(kinds[:ladder]) == {plan.ROTATE}
    assert set(kinds[ladder:]) == {plan.PERMUTE}


def test_last_phases_are_left_out_where_only_outcomes_matter() -> None:
    circuit = CircuitBuilder(2).h(0).h(1).cz(0, 1).h(0).t(0).cz(0, 1).s(1).build()
    found = rewritten(circuit, circuit.bind()[0])
    kept, all_of_them = (
        plan.plan(found.items, 6, np.float64, block=6, keep_phases=keep) for keep in (False, True)
    )
    rotations = int((found.items[:, 0] == ROTATION).sum())
    assert sum(map(len, items_of(kept))) == rotations + 1  # the first CZ
    assert sum(map(len, items_of(all_of_them))) == len(found.items)


def test_plan_serves_all_parameters(engine: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Plan] = []
    make = plan.plan

    def counted(*arguments: Any, **options: Any) -> Plan:
        made.append(make(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(plan, "plan", counted)
    circuit = random_circuit(5, 40, np.random.default_rng(8), free=0.5).build()
    alone = engine(np.float64, 1)
    prepared = alone.prepare(circuit)
    for parameters in ([0.0] * len(FREE), [np.pi, -0.5, 2.0], [1.1, 2.2, 3.3]):
        state = alone.evolve(prepared, circuit.bind(parameters)[0], never)
        assert_same_state(state.amplitudes(), reference.state(circuit, parameters))
        alone.give_back(state.numbers)
    assert len(made) == 1
