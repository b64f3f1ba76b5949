"""Vectors, atomics and the floating-point mode for the kernels, as straight-line machine code.

numba compiles loops over numbers; what a register holds and how lanes are permuted it leaves to
LLVM's guesses. These functions write that down: a kernel calls them like any other function, and
each becomes a few instructions without a loop or a branch. A *vector* is ``lanes`` consecutive
numbers of an array, ``VECTOR_BYTES`` long.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils as _cgutils
from numba.core import types
from numpy.typing import DTypeLike

#: Bytes of a vector: a register of AVX-512, or two of what there is.
VECTOR_BYTES = 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32

cgutils: Any = _cgutils

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
#: Multiplications and additions may be contracted to one instruction, and nothing else changed.
_FUSED = ("contract",)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Makes a function that writes code one that kernels call, without its first argument."""
    return extending.intrinsic(function)


def lanes(dtype: DTypeLike) -> int:
    """Numbers in a vector."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


class _Writer:
    """Writes instructions for vectors of one type of number."""

    def __init__(self, context: Any, builder: Any, array: Any) -> None:
        self.context, self.builder = context, builder
        self.number = context.get_value_type(array.dtype)
        self.size = array.dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.size
        self.vector = ir.VectorType(self.number, self.lanes)

    def at(self, array_type: Any, array: Any, index: Any) -> Any:
        """Pointer to the vector that begins at an index of a contiguous array."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        element = self.builder.gep(data, [index], inbounds=True)
        return self.builder.bitcast(element, self.vector.as_pointer())

    def corners(self, array_type: Any, array: Any, base: Any, strides: Any, k: int) -> list[Any]:
        """Pointers to ``2**k`` vectors: the base plus the strides of the bits of a number."""
        indices = [base]
        for bit in range(k):
            stride = self.builder.extract_value(strides, bit)
            indices += [self.builder.add(index, stride) for index in indices]
        return [self.at(array_type, array, index) for index in indices]

    def load(self, pointer: Any) -> Any:
        value = self.builder.load(pointer)
        value.align = self.size
        return value

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, pointer).align = self.size

    def splat(self, scalar: Any) -> Any:
        """A vector with the scalar in every lane."""
        one = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(one, scalar, ir.Constant(_I32, 0))
        first = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, one, first)

    def element(self, array_type: Any, array: Any, index: int, kind: Any = None) -> Any:
        """An element of an array of integers; or, of some type, what begins there."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        place = self.builder.gep(data, [ir.Constant(_I64, index)], inbounds=True)
        if kind is not None:
            place = self.builder.bitcast(place, kind.as_pointer())
        value = self.builder.load(place)
        value.align = array_type.dtype.bitwidth // 8
        return value

    def permuted(self, one: Any, other: Any, order: Any) -> Any:
        """The vector whose lane ``j`` is number ``order[j]`` (int32) of the lanes of two others."""
        builder = self.builder
        if VECTOR_BYTES == 64:  # AVX-512 has an instruction; LLVM has no word for it
            if self.size == 8:
                order = builder.zext(order, ir.VectorType(_I64, self.lanes))
            kind = ir.FunctionType(self.vector, [self.vector, order.type, self.vector])
            name = "llvm.x86.avx512.vpermi2var." + ("pd.512" if self.size == 8 else "ps.512")
            return builder.call(
                cgutils.get_or_insert_function(builder.module, kind, name), [one, order, other]
            )
        count = 2 * self.lanes
        everything = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
        both = builder.shuffle_vector(one, other, everything)
        found = ir.Constant(self.vector, ir.Undefined)
        for lane in range(self.lanes):
            number = builder.extract_element(order, ir.Constant(_I32, lane))
            found = builder.insert_element(
                found, builder.extract_element(both, number), ir.Constant(_I32, lane)
            )
        return found

    def flipped(self, value: Any, bit: int) -> Any:
        """The vector whose lane ``j`` is lane ``j ^ (1 << bit)`` of another."""
        order = [lane ^ (1 << bit) for lane in range(self.lanes)]
        return self.builder.shuffle_vector(
            value, value, ir.Constant(ir.VectorType(_I32, self.lanes), order)
        )

    def flipped_at(self, values: list[Any], bit: Any) -> list[Any]:
        """``flipped`` of some vectors, by a bit that is known when the code runs."""
        builder = self.builder
        end = builder.append_basic_block()
        cases = [builder.append_basic_block() for _ in range(self.lanes.bit_length() - 1)]
        choice = builder.switch(bit, cases[0])
        found = []
        for number, case in enumerate(cases):
            choice.add_case(ir.Constant(bit.type, number), case)
            builder.position_at_end(case)
            found.append([self.flipped(value, number) for value in values])
            builder.branch(end)
        builder.position_at_end(end)
        joined = [builder.phi(self.vector) for _ in values]
        for case, flipped in zip(cases, found, strict=True):
            for phi, value in zip(joined, flipped, strict=True):
                phi.add_incoming(value, case)
        return joined

    def signs(self, bit: int) -> Any:
        """-1 in lanes where a bit of the lane's number is 0, and 1 in the others."""
        values = [1.0 if lane >> bit & 1 else -1.0 for lane in range(self.lanes)]
        return ir.Constant(self.vector, values)

    def rotated(self, x: list[Any], bit: int, tangent: Any) -> list[Any]:
        """Vectors rotated against those whose number differs in a bit."""
        x, t = list(x), self.splat(tangent)
        for r in range(len(x)):
            if not r >> bit & 1:
                low, high = x[r], x[r | 1 << bit]
                x[r] = self.sub(low, self.mul(t, high))
                x[r | 1 << bit] = self.add(high, self.mul(t, low))
        return x

    def rotated_in_lanes(self, x: list[Any], tangents: Any) -> list[Any]:
        """Vectors whose lanes are rotated against each other, by a tangent for every bit."""
        builder = self.builder
        for bit in range(self.lanes.bit_length() - 1):
            tangent = builder.extract_value(tangents, bit)
            before = builder.block
            turns = builder.fcmp_unordered("!=", tangent, ir.Constant(tangent.type, 0.0))
            with builder.if_then(turns):  # most lanes' qubits do not rotate in most passes
                within = builder.block
                t = builder.fmul(self.splat(tangent), self.signs(bit))
                rotated = [self.add(v, self.mul(t, self.flipped(v, bit))) for v in x]
            joined = [builder.phi(self.vector) for _ in x]
            for phi, old, new in zip(joined, x, rotated, strict=True):
                phi.add_incoming(old, before)
                phi.add_incoming(new, within)
            x = joined
        return x

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=_FUSED)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=_FUSED)

    def sub(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=_FUSED)


@intrinsic
def rotate_vectors(
    typingctx: Any, data: Any, base: Any, strides: Any, tangents: Any, lane_tangents: Any
) -> Any:
    """Rotates ``2**k`` vectors against each other, then the lanes of each.

    Vector ``r`` begins at ``base`` plus the strides of the bits that are set in ``r``. For every
    bit, pairs ``(x, y)`` of vectors become ``(x - t y, y + t x)``: a rotation up to a factor. All
    of this stays in registers: ``k = 4`` takes 16 of them.

    Args:
        data: float32 or float64 ``(any,)``.
        strides, tangents: ``k`` each, from 0 to 4; fewer tangents leave the last bits alone.
        lane_tangents: none, or one for every bit of a lane's number (more are passed over).
    """
    signature = types.void(data, base, strides, tangents, lane_tangents)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, base, strides, tangents, lane_tangents = arguments
        array = signature.args[0]
        write = _Writer(context, builder, array)
        k = len(signature.args[2])
        pointers = write.corners(array, data, base, strides, k)
        x = [write.load(pointer) for pointer in pointers]
        for bit in range(len(signature.args[3])):
            x = write.rotated(x, bit, builder.extract_value(tangents, bit))
        if len(signature.args[4]):
            x = write.rotated_in_lanes(x, lane_tangents)
        for pointer, value in zip(pointers, x, strict=True):
            write.store(value, pointer)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def mix_vectors(
    typingctx: Any, data: Any, re: Any, im: Any, strides: Any, lane_bits: Any, table: Any, at: Any
) -> Any:
    """Multiplies complex numbers by a matrix for two bits of their index.

    Of these ``k`` tell ``2**k`` vectors apart, with real parts from ``re`` and imaginary parts from
    ``im`` as in ``rotate_vectors``; the others are bits of a lane's number. Vector ``r`` becomes
    the sum over all vectors ``c`` and all subsets ``f`` of the lanes' bits of coefficients times
    vector ``c`` with these bits of its lanes' numbers flipped.

    Args:
        strides: ``k`` of them. lane_bits: ``2 - k`` of them.
        table: from ``at`` on a vector of real parts and one of imaginary parts for each ``r``, of
            these for each ``c``, of these for each ``f``.
    """
    signature = types.void(data, re, im, strides, lane_bits, table, at)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, re, im, strides, lane_bits, table, at = arguments
        array, k, flips = signature.args[0], len(signature.args[3]), len(signature.args[4])
        write = _Writer(context, builder, array)
        places_re = write.corners(array, data, re, strides, k)
        places_im = write.corners(array, data, im, strides, k)
        # Each vector as it is, then with the lanes' bits flipped.
        x = [write.load(place) for place in places_re]
        y = [write.load(place) for place in places_im]
        count = len(x)
        for bit in range(flips):
            both = write.flipped_at(x + y, builder.extract_value(lane_bits, bit))
            x, y = x + both[: len(x)], y + both[len(x) :]

        def coefficient(number: int) -> Any:
            index = builder.add(at, ir.Constant(_I64, number * write.lanes))
            return write.load(write.at(signature.args[5], table, index))

        for r in range(count):
            u = v = ir.Constant(write.vector, [0.0] * write.lanes)
            for c in range(count):
                for f in range(1 << flips):
                    number = 2 * ((r * count + c << flips) + f)
                    a, b = coefficient(number), coefficient(number + 1)
                    p, q = x[c + count * f], y[c + count * f]
                    u = write.sub(write.add(u, write.mul(a, p)), write.mul(b, q))
                    v = write.add(write.add(v, write.mul(a, q)), write.mul(b, p))
            write.store(u, places_re[r])
            write.store(v, places_im[r])
        return context.get_dummy_value()

    return signature, code


@intrinsic
def permute_vectors(
    typingctx: Any, data: Any, base: Any, strides: Any, places: Any, tangents: Any
) -> Any:
    """Vector ``r`` of ``2**k``, as in ``rotate_vectors``, becomes that at ``base + places[r]``; the
    places are those of the vectors in another order. Then rotates along the bits of ``r``."""
    signature = types.void(data, base, strides, places, tangents)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, base, strides, places, tangents = arguments
        array, k = signature.args[0], len(signature.args[2])
        write = _Writer(context, builder, array)
        places = [write.element(signature.args[3], places, r) for r in range(1 << k)]
        x = [write.load(write.at(array, data, builder.add(base, place))) for place in places]
        for bit in range(k):
            x = write.rotated(x, bit, builder.extract_value(tangents, bit))
        for value, to in zip(x, write.corners(array, data, base, strides, k), strict=True):
            write.store(value, to)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def permute_lanes(
    typingctx: Any, data: Any, base: Any, strides: Any, places: Any, lanes: Any, tangents: Any,
    lane_tangents: Any,
) -> Any:  # fmt: skip
    """Lane ``j`` of vector ``r`` of ``2**k`` becomes number ``lanes[r, j]`` of the lanes of the
    vector at ``base + places[r]``, followed by those of that at ``base + places[16 + r]``. Then
    rotates as ``rotate_vectors`` does.

    Args:
        places: int64. lanes: int32 ``(any * lanes,)``.
    """
    signature = types.void(data, base, strides, places, lanes, tangents, lane_tangents)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, base, strides, places, lanes, tangents, lane_tangents = arguments
        array, k = signature.args[0], len(signature.args[2])
        write = _Writer(context, builder, array)
        kind = ir.VectorType(_I32, write.lanes)
        x = []
        for r in range(1 << k):
            order = write.element(signature.args[4], lanes, r * write.lanes, kind)
            one, other = (
                write.load(write.at(array, data, builder.add(base, place)))
                for place in (write.element(signature.args[3], places, r + at) for at in (0, 16))
            )
            x.append(write.permuted(one, other, order))
        for bit in range(k):
            x = write.rotated(x, bit, builder.extract_value(tangents, bit))
        x = write.rotated_in_lanes(x, lane_tangents)
        for value, to in zip(x, write.corners(array, data, base, strides, k), strict=True):
            write.store(value, to)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def transform_vectors(typingctx: Any, data: Any, base: Any, strides: Any, along_lanes: Any) -> Any:
    """Replaces pairs ``(x, y)`` of numbers by ``(x + y, x - y)``: of ``2**k`` vectors as in
    ``rotate_vectors``, and where ``along_lanes`` is not an empty tuple also of each one's lanes."""
    signature = types.void(data, base, strides, along_lanes)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, base, strides, _ = arguments
        array = signature.args[0]
        write = _Writer(context, builder, array)
        k = len(signature.args[2])
        pointers = write.corners(array, data, base, strides, k)
        x = [write.load(pointer) for pointer in pointers]
        for bit in range(k):
            for r in range(1 << k):
                if not r >> bit & 1:
                    low, high = x[r], x[r | 1 << bit]
                    x[r], x[r | 1 << bit] = write.add(low, high), write.sub(low, high)
        if len(signature.args[3]):
            for bit in range(write.lanes.bit_length() - 1):
                signs = write.signs(bit)
                x = [write.sub(write.flipped(v, bit), write.mul(signs, v)) for v in x]
        for pointer, value in zip(pointers, x, strict=True):
            write.store(value, pointer)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def turn_vectors(
    typingctx: Any, data: Any, re: Any, im: Any, table: Any, at: Any, length: Any, c: Any, s: Any
) -> Any:
    """Multiplies complex numbers ``data[re …] + 1j data[im …]``, a vector of each, by
    ``(table[at …] + 1j table[at + length …]) * (c + 1j s)``."""
    signature = types.void(data, re, im, table, at, length, c, s)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, re, im, table, at, length, c, s = arguments
        arrays = signature.args[0], signature.args[3]
        write = _Writer(context, builder, arrays[0])
        place_re, place_im = (write.at(arrays[0], data, index) for index in (re, im))
        x, y = write.load(place_re), write.load(place_im)
        a = write.load(write.at(arrays[1], table, at))
        b = write.load(write.at(arrays[1], table, builder.add(at, length)))
        c, s = write.splat(c), write.splat(s)
        u = write.sub(write.mul(a, c), write.mul(b, s))
        v = write.add(write.mul(a, s), write.mul(b, c))
        write.store(write.sub(write.mul(x, u), write.mul(y, v)), place_re)
        write.store(write.add(write.mul(x, v), write.mul(y, u)), place_im)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def turn_by_table(
    typingctx: Any, data: Any, re: Any, im: Any, table: Any, at: Any, length: Any
) -> Any:
    """Multiplies complex numbers ``data[re …] + 1j data[im …]``, a vector of each, by
    ``table[at …] + 1j table[at + length …]``."""
    signature = types.void(data, re, im, table, at, length)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, re, im, table, at, length = arguments
        arrays = signature.args[0], signature.args[3]
        write = _Writer(context, builder, arrays[0])
        place_re, place_im = (write.at(arrays[0], data, index) for index in (re, im))
        x, y = write.load(place_re), write.load(place_im)
        u = write.load(write.at(arrays[1], table, at))
        v = write.load(write.at(arrays[1], table, builder.add(at, length)))
        write.store(write.sub(write.mul(x, u), write.mul(y, v)), place_re)
        write.store(write.add(write.mul(x, v), write.mul(y, u)), place_im)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def turn_evenly(typingctx: Any, data: Any, re: Any, im: Any, c: Any, s: Any) -> Any:
    """Multiplies complex numbers ``data[re …] + 1j data[im …]``, a vector of each, by
    ``c + 1j s``."""
    signature = types.void(data, re, im, c, s)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, re, im, c, s = arguments
        array = signature.args[0]
        write = _Writer(context, builder, array)
        place_re, place_im = (write.at(array, data, index) for index in (re, im))
        x, y = write.load(place_re), write.load(place_im)
        c, s = write.splat(c), write.splat(s)
        write.store(write.sub(write.mul(x, c), write.mul(y, s)), place_re)
        write.store(write.add(write.mul(x, s), write.mul(y, c)), place_im)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def multiply_tables(
    typingctx: Any, out: Any, to: Any, a: Any, at_a: Any, b: Any, at_b: Any, length: Any
) -> Any:
    """``out = a * b`` for a vector of complex numbers each, imaginary parts ``length`` further."""
    signature = types.void(out, to, a, at_a, b, at_b, length)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, to, a, at_a, b, at_b, length = arguments
        arrays = signature.args[0], signature.args[2], signature.args[4]
        write = _Writer(context, builder, arrays[0])

        def parts(array_type: Any, array: Any, at: Any) -> Any:
            both = at, builder.add(at, length)
            return [write.load(write.at(array_type, array, index)) for index in both]

        (x, y), (u, v) = parts(arrays[1], a, at_a), parts(arrays[2], b, at_b)
        write.store(write.sub(write.mul(x, u), write.mul(y, v)), write.at(arrays[0], out, to))
        imaginary = write.at(arrays[0], out, builder.add(to, length))
        write.store(write.add(write.mul(x, v), write.mul(y, u)), imaginary)
        return context.get_dummy_value()

    return signature, code


@intrinsic
def copy_vector(typingctx: Any, out: Any, to: Any, source: Any, at: Any, factor: Any) -> Any:
    """``out[to …] = factor * source[at …]``, a vector."""
    signature = types.void(out, to, source, at, factor)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, to, source, at, factor = arguments
        write = _Writer(context, builder, signature.args[0])
        value = write.load(write.at(signature.args[2], source, at))
        value = write.mul(value, write.splat(factor))
        write.store(value, write.at(signature.args[0], out, to))
        return context.get_dummy_value()

    return signature, code


@intrinsic
def fill_vector(typingctx: Any, out: Any, to: Any, value: Any) -> Any:
    """Writes a number into every lane of a vector."""
    signature = types.void(out, to, value)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, (out, to, value) = signature.args[0], arguments
        writer = _Writer(context, builder, kind)
        writer.store(writer.splat(value), writer.at(kind, out, to))
        return context.get_dummy_value()

    return signature, code


@intrinsic
def prefetch_to_write(typingctx: Any, array: Any, index: Any) -> Any:
    """Asks the memory for a vector that is going to be written; any index is allowed."""
    signature = types.void(array, index)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index = arguments
        byte = ir.IntType(8).as_pointer()
        data = context.make_array(signature.args[0])(context, builder, array).data
        place = builder.bitcast(builder.gep(data, [index]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        write, near, data_cache = (ir.Constant(_I32, value) for value in (1, 3, 1))
        builder.call(prefetch, [place, write, near, data_cache])
        return context.get_dummy_value()

    return signature, code


# --- what threads share ----------------------------------------------------------------------


@intrinsic
def fetch_add(typingctx: Any, array: Any, index: Any, amount: Any) -> Any:
    """Adds to ``array[index]`` (int64) atomically and returns what was there before."""
    signature = types.int64(array, index, types.int64)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, amount = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.atomic_rmw("add", builder.gep(data, [index]), amount, "seq_cst")

    return signature, code


@intrinsic
def load_shared(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index]`` (int64) as other threads left it, and all that they wrote before."""
    signature = types.int64(array, index)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.load_atomic(builder.gep(data, [index]), "seq_cst", 8)

    return signature, code


@intrinsic
def yield_core(typingctx: Any) -> Any:
    """Lets another thread have the core: what a thread does that waits for another."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I32, [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), code


# --- the floating-point mode -----------------------------------------------------------------


def _x86_mode(builder: Any, change: Callable[[Any], Any]) -> Any:
    place = cgutils.alloca_once(builder, _I32)
    pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    read, write = (
        cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
        for name in ("stmxcsr", "ldmxcsr")
    )
    builder.call(read, [pointer])
    before = builder.load(place)
    builder.store(change(before), place)
    builder.call(write, [pointer])
    return builder.zext(before, _I64)


def _arm_mode(builder: Any, change: Callable[[Any], Any]) -> Any:
    read, write = (
        cgutils.get_or_insert_function(builder.module, kind, f"llvm.aarch64.{name}.fpcr")
        for name, kind in (
            ("get", ir.FunctionType(_I64, [])),
            ("set", ir.FunctionType(ir.VoidType(), [_I64])),
        )
    )
    before = builder.call(read, [])
    builder.call(write, [change(before)])
    return before


#: How to change the mode, and the bits that make subnormal numbers zero (read and written).
_MODES: dict[str, tuple[Any, int]] = {
    "x86_64": (_x86_mode, 0x8040),
    "aarch64": (_arm_mode, 1 << 24),
}
_change_mode, _FLUSH = _MODES.get(platform.machine(), (None, 0))


@intrinsic
def flush_subnormals(typingctx: Any) -> Any:
    """Makes this thread take subnormal numbers for zero, and returns its mode before.

    One subnormal operand costs a processor up to a hundred cycles, and none matters to a state.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _change_mode is None:
            return ir.Constant(_I64, 0)
        return _change_mode(builder, lambda mode: builder.or_(mode, ir.Constant(mode.type, _FLUSH)))

    return types.int64(), code


@intrinsic
def restore_mode(typingctx: Any, mode: Any) -> Any:
    """Gives this thread the mode back that ``flush_subnormals`` returned."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _change_mode is not None:
            (before,) = arguments
            _change_mode(
                builder,
                lambda now: builder.trunc(before, now.type) if now.type.width < 64 else before,
            )
        return context.get_dummy_value()

    return types.void(types.int64), code
