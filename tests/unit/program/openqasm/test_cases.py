"""Small programs of every kind, each with the results that the language gives it."""

from __future__ import annotations

import math

import pytest

from openqse.program.openqasm import loads

from .exact import distribution

H3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
H2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'

TELEPORT = (
    H3 + "qubit[3] w; bit[3] m; ry(0.8) w[0]; h w[1]; cx w[1], w[2]; cx w[0], w[1]; h w[0]; "
    "m[0] = measure w[0]; m[1] = measure w[1]; if (m[1]) x w[2]; "
    "if (m[0]) { z w[2]; } else { id w[2]; } ry(-0.8) w[2]; m[2] = measure w[2];"
)

#: Programs whose results are certain.
CERTAIN = {
    "if of OpenQASM 2": (
        H2 + "qreg w[2]; creg a[2]; creg b[1]; x w[1]; measure w -> a; if(a==2) x w[0]; "
        "measure w[0] -> b[0];",
        "110",
    ),
    "bits as numbers and as strings": (
        H3 + 'bit[2] sy; qubit[2] w; bit r; x w[1]; sy = measure w; if (uint[2](sy) == 2) '
        '{ x w[0]; } if (sy == "10") { x w[0]; } if (sy == 2) { x w[0]; } r = measure w[0];',
        "110",
    ),
    "switch": (
        "OPENQASM 3.1;\n" + 'include "stdgates.inc"; bit[2] sy; qubit[3] w; bit r; int v; x w[1]; '
        "sy = measure w[0:1]; v = uint[2](sy); switch (v) { case 0, 1 { x w[2]; } "
        "case 2 { z w[2]; } default { x w[2]; } } r = measure w[2];",
        "010",
    ),
    "while": (H3 + "qubit w; bit m; int i = 0; while (i < 3) { x w; i += 1; } m = measure w;", "1"),
    "def": (
        H3 + "def rot(qubit a, float b) { rx(b) a; } qubit[3] w; bit[3] m; "
        "for int i in [0:2] { rot(w[i], i*pi); } m = measure w;",
        "010",
    ),
    "variables": (
        H3 + "qubit w; bit m; int[8] k = 0; for int[8] i in [0:3] { k = k + 1; } rx(k*pi/4) w; "
        "m = measure w;",
        "1",
    ),
    "arrays": (
        H3 + "array[float[64], 3] tt = {0.5, 1.0, 1.5}; qubit w; bit m; "
        "for int i in [0:2] { rx(tt[i]*pi/3) w; } m = measure w;",
        "1",
    ),
    "sized angles": (
        H3 + "qubit q; qubit r; angle[3] c; bit b; x r; for int i in [1:1] { reset q; h q; "
        "ctrl @ p(pi) q, r; inv @ p(c) q; h q; b = measure q; }",
        "1",
    ),
    "exclusive or of bits": (
        H3 + "qubit[3] w; bit[2] sy; bit pa; x w[0]; sy = measure w[0:1]; pa = sy[0] ^ sy[1];",
        "101",
    ),
    "bits with a value": (H3 + 'qubit w; bit[4] m = "0110"; m[0] = measure w;', "0110"),
    "measurement into nothing": (
        H3 + "qubit[2] w; bit m; x w[0]; measure w[1]; m = measure w[0];",
        "1",
    ),
    "output": (H3 + "output bit[2] m; qubit[2] w; x w[0]; m = measure w;", "01"),
    "output leaves out others": (
        H3 + "bit[2] n; output bit m; qubit[2] w; x w; n = measure w; m = n[0];",
        "1",
    ),
    "output of a number": (
        H3 + "output uint[3] m; bit b; qubit w; x w; b = measure w; m = 2; if (b) { m += 3; }",
        "101",
    ),
    "constant conditions": (
        H3 + "const bool big = 5 > 3; qubit w; bit m; if (big) { x w; } m = measure w;",
        "1",
    ),
    "logic of constants": (
        H3 + "const bool a = true && !(2 == 3); qubit w; bit m; if (!a || a) { x w; } "
        "m = measure w;",
        "1",
    ),
    "popcount": (
        H3 + "const uint[6] b = 37; const uint n = popcount(b); qubit w; bit m; "
        "for uint i in [1:n] { x w; } m = measure w;",
        "1",
    ),
    "rotl and rotr": (
        H3 + 'qubit w; bit[4] m = rotl("0011", 1); bit[4] n = rotr("0011", 1);',
        "10010110",
    ),
    "box": (H3 + "qubit w; bit m; box { x w; } m = measure w;", "1"),
    "pragma": (H3 + "pragma vendor.user someone\nqubit w; bit m; x w; m = measure w;", "1"),
    "pragma of verbatim boxes": (
        H3 + "bit[1] m;\n#pragma braket verbatim\nbox { x $0; } m[0] = measure $0;",
        "1",
    ),
    "annotations": (H3 + "qubit w; bit m;\n@vendor.hint any (text\nx w; m = measure w;", "1"),
    "keywords of OpenQASM 3 in 2": (
        H2 + "qreg input[1]; creg output[1]; x input[0]; measure input[0] -> output[0];",
        "1",
    ),
    "opaque": (
        H2 + "opaque pulse(a,b) p,q; qreg w[1]; creg m[1]; x w[0]; measure w[0] -> m[0];",
        "1",
    ),
    "no version line": (
        'include "qelib1.inc"; qreg w[1]; creg m[1]; x w[0]; measure w[0] -> m[0];',
        "1",
    ),
    "byte order mark": ("\ufeff" + H2 + "qreg w[1]; creg m[1]; x w[0]; measure w -> m;", "1"),
    "hqslib1": (
        'OPENQASM 2.0; include "hqslib1.inc"; qreg w[2]; creg m[2]; U1q(1.0*pi,0.0*pi) w[0]; '
        "ZZ w[0],w[1]; RZZ(0.5*pi) w[0],w[1]; measure w -> m;",
        "01",
    ),
    "qelib1 in OpenQASM 3": (
        'OPENQASM 3.0; include "qelib1.inc"; qubit[1] w; bit[1] m; u3(pi,0,pi) w[0]; '
        "m[0] = measure w[0];",
        "1",
    ),
    "opaque delay": (
        H2 + "opaque delay(param0) q0; qreg q[1]; creg c[1]; x q[0]; delay(100.0) q[0]; "
        "measure q -> c;",
        "1",
    ),
    "bits assigned in OpenQASM 2": (
        H2 + "qreg q[2]; creg a[2]; creg b[2]; x q[0]; measure q -> a; b[0] = (a[0] ^ a[1]); "
        "b[1] = 1;",
        "1101",
    ),
    "a register named as a library gate": (
        H2 + "qreg q[1]; creg crz[1]; x q[0]; measure q[0]->crz[0];",
        "1",
    ),
    "gphase in OpenQASM 2": (
        H2 + "qreg q[1]; creg c[1]; gphase(0.3) ; gphase(-0.785) q[0]; x q[0]; measure q -> c;",
        "1",
    ),
    "a gate without qubits": (
        H3 + "gate global_phase(p0) { } qubit q; bit c; global_phase(0.3) ; x q; c = measure q;",
        "1",
    ),
    "arguments that a gate does not use": (
        H3 + "gate pauli(p0, p1) a, b { z a; x b; } qubit[2] q; bit[2] c; "
        "pauli(XZ, -0.3-0.2j) q[0], q[1]; c = measure q;",
        "10",
    ),
    "complex arguments that a gate does not use": (
        H2 + "gate diag(p0,p1) q0 { x q0; } qreg q[1]; creg c[1]; diag(1.0,0.5+0.5j) q[0]; "
        "measure q -> c;",
        "1",
    ),
    "a register of OpenQASM 2 wider than a cell": (
        H2 + "qreg q[2]; creg c[70]; creg d[2]; x q[0]; measure q[0] -> c[69]; "
        "if(c==590295810358705651712) x q[1]; if(c==1) x q[0]; if(c!=2) x q[1]; if(c!=2) x q[1]; "
        "measure q -> d;",
        "11" + "1" + "0" * 69,
    ),
    "an array that a subroutine changes between plain lines": (
        H3 + "qubit[1] q; bit c; array[float[64], 1] v = {0.0}; "
        "def set(mutable array[float[64], 1] a) { a[0] = pi; }\n"
        "rx(v[0]) q[0];\nset(v);\nrx(v[0]) q[0];\nc = measure q[0];",
        "1",
    ),
    "a variable that changes between plain lines": (
        H3 + "qubit[1] q; bit c; float f = 0;\nrx(f) q[0];\nf = pi;\nrx(f) q[0];\n"
        "c = measure q[0];",
        "1",
    ),
    "an alias of listed qubits, as Qiskit writes it": (
        H3 + "qubit[3] q; bit[2] c; let a = {q[2], q[0]}; x a[0]; c = measure a;",
        "01",
    ),
    "arithmetic of registers in OpenQASM 2": (
        H2 + "qreg q[1]; creg a[3]; creg b[3]; x q[0]; measure q[0] -> a[1]; b = (a + 3); "
        "b = ((b << 1) | 1);",
        "011" + "010",
    ),
    "bits and numbers mix": (
        H3 + "qubit[2] q; bit[2] c; x q[0]; c = measure q; c = c ^ 3; c[0] = !c[1] || c[0]; "
        "bit d = c[0] & ~c[1];",
        "010",
    ),
    "a call in an index takes place once": (
        H3 + "qubit q; output int[8] n; array[int[8], 2] a = {1, 2}; "
        "def f(qubit p, mutable array[int[8], 2] b) -> int { x p; b[0] += 1; bit m; "
        "m = measure p; return int(m); } a[f(q, a)] += 5; n = a[0] * 16 + a[f(q, a)];",
        "00100011",
    ),
    "a call in a range takes place once": (
        H3 + "qubit q; output int[8] n; def f(qubit p) -> int { x p; bit m; m = measure p; "
        "return int(m); } for int i in [0:f(q)] { n += 1; } n += 16 * f(q);",
        "00000010",
    ),
    "names of Braket": (
        "OPENQASM 3.0; qubit[2] q; bit[2] b; x q[0]; cnot q[0], q[1]; b = measure q;",
        "11",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTAIN)
def test_results_that_are_certain(name: str) -> None:
    source, expected = CERTAIN[name]
    assert distribution(loads(source)) == pytest.approx({expected: 1.0})


SPREAD: dict[str, tuple[str, list[float], dict[str, float]]] = {
    "teleportation": (TELEPORT, [], dict.fromkeys(("000", "001", "010", "011"), 0.25)),
    "narrow angles are rounded": (
        H3 + "const angle[3] c = pi/3; qubit w; bit m; ry(c) w; m = measure w;",
        [],
        {"0": math.cos(math.pi / 8) ** 2, "1": math.sin(math.pi / 8) ** 2},
    ),
    "products of inputs": (
        H3 + "input float u; input float v; qubit w; bit m; rx((pi-u)*(pi-v)) w; m = measure w;",
        [0.5, 0.7],
        {
            "0": math.cos((math.pi - 0.5) * (math.pi - 0.7) / 2) ** 2,
            "1": math.sin((math.pi - 0.5) * (math.pi - 0.7) / 2) ** 2,
        },
    ),
    "functions of inputs": (
        H3 + "input float a; qubit w; bit m; rx(sin(a)) w; rx(a**2/exp(a)) w; m = measure w;",
        [0.9],
        {
            "0": math.cos((math.sin(0.9) + 0.81 / math.exp(0.9)) / 2) ** 2,
            "1": math.sin((math.sin(0.9) + 0.81 / math.exp(0.9)) / 2) ** 2,
        },
    ),
    "whole inputs": (
        H3 + "input int n; qubit w; bit m; for int i in [1:n] { x w; } m = measure w;",
        [3],
        {"1": 1.0},
    ),
    "inputs of every type": (
        H3 + "input uint[8] x_0; input bool f; input bit[2] k; input bit l; qubit[4] w; "
        "bit[4] m; if (x_0 == 5) { x w[0]; } if (f) x w[1]; if (k == 2) x w[2]; if (l) x w[3]; "
        "m = measure w;",
        [5, 1, 2, 1],
        {"1111": 1.0},
    ),
    "roots of a gate of several operations": (
        H3 + "gate two a, b { rx(0.6) a; cx a, b; } qubit[2] w; bit[2] m; "
        "pow(0.5) @ two w[0], w[1]; pow(0.5) @ two w[0], w[1]; m = measure w;",
        [],
        {"00": math.cos(0.3) ** 2, "11": math.sin(0.3) ** 2},
    ),
    "if with else": (
        H3 + "qubit[2] q; bit[2] c; h q[0]; c[0]=measure q[0]; "
        "if (c[0]) { x q[1]; } else { h q[1]; } c[1]=measure q[1];",
        [],
        {"11": 0.5, "00": 0.25, "10": 0.25},
    ),
    "an index in a condition of OpenQASM 2": (
        H2 + "qreg q[2]; creg c[2]; creg d[1]; h q[0]; measure q[0]->c[0]; if(c[0]==1) x q[1]; "
        "measure q[1] -> d[0];",
        [],
        {"000": 0.5, "101": 0.5},
    ),
    "until false": (
        H3 + "qubit[2] q; bit[2] c; h q[0]; c = measure q; "
        "while (c == 1) { reset q; h q[0]; c[0] = measure q[0]; if (c[0]) { x q[1]; break; } } "
        "c[1] = measure q[1];",
        [],
        {"00": 0.75, "11": 0.25},
    ),
    "continue": (
        H3 + "qubit q; bit c; uint[4] n = 0; output uint[4] done; while (n < 3) { n += 1; h q; "
        "c = measure q; reset q; if (c) continue; done += 1; }",
        [],
        {"0000": 1 / 8, "0001": 3 / 8, "0010": 3 / 8, "0011": 1 / 8},
    ),
    "an integer variable in a switch": (
        H3 + "bit[3] c; qubit[4] q; bit r; int switch_dummy; h q[0]; x q[1]; c = measure q[0:2]; "
        "switch_dummy = c; switch (switch_dummy) { case 2 { x q[3]; } case 1, 3 { } "
        "default { x q[0]; } } r = measure q[3];",
        [],
        {"1010": 0.5, "0011": 0.5},
    ),
    "variables that conditions change": (
        H3 + "qubit q; bit c; bool v; v = false; uint[8] k; k = 0; h q; c = measure q; "
        "if (c) { v = true; k = k + 5; } if (v && k == 5) { x q; } c = measure q;",
        [],
        {"0": 1.0},
    ),
    "stretch": (
        H3 + "qubit[2] q; bit[2] c; stretch s_0; delay[s_0 + 100.0ns] q[1]; h q[1]; c = measure q;",
        [],
        {"00": 0.5, "10": 0.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPREAD)
def test_results_with_probabilities(name: str) -> None:
    source, parameters, expected = SPREAD[name]
    assert distribution(loads(source), parameters) == pytest.approx(expected, abs=1e-9)


KEYWORDS = (
    "input output bit qubit int uint float angle bool box def let in for while delay const return "
    "end ctrl negctrl inv pow switch case default array duration stretch complex extern cal "
    "durationof gphase void mutable readonly im true false break continue else"
)


@pytest.mark.parametrize("word", KEYWORDS.split())
def test_words_of_openqasm_3_are_names_in_openqasm_2(word: str) -> None:
    source = (
        H2 + f"gate {word}_g a {{ x a; }} qreg {word}[1]; creg c_{word}[1]; {word}_g {word}[0]; "
        f"measure {word} -> c_{word};"
    )
    assert distribution(loads(source)) == pytest.approx({"1": 1.0})
    gate = H2 + f"gate {word} a {{ x a; }} qreg q[1]; creg c[1]; {word} q[0]; measure q -> c;"
    if word != "gphase":
        assert distribution(loads(gate)) == pytest.approx({"1": 1.0})


def phase_estimation(bits: int, phase: float) -> str:
    """Iterative phase estimation, the least significant bit first."""
    return (
        H3 + f"const float theta = {phase!r}; qubit q; qubit r; angle[{bits}] c = 0; "
        f"bit[{bits}] m; x r; uint[8] power = {2 ** (bits - 1)};\n"
        f"for uint i in [0:{bits - 1}] {{ c >>= 1; reset q; h q; for uint k in [1:power] "
        "{ ctrl @ p(theta) q, r; } inv @ p(c) q; h q; "
        f"m[i] = measure q; c[{bits - 1}] = m[i]; power >>= 1; }}"
    )


@pytest.mark.parametrize("wanted", range(8))
def test_iterative_phase_estimation_finds_every_phase_of_three_bits(wanted: int) -> None:
    source = phase_estimation(3, 2 * math.pi * wanted / 8)
    assert distribution(loads(source)) == pytest.approx({f"{wanted:03b}": 1.0}, abs=1e-9)
