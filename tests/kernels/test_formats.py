"""Is the matrix that a format stands for as near to the given one as its docstring says?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import BadInput
from unrolled.kernels import FORMATS, pack, unpack
from unrolled.kernels.formats import GROUP, LANES, LARGEST, aligned, padded, smoothing

INTEGER = ("int8", "int4")


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    """Rows of any size between 2^-149 and 2^127, with zeros, outliers, groups of one sign."""
    outputs, inputs = draw(st.integers(1, 5)), draw(st.integers(1, 100))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "heavy", "positive", "few", "zero"]))
    weight = rng.standard_normal((outputs, inputs))
    if kind == "heavy":
        weight **= 5
    if kind == "positive":
        weight = 3 + np.abs(weight)
    if kind == "few":
        weight = np.rint(weight)
    if kind == "zero":
        weight[rng.random(outputs) < 0.7] = 0
    weight *= 2.0 ** draw(st.integers(-150, 100))
    return weight.astype(np.float32)


def whole(packed, inputs: int) -> np.ndarray:
    """The whole-numbered matrix, read from the bytes one by one as the drawing says."""
    answer = np.empty((len(packed.scales), inputs), np.int64)
    for o, i in np.ndindex(*answer.shape):
        (block, lane), (quad, which) = divmod(o, LANES), divmod(i, 4)
        if packed.format == "int8":
            q = int(packed.values[block, 4 * (quad * LANES + lane) + which])
            answer[o, i] = q * int(packed.groups[block, i // GROUP, lane])
        else:
            line, second = divmod(quad, 2)
            byte = int(packed.values[block, 4 * (line * LANES + lane) + which])
            a, m = steps_and_lowest(packed, o, i // GROUP)
            answer[o, i] = a * (byte >> 4 if second else byte & 15) + m
    return answer


def steps_and_lowest(packed, output: int, group: int) -> tuple[int, int]:
    """(a, m) of an output's group."""
    block, lane = divmod(output, LANES)
    return tuple(int(packed.groups[block, group, first + lane]) for first in (0, LANES))


@given(matrices())
@settings(max_examples=150)
def test_int8_is_within_half_a_step(weight):
    packed, inputs = pack(weight, "int8"), weight.shape[1]
    c = packed.scales.astype(np.float64)[:, None]
    q = whole(packed, inputs)
    outputs, each = np.arange(len(c)), np.arange(inputs) // GROUP
    a = packed.groups[outputs[:, None] // LANES, each, outputs[:, None] % LANES].astype(np.float64)
    assert ((a >= 1) & (a <= 1024)).all()
    assert (np.abs(q) <= 127 * a).all()
    assert (np.abs(weight - c * q) <= c * a / 2 * (1 + 1e-6)).all()
    assert (np.abs(unpack(packed, inputs) - c * q) <= 2.0**-24 * np.abs(c * q)).all()
    assert np.array_equal(
        packed.scales, np.maximum(np.abs(weight).max(axis=1) / np.float32(130048), 2.0**-126)
    )
    for first in range(0, inputs, GROUP):
        part = np.abs(weight[:, first : first + GROUP].astype(np.float64)).max(axis=1)
        assert (np.maximum(a[:, first], 1) < part / (127 * c[:, 0]) + 1 + 1e-5).all() or (
            a[:, first] == 1
        ).all()


@given(matrices(), st.integers(0, 2**32 - 1), st.floats(0, 30))
@settings(max_examples=150)
def test_with_sizes_of_inputs_int8_is_within_half_a_step_times_the_factor(weight, seed, spread):
    inputs, rng = weight.shape[1], np.random.default_rng(seed)
    weight = weight * 2.0 ** rng.uniform(-spread, 0, inputs).astype(np.float32)
    sizes = (2.0 ** rng.uniform(-spread, spread, inputs)).astype(np.float32)
    sizes[rng.random(inputs) < 0.1] = rng.choice([0.0, np.nan, np.inf])
    packed = pack(weight, "int8", sizes)
    f = packed.factors[:inputs].astype(np.float64)
    assert f.max() == 1
    assert (np.log2(f) == np.rint(np.log2(f))).all()
    assert (packed.factors[inputs:] == 1).all()
    divided = pack((weight / f).astype(np.float32), "int8")
    assert all(map(np.array_equal, packed[:3], divided[:3]))
    near = unpack(divided, inputs).astype(np.float64) * f
    tiny = 2.0**-149 * (f < 1)
    assert (np.abs(unpack(packed, inputs) - near) <= tiny).all()


def test_factors_are_the_nearest_powers_of_two_to_what_makes_both_sides_alike():
    weight = np.array([[1, 4, 16, 0, 3], [1, -4, 16, 0, 3]], np.float32)
    # √(|w| / x) = 1/4, 1, 4, 2⁻⁶ (by 2⁻¹² for 0), 0.9
    sizes = np.array([16, 4, 1, 1, 3.9], np.float32)
    assert smoothing(weight, sizes).tolist() == [1 / 16, 1 / 4, 1, 2.0**-8, 1 / 4]
    assert smoothing(weight, np.float32([16, 4, 1, 0, 3.9]))[:3].tolist() == [1 / 16, 1 / 4, 1]
    assert smoothing(np.ones((2, 3), np.float32), np.zeros(3, np.float32)).tolist() == [1, 1, 1]
    assert smoothing(np.ones((0, 2), np.float32), np.float32([2, 2])).tolist() == [1, 1]
    assert smoothing(np.ones((2, 0), np.float32), np.ones(0, np.float32)).tolist() == []


def test_inputs_that_are_quiet_count_as_a_quarter_of_the_middle_one():
    """They may speak up, and should then be no coarser for their group than others that large."""
    weight = np.ones((2, 5), np.float32)
    quiet = smoothing(weight, np.float32([8, 4, 4, 0.01, 0]))
    assert np.array_equal(quiet, smoothing(weight, np.float32([8, 4, 4, 1, 1])))
    assert quiet.tolist() == [0.25, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize("format", FORMATS)
def test_what_no_format_can_hold_is_refused_before_anything_overflows(format):
    with pytest.raises(BadInput, match=r"below 2\^127"):
        pack(np.full((2, 3), 1e300), format)
    largest = np.full((2, 40), 1.5e38, np.float32)
    packed = pack(largest, format, np.arange(1, 41, dtype=np.float32) ** 3)
    assert np.allclose(unpack(packed, 40), largest, rtol=0.01)


def test_large_inputs_cost_the_others_less_where_their_sizes_are_known():
    """Products of rounded activations and weights against exact ones."""
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(128) % 32 == 5, 50.0, 1.0).astype(np.float32)
    x = rng.standard_normal((200, 128)) * sizes
    weight = rng.standard_normal((64, 128)).astype(np.float32)
    off = []
    for known in (None, sizes):
        packed = pack(weight, "int8", known)
        groups = (x * packed.factors).reshape(200, 4, 32)
        step = np.abs(groups).max(axis=2, keepdims=True) / 127
        near = (np.rint(groups / step) * step).reshape(200, 128) / packed.factors
        off.append(np.square(near @ unpack(packed, 128).T - x @ weight.T).mean() ** 0.5)
    assert off[1] < off[0] / 2.5


@given(matrices())
@settings(max_examples=150)
def test_int4_is_within_half_a_step_or_eight_units(weight):
    packed = pack(weight, "int4")
    inputs = weight.shape[1]
    c = packed.scales.astype(np.float64)[:, None]
    q = whole(packed, inputs)
    assert (np.abs(q) <= LARGEST["int4"]).all()
    groups = [
        [steps_and_lowest(packed, o, g) for g in range(-(-inputs // GROUP))] for o in range(len(c))
    ]
    a = np.array(groups)[:, np.arange(inputs) // GROUP, 0]
    assert (np.abs(weight - c * q) <= c * np.maximum(a / 2, 8) * (1 + 1e-6)).all()
    assert (np.abs(unpack(packed, inputs) - c * q) <= 2.0**-24 * np.abs(c * q)).all()
    assert np.array_equal(
        packed.scales, np.maximum(np.abs(weight).max(axis=1) / np.float32(32759), 2.0**-126)
    )
    for first in range(0, inputs, GROUP):
        part = weight[:, first : first + GROUP].astype(np.float64)
        spread = (part.max(axis=1) - part.min(axis=1)) / c[:, 0]
        step = np.array(groups)[:, first // GROUP, 0]
        assert ((np.abs(step - spread / 15) < 0.51) | (step == 1)).all()


@given(matrices())
def test_bfloat16_rounds_to_the_nearest_and_ties_to_even(weight):
    packed = pack(weight, "bfloat16")
    expected = torch.from_numpy(weight).bfloat16()
    for (o, i), bits in np.ndenumerate(expected.view(torch.uint16).numpy()):
        assert packed.values[o // LANES, i * LANES + o % LANES] == bits
    assert np.array_equal(unpack(packed, weight.shape[1]), expected.float().numpy())


def test_bfloat16_ties_go_to_even():
    ties = np.array([[1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8]], np.float32)
    assert unpack(pack(ties, "bfloat16"), 3).tolist() == [[1, 1 + 2.0**-6, -1]]


@given(matrices())
def test_float32_is_the_matrix_itself(weight):
    assert np.array_equal(unpack(pack(weight, "float32"), weight.shape[1]), weight)


def test_a_matrix_on_the_points_of_int4_is_kept():
    """Weights that were rounded by such a scheme before (Q4_1) lose hardly more."""
    rng = np.random.default_rng(0)
    step, low = rng.uniform(0.5, 1, (40, 4, 1)), rng.uniform(-12, -4, (40, 4, 1))
    codes = rng.integers(0, 16, (40, 4, 32))
    codes[..., 0], codes[..., 1] = 0, 15
    weight = (codes * step + low).reshape(40, 128).astype(np.float32)
    error = np.abs(unpack(pack(weight, "int4"), 128) - weight)
    assert (error.reshape(40, 4, 32) / step).max() < 0.01  # rounding anew would be up to 0.5


@pytest.mark.parametrize("format", FORMATS)
def test_padding_and_strides_change_nothing(format):
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((7, 96)).astype(np.float32)
    odd = wide[::-2, ::2][:, :37]
    packed = pack(odd, format)
    assert np.array_equal(unpack(packed, 37), unpack(pack(odd.copy(), format), 37))
    assert packed.format == format
    if format in INTEGER:
        width = 16 * padded(37) // (2 if format == "int4" else 1)
        assert packed.values.shape == (1, width)
        assert width > 0
        assert packed.values.flags.c_contiguous


def test_the_padding_of_a_group_does_not_stretch_it():
    weight = np.linspace(100, 101, 33, dtype=np.float32)[None]
    assert steps_and_lowest(pack(weight, "int4"), 0, 1) == (1, 32759 - 8)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_matrices_are_packed(format, shape):
    assert unpack(pack(np.empty(shape, np.float32), format), shape[1]).shape == shape


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_weights_that_are_no_small_numbers_are_refused(format, bad):
    with pytest.raises(BadInput, match="finite"):
        pack(np.array([[1.0, bad]]), format)


@pytest.mark.parametrize("format", FORMATS)
def test_packed_values_begin_on_a_line_of_the_cache(format):
    for outputs in range(1, 9):
        values = pack(np.ones((outputs, 61)), format).values
        assert values.ctypes.data % 64 == 0
    there = aligned(np.arange(1000.0)[3:])
    assert np.array_equal(there, np.arange(3.0, 1000.0))
    assert aligned(there) is there


def test_an_unknown_format_is_refused_with_the_list():
    with pytest.raises(BadInput, match=r"'int3'.*float32, bfloat16, int8, int4"):
        pack(np.ones((1, 1)), "int3")


@pytest.mark.parametrize("format", FORMATS)
def test_some_rows_are_unpacked_as_all_are(format):
    weight = np.random.default_rng(3).standard_normal((50, 70)).astype(np.float32)
    packed, which = pack(weight, format), np.array([49, 0, 17, 17, 31])
    assert np.array_equal(unpack(packed, 70, which), unpack(packed, 70)[which])


def test_many_blocks_are_as_one(monkeypatch):
    weight = np.random.default_rng(2).standard_normal((50, 70)).astype(np.float32)
    whole_at_once = [pack(weight, format) for format in INTEGER]
    monkeypatch.setattr("unrolled.kernels.formats._BLOCK", 300)
    for one, format in zip(whole_at_once, INTEGER, strict=True):
        assert all(map(np.array_equal, one, pack(weight, format)))
