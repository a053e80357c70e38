"""In how few bits can a matrix of weights be kept, and how far off is it then?

A matrix W [outputs, inputs] is kept as the arrays of a `Packed`, which stand for a matrix Ŵ near W:

    float32     Ŵ = W
    bfloat16    Ŵ = W rounded to 8 significant bits
    int8        Ŵ = c a q f       c a unit for each output, q whole, |q| ≤ 127, and a, f as below
    int4        Ŵ = c (a q + m)   a, m whole for each output and group of 32 inputs, q in 0…15

so that in both integer formats Σ q x over a group of whole-numbered activations x is exact
(`whole`). f is a power of two for each input, by which its activations are multiplied before they
are rounded (`smoothing`). In all of them 16 outputs stand side by side, an output for each lane of
a vector, in the integer formats four inputs after four:

    values of outputs 0…15, floats   o₀ i₀   o₁ i₀  …  o₁₅ i₀   o₀ i₁ …
    the same of int8                 o₀ i₀ i₁ i₂ i₃   o₁ i₀ i₁ i₂ i₃  …  o₁₅ i₀ i₁ i₂ i₃   o₀ i₄ …
    the same of int4, four bytes     o₀ i₀+16i₄ i₁+16i₅ i₂+16i₆ i₃+16i₇   o₁ …     (i₀: bits 0–3)
    groups of 32 inputs              a of o₀ … o₁₅   m of o₀ … o₁₅                (int8: a alone)

The schemes are the usual ones by group (as llama.cpp's Q8_0 and Q4_1), but for the groups' scales,
whole multiples of one unit, as in double quantisation (Dettmers et al. 2023, section 3), and for f,
which is SmoothQuant's (Xiao et al. 2023, section 4).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Float32, Integer

from unrolled.errors import BadInput

FORMATS = ("float32", "bfloat16", "int8", "int4")
GROUP = 32
"""Inputs that share one a, or (a, m), and activations that share one step (see `activations`);
the integer formats pad the inputs to a multiple of it."""
LANES = 16
"""Outputs that stand side by side; their number is padded to a multiple of it."""
WHOLE = ("int8", "int4")
"""The integer formats."""
LARGEST = {"int8": 1024 * 127, "int4": 2**15 - 1}
"""No whole-numbered weight, a q or a q + m, is beyond this."""
LEVELS = 127
"""Nor a whole-numbered activation beyond this, so that sums over a group are exact in float32."""
SMALLEST = 2.0**-100
"""A group of activations that are all smaller is 0: LEVELS / |x| may leave float32."""

_CODES = 15  # the largest q of int4
_SMALLEST_UNIT = np.float32(2.0**-126)  # below it float32 loses bits, and a unit its accuracy
_LARGEST_WEIGHT = 2.0**127
_RANGE = 2.0**-16  # sizes below so much of the largest count as so much
_QUIET = 4.0  # and of activations, those below the middle one over this
_LINE = 64  # bytes
_BLOCK = 1 << 20  # weights packed at a time, so that float64 copies stay small


class Packed(NamedTuple):
    """A matrix in one of the formats; arrays only, so that numba takes it as it is."""

    values: np.ndarray
    """float32 | uint16 (bfloat16) [o / 16, 16 i] | int8 [o / 16, 16 · padded] | uint8 (int4) half
    as wide."""
    scales: Float32[np.ndarray, " _outputs"]
    """The unit c of each output; ones, which nobody reads, in float formats."""
    groups: Integer[np.ndarray, "_blocks _groups _numbers"]
    """int16: a of each 16 outputs and group, in int4 m too; [0, 0, 32] in float formats."""
    factors: Float32[np.ndarray, " _padded"]
    """f of each input, ones in int4 and beyond the last input; none in float formats."""

    @property
    def format(self) -> str:
        """Which of `FORMATS` this is."""
        return {"f4": "float32", "u2": "bfloat16", "i1": "int8", "u1": "int4"}[
            self.values.dtype.str[1:]
        ]

    @property
    def nbytes(self) -> int:
        """Bytes that a product has to read."""
        units = self.scales.nbytes if self.format in WHOLE else 0
        return self.values.nbytes + units + self.groups.nbytes + self.factors.nbytes


def groups(inputs: int) -> int:
    """How many groups a row has: as many steps have its activations."""
    return -(-inputs // GROUP)


def padded(inputs: int) -> int:
    """Inputs rounded up to whole groups."""
    return groups(inputs) * GROUP


def quantised(inputs: int) -> int:
    """Places of a row of whole-numbered activations: one an input, and two a group for its sum."""
    return groups(inputs) * (GROUP + 2)


def empty(shape: tuple[int, ...], kind: npt.DTypeLike) -> np.ndarray:
    """Room that begins on a line of the cache.

    NumPy's begins anywhere, and a vector that lies in two lines takes two loads: weights and
    activations that don't begin on a line are multiplied up to a quarter slower.
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    room = np.empty(size + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size].view(kind).reshape(shape)


def aligned(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of it, that begins on a line of the cache."""
    array = np.ascontiguousarray(array)
    if array.ctypes.data % _LINE == 0:
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def pack(
    weight: Float[np.ndarray, "outputs inputs"],
    format: str,
    sizes: Float32[np.ndarray, " inputs"] | None = None,
) -> Packed:
    """W in `format`; `sizes` are root mean squares of its inputs, for int8's factors (else ones).

    With Ŵ what `unpack` makes of it, up to float32's own rounding of Ŵ:

    float32: Ŵ = W.  bfloat16: |W - Ŵ| ≤ 2⁻⁹ |W| (or 2⁻¹³⁴), half of the last of 8 bits.

    int8: |W - Ŵ| ≤ c a f / 2 with c = max |W_o / f| / 130048 (at least 2⁻¹²⁶, here and below),
    where a, of 1 to 1024, exceeds max |W / f| of the group / (127 c) by less than 1: q is the whole
    number nearest to W / (c a f), and that is nowhere beyond 127. (f = 1 should W / f pass 2¹²⁷.)

    int4: |W - Ŵ| ≤ c max(a / 2, 8) with c = max |W_o| / 32759, where a is the whole number nearest
    to R / 15 (at least 1), R = (highest - lowest of the group) / c; so R / 30 units for all but the
    smallest groups. For: m puts the 16 points a q + m in the middle of the group, within 1/2. They
    reach over it on either side by up to 8 units (where a = 1), or it over them by up to 15 / 4 +
    1/2, and everywhere else the nearest point is within a / 2. So |a q + m| ≤ 32759 + 8. Weights
    that had four bits and a step for 32 inputs before come out as they were, to a few units.

    Raises BadInput for an unknown format, and weights that are not numbers below 2¹²⁷.
    """
    _check(format)
    most = max(weight.max(initial=0.0), -weight.min(initial=0.0))
    if not most < _LARGEST_WEIGHT:
        raise BadInput("weights must be finite and below 2^127 to be packed; some are not")
    weight = np.ascontiguousarray(weight, dtype=np.float32)
    outputs, inputs = weight.shape
    factors = np.ones(padded(inputs), np.float32)
    if format not in WHOLE:
        ones, no_groups = np.ones(outputs, np.float32), np.empty((0, 0, 2 * LANES), np.int16)
        return Packed(_floats(weight, format), ones, no_groups, factors[:0])
    if format == "int8" and sizes is not None:
        found = smoothing(weight, sizes)
        if most < _LARGEST_WEIGHT * found.min(initial=1.0):
            factors[:inputs] = found
    width, blocks = padded(inputs), -(-outputs // LANES)
    largest = LARGEST[format] if format == "int8" else LARGEST[format] - 8
    scales = np.full(outputs, _SMALLEST_UNIT)
    room = LANES * (width if format == "int8" else width // 2)
    values = empty((blocks, room), np.int8 if format == "int8" else np.uint8)
    numbers = 1 if format == "int8" else 2
    grouped = empty((blocks, width // GROUP, numbers * LANES), np.int16)
    some = max(1, _BLOCK // max(1, LANES * width))
    for first in range(0, blocks if width else 0, some):
        block, part = slice(first, first + some), slice(first * LANES, (first + some) * LANES)
        divided = weight[part] / factors[:inputs].astype(np.float64)
        highest = np.abs(divided).max(axis=1, initial=0.0).astype(np.float32)
        scales[part] = np.maximum(highest / np.float32(largest), _SMALLEST_UNIT)
        units = divided / scales[part, None]
        units = np.pad(units, ((0, -len(units) % LANES), (0, 0)))
        # More of the last weight: zeros would stretch the range of int4's last group.
        mode: Literal["constant", "edge"] = "constant" if format == "int8" else "edge"
        units = np.pad(units, ((0, 0), (0, width - inputs)), mode=mode)
        by_group = units.reshape(len(units), width // GROUP, GROUP)
        q, found = _signed(by_group) if format == "int8" else _grouped(by_group)
        quads = _by_lanes(q.reshape(len(q), width))
        if format == "int4":
            quads = quads[:, ::2] | quads[:, 1::2] << 4
        values[block] = quads.reshape(-1, room)
        each = found.reshape(-1, LANES, width // GROUP, numbers).transpose(0, 2, 3, 1)
        grouped[block] = each.reshape(-1, width // GROUP, numbers * LANES)
    return Packed(values, scales, grouped, factors)


def smoothing(
    weight: Float32[np.ndarray, "outputs inputs"], sizes: Float32[np.ndarray, " inputs"]
) -> Float32[np.ndarray, " inputs"]:
    """Factors f that leave activations and weights of a group equally easy to round.

    x W = (x f) (W / f): where activations are large, f makes them smaller and the weights larger,
    so that neither have one number that makes the steps of 31 others coarse. f = √(|W_i| / |x_i|),
    root mean squares of each input's weights and activations (Xiao et al. 2023, equation 4 at α =
    1/2, which has the largest instead), but a power of two, which loses nothing, and at most 1. An
    input that was quiet when sizes were taken may speak up later: it counts as a quarter of the
    middle one at least, and is then no coarser for its group than four times as large a one.
    """
    squares = np.einsum("oi,oi->i", weight, weight, dtype=np.float64)
    both = np.stack([np.sqrt(squares / max(1, len(weight))), sizes])
    both[~np.isfinite(both)] = 0.0
    least = np.maximum(both.max(axis=1, initial=0.0) * _RANGE, _SMALLEST_UNIT)
    if inputs := both.shape[1]:
        least[1] = max(least[1], np.partition(both[1], inputs // 2)[inputs // 2] / _QUIET)
    logs = np.log2(np.maximum(both, least[:, None]))
    halves = np.rint((logs[0] - logs[1]) / 2)
    factors: np.ndarray = np.exp2(halves - halves.max(initial=-np.inf)).astype(np.float32)
    return factors


def _floats(
    weight: Float32[np.ndarray, "outputs inputs"], format: str
) -> Float32[np.ndarray, "blocks _inputs_16"] | Integer[np.ndarray, "blocks _inputs_16"]:
    """Whole blocks of outputs, input after input; zeros beyond the last output."""
    outputs, inputs = weight.shape
    blocks = -(-outputs // LANES)
    values = empty((blocks, LANES * inputs), np.float32 if format == "float32" else np.uint16)
    laid = values.reshape(blocks, inputs, LANES)
    some = max(1, _BLOCK // max(1, LANES * inputs))
    for first in range(0, blocks, some):
        part = weight[first * LANES : (first + some) * LANES]
        if format == "bfloat16":
            bits = part.view(np.uint32)
            part = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        if len(part) % LANES:
            part = np.pad(part, ((0, -len(part) % LANES), (0, 0)))
        block = part.reshape(len(part) // LANES, LANES, inputs)
        laid[first : first + some] = block.transpose(0, 2, 1)
    return values


def _by_lanes(
    q: Integer[np.ndarray, "outputs inputs"],
) -> Integer[np.ndarray, "blocks quads 16 4"]:
    """Whole blocks of outputs, four inputs after four."""
    return q.reshape(-1, LANES, q.shape[1] // 4, 4).transpose(0, 2, 1, 3)


def unpack(
    packed: Packed, inputs: int, which: Integer[np.ndarray, " chosen"] | None = None
) -> Float32[np.ndarray, "_outputs {inputs}"]:
    """Ŵ, the matrix of `inputs` columns that `packed` stands for; of its rows all, or `which`."""
    values, outputs = packed.values, np.arange(len(packed.scales)) if which is None else which
    if packed.format not in WHOLE:
        laid = values.reshape(len(values), inputs, LANES)
        if which is None:
            rows = laid.transpose(0, 2, 1).reshape(LANES * len(values), inputs)
            rows = rows[: len(packed.scales)]
        else:
            rows = laid[which // LANES, :, which % LANES]
        if packed.format == "bfloat16":
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        return rows
    count = len(outputs)
    block, lane, width = outputs // LANES, outputs % LANES, padded(inputs)
    if packed.format == "int8":
        q = values.reshape(len(values), width // 4, LANES, 4)[block, :, lane].astype(np.int32)
        whole = q.reshape(count, width // GROUP, GROUP) * packed.groups[block, :, lane, None]
    else:
        byte = values.reshape(len(values), width // 8, LANES, 4)[block, :, lane]
        codes = np.stack([byte & 15, byte >> 4], axis=2).astype(np.int32)
        a, m = (packed.groups[block, :, lane + first, None] for first in (0, LANES))
        whole = codes.reshape(count, width // GROUP, GROUP) * a + m
    whole = whole.reshape(count, width)[:, :inputs]
    unpacked: np.ndarray = whole.astype(np.float32) * packed.scales[outputs, None]
    unpacked *= packed.factors[:inputs]
    return unpacked


def _signed(
    units: Float[np.ndarray, "rows groups 32"],
) -> tuple[Integer[np.ndarray, "rows groups 32"], Integer[np.ndarray, "rows groups"]]:
    """Int8's q (int8) and a (int16) of each group of weights, given in units of their rows."""
    largest = LARGEST["int8"] // 127
    a = np.clip(np.ceil(np.abs(units).max(axis=-1) / 127), 1, largest)
    q = np.clip(np.rint(units / a[..., None]), -127, 127)
    return q.astype(np.int8), a.astype(np.int16)


def _grouped(
    units: Float[np.ndarray, "rows groups 32"],
) -> tuple[Integer[np.ndarray, "rows groups 32"], Integer[np.ndarray, "rows groups 2"]]:
    """Q (uint8) and (a, m) (int16) of each group of weights, given in units of their rows."""
    lowest, highest = units.min(axis=-1), units.max(axis=-1)

    a = np.maximum(1, np.rint((highest - lowest) / _CODES))
    m = np.rint((lowest + highest - _CODES * a) / 2)
    q = np.clip(np.rint((units - m[..., None]) / a[..., None]), 0, _CODES)
    return q.astype(np.uint8), np.stack([a, m], axis=-1).astype(np.int16)


def _check(format: str) -> None:
    if format not in FORMATS:
        raise BadInput(
            f"unknown format {format!r} of weights: expected one of {', '.join(FORMATS)}"
        )
