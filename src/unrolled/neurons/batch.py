"""Which of many Boolean functions does one threshold neuron compute?

`separate` for thousands of complete tables of at most 8 inputs at once. Most are refuted by four
rows that differ in one or two inputs, tried on all tables together. What is left is monotone in
each input, and its inputs are ordered; negating and permuting inputs makes few classes of it (27 of
the 1,882 threshold functions of 4 inputs), and `separate` decides one table a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Int

from unrolled.errors import BadInput
from unrolled.neurons.separate import (
    FOUR_POINTS_SUFFICE,
    Inseparable,
    Separable,
    separate,
    steps,
)
from unrolled.neurons.truth_table import TruthTable
from unrolled.receipts import Receipt


@dataclass(frozen=True)
class Batch:
    """The answers for many tables, verified in whole numbers.

    Where `separable` holds, row x of the table is true exactly where weights.x + bias >= 0.
    Elsewhere `rows` are true, true, false, false, with inputs x + y = u + v.
    """

    tables: Bool[np.ndarray, "batch rows"]
    separable: Bool[np.ndarray, " batch"]
    weights: Int[np.ndarray, "batch n"]
    bias: Int[np.ndarray, " batch"]
    rows: Int[np.ndarray, "batch 4"]

    def receipts(self) -> Iterator[Receipt]:
        """The receipt of each answer, checked, without the objects in between."""
        inputs = self.weights.shape[1]
        for bits, separable, weights, bias, (x, y, u, v) in self.each():
            given = {"inputs": inputs, "table": bits}
            if separable:
                answer = {"weights": weights, "bias": bias}
                yield Receipt.prove("neuron.separable", given, answer, {})
            else:
                evidence = {"true": {str(x): 1, str(y): 1}, "false": {str(u): 1, str(v): 1}}
                yield Receipt.prove("neuron.inseparable", given, {}, evidence)

    def answers(self) -> Iterator[Separable | Inseparable]:
        """The answers one by one, as `separate` gives them."""
        for bits, separable, weights, bias, (x, y, u, v) in self.each():
            if separable:
                yield Separable(TruthTable(bits), tuple(weights), bias)
            else:
                yield Inseparable(TruthTable(bits), {x: 1, y: 1}, {u: 1, v: 1})

    def each(self) -> Iterator[tuple[str, bool, list[int], int, list[int]]]:
        """Bits, separable, weights, bias and rows of each table, as Python's own numbers."""
        size = self.tables.shape[1]
        text = (self.tables + np.uint8(ord("0"))).tobytes().decode("ascii")
        bits = [text[k : k + size] for k in range(0, len(text), size)]
        columns = (self.separable, self.weights, self.bias, self.rows)
        return zip(bits, *(column.tolist() for column in columns), strict=True)


def separate_batch(tables: npt.ArrayLike) -> Batch:
    """Decide many complete tables of the same 1 to 8 inputs.

    Args:
        tables: true or false for each row, shape (batch, 2^n).

    Raises:
        BadInput: another shape.
    """
    tables = np.asarray(tables, dtype=np.bool_)
    inputs = tables.shape[-1].bit_length() - 1
    if tables.ndim != 2 or tables.shape[1] != 1 << inputs or not 1 <= inputs <= FOUR_POINTS_SUFFICE:
        raise BadInput(f"expected tables of shape (batch, 2^n) with n in 1..8, got {tables.shape}")
    size = len(tables)
    rows = refute_quickly(tables, inputs)
    left = np.flatnonzero(rows[:, 0] < 0)
    weights, bias = np.zeros((size, inputs), dtype=np.int64), np.zeros(size, dtype=np.int64)
    separable = np.zeros(size, dtype=np.bool_)
    if len(left):
        parts = decide_classes(tables[left], inputs)
        separable[left], weights[left], bias[left], rows[left] = parts
    batch = Batch(tables, separable, weights, bias, rows)
    verify(batch, inputs)
    return batch


def refute_quickly(
    tables: Bool[np.ndarray, "batch rows"], inputs: int
) -> Int[np.ndarray, "batch 4"]:
    """Four rows that differ in at most two inputs for each table that has them; -1 elsewhere."""
    result = np.full((len(tables), 4), -1)
    left = np.arange(len(tables))
    for size in (1, 2):
        for step, start in steps(inputs, size):
            r = np.array([row for row in range(1 << inputs) if start >> row & 1], dtype=np.int64)
            if not len(left) or not len(r):
                continue
            low, high = tables[left][:, r], tables[left][:, r + step]
            rising, falling = ~low & high, low & ~high
            hit = rising.any(axis=1) & falling.any(axis=1)
            up, down = r[rising[hit].argmax(axis=1)], r[falling[hit].argmax(axis=1)]
            result[left[hit]] = np.column_stack([up + step, down, up, down + step])
            left = left[~hit]
    return result


def decide_classes(
    tables: Bool[np.ndarray, "batch rows"], inputs: int
) -> tuple[
    Bool[np.ndarray, " batch"],
    Int[np.ndarray, "batch n"],
    Int[np.ndarray, " batch"],
    Int[np.ndarray, "batch 4"],
]:
    """Separable, weights, bias and four rows of tables that are monotone in each input."""
    shifts = np.arange(inputs - 1, -1, -1)
    points = np.arange(1 << inputs)[:, None] >> shifts & 1
    signed = tables @ (2 * points - 1)
    order = np.argsort(-np.abs(signed), axis=1, kind="stable")
    negative = np.take_along_axis(signed, order, axis=1) < 0
    # Row r of a class's table is row origin[r] of the function's.
    values = 1 << (inputs - 1 - order)
    origin = values @ points.T ^ (values * negative).sum(axis=1, keepdims=True)
    regular = np.take_along_axis(tables, origin, axis=1)
    _, first, kind = np.unique(
        np.packbits(regular, axis=1), axis=0, return_index=True, return_inverse=True
    )
    classes = [separate(TruthTable.from_values(regular[k])) for k in first]
    kind = kind.reshape(-1)
    separable = np.array([isinstance(answer, Separable) for answer in classes])[kind]
    class_weights = np.array([getattr(answer, "weights", (0,) * inputs) for answer in classes])
    class_bias = np.array([getattr(answer, "bias", 0) for answer in classes])
    class_rows = np.array(
        [
            [*answer.true, *answer.false] if isinstance(answer, Inseparable) else [0] * 4
            for answer in classes
        ]
    )
    # An input that was negated, 1 - x, hands its weight to the bias.
    own = class_weights[kind]
    bias = class_bias[kind] + (own * negative).sum(axis=1)
    weights = np.zeros_like(own)
    np.put_along_axis(weights, order, np.where(negative, -own, own), axis=1)
    rows = np.take_along_axis(origin, class_rows[kind], axis=1)
    return separable, weights, bias, np.where(separable[:, None], -1, rows)


def verify(batch: Batch, inputs: int) -> None:
    """Confirm every neuron on every row, and every refutation."""
    points = np.arange(1 << inputs)[:, None] >> np.arange(inputs - 1, -1, -1) & 1
    good = batch.separable
    sums = batch.weights[good] @ points.T + batch.bias[good, None]
    right = bool(((sums >= 0) == batch.tables[good]).all())
    rows = batch.rows[~good]
    values = np.take_along_axis(batch.tables[~good], rows, axis=1)
    right = right and bool((values == [True, True, False, False]).all())
    x, y, u, v = points[rows].transpose(1, 0, 2)
    if not (right and (x + y == u + v).all()):
        raise AssertionError("a table was decided wrongly")
