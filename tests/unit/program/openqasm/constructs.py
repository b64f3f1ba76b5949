"""Every construct of OpenQASM with a program that uses it: the tests' input and the documents'.

``docs/programs.py`` writes the table in ``docs/programs.md`` from this list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi

H3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
H2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


@dataclass(frozen=True)
class Construct:
    """A construct.

    Attributes:
        group: the heading in the table. name: the construct, as a reader looks for it.
        source: a program that uses it.
        result: the results' bits, which are certain; None where the program is refused.
        refused: the remedy's or message's words where it is refused.
        parameters: values of the program's inputs.
        note: what the table says besides.
    """

    group: str
    name: str
    source: str
    result: str | None = None
    refused: str = ""
    parameters: tuple[float, ...] = field(default=())
    note: str = ""


def _three(group: str, name: str, body: str, result: str, **more: object) -> Construct:
    return Construct(group, name, H3 + body, result, **more)  # type: ignore[arg-type]


def _no(group: str, name: str, body: str, refused: str, note: str) -> Construct:
    return Construct(group, name, H3 + body, None, refused, note=note)


QUBITS = "qubits and registers"
GATES = "gates"
CLASSICAL = "classical types and values"
CONTROL = "control flow"
ROUTINES = "subroutines"
TIME = "timing"
REST = "files and directives"
TWO = "OpenQASM 2"

CONSTRUCTS = [
    _three(QUBITS, "qubit, qubit[n]", "qubit a; qubit[2] q; bit[2] c; x a; cx a, q[1]; "
           "c = measure q;", "10"),
    _three(QUBITS, "qreg, creg in OpenQASM 3", "qreg q[2]; creg c[2]; x q[0]; c = measure q;",
           "01"),
    _three(QUBITS, "physical qubits $n", "bit c; x $3; c = measure $3;", "1"),
    _no(QUBITS, "physical and declared qubits together", "qubit q; x $0;", "physical ones",
        "one kind in a program"),
    _three(QUBITS, "index, negative index", "qubit[3] q; bit[3] c; x q[0]; x q[-1]; "
           "c = measure q;", "101"),
    _three(QUBITS, "range, index set", "qubit[4] q; bit[4] c; x q[0:2:2]; x q[{1, 2}]; "
           "c = measure q;", "0011"),
    _three(QUBITS, "let, ++", "qubit[2] q; qubit r; bit[3] c; let a = q[{1}] ++ r; x a; "
           "let all = q ++ r; c = measure all;", "110"),
    _three(QUBITS, "broadcasting", "qubit[2] q; qubit[2] r; bit[2] c; x q; cx q, r; "
           "c = measure r;", "11"),
    _three(QUBITS, "measure, measure ->", "qubit[2] q; bit[2] c; x q; measure q[0] -> c[0]; "
           "c[1] = measure q[1];", "11"),
    _three(QUBITS, "measure into nothing", "qubit[2] q; bit c; x q; measure q[1]; "
           "c = measure q[0];", "1"),
    _three(QUBITS, "reset, barrier, nop", "qubit q; bit c; x q; reset q; barrier q; nop q; "
           "c = measure q;", "0"),
    _three(GATES, "gate", "gate g(t) a, b { rx(t) a; cx a, b; } qubit[2] q; bit[2] c; "
           "g(pi) q[0], q[1]; c = measure q;", "11"),
    _three(GATES, "for in a gate", "gate g a { for int i in [1:3] { x a; } } qubit q; bit c; g q; "
           "c = measure q;", "1"),
    _three(GATES, "U, gphase", "qubit q; bit c; U(pi, 0, pi) q; gphase(0.3); c = measure q;", "1"),
    _three(GATES, "ctrl, negctrl", "qubit[3] q; bit[3] c; x q[0]; "
           "ctrl @ negctrl @ x q[0], q[1], q[2]; c = measure q;", "101"),
    _three(GATES, "inv, pow with whole numbers", "qubit q; bit c; pow(2) @ sx q; inv @ s q; "
           "c = measure q;", "1"),
    _three(GATES, "pow with any number", "gate g a, b { h a; cx a, b; h a; x b; } qubit[2] q; "
           "bit[2] c; pow(0.5) @ g q[0], q[1]; pow(0.5) @ g q[0], q[1]; inv @ g q[0], q[1]; "
           "x q[0]; c = measure q;", "01"),
    _no(GATES, "duration of a gate", "qubit q; x[10ns] q;", "durations of gates",
        "the device has the gates' times"),
    _three(CLASSICAL, "int[n], uint[n], with wrapping", "qubit q; output int[4] a; "
           "output uint[3] b; a = 7; a += 1; b = 0; b -= 1;", "1111000"),
    _three(CLASSICAL, "+ - * / % **", "qubit q; output int[8] a; a = -7 / 2 + 7 % 4 * 2**3;",
           "00010101"),
    _three(CLASSICAL, "<< >> & | ^ ~", 'qubit q; bit[4] a = (("0110" << 1) | "0001") ^ ~"1010";',
           "1000"),
    _three(CLASSICAL, "== != < <= > >=, && || !", "qubit q; output bool a; "
           "a = 1 < 2 && !(2 == 3) || 4 != 4;", "1"),
    _three(CLASSICAL, "bool", "qubit q; bit c; bool f = true; if (f) { x q; } c = measure q;", "1"),
    _three(CLASSICAL, "bit[n], strings of bits", 'qubit q; bit[4] c = "0110"; c[0] = c[1];',
           "0111"),
    _three(CLASSICAL, "float[32], float[64]", "qubit q; bit c; float[64] f = 0.5; f *= 2; "
           "rx(f * pi) q; c = measure q;", "1"),
    _three(CLASSICAL, "angle", "qubit q; bit c; angle a = pi / 2; rx(a + a) q; c = measure q;",
           "1", note="without a width: a float of 64 bits, in radians, that does not wrap"),
    _three(CLASSICAL, "angle[n], modulo a turn", "qubit q; output angle[4] a; a = pi; "
           "a = a + a / 2 + a;", "0100"),
    _three(CLASSICAL, "complex", "qubit q; bit c; const complex w = 1.0 + 2.0im; "
           "rx(imag(w) * pi / 2) q; c = measure q;", "1", note="where it is known before the run"),
    _three(CLASSICAL, "array", "qubit q; output int[8] n; array[int[8], 2, 2] a = {{1, 2}, {3, 4}};"
           " a[0, 1] = 5; a[1] = a[0]; n = a[1, 1] + a[1][0];", "00000110"),
    _three(CLASSICAL, "index of an array at run time", "qubit q; bit c; output int[8] n; "
           "array[int[8], 2] a = {7, 9}; x q; c = measure q; n = a[int(c)];", "00001001"),
    _three(CLASSICAL, "const", "const int n = 2; const float f = pi / n; qubit[n] q; bit c; "
           "rx(2 * f) q[1]; c = measure q[1];", "1"),
    _three(CLASSICAL, "casts", "qubit q; output uint[3] u; bit[3] b = \"101\"; "
           "u = uint[3](b) + uint[3](2.9);", "111"),
    _three(CLASSICAL, "bits of numbers", "qubit q; output uint[4] u; u = 8; u[0] = 1; "
           "u[1:2] = \"11\";", "1111"),
    _three(CLASSICAL, "sizeof, popcount, rotl, rotr, mod, real, imag", "qubit q; "
           "output uint[4] u; array[int, 3] a; u = sizeof(a) + popcount(6) + mod(9, 4); "
           "bit[2] r = rotl(\"01\", 1);", "0110"),
    _three(CLASSICAL, "sin, cos, tan, arcsin, arccos, arctan, exp, log, sqrt, floor, ceiling, pow",
           "qubit q; bit c; rx(arccos(cos(pi)) * sqrt(4) * pow(2, 1) / 4) q; c = measure q;", "1"),
    Construct(CLASSICAL, "input of float, angle and arrays of them",
              H3 + "input float u; input array[angle, 2] v; qubit q; bit c; "
              "rx(u * v[0] + v[1]) q; c = measure q;", "1", parameters=(2.0, 1.0, pi - 2)),
    Construct(CLASSICAL, "input of duration", H3 + "input duration d; qubit q; bit c; x q; "
              "delay[2 * d] q; c = measure q;", "1", parameters=(100.0,), note="nanoseconds"),
    Construct(CLASSICAL, "input of int, uint, bool, bit",
              H3 + "input int n; input bool f; input bit[2] b; qubit q; bit c; "
              "if (f && b == 2) { for int i in [1:n] { x q; } } c = measure q;", "1",
              parameters=(3, 1, 2)),
    _three(CLASSICAL, "output", "bit a; output bit[2] b; qubit q; x q; b[1] = measure q;", "10",
           note="of bit, bool, int, uint, angle[n]"),
    _no(CLASSICAL, "output of float and arrays", "output float f; qubit q;", "outputs of type",
        "results are bits"),
    _three(CLASSICAL, "values that depend on outcomes", "qubit q; bit c; output int[8] n; x q; "
           "c = measure q; n = 3; if (c) { n = n * n + 1; }", "00001010",
           note="integers, bits and floats of up to 64 bits"),
    _three(CONTROL, "if, else", "qubit[2] q; bit[2] c; x q[0]; c[0] = measure q[0]; "
           "if (c[0] == 1) { x q[1]; } else { z q[1]; } c[1] = measure q[1];", "11"),
    _three(CONTROL, "switch", "qubit[2] q; bit[2] c; bit r; x q[1]; c = measure q; "
           "switch (uint[2](c)) { case 0, 1 { } case 2 { x q[0]; } default { } } "
           "r = measure q[0];", "110"),
    _three(CONTROL, "for over ranges, sets, registers and arrays", "qubit q; output int[8] n; "
           "bit[2] b = \"11\"; array[int, 2] a = {5, 6}; for int i in [1:2:5] { n += i; } "
           "for int i in {1, 2} { n += i; } for bit k in b { n += int(k); } "
           "for int i in a { n += i; }", "00011001"),
    _three(CONTROL, "while", "qubit q; bit c; int i = 0; while (i < 3) { x q; i += 1; } "
           "c = measure q;", "1"),
    _three(CONTROL, "while that depends on outcomes", "qubit q; bit c = 1; int[3] n; "
           "output bit[3] k; while (c) { reset q; if (n < 2) { x q; } c = measure q; n += 1; } "
           "k = bit[3](n);", "011"),
    _three(CONTROL, "break, continue", "qubit q; output int[4] n; for int i in [0:9] "
           "{ if (i == 1) continue; if (i == 4) break; n += i; }", "0101"),
    _three(CONTROL, "break, continue that depend on outcomes", "qubit q; bit c; output int[4] n; "
           "x q; for int i in [0:9] { c = measure q; if (c && i == 3) break; n += i; }", "0011"),
    _three(CONTROL, "end", "qubit q; bit c; x q; c = measure q; if (c) { end; } x q; "
           "c = measure q;", "1"),
    _three(CONTROL, "index of a qubit that depends on outcomes", "qubit[3] q; bit[3] c; bit d; "
           "x q[0]; d = measure q[0]; x q[int(d) + 1]; cx q[2], q[int(d) - 1]; c = measure q;",
           "1100", note="in gates, measurements and resets"),
    _no(CONTROL, "aliases and arguments that depend on outcomes", "qubit[3] q; bit c; "
        "c = measure q[0]; let a = q[int(c)];", "in this place", "choose with if or switch"),
    _three(ROUTINES, "def, return", "def f(qubit a, int n) -> bit { for int i in [1:n] { x a; } "
           "return measure a; } qubit q; bit c = f(q, 3);", "1"),
    _three(ROUTINES, "return that depends on outcomes", "def f(qubit a) -> int { bit m; "
           "m = measure a; if (m) { return 5; } return 2; } qubit q; output int[4] n; x q; "
           "n = f(q);", "0101"),
    _three(ROUTINES, "calls without parentheses around qubits", "def f(int n, qubit[2] a) "
           "{ if (n == 1) x a; } qubit[2] q; bit[2] c; f(1) q; c = measure q;", "11"),
    _three(ROUTINES, "readonly, mutable arrays", "def f(mutable array[int[8], #dim = 1] a, "
           "readonly array[int[8], 2] b) { a[0] = b[1]; } array[int[8], 2] u = {1, 2}; "
           "array[int[8], 2] v = {3, 4}; qubit q; output int[8] n; f(u, v); n = u[0];",
           "00000100"),
    _three(ROUTINES, "recursion", "def f(int n) -> int { if (n == 0) { return 0; } "
           "return n + f(n - 1); } qubit q; output int[8] n; n = f(5);", "00001111",
           note="where its depth is known before the run"),
    _no(ROUTINES, "calls of extern", "extern f(int) -> int; qubit q; int n = f(1);", "extern",
        "the declaration alone is fine"),
    _three(TIME, "delay", "qubit q; bit c; x q; delay[100ns] q; c = measure q;", "1"),
    _three(TIME, "box", "qubit q; bit c; box { x q; } box[1us] { x q; } c = measure q;", "0"),
    _three(TIME, "duration", "duration d = 10ns; qubit q; bit c; delay[2 * d + 1us] q; "
           "c = measure q;", "0"),
    _three(TIME, "stretch", "stretch g; qubit q; bit c; delay[g + 10ns] q; x q; "
           "c = measure q;", "1",
           note="0 outside of boxes with a duration"),
    _no(TIME, "stretch in a box with a duration", "stretch g; qubit q; box[1us] { delay[g] q; }",
        "stretches", "only the device has the gates' times"),
    _three(TIME, "durationof of delays", "qubit q; bit c; delay[durationof({ delay[5ns] q; })] q; "
           "c = measure q;", "0"),
    _no(TIME, "durationof of gates", "qubit q; duration d = durationof({ x q; });",
        "durations of gates", "only the device has the gates' times"),
    _no(TIME, "times in dt", "qubit q; delay[10dt] q;", "'dt'", "a unit of one device"),
    Construct(REST, 'include "stdgates.inc"', H3 + "qubit q; bit c; x q; c = measure q;", "1"),
    Construct(REST, "include of files beside the program",
              H3 + 'include "mine.inc";\nqubit q;', None, "a file's path",
              note="where the program is given as a path (tests in test_files.py)"),
    _three(REST, "pragmas that are not known", "pragma vendor.user someone\nqubit q; bit c; x q; "
           "c = measure q;", "1", note="ignored, as the specification asks"),
    _three(REST, "annotations", "@vendor.note text\nqubit q; bit c; x q; c = measure q;", "1",
           note="ignored"),
    _three(REST, "#pragma braket unitary, verbatim", "bit c;\n"
           "#pragma braket unitary([[0, 1.0], [1.0, 0]]) $0\nc = measure $0;", "1"),
    _no(REST, "#pragma braket result, noise", "qubit q;\n#pragma braket result state_vector\n",
        "directives", "ask for expectations through the client"),
    _no(REST, "cal, defcal", 'defcalgrammar "openpulse"; qubit q; defcal x q { play(q); }',
        "'defcal' statements", "no device here has pulses"),
    Construct(TWO, "qreg, creg, gate, barrier, reset, measure",
              H2 + "gate g(t) a { U(t, 0, pi) a; } qreg q[1]; creg c[1]; reset q; g(2*pi/2) q[0]; "
              "barrier q; measure q -> c;", "1"),
    Construct(TWO, "if (c == n)", H2 + "qreg q[2]; creg c[1]; creg d[1]; x q[0]; "
              "measure q[0] -> c[0]; if (c == 1) x q[1]; measure q[1] -> d[0];", "11"),
    Construct(TWO, "if with an index, <, > …", H2 + "qreg q[2]; creg c[2]; creg d[1]; x q[0]; "
              "measure q -> c; if (c[0] == 1) x q[1]; if (c >= 1) z q[1]; measure q[1] -> d[0];",
              "101", note="as PennyLane and pytket write it"),
    Construct(TWO, "opaque", H2 + "opaque g(a) p; qreg q[1]; creg c[1]; x q[0]; measure q -> c;",
              "1", note="a call is refused"),
    Construct(TWO, "keywords of OpenQASM 3 as names", H2 + "qreg input[1]; creg output[1]; "
              "x input[0]; measure input -> output;", "1"),
    Construct(TWO, "assignments of bits", H2 + "qreg q[1]; creg a[2]; a[0] = 1; a[1] = a[0] ^ 0;",
              "11", note="as pytket writes them"),
    Construct(TWO, "no version line, with qelib1.inc",
              'include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;', "1"),
    Construct(TWO, 'include "hqslib1.inc"', 'OPENQASM 2.0; include "hqslib1.inc"; qreg q[1]; '
              "creg c[1]; U1q(pi, 0) q[0]; measure q -> c;", "1"),
]  # fmt: skip
