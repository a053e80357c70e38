"""How many of the 2^(2^n) Boolean functions of n inputs does one threshold neuron compute?

1. Threshold functions of n inputs correspond one to one to the self-dual threshold functions of
   m = n + 1 inputs, f(not x) = not f(x): the bias becomes a weight (Goto and Takahasi 1962).
2. Negating inputs and permuting them turns each of these into one with w1 >= w2 >= ... >= wm >= 0.
   Such a function is regular: it stays true when a 0 becomes 1 and when a 1 moves to an earlier
   input (Winder 1962). The regular self-dual functions are the filters of that order that hold
   exactly one of x and not x; they are enumerated, one for each class.
3. For each, a linear program over w1 >= ... >= wm >= 0 finds whole weights, or multiples of true
   rows that no such weights can satisfy together. Both are verified in whole numbers.
4. A threshold function is determined by its Chow parameters, the correlations with its inputs
   (Chow 1961); so a class has 2^(nonzero parameters) * m! / (product of k! over groups of k equal
   ones) members, which are summed.

The counts are OEIS A000609.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import numpy.typing as npt

from unrolled.errors import BadInput

MAX_INPUTS = 8
BATCH = 4096

Table = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Classes:
    """A batch of classes of self-dual functions of m inputs, each with weights or a refutation.

    Shapes: tables (batch, 2^m), weights (batch, m), multiples (batch, 2^m), sizes (batch,).
    Where `threshold` holds, table row x is true exactly where sum w_i (2 x_i - 1) > 0. Elsewhere
    `multiples` says how often to take each true row so that no w1 >= ... >= wm >= 0 gives all of
    them a positive sum: every prefix of sum y (2 x - 1) has a sum of at most 0.
    """

    tables: Table
    threshold: Table
    weights: Matrix
    multiples: Matrix
    sizes: list[int]


def count(inputs: int, progress: Callable[[int], object] = int) -> int:
    """The number of threshold functions of `inputs` inputs, computed.

    Args:
        inputs: 0 to 8; milliseconds up to 7, seconds for 8.
        progress: called after each batch with the number of classes decided so far.

    Raises:
        BadInput: more than 8 inputs; there are 1,214,554,343 classes to decide for 9.
    """
    total = done = 0
    for classes in enumerate_classes(inputs):
        total += sum(n for n, good in zip(classes.sizes, classes.threshold, strict=True) if good)
        done += len(classes.sizes)
        progress(done)
    return total


def enumerate_classes(inputs: int) -> Iterator[Classes]:
    """All regular self-dual functions of inputs + 1 inputs, decided and verified, in batches."""
    if not 0 <= inputs <= MAX_INPUTS:
        raise BadInput(
            f"threshold functions can be counted for 0 to {MAX_INPUTS} inputs, got {inputs}"
        )
    m = inputs + 1
    filters = regular_self_dual(m)
    while batch := list(islice(filters, BATCH)):
        yield decide(m, batch)


# --- the enumeration -----------------------------------------------------------------------------


@lru_cache(maxsize=1)
def signs(m: int) -> Matrix:
    """The inputs of all 2^m rows as +1 and -1, shape (2^m, m), x1 first."""
    return 2 * (np.arange(1 << m)[:, None] >> np.arange(m - 1, -1, -1) & 1) - 1


def dominance(m: int) -> Table:
    """below[x, y]: x is y or comes before y in the order, so f(x) implies f(y); (2^m, 2^m)."""
    prefixes = np.cumsum(signs(m), axis=1)
    return np.asarray((prefixes[:, None, :] <= prefixes[None, :, :]).all(axis=2))


def regular_self_dual(m: int) -> Iterator[int]:
    """Every regular self-dual function of m inputs as a set of true rows (bit x for row x).

    A row x decides all rows above it if it is true; its complement's being true is the other case.
    Rows whose upper set holds some y and not y are false from the start. After that neither choice
    ever contradicts an earlier one: rows decided true form an upper set, those decided false are
    their complements, and if y above x were false then x below it would be decided already.
    """
    rows = 1 << m
    below = dominance(m)
    up = [from_bits(below[x]) for x in range(rows)]
    flip = rows - 1  # not x is flip - x
    down = [from_bits(below[:, x]) for x in range(rows)]
    true = 0
    for x in range(rows):
        both = below[x] & below[x][::-1]
        if both.any():
            true |= up[flip - x]
    stack = [(true, (1 << rows) - 1 & ~true & ~mirror(true, rows))]
    while stack:
        true, undecided = stack.pop()
        if not undecided:
            yield true
            continue
        x = undecided.bit_length() - 1
        stack += [
            (true | up[choice], undecided & ~(up[choice] | down[flip - choice]))
            for choice in (flip - x, x)
        ]


def from_bits(row: Table) -> int:
    """A set of rows as an integer."""
    return int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little")


def mirror(rows: int, size: int) -> int:
    """The complements of a set of rows."""
    return int(format(rows, f"0{size}b")[::-1], 2)


# --- the decision --------------------------------------------------------------------------------


def decide(m: int, batch: list[int]) -> Classes:
    """Weights or a refutation for each regular self-dual function in the batch."""
    size = max(1, (1 << m) // 8)
    data = np.frombuffer(b"".join(f.to_bytes(size, "little") for f in batch), dtype=np.uint8)
    tables = np.unpackbits(data.reshape(-1, size), axis=1, bitorder="little")[:, : 1 << m] == 1
    lowest = minimal_true(tables, m)
    width = int(lowest.sum(axis=1).max())
    # The rows of each program, padded by repeating the first: stable argsort puts true ones first.
    order = np.argsort(~lowest, axis=1, kind="stable")[:, :width]
    there = np.take_along_axis(lowest, order, axis=1)
    order = np.where(there, order, order[:, :1])
    threshold, weights, multipliers = solve_cones(np.cumsum(signs(m), axis=1)[order])
    multiples = np.zeros(tables.shape, dtype=np.int64)
    np.add.at(multiples, (np.arange(len(batch))[:, None], order), multipliers)
    verify(tables, threshold, weights, multiples)
    chow = tables @ signs(m)
    return Classes(tables, threshold, weights, multiples, [orbit(row) for row in chow.tolist()])


def minimal_true(tables: Table, m: int) -> Table:
    """The true rows just above no true row; weights in the cone that satisfy them satisfy all."""
    result = tables.copy()
    rows = np.arange(1 << m)
    last = rows & 1 == 1
    result[:, last] &= ~tables[:, rows[last] ^ 1]
    for bit in range(1, m):
        moves = rows >> (bit - 1) & 3 == 2  # a 1 that can move to the next input
        result[:, moves] &= ~tables[:, rows[moves] ^ (3 << (bit - 1))]
    return result


def orbit(chow: list[int]) -> int:
    """How many functions negations and permutations of the inputs make of one."""
    groups = [chow.count(value) for value in set(chow)]
    arrangements = math.factorial(len(chow)) // math.prod(map(math.factorial, groups))
    return arrangements << sum(value != 0 for value in chow)


def solve_cones(prefixes: Matrix) -> tuple[Table, Matrix, Matrix]:
    """Least w1 >= ... >= wm >= 0 with w.s >= 1 on all given rows, for many functions at once.

    The dual simplex method of `simplex.py`, vectorised over the batch, in the variables
    v_j = w_j - w_(j+1) >= 0, where w.s = sum v_j (s_1 + ... + s_j). The entries are whole numbers,
    determinants of at most 10 rows of ±1 up to column operations, so at most 10^5 (Hadamard), and
    binary64 holds them and their products exactly.

    Args:
        prefixes: s_1 + ... + s_j of each row, shape (batch, rows, m).

    Returns:
        threshold (batch,); weights (batch, m), zero where there are none; multipliers of the rows,
        shape (batch, rows), zero where there are weights.
    """
    batch, rows, m = prefixes.shape
    tableau = np.zeros((batch, rows + 1, m + 1))
    tableau[:, 0, 1:] = np.arange(1, m + 1)  # the cost sum w_i is sum j v_j
    tableau[:, 1:, 0] = -1
    tableau[:, 1:, 1:] = prefixes
    basic = np.tile(np.arange(m, m + rows), (batch, 1))  # variables: v_j 0..m-1, then slacks
    nonbasic = np.tile(np.arange(m), (batch, 1))
    divisor = np.ones(batch)
    threshold = np.zeros(batch, dtype=np.bool_)
    weights = np.zeros((batch, m), dtype=np.int64)
    multipliers = np.zeros((batch, rows), dtype=np.int64)
    active = np.arange(batch)
    for step in range(10_000):
        # The most negative constant is quick; Bland's rule, after that, can't cycle.
        constants = tableau[:, 1:, 0]
        preference = np.where(constants < 0, basic, m + rows) if step > 200 else constants
        row = preference.argmin(axis=1)
        each = np.arange(len(active))
        entries = tableau[each, row + 1]
        solved = entries[:, 0] >= 0
        stuck = ~solved & (entries[:, 1:] <= 0).all(axis=1)
        threshold[active[solved]] = True
        weights[active[solved]] = cone_weights(constants[solved], basic[solved], m)
        multipliers[active[stuck]] = farkas(
            np.column_stack([divisor, -entries[:, 1:]])[stuck],
            np.column_stack([basic[each, row], nonbasic])[stuck] - m,
            rows,
        )
        going = ~solved & ~stuck
        if not going.any():
            return threshold, weights, multipliers
        active, tableau, row, divisor = active[going], tableau[going], row[going], divisor[going]
        basic, nonbasic = basic[going], nonbasic[going]
        pivot(tableau, basic, nonbasic, divisor, row)
    raise AssertionError("the dual simplex method didn't end")


def cone_weights(constants: Floats, basic: Matrix, m: int) -> Matrix:
    """The optimal weights as whole numbers without a common factor, from the constants."""
    differences = np.zeros((len(constants), m), dtype=np.int64)
    k, i = np.nonzero(basic < m)
    differences[k, basic[k, i]] = constants[k, i].astype(np.int64)
    weights = differences[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.asarray(weights // np.gcd.reduce(weights, axis=1)[:, None])


def farkas(values: Floats, slacks: Matrix, rows: int) -> Matrix:
    """The multipliers a stuck row spells out, one a slack; below 0 are the weights' columns."""
    result = np.zeros((len(values), rows), dtype=np.int64)
    k, j = np.nonzero(slacks >= 0)
    result[k, slacks[k, j]] = values[k, j].astype(np.int64)
    return result


def pivot(tableau: Floats, basic: Matrix, nonbasic: Matrix, divisor: Floats, row: Matrix) -> None:
    """Exchange, in each tableau, the variable of `row` with the one whose cost rises least."""
    each = np.arange(len(tableau))
    entries = tableau[each, row + 1].copy()
    # The quotients of whole numbers up to 10^5 that differ, differ by more than rounding does.
    able = entries[:, 1:] > 0
    ratios = np.where(able, tableau[:, 0, 1:], np.inf) / np.where(able, entries[:, 1:], 1)
    least = ratios == ratios.min(axis=1, keepdims=True)
    column = np.where(least, nonbasic, np.iinfo(np.int64).max).argmin(axis=1)
    opposite = tableau[each, :, column + 1]
    value = entries[each, column + 1]
    tableau *= value[:, None, None]
    tableau -= opposite[:, :, None] * entries[:, None, :]
    tableau /= divisor[:, None, None]
    tableau[each, :, column + 1] = opposite
    tableau[each, row + 1] = -entries
    tableau[each, row + 1, column + 1] = divisor
    divisor[:] = value
    out, into = basic[each, row].copy(), nonbasic[each, column].copy()
    basic[each, row], nonbasic[each, column] = into, out


def verify(tables: Table, threshold: Table, weights: Matrix, multiples: Matrix) -> None:
    """Confirm in whole numbers, on all rows, what the linear programs found."""
    points = signs(weights.shape[1])
    sums = weights[threshold] @ points.T
    good = (np.diff(weights, axis=1) <= 0).all() and (weights >= 0).all() and (sums != 0).all()
    good = good and bool(((sums > 0) == tables[threshold]).all())
    refuted = multiples[~threshold]
    good = good and not refuted[~tables[~threshold]].any() and (refuted >= 0).all()
    good = good and (refuted.sum(axis=1) > 0).all()
    good = good and bool(((refuted @ points).cumsum(axis=1) <= 0).all())
    if not good:
        raise AssertionError("a class was decided wrongly")
