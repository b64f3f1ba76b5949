"""The register machine of the circuit form, compiled: classical operations between quantum ones.

``openqse.program.machine`` is the same machine in plain Python; tests hold one against the other.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from openqse_emulator.dynamic.codes import (
    DIVIDES_BY_ZERO,
    FAILS,
    FINE,
    HALT,
    JUMP,
    NOT_AN_INTEGER,
    OUT_OF_RANGE,
    TOO_MANY_STEPS,
)
from openqse_emulator.statevector.compiled import kernel

#: The first number of a classical operation of each group in the circuit form.
_INTEGERS, _REALS, _CONVERSIONS, _MEMORY, _CONTROL = 64, 96, 120, 128, 160
_IF, _STOP, _FAIL = 160, 166, 167


@partial(kernel, inlined=True)
def advance(
    code: Any, parameters: Any, ints: Any, floats: Any, bits: Any, pc: int, steps: int, most: int
) -> Any:
    """Runs classical operations up to the next quantum one.

    Args:
        code: a ``compile.Code``.
        parameters: float64, values of the free parameters.
        ints, floats: int64 and float64, the same cells.
        bits: uint8, the classical bits.
        pc, steps: where the path is, and how many operations it has executed.
        most: operations that a shot may execute.

    Returns:
        Where the path is: at a quantum operation, at the end of the program, or at the operation
        that failed; the operations it has executed; what went wrong; whether a branch was taken by
        an outcome.
    """
    waits = False
    while True:
        op = code.op[pc]
        if op < _INTEGERS or op == HALT:
            return pc, steps, FINE, waits
        steps += 1
        if steps > most:
            return pc, steps, TOO_MANY_STEPS, waits
        a, b = code.arguments[pc, 0], code.arguments[pc, 1]
        wrong = FINE
        if op < _REALS:
            ints[a], wrong = _integer(op, ints, b, code.arguments[pc, 2])
        elif op < _CONVERSIONS:
            if op in (103, 104, 105):
                ints[a] = _compare(op, floats[b], floats[code.arguments[pc, 2]])
            elif op < 103:
                floats[a] = _binary(op, floats[b], floats[code.arguments[pc, 2]])
            else:
                floats[a] = _unary(op, floats[b])
        elif op < _MEMORY:
            wrong = _convert(op, ints, floats, a, b, parameters, code.clbit[pc])
        elif op < _CONTROL:
            wrong = _move(op, code.arguments[pc], ints, bits, code.clbit[pc])
        elif op == JUMP:
            pc = code.target[pc]
            continue
        elif op == _IF:
            waits |= code.waits[pc] != 0
            if ints[a] == 0:
                pc = code.target[pc]
                continue
        elif op == _STOP:
            return len(code.op) - 1, steps, FINE, waits
        elif op == _FAIL:
            wrong = FAILS
        if wrong != FINE:
            return pc, steps, wrong, waits
        pc += 1


@kernel
def _integer(op: int, ints: Any, i: int, j: int) -> Any:
    """An integer operation of cells ``i`` and ``j``, and what went wrong."""
    a, b = ints[i], np.int64(0)
    if op not in (64, 76, 85):
        b = ints[j]
    value, wrong = np.int64(0), FINE
    if op == 64:
        value = a
    elif op == 65:
        value = a + b
    elif op == 66:
        value = a - b
    elif op == 67:
        value = a * b
    elif op <= 71:
        if b == 0:
            wrong = DIVIDES_BY_ZERO
        else:
            value = _divide(op, a, b)
    elif op == 72:
        value = _power(a, b)
    elif op == 73:
        value = a & b
    elif op == 74:
        value = a | b
    elif op == 75:
        value = a ^ b
    elif op == 76:
        value = ~a
    elif op <= 79:
        value = _shift(op, a, b)
    elif op == 80:
        value = np.int64(a == b)
    elif op == 81:
        value = np.int64(a < b)
    elif op == 82:
        value = np.int64(a <= b)
    elif op == 83:
        value = np.int64(np.uint64(a) < np.uint64(b))
    elif op == 84:
        value = np.int64(np.uint64(a) <= np.uint64(b))
    elif op == 85:
        while a != 0:
            a &= a - 1
            value += 1
    elif b < 1 or b >= 64:
        value = a
    elif op == 86:
        value = (a << (64 - b)) >> (64 - b)
    else:
        value = a & ((np.int64(1) << b) - 1)
    return value, wrong


@kernel
def _divide(op: int, a: int, b: int) -> Any:
    """Quotients and remainders towards zero; the least integer has no negative and wraps."""
    if op == 69:
        return np.int64(np.uint64(a) // np.uint64(b))
    if op == 71:
        return np.int64(np.uint64(a) % np.uint64(b))
    if b == -1:
        return -a if op == 68 else np.int64(0)
    quotient = a // b
    if quotient * b != a and (a < 0) != (b < 0):
        quotient += 1
    return quotient if op == 68 else a - quotient * b


@kernel
def _power(a: int, b: int) -> Any:
    value, exponent = np.int64(1), np.uint64(b)
    while exponent != 0:
        if exponent & np.uint64(1):
            value *= a
        a *= a
        exponent >>= np.uint64(1)
    return value


@kernel
def _shift(op: int, a: int, b: int) -> Any:
    if b < 0 or b >= 64:
        return np.int64(-1) if op == 79 and a < 0 else np.int64(0)
    if op == 77:
        return a << b
    if op == 78:
        return np.int64(np.uint64(a) >> np.uint64(b))
    return a >> b


@kernel
def _compare(op: int, x: float, y: float) -> Any:
    if op == 103:
        return np.int64(x == y)
    if op == 104:
        return np.int64(x < y)
    return np.int64(x <= y)


@kernel
def _binary(op: int, x: float, y: float) -> Any:
    if op == 96:
        return x
    if op == 97:
        return x + y
    if op == 98:
        return x - y
    if op == 99:
        return x * y
    if op == 100:
        return x / y
    if op == 101:
        return math.pow(x, y)
    return np.fmod(x, y)


@kernel
def _unary(op: int, x: float) -> Any:
    if op == 106:
        return -x
    if op == 107:
        return math.sin(x)
    if op == 108:
        return math.cos(x)
    if op == 109:
        return math.tan(x)
    if op == 110:
        return math.asin(x)
    if op == 111:
        return math.acos(x)
    if op == 112:
        return math.atan(x)
    if op == 113:
        return math.exp(x)
    if op == 114:
        return math.log(x)
    if op == 115:
        return math.sqrt(x)
    if op == 116:
        return np.floor(x)
    return np.ceil(x)


@kernel
def _convert(op: int, ints: Any, floats: Any, a: int, b: int, parameters: Any, number: int) -> Any:
    """Writes a value of one type from one of another, or a free parameter's; says what is wrong."""
    if op == 120:
        floats[a] = np.float64(ints[b])
    elif op == 121:
        floats[a] = np.float64(np.uint64(ints[b]))
    elif op == 122:
        x = floats[b]
        if not -9223372036854775808.0 <= x < 9223372036854775808.0:
            return NOT_AN_INTEGER
        ints[a] = np.int64(x)
    else:
        floats[a] = parameters[number]
    return FINE


@kernel
def _move(op: int, arguments: Any, ints: Any, bits: Any, first: int) -> Any:
    """Reads and writes runs of bits, and cells by an index; says what is wrong."""
    a, width = arguments[0], arguments[1]
    if op == 128:
        value = np.int64(0)
        for i in range(width):
            value |= np.int64(bits[first + i]) << i
        ints[a] = value
        return FINE
    if op == 129:
        for i in range(width):
            bits[first + i] = np.uint8((ints[a] >> i) & 1)
        return FINE
    base, length, index = arguments[1], arguments[2], ints[arguments[3]]
    if not 0 <= index < length:
        return OUT_OF_RANGE
    if op == 130:
        ints[a] = ints[base + index]
    else:
        ints[base + index] = ints[a]
    return FINE
