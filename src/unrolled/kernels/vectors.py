"""How are loops over vectors written where numba has only numbers? As LLVM code, built in Python.

`Vectors` emits what a kernel is made of: loops that carry values in registers, loads and stores of
a few neighbours at once, products and sums of them. LLVM chooses the instructions for the target
that numba compiles for, so one text serves all instruction sets; only for products of 8 and 16-bit
numbers, which it does not see as such, they are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from unrolled.kernels.compiling import may_use_tiles

FLOAT, INT8, INT16, INT32, INT64 = (
    ir.FloatType(),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
)
Value = Any  # an ir.Value; llvmlite has no types
SUMS = 8
"""As many vectors as `Vectors.totals` adds up at once."""
PAIRS = {
    "+avx512bw": ("llvm.x86.avx512.pmaddw.d.512", 32),
    "+avx2": ("llvm.x86.avx2.pmadd.wd", 16),
    "x86_64": ("llvm.x86.sse2.pmadd.wd", 8),
}
"""What a target must have: its instruction for products of pairs, of so many numbers at once."""
QUADS = {
    ("+avx512vnni", 16): "llvm.x86.avx512.vpdpbusd.512",
    ("+avxvnni", 8): "llvm.x86.avx512.vpdpbusd.256",
}
"""What a target must have, and lanes: its instruction for products of four bytes, in each."""
QUAD = 4
"""Bytes of a lane."""
TILES = ("+amx-tile", "+amx-int8")
"""What a target must have for products of tiles (`amx`), besides lines of 16 quads."""


class Rows:
    """A numba array, cut along its first axis into rows; these are contiguous."""

    def __init__(self, context: Any, builder: Any, array_type: Any, value: Value) -> None:
        array = context.make_array(array_type)(context, builder, value)
        self.builder = builder
        self.data = builder.bitcast(array.data, INT8.as_pointer())
        shape = cgutils.unpack_tuple(builder, array.shape)
        self.height, self.width = shape[0], shape[-1]
        self.stride = cgutils.unpack_tuple(builder, array.strides)[0]

    def row(self, index: Value) -> Value:
        """The address of a row."""
        offset = self.builder.mul(index, self.stride)
        return self.builder.gep(self.data, [offset], source_etype=INT8)


class Vectors:
    """Emits code on vectors of `lanes` 32-bit numbers, and on shorter ones where told.

    A lane for each 32 bits of AVX-512's vectors, else 8: one of AVX2's, two of smaller processors'.
    """

    def __init__(self, context: Any, builder: Any) -> None:
        self.builder = builder
        machine, _, features = context.codegen().magic_tuple()
        has = {machine.split("-")[0], *features.split(",")}
        self.lanes = 16 if "+avx512bw" in has else 8
        self.pairs = next((named for need, named in PAIRS.items() if need in has), None)
        named = (name for (need, n), name in QUADS.items() if need in has and n == self.lanes)
        self.quads = next(named, None)
        quads = self.quads is not None and self.lanes == 16
        self.tiles = quads and has.issuperset(TILES) and may_use_tiles()

    def room(self, size: int) -> Value:
        """So many bytes of the stack, the first of them the first of a cache line."""
        room = cgutils.alloca_once(self.builder, ir.ArrayType(INT8, size))
        room.align = 64
        return self.builder.bitcast(room, INT8.as_pointer())

    def places(self, first: Value, count: int, last: Value, apart: Value = None) -> list[Value]:
        """First, first + apart (or 1), …, and last - 1 in place of what is beyond it."""
        end, answer = self.builder.sub(last, INT64(1)), []
        for _ in range(count):
            answer.append(self.smaller(first, end))
            first = self.builder.add(first, apart or INT64(1))
        return answer

    def smaller(self, a: Value, b: Value) -> Value:
        """The smaller of two 64-bit numbers."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def larger(self, a: Value, b: Value) -> Value:
        """The larger of two."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), b, a)

    def loop(
        self,
        first: Value,
        last: Value,
        step: int,
        carried: Sequence[Value],
        body: Callable[[Value, list[Value]], Sequence[Value]],
    ) -> list[Value]:
        """For k = first, first + step, … < last: carried = body(k, carried). The last carried."""
        b = self.builder
        before = b.block
        head, inside, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        k = b.phi(INT64)
        k.add_incoming(first, before)
        now = [b.phi(value.type) for value in carried]
        for phi, value in zip(now, carried, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", k, last), inside, after)
        b.position_at_end(inside)
        new = body(k, now)
        k.add_incoming(b.add(k, INT64(step)), b.block)
        for phi, value in zip(now, new, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(after)
        return now

    def through(self, count: Value, body: Callable[[Value, int], object]) -> None:
        """body(k, lanes) for each whole vector of `count` numbers, then body(k, 1) for the rest."""
        even = self.builder.and_(count, INT64(-self.lanes))
        parts = ((INT64(0), even, self.lanes), (even, count, 1))

        def at(size: int) -> Callable[[Value, list[Value]], Sequence[Value]]:
            def here(k: Value, _: list[Value]) -> Sequence[Value]:
                body(k, size)
                return []

            return here

        for first, last, size in parts:
            self.loop(first, last, size, [], at(size))

    def address(self, row: Value, element: ir.Type, index: Value) -> Value:
        """Where number `index` of a row of `element`s is."""
        b = self.builder
        return b.gep(b.bitcast(row, element.as_pointer()), [index], source_etype=element)

    def load(self, row: Value, element: ir.Type, index: Value, count: int = 0) -> Value:
        """`count` neighbours of a row from `index` on, at any address; one number for 0."""
        where = self.address(row, element, index)
        size = element.width // 8 if isinstance(element, ir.IntType) else 4
        if not count:
            return self.builder.load(where, align=size, typ=element)
        vector = ir.VectorType(element, count)
        where = self.builder.bitcast(where, vector.as_pointer())
        return self.builder.load(where, align=size, typ=vector)

    def store(self, value: Value, row: Value, element: ir.Type, index: Value) -> None:
        """The inverse of `load`."""
        where = self.address(row, element, index)
        size = element.width // 8 if isinstance(element, ir.IntType) else 4
        self.builder.store(value, self.builder.bitcast(where, value.type.as_pointer()), align=size)

    def prefetch(self, row: Value, distance: int) -> None:
        """Ask for the bytes `distance` after an address; no address is wrong."""
        where = self.address(row, INT8, INT64(distance))
        self.call("llvm.prefetch.p0", ir.VoidType(), where, INT32(0), INT32(3), INT32(1))

    def same(self, number: Value, count: int) -> Value:
        """A vector of `count` times one number."""
        one = ir.Constant(ir.VectorType(number.type, 1), ir.Undefined)
        one = self.builder.insert_element(one, number, INT32(0))
        return self.pick(one, one, [0] * count)

    def vector(self, numbers: Sequence[Value]) -> Value:
        """The vector of these numbers."""
        answer = ir.Constant(ir.VectorType(numbers[0].type, len(numbers)), ir.Undefined)
        for place, number in enumerate(numbers):
            answer = self.builder.insert_element(answer, number, INT32(place))
        return answer

    def constant(self, element: ir.Type, number: float, count: int) -> Value:
        """A vector of `count` times one constant."""
        return ir.Constant(ir.VectorType(element, count), [element(number)] * count)

    def pick(self, a: Value, b: Value, places: Sequence[int]) -> Value:
        """The numbers at `places` of a followed by b."""
        mask = ir.Constant(ir.VectorType(INT32, len(places)), [INT32(p) for p in places])
        return self.builder.shuffle_vector(a, b, mask)

    def call(self, name: str, result: ir.Type, *arguments: Value) -> Value:
        """One of LLVM's own functions, by its full name."""
        kind = ir.FunctionType(result, [a.type for a in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def plus_product(self, a: Value, b: Value, c: Value) -> Value:
        """A b + c on floats, in one rounding where the processor has that, else always in two."""
        return self.call(f"llvm.fmuladd.v{a.type.count}f32", a.type, a, b, c)

    def plus_products(self, a: Value, b: Value, c: Value) -> Value:
        """32-bit c plus the products of 16-bit a and b, two neighbours to a lane.

        By the processor's own instruction for that (with VNNI, LLVM makes it one with the sum:
        vpdpwssd), or on any other by the even numbers and the odd ones.
        """
        builder, wide = self.builder, c.type
        if self.pairs:
            name, size = self.pairs
            parts = [
                self.call(
                    name,
                    ir.VectorType(INT32, size // 2),
                    *(self.pick(v, v, range(first, first + size)) for v in (a, b)),
                )
                for first in range(0, a.type.count, size)
            ]
            while len(parts) > 1:
                both = range(2 * parts[0].type.count)
                parts = [self.pick(*two, both) for two in zip(parts[::2], parts[1::2], strict=True)]
            return builder.add(c, parts[0])
        for first in range(2):
            half = range(first, 2 * wide.count, 2)
            one, other = (builder.sext(self.pick(v, v, half), wide) for v in (a, b))
            c = builder.add(c, builder.mul(one, other))
        return c

    def operands(self, line: Value) -> list[Value]:
        """Four bytes a lane, without a sign, as `plus_quads` takes them one after the other.

        With VNNI as they are, else the even ones and the odd ones, in 16 bits each.
        """
        if self.quads:
            return [line]
        low = self.constant(INT32, 0x00FF00FF, self.lanes)
        odd = self.builder.lshr(line, self.constant(INT32, 8, self.lanes))
        return [self.builder.and_(line, low), self.builder.and_(odd, low)]

    def plus_quads(self, operand: Value, x: Value, c: Value) -> Value:
        """32-bit c plus the products of an operand with as many activations, lane by lane.

        These are bytes with a sign, or numbers of 16 bits: `order` says which, and in what order.
        """
        if self.quads:
            return self.call(self.quads, c.type, c, operand, x)
        pairs = ir.VectorType(INT16, 2 * self.lanes)
        return self.plus_products(
            self.builder.bitcast(operand, pairs), self.builder.bitcast(x, pairs), c
        )

    def order(self) -> tuple[ir.Type, tuple[int, ...]]:
        """How four activations stand: of what type, and which of them comes first, second, …"""
        return (INT8, (0, 1, 2, 3)) if self.quads else (INT16, (0, 2, 1, 3))

    def halved(self, vectors: Sequence[Value], join: Callable[[Value, Value], Value]) -> Value:
        """All numbers of some vectors joined to one, as a vector of it: halves by halves."""
        answer = vectors[0]
        for other in vectors[1:]:
            answer = join(answer, other)
        while (size := answer.type.count // 2) > 0:
            low, high = range(size), range(size, 2 * size)
            answer = join(self.pick(answer, answer, low), self.pick(answer, answer, high))
        return answer

    def totals(self, vectors: Sequence[Value]) -> Value:
        """The sums over the lanes of each of n vectors, as one vector; n = 2, 4, …, lanes.

        Halves are added to halves, always the same ones: [a₀ a₁] and [b₀ b₁] to [a₀ + a₁, b₀ + b₁],
        within chunks of n lanes, then of n / 2, …, 2. So number i comes to lie where the bits of i
        say in reverse, and is taken in that order.
        """
        add = self.builder.fadd if vectors[0].type.element == FLOAT else self.builder.add
        n, lanes = len(vectors), vectors[0].type.count
        while lanes > n:
            lanes //= 2
            low, high = range(lanes), range(lanes, 2 * lanes)
            vectors = [add(self.pick(v, v, low), self.pick(v, v, high)) for v in vectors]
        order = [0]
        while len(order) < n:
            order = [2 * i for i in order] + [2 * i + 1 for i in order]
        vectors = [vectors[i] for i in order]
        while len(vectors) > 1:
            size = len(vectors) // 2
            chunks = range(0, n, 2 * size)
            first = [c + vector + i for c in chunks for vector in (0, n) for i in range(size)]
            second = [place + size for place in first]
            vectors = [
                add(self.pick(a, b, first), self.pick(a, b, second))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return vectors[0]
