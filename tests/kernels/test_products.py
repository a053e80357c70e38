"""Are the products what the packed bytes say, to the last bit where that is promised?"""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from unrolled.kernels import FORMATS, Packed, compiling, pack, unpack
from unrolled.kernels.compiling import may_use_tiles
from unrolled.kernels.formats import GROUP, groups, padded, quantised
from unrolled.kernels.products import multiply, quantise

HALF = 2.0**-24  # of the last bit of float32


def apart(array: np.ndarray) -> np.ndarray:
    """The same numbers, in rows that lie apart. So all tests are of one type, compiled once."""
    wide = np.full((len(array), array.shape[1] + 5), 77, array.dtype)
    wide[:, 2:-3] = array
    return wide[:, 2:-3]


def product(packed: Packed, x: np.ndarray, cuts: tuple[int, ...] = ()) -> np.ndarray:
    """X Ŵᵀ by the kernels, the outputs divided at `cuts`; every buffer wider than it need be."""
    rows, inputs = x.shape
    outputs = len(packed.scales)
    x = apart(x)
    xq = apart(np.full((rows, quantised(inputs)), 77, np.int16))
    steps = apart(np.full((rows, groups(inputs)), np.nan, np.float32))
    out = np.full((rows, outputs + 4), np.nan, np.float32)
    quantise(packed, x, xq, steps)
    for first, last in itertools.pairwise((0, *cuts, outputs)):
        multiply(packed, x, xq, steps, out[:, 2:-2], first, last)
    assert np.isnan(out[:, :2]).all()
    assert np.isnan(out[:, -2:]).all()
    return out[:, 2:-2]


def whole_activations(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Xq and the step of each input, one number after the other."""
    xq, steps = np.zeros(x.shape, np.int64), np.zeros(x.shape, np.float32)
    for row in range(len(x)):
        for first in range(0, x.shape[1], 32):
            group = x[row, first : first + 32]
            most = np.abs(group).max()
            if most >= 2.0**-100:
                steps[row, first : first + 32] = most / np.float32(127)
                xq[row, first : first + 32] = np.rint(group * (np.float32(127) / most))
    return xq, steps


def whole_weights(packed: Packed, inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all outputs q [outputs, inputs], and of their groups a and m [outputs, groups]."""
    blocks, width, outputs = len(packed.values), padded(inputs), len(packed.scales)
    if packed.format == "int8":
        quads = packed.values.reshape(blocks, -1, 16, 4).astype(np.int64)
        a, m = packed.groups.transpose(0, 2, 1), np.zeros((blocks, 16, width // GROUP))
    else:
        byte = packed.values.reshape(blocks, -1, 1, 16, 4).astype(np.int64)
        quads = np.concatenate([byte % 16, byte // 16], axis=2).reshape(blocks, -1, 16, 4)
        a, m = packed.groups.reshape(blocks, -1, 2, 16).transpose(2, 0, 3, 1)
    q = quads.transpose(0, 2, 1, 3).reshape(16 * blocks, width)[:outputs, :inputs]
    each = (np.float32(number).reshape(16 * blocks, -1)[:outputs] for number in (a, m))
    return q, *each


def reference(packed: Packed, x: np.ndarray) -> np.ndarray:
    """The integer formats' y, rounded where the formula says so and nowhere else."""
    xq, steps = whole_activations(x)
    q, a, m = whole_weights(packed, x.shape[1])
    total = np.zeros((len(x), len(q)), np.float32)
    for number, first in enumerate(range(0, x.shape[1], 32)):
        group = slice(first, first + 32)
        products, sums = xq[:, group] @ q[:, group].T, xq[:, group].sum(axis=1, keepdims=True)
        assert (np.abs(products) < 2**24).all()
        whole = np.float32(products) * a[:, number] + np.float32(sums) * m[:, number]
        total += whole * steps[:, first : first + 1]
    return total * packed.scales


def draw(rng: np.random.Generator, rows: int, outputs: int, inputs: int):
    """X with a row of zeros and rows far apart in size, W; X by odd strides."""
    x = rng.standard_normal((2 * rows + 1, inputs + 7)).astype(np.float32)[::2, 3:-4][:rows]
    x *= (10.0 ** rng.uniform(-6, 6, (rows, 1))).astype(np.float32)
    if rows > 2:
        x[rng.integers(rows)] = 0
    weight = rng.standard_normal((outputs, inputs)) * 10.0 ** rng.uniform(-3, 3, (outputs, 1))
    weight[rng.integers(outputs)] = 0
    return x, weight.astype(np.float32)


def check(format: str, x: np.ndarray, weight: np.ndarray) -> None:
    inputs = x.shape[1]
    sizes = np.exp(np.random.default_rng(inputs).uniform(-9, 9, inputs)).astype(np.float32)
    packed = pack(weight, format, sizes)
    y = product(packed, x)
    if format in ("int8", "int4"):
        factors = packed.factors[:inputs]
        assert len(set(factors)) > 1 or format != "int8" or inputs < 20
        x = x * factors
        assert np.array_equal(y, reference(packed, x))
        # And is near to the product with the matrix that the format stands for: half a step a term.
        _, steps = whole_activations(x)
        wide = unpack(packed, inputs).astype(np.float64) / factors
        exact, size = x.astype(np.float64) @ wide.T, np.abs(x) @ np.abs(wide).T
        bound = steps.astype(np.float64) / 2 @ np.abs(wide).T
        assert (np.abs(y - exact) <= 1.01 * bound + (inputs / 32 + 8) * HALF * size).all()
    else:
        wide = unpack(packed, inputs).astype(np.float64)
        exact, size = x.astype(np.float64) @ wide.T, np.abs(x) @ np.abs(wide).T
        assert (np.abs(y - exact) <= (inputs + 1) * HALF * size).all()


@pytest.mark.parametrize("format", FORMATS)
@given(
    st.integers(1, 64),
    st.integers(1, 70),
    st.one_of(st.integers(1, 80), st.integers(500, 555), st.integers(1000, 1111)),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_any_shape_agrees_with_the_reference(format, rows, outputs, inputs, seed):
    check(format, *draw(np.random.default_rng(seed), rows, outputs, inputs))


@pytest.mark.parametrize("format", FORMATS)
def test_every_number_of_rows_to_64_agrees_with_the_reference(format):
    for rows in range(1, 65):
        check(format, *draw(np.random.default_rng(rows), rows, 11 + 8 * (rows % 4), 593))


@pytest.mark.parametrize("format", ["int8", "int4"])
@pytest.mark.parametrize("inputs", [512, 1024, 200])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("rows", "outputs"), [(5, 3), (9, 19)])
def test_the_largest_whole_numbers_do_not_overflow(format, inputs, sign, rows, outputs):
    if format == "int8":
        packed = pack(np.ones((outputs, inputs), np.float32), format)
    else:  # q = 15 and 15 a + m = 32767, which `pack` promises never to pass
        blocks = -(-outputs // 16)
        values = np.full((blocks, 16 * padded(inputs) // 2), 255, np.uint8)
        pairs = np.tile(np.repeat(np.int16([2184, 7]), 16), (blocks, groups(inputs), 1))
        ones = np.ones(max(outputs, padded(inputs)), np.float32)
        packed = Packed(values, ones[:outputs], pairs, ones[: padded(inputs)])
    x = np.full((rows, inputs), sign * 3, np.float32)
    x[3] *= np.where(np.arange(inputs) % 2, 1, -1)
    y = product(packed, x)
    assert np.array_equal(y, reference(packed, x))
    assert np.allclose(y[0], 3 * sign * unpack(packed, inputs).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("format", FORMATS)
def test_a_row_is_the_same_bits_in_any_batch_and_for_any_division_of_outputs(format):
    rng = np.random.default_rng(3)
    x, weight = draw(rng, 40, 61, 653)
    packed = pack(weight, format)
    alone = np.concatenate([product(packed, row[None]) for row in x])
    for rows in (*range(2, 18), *range(29, 41)):
        order = rng.permutation(40)[:rows]
        cuts = tuple(sorted(rng.integers(0, 62, rng.integers(0, 5)).tolist()))
        assert np.array_equal(product(packed, x[order], cuts), alone[order])


@pytest.mark.parametrize("format", FORMATS)
def test_outputs_of_another_thread_are_left_alone(format):
    x, weight = draw(np.random.default_rng(4), 6, 20, 64)
    packed = pack(weight, format)
    xq, steps = apart(np.zeros((6, 68), np.int16)), apart(np.zeros((6, 2), np.float32))
    x, out = apart(x), apart(np.full((6, 20), np.nan, np.float32))
    quantise(packed, x, xq, steps)
    multiply(packed, x, xq, steps, out, 7, 8)
    multiply(packed, x, xq, steps, out, 9, 9)
    assert (~np.isnan(out)).all(axis=0).nonzero()[0].tolist() == [7]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_so_and_in_its_row(format, bad):
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal((5, 300)).astype(np.float32), rng.uniform(1, 2, (9, 300))
    packed = pack(weight, format)
    before = product(packed, x)
    x[2, 290] = bad
    after = product(packed, x)
    assert not np.isfinite(after[2]).any()
    assert np.array_equal(np.delete(before, 2, 0), np.delete(after, 2, 0))


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows_no_outputs_and_no_inputs_are_no_trouble(format):
    assert product(pack(np.ones((3, 5)), format), np.ones((0, 5), np.float32)).shape == (0, 3)
    assert product(pack(np.ones((0, 5)), format), np.ones((2, 5), np.float32)).shape == (2, 0)
    y = product(pack(np.ones((3, 0)), format), np.ones((2, 0), np.float32))
    assert (y == 0).all()


@pytest.mark.parametrize("format", ["float32", "int8", "int4"])
def test_arrays_that_do_not_fit_are_refused(format):
    """What is compiled checks no index: it would read and write what belongs to others."""
    packed = pack(np.ones((9, 70)), format)

    def call(rows=3, inputs=70, last=9, out=(3, 9), xq=(3, 102), steps=(3, 3), first=0):
        x, small = (apart(np.ones(shape, np.float32)) for shape in ((rows, inputs), steps))
        room, answer = apart(np.zeros(xq, np.int16)), apart(np.zeros(out, np.float32))
        quantise(packed, x, room, small)
        multiply(packed, x, room, small, answer, first, last)

    call()
    bad = [{"inputs": 64}, {"inputs": 97}, {"last": 10}, {"first": -1}, {"first": 9, "last": 8}]
    bad += [{"out": (2, 9)}, {"out": (3, 8)}]
    if format != "float32":
        bad += [{"xq": (2, 102)}, {"xq": (3, 101)}, {"steps": (2, 3)}, {"steps": (3, 2)}]
    for words in bad:
        with pytest.raises(ValueError, match=r"must be as wide|not room enough|not so many"):
            call(**words)


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_parts_of_a_matrix_that_do_not_fit_together_are_refused(format):
    packed, none = pack(np.ones((33, 70)), format), np.empty((0, 0, 32), np.int16)
    wrong = [{"scales": np.ones(49, np.float32)}, {"scales": np.ones(32, np.float32)}]
    wrong += [{"values": packed.values[:2]}, {"values": packed.values[:, :-1].copy()}]
    wrong += [{"scales": np.empty(0, np.float32)}]
    wrong += [{"groups": packed.groups[:2]}, {"groups": packed.groups[:, :2].copy()}]
    other = {"int8": packed.values[:, ::2].copy(), "int4": packed.values.repeat(2, axis=1)}
    numbers = {"int8": np.ones((3, 3, 32), np.int16), "int4": np.ones((3, 3, 16), np.int16)}
    for groups_ in (none, numbers[format]):
        wrong += [{"groups": groups_}, {"groups": groups_, "values": other[format]}]
    wrong += [{"values": other[format]}]
    wrong += [{"factors": np.ones(count, np.float32)} for count in (0, 70, 97)]
    for parts in wrong:
        with pytest.raises(ValueError, match=r"must be"):
            multiplied(packed._replace(**parts), 9)


def multiplied(packed: Packed, last: int) -> None:
    """A product of two rows of 70 inputs, with room enough."""
    x, xq = apart(np.ones((2, 70), np.float32)), apart(np.zeros((2, quantised(70)), np.int16))
    steps, out = apart(np.zeros((2, 3), np.float32)), apart(np.zeros((2, 33), np.float32))
    quantise(packed, x, xq, steps)
    multiply(packed, x, xq, steps, out, 0, last)


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_room_is_asked_for_where_there_are_no_outputs_too(format):
    packed, x = pack(np.ones((0, 500)), format), apart(np.ones((3, 500), np.float32))
    with pytest.raises(ValueError, match="not room enough"):
        quantise(packed, x, apart(np.zeros((3, 1), np.int16)), apart(np.zeros((3, 1), np.float32)))


def test_rows_that_are_not_contiguous_are_refused():
    packed = pack(np.ones((3, 8)), "float32")
    x, xq, steps = np.ones((2, 16), np.float32), np.zeros((2, 32), np.int16), np.ones((2, 1))
    with pytest.raises(ValueError, match="contiguous"):
        multiply(packed, x[:, ::2], apart(xq), apart(steps.astype(np.float32)), apart(x), 0, 3)


AVX2 = "+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+sse4.1,+sse4.2,+ssse3,+popcnt"
AVX512 = f"{AVX2},+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512cd"
MACHINES = {
    "SSE2": (("x86-64", ""), {"sse2"}, ["pmaddwd"], ["ymm", "zmm", "vpmaddwd", "vfmadd"]),
    "AVX2": (("x86-64-v3", AVX2), {"avx2", "fma"}, ["vpmaddwd", "vfmadd", "ymm"], ["zmm"]),
    "AVX-512": (
        ("x86-64-v4", AVX512),
        {"avx512bw", "avx512vl", "avx512dq"},
        ["vpmaddwd", "vfmadd", "zmm"],
        ["vpdpbusd"],
    ),
    "VNNI": (
        ("znver4", f"{AVX512},+avx512vnni"),
        {"avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
        ["vpdpbusd", "vfmadd", "zmm"],
        ["vpmaddwd"],
    ),
    "AMX": (
        ("sapphirerapids", f"{AVX512},+avx512vnni,+amx-tile,+amx-int8"),
        {"avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "amx_tile", "amx_int8"},
        ["tdpbssd", "vpdpbusd", "vfmadd", "zmm"],
        ["vpmaddwd"],
    ),
    "AVX-VNNI": (
        ("alderlake", f"{AVX2},+avxvnni"),
        {"avx2", "fma", "avx_vnni"},
        ["vpdpbusd", "vfmadd", "ymm"],
        ["zmm", "vpmaddwd"],
    ),
}
"""Target for numba, what a processor must have for it, what its code must hold, and must not."""


def flags() -> set[str]:
    """What this processor has, where Linux says so."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())


def on(code: str, target: tuple[str, str] | None = None) -> str:
    """What a process prints that compiles for another machine."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])
    }
    if target:
        environment |= dict(zip(("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"), target, strict=True))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COMPILE = """
from unrolled.kernels import vectors
vectors.may_use_tiles()  # asks for them
vectors.may_use_tiles = lambda: True
from numba import types
from unrolled.kernels import Packed
from unrolled.kernels.products import multiply
rows = lambda kind, axes=2: types.Array(kind, axes, "C")
for kind in (types.int8, types.float32):
    line = rows(types.float32, 1)
    packed = types.NamedTuple((rows(kind), line, rows(types.int16, 3), line), Packed)
    others = [rows(k) for k in (types.float32, types.int16, types.float32, types.float32)]
    multiply.compile((packed, *others, types.int64, types.int64))
print(*multiply.inspect_asm().values())
"""
RUN = """
import numpy as np, test_products as t
for format in {formats}:
    for rows, outputs, inputs in [(7, 6, 300), (2, 5, 1101), (11, 37, 545), (37, 75, 130)]:
        x, weight = t.draw(np.random.default_rng(rows), rows, outputs, inputs)
        t.check(format, x, weight)
        packed = t.pack(weight, format)
        assert np.array_equal(t.product(packed, x[-1:]), t.product(packed, x)[-1:])
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="sets of x86-64")
@pytest.mark.parametrize("name", MACHINES)
def test_code_for_a_machine_holds_what_it_has_and_runs_if_this_one_has_it_too(name):
    target, needs, used, lacking = MACHINES[name]
    here = needs <= flags() and (name != "AMX" or may_use_tiles())
    runs = RUN.format(formats=FORMATS) if here else ""
    assembly = on(COMPILE + runs, target)
    assert [instruction for instruction in used if instruction not in assembly] == []
    assert [instruction for instruction in lacking if instruction in assembly] == []


def test_rows_by_tiles_have_the_bits_of_rows_without_them():
    draws = "x, weight = t.draw(np.random.default_rng(3), 35, 37, 545)\n"
    show = "print(t.product(t.pack(weight, 'int8'), x).tobytes().hex())\n"
    start = "import numpy as np, test_products as t\n"
    without = "from unrolled.kernels import vectors\nvectors.may_use_tiles = lambda: False\n"
    assert on(start + draws + show) == on(without + start + draws + show)


def test_code_kept_where_tiles_may_be_used_is_not_taken_where_they_may_not(monkeypatch):
    prints = set()
    for answer in (True, False):
        monkeypatch.setattr(compiling, "may_use_tiles", lambda answer=answer: answer)
        prints.add(compiling.sources())
    assert len(prints) == 2


def test_a_system_that_refuses_tiles_or_knows_no_such_call_is_believed(monkeypatch):
    for refusal in (lambda *_: -1, None):
        library = SimpleNamespace(**({"syscall": refusal} if refusal else {}))
        monkeypatch.setattr(compiling.ctypes, "CDLL", lambda _, library=library: library)
        compiling.may_use_tiles.cache_clear()
        assert not compiling.may_use_tiles()
    compiling.may_use_tiles.cache_clear()


def test_a_processor_without_an_instruction_for_pairs_agrees_with_the_reference():
    on(
        "from unrolled.kernels import vectors\nvectors.PAIRS.clear()\nvectors.QUADS.clear()\n"
        + RUN.format(formats=("int8", "int4"))
    )
