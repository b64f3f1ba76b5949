"""The circuit form: building, binding, encoding and its checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import ArgumentError, ProgramError
from openqse.program.angle import Angle
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import FORMAT_1, Circuit, Operation
from openqse.program.gates import NON_UNITARY, QUANTUM, SIGNATURES, Op
from openqse.program.program import Output, Program
from openqse.program.straight import straightened

from . import reference


def bell() -> Circuit:
    return CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()


def test_builder_writes_operations_in_order() -> None:
    assert list(bell().operations()) == [
        Operation(Op.H, 0, (0,), range(0), -1),
        Operation(Op.X, 1, (0, 1), range(0), -1),
        Operation(Op.MEASURE, 0, (0,), range(0), 0),
        Operation(Op.MEASURE, 0, (1,), range(0), 1),
    ]
    assert (bell().num_qubits, bell().num_clbits, len(bell())) == (2, 2, 4)


def test_every_gate_method_means_its_gate() -> None:
    b = CircuitBuilder(2)
    b.x(0).y(1).z(0).h(1).s(0).t(1).p(0.1, 0).rx(0.2, 1).ry(0.3, 0).rz(0.4, 1)
    b.u(0.5, 0.6, 0.7, 0).cx(0, 1).cz(1, 0).cp(0.8, 0, 1).swap(0, 1).rzz(0.9, 1, 0).barrier()
    r, on = reference, reference.on
    expected = np.eye(4)
    for matrix, qubits in [
        (r.X, (0,)), (r.Y, (1,)), (r.Z, (0,)), (r.H, (1,)), (r.phase(np.pi / 2), (0,)),
        (r.phase(np.pi / 4), (1,)), (r.phase(0.1), (0,)), (r.rotation(r.X, 0.2), (1,)),
        (r.rotation(r.Y, 0.3), (0,)), (r.rotation(r.Z, 0.4), (1,)), (r.u(0.5, 0.6, 0.7), (0,)),
        (r.controlled(r.X), (0, 1)), (r.controlled(r.Z), (1, 0)),
        (r.controlled(r.phase(0.8)), (0, 1)), (r.SWAP, (0, 1)),
        (r.rotation(np.kron(r.Z, r.Z), 0.9), (1, 0)),
    ]:  # fmt: skip
        expected = on(qubits, matrix, 2) @ expected
    np.testing.assert_allclose(reference.unitary(b.build()), expected, atol=1e-14)


def test_every_other_gate_method_means_its_gate() -> None:
    r, on = reference, reference.on
    b = CircuitBuilder(3)
    b.gphase(0.1).id(0).sdg(0).tdg(1).sx(2).sxdg(0).cy(0, 1).ch(1, 2).crx(0.2, 0, 2)
    b.cry(0.3, 2, 1).crz(0.4, 1, 0).ccx(0, 1, 2).ccz(2, 0, 1).cswap(1, 0, 2)
    b.rxx(0.5, 0, 1).ryy(0.6, 1, 2)
    expected = np.exp(0.1j) * np.eye(8)
    for matrix, qubits in [
        (r.phase(-np.pi / 2), (0,)), (r.phase(-np.pi / 4), (1,)), (r.SX, (2,)),
        (r.SX.conj().T, (0,)), (r.controlled(r.Y), (0, 1)), (r.controlled(r.H), (1, 2)),
        (r.controlled(r.rotation(r.X, 0.2)), (0, 2)), (r.controlled(r.rotation(r.Y, 0.3)), (2, 1)),
        (r.controlled(r.rotation(r.Z, 0.4)), (1, 0)), (r.controlled(r.X, 2), (0, 1, 2)),
        (r.controlled(r.Z, 2), (2, 0, 1)), (r.controlled(r.SWAP), (1, 0, 2)),
        (r.rotation(np.kron(r.X, r.X), 0.5), (0, 1)), (r.rotation(np.kron(r.Y, r.Y), 0.6), (1, 2)),
    ]:  # fmt: skip
        expected = on(qubits, matrix, 3) @ expected
    np.testing.assert_allclose(reference.unitary(b.build()), expected, atol=1e-14)


def test_measuring_grows_the_bits_and_measure_all_takes_new_ones() -> None:
    circuit = CircuitBuilder(2).measure(0, 2).measure_all().build()
    assert circuit.num_clbits == 5
    assert circuit.clbits.tolist() == [2, 3, 4]


def test_angles_are_affine_in_the_parameters() -> None:
    b = CircuitBuilder(1)
    x, y = b.parameter("x"), b.parameter("y")
    b.rx(2 * x - y / 4 + 1, 0).ry(3 - x, 0).rz(-(x + x) - 0.5, 0).p(0.25, 0)
    circuit = b.build()
    assert circuit.parameters == ("x", "y")
    (angles,) = circuit.bind([0.5, 2.0])
    assert angles.tolist() == [1.5, 2.5, -1.5, 0.25]


def test_a_batch_is_bound_row_by_row() -> None:
    b = CircuitBuilder(1)
    circuit = b.rx(b.parameter("x") * 3, 0).rz(1.0, 0).build()
    batch = circuit.bind([[1.0], [2.0], [-1.0]])
    assert batch.tolist() == [[3.0, 1.0], [6.0, 1.0], [-3.0, 1.0]]
    np.testing.assert_array_equal(
        batch, np.concatenate([circuit.bind(p) for p in ([1], [2], [-1])])
    )


def test_a_parameter_keeps_the_place_of_its_first_mention() -> None:
    b = CircuitBuilder(1)
    b.parameter("b")
    b.parameter("a")
    assert b.rx(b.parameter("b"), 0).build().parameters == ("b", "a")


def test_without_parameters_nothing_needs_to_be_bound() -> None:
    assert bell().bind().shape == (1, 0)


@pytest.mark.parametrize(
    "values", [None, [], [1.0, 2.0], [[1.0, 2.0]], [[[1.0]]], [np.nan], [np.inf], ["a"], [[]], 1.0]
)
def test_parameters_of_another_shape_or_kind_are_refused(values: object) -> None:
    b = CircuitBuilder(1)
    circuit = b.rx(b.parameter("x"), 0).build()
    with pytest.raises(ArgumentError):
        circuit.bind(values)  # type: ignore[arg-type]


def test_a_parameter_of_another_circuit_is_refused() -> None:
    with pytest.raises(ArgumentError, match="another circuit"):
        CircuitBuilder(1).rx(Angle(0.0, {"x": 1.0}), 0)


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        ([(Op.X, (2,))], "not a qubit"),
        ([(Op.X, (-1,))], "not a qubit"),
        ([(Op.SWAP, (1, 1))], "twice"),
        ([(Op.X, (0, 1))], "number of operands"),
        ([(Op.X, ())], "number of operands"),
        ([(Op.RX, (0,))], "number of angles"),
        ([(Op.X, (0,), (1.0,))], "number of angles"),
        ([(Op.RX, (0,), (np.inf,))], "finite"),
        ([(Op.GPHASE, (0,), (1.0,))], "number of operands"),
    ],
)
def test_an_impossible_operation_is_refused(operations: list[tuple], reason: str) -> None:
    def written() -> Circuit:
        b = CircuitBuilder(2, 1)
        for operation in operations:
            b.append(*operation)
        return b.build()

    with pytest.raises(ProgramError, match=reason):
        written()


def test_a_measurement_under_control_is_refused() -> None:
    with pytest.raises(ProgramError, match="controls"):
        CircuitBuilder(2, 1).append(Op.MEASURE, (0, 1), controls=1, clbit=0).build()


def test_a_measurement_into_no_bit_of_the_circuit_is_refused() -> None:
    with pytest.raises(ProgramError, match="bit that does not exist"):
        CircuitBuilder(1, 1).append(Op.MEASURE, (0,), clbit=1).build()


def test_only_a_measurement_writes_a_bit() -> None:
    with pytest.raises(ProgramError, match="names a bit"):
        CircuitBuilder(1, 1).append(Op.X, (0,), clbit=0).build()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"num_qubits": 2**25}, "more than"),
        ({"num_qubits": 0}, "at least one qubit"),
        ({"num_clbits": -1}, "negative"),
        ({"parameters": ("x", "x")}, "share a name"),
        ({"opcodes": [[5, 2]]}, "not flat"),
        ({"opcodes": [5, 63]}, "unknown operation code"),
        ({"controls": [0]}, "one entry for each"),
        ({"controls": [0, 3]}, "number of operands"),
        ({"clbits": [-1]}, "one entry for each"),
        ({"operand_offsets": [0, 1]}, "span"),
        ({"operand_offsets": [0, 4, 3]}, "decreases"),
        ({"angle_offsets": [0, 0, 1]}, "span"),
        ({"term_angles": [0]}, "different lengths"),
        ({"term_angles": [0], "term_parameters": [0], "term_coefficients": [1.0]}, "not exist"),
    ],
)
def test_contradicting_arrays_are_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProgramError, match=reason):
        replace(CircuitBuilder(2).h(0).cx(0, 1).build(), **changed)


def test_the_text_form_says_what_it_is() -> None:
    shown = "Circuit(2 qubits, 2 bits, 4 operations, 0 parameters, id "
    assert repr(bell()).startswith(shown)


def test_arrays_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        bell().operands[0] = 1


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (CircuitBuilder(2).h(0).measure(0, 0).measure(1, 1), True),
        (CircuitBuilder(2).h(0).measure(0, 0).x(1).measure(1, 1), True),
        (CircuitBuilder(2).measure(0, 0).barrier().measure(1, 1), True),
        (CircuitBuilder(2).measure(0, 0).append(Op.GPHASE, (), (1.0,)), True),
        (CircuitBuilder(2).measure(0, 0).x(0), False),
        (CircuitBuilder(2).measure(0, 0).cx(1, 0), False),
        (CircuitBuilder(2).measure(0, 0).cx(0, 1), False),
        (CircuitBuilder(2).measure(0, 0).measure(0, 1), False),
        (CircuitBuilder(2).measure(0, 0).measure(1, 0), False),
        (CircuitBuilder(2).reset(0).measure(0, 0), False),
        (CircuitBuilder(2).h(0), True),
    ],
)
def test_measures_last(builder: CircuitBuilder, expected: bool) -> None:
    assert builder.build().measures_last is expected


# --- encoding ------------------------------------------------------------------------------------


@st.composite
def circuits(draw: st.DrawFn) -> Circuit:
    qubits, bits = draw(st.integers(1, 5)), draw(st.integers(0, 4))
    builder = CircuitBuilder(qubits, bits)
    parameters = [
        builder.parameter(name) for name in draw(st.sets(st.text(max_size=5), max_size=3))
    ]
    finite = st.floats(-1e6, 1e6)
    for _ in range(draw(st.integers(0, 12))):
        op = draw(st.sampled_from(sorted(QUANTUM - {Op.BOX, Op.END_BOX})))
        targets = SIGNATURES[op].targets
        count = draw(st.integers(0, qubits)) if targets is None else targets
        if count > qubits or (op is Op.MEASURE and bits == 0):
            continue
        controls = 0 if op in NON_UNITARY else draw(st.integers(0, qubits - count))
        operands = draw(st.permutations(range(qubits)))[: count + controls]
        angles: list[Angle | float] = []
        for _ in range(SIGNATURES[op].angles):
            angle: Angle | float = draw(finite)
            for parameter in parameters:
                angle = parameter * draw(finite) + angle
            angles.append(angle)
        clbit = draw(st.integers(0, bits - 1)) if op is Op.MEASURE else -1
        builder.append(op, operands, angles, controls=controls, clbit=clbit)
    return builder.build()


@given(circuits())
def test_decoding_gives_the_circuit_back(circuit: Circuit) -> None:
    read = Circuit.decode(circuit.encoded)
    assert read == circuit
    assert read.encoded == circuit.encoded
    assert hash(read) == hash(circuit)
    assert list(read.operations()) == list(circuit.operations())
    assert read.parameters == circuit.parameters
    values = np.ones(len(circuit.parameters))
    np.testing.assert_array_equal(read.bind(values), circuit.bind(values))


@given(st.binary(max_size=200))
def test_decoding_random_bytes_is_a_program_error(data: bytes) -> None:
    with pytest.raises(ProgramError):
        Circuit.decode(data)


@settings(max_examples=300)
@given(circuits(), st.data())
def test_decoding_mutated_bytes_is_a_circuit_or_a_program_error(
    circuit: Circuit, data: st.DataObject
) -> None:
    mutated = bytearray(circuit.encoded)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(mutated)) | st.just(len(mutated)))
    try:
        read = Circuit.decode(bytes(mutated[:cut]))
    except ProgramError:
        return
    list(read.operations())
    straight = straightened(read)
    if straight is not None:
        sets = np.ones((1, len(read.parameters)))
        straight.circuit.bind(straight.parameters(sets))


@pytest.mark.parametrize("position", range(1, 18))
@pytest.mark.parametrize("value", [None, -1, 2**40, "x", [1], {"a": 1}, b"\x01", 1.5])
def test_decoding_a_wrong_field_is_a_program_error(position: int, value: object) -> None:
    body = msgpack.unpackb(bell().encoded)
    body[position] = value
    with pytest.raises(ProgramError):
        Circuit.decode(msgpack.packb(body))


def test_another_format_is_named() -> None:
    with pytest.raises(ProgramError, match=r"openqse\.circuit\.9"):
        Circuit.decode(msgpack.packb(["openqse.circuit.9", 1, 0, []]))


def test_equal_circuits_have_one_id_and_different_ones_do_not() -> None:
    assert bell().id == bell().id
    assert bell() == bell()
    assert bell().id != CircuitBuilder(2).h(1).cx(0, 1).measure_all().build().id
    assert bell() != "bell"


def test_the_wire_format_has_not_drifted() -> None:
    """If this fails the format changed: give it a new name (FORMAT), do not change the hash."""
    builder = CircuitBuilder(2)
    builder.h(0).cx(0, 1).rz(builder.parameter("theta") * 2 + 0.5, 1).measure_all()
    expected = "20820cfea05c6c859c19a5984ef6fb26d91d1d0ccced5b9f509a8e1bf621a3f3"
    assert builder.build().id == expected


def test_form_1_is_still_read() -> None:
    """Bytes that the release before wrote."""
    written = bytes.fromhex(
        "9eb16f70656e7173652e636972637569742e31020291a57468657461c40505020f2020c4050001000000"
        "c414ffffffffffffffffffffffff0000000001000000c4180000000001000000030000000400000005000000"
        "06000000c418000000000000000001000000010000000000000001000000c418000000000000000000000000"
        "010000000100000001000000c408000000000000e03fc40400000000c40400000000c4080000000000000040"
    )
    builder = CircuitBuilder(2)
    builder.h(0).cx(0, 1).rz(builder.parameter("theta") * 2 + 0.5, 1).measure_all()
    read = Circuit.decode(written)
    assert read == builder.build()
    assert read.outputs == (("c", 2),)
    envelope = Program(FORMAT_1, written, ("theta",), read.outputs)
    assert Circuit.of(envelope) == read


def test_an_envelope_that_says_other_than_its_circuit_is_refused() -> None:
    honest = bell().program
    assert Circuit.of(honest) == bell()
    for lie in (replace(honest, parameters=("x",)), replace(honest, outputs=(Output("d", 2),))):
        with pytest.raises(ProgramError, match="other parameters or outputs"):
            Circuit.of(lie)
    with pytest.raises(ProgramError, match="qir"):
        Circuit.of(replace(honest, format="qir"))


def test_parameters_are_given_by_name() -> None:
    b = CircuitBuilder(1)
    for name in ("a", "p[0]", "p[1]"):
        b.rx(b.parameter(name), 0)
    circuit = b.build()
    assert circuit.bind({"p": [2.0, 3.0], "a": 1.0}).tolist() == [[1.0, 2.0, 3.0]]
    assert circuit.bind({"p[1]": 3, "p[0]": 2, "a": [1, 4]}).tolist() == [[1, 2, 3], [4, 2, 3]]
    for wrong, named in (({"a": 1.0}, "p\\[0\\]"), ({"b": 1.0}, "'b'"), ({"a": "x"}, "'a'")):
        with pytest.raises(ArgumentError, match=named):
            circuit.bind(wrong)
