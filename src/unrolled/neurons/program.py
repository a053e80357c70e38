"""Which weights and threshold put every true row above every false row, at the least sum |w_i|?

The linear program of one neuron: w.x >= t on true rows and w.x <= t - 1 on false ones. Its 2^n rows
are never written out: the program starts from none, finds the rows its optimum violates, adds the
worst and solves again, in exact arithmetic (`simplex.py`). When it ends, the optimum satisfies all
rows, or a few rows contradict one another.

Rows and weights are oriented first, by swapping 0 and 1 in some inputs. A complete table that is
monotone in each input becomes increasing, so its weights are at least 0; in any other, a false row
becomes row 0, and each weight is a difference of two variables. Either way row 0 is false, t is at
least 1, and the variables of the program are the weights and u = t - 1, none of them negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unrolled.neurons.simplex import DualSimplex, largest_determinant
from unrolled.neurons.truth_table import TruthTable

Rows = npt.NDArray[np.int64]
Multiples = dict[int, int]  # row: how often it is taken

WORST = 6  # violated true rows, and false ones, added in one round


class NeuronProgram:
    """The program of a table with at least one true row and one false row.

    A complete table must be monotone in each input; `four_points` refutes the others faster.
    """

    def __init__(self, table: TruthTable) -> None:
        n = table.inputs
        self.inputs = n
        self.monotone = table.complete
        self.flips = decreasing(table) if self.monotone else table.bits.index("0")
        codes = table.codes[np.arange(1 << n) ^ self.flips]
        self.true: Rows = np.flatnonzero(codes == ord("1"))
        self.false: Rows = np.flatnonzero(codes == ord("0"))
        self.columns = n if self.monotone else 2 * n
        self.linear = DualSimplex([1] * self.columns + [0], np.int64 if fits(n, 1) else object)
        self.rows: list[tuple[int, str]] = []  # what each slack stands for: (row or input, kind)

    def copy(self) -> NeuronProgram:
        """An independent copy, for a branch of a search."""
        twin = object.__new__(NeuronProgram)
        twin.__dict__.update(self.__dict__)
        twin.linear, twin.rows = self.linear.copy(), self.rows.copy()
        return twin

    def solve(self) -> tuple[Multiples, Multiples] | None:
        """Reach the optimum; None once reached.

        If there is none: multiples of true rows and of false rows that contradict one another.
        """
        while True:
            contradiction = self.linear.solve()
            if contradiction is not None:
                true, false = self.evidence(contradiction)
                common = math.gcd(*true.values(), *false.values())
                return (
                    {row: times // common for row, times in true.items()},
                    {row: times // common for row, times in false.items()},
                )
            values = self.linear.solution()
            sums = self.sums(values)
            low = worst(sums[self.true] - self.linear.divisor)
            high = worst(-sums[self.false])
            if not len(low) and not len(high):
                return None
            self.add(self.true[low], "true")
            self.add(self.false[high], "false")

    def sums(self, values: list[int]) -> npt.NDArray[np.int64]:
        """What divisor * (w.x - u) is on all oriented rows."""
        small = max(map(abs, values), default=0) < 2**56
        result = np.array([-values[-1]], dtype=np.int64 if small else object)
        for weight in reversed(self.oriented(values)):
            result = np.concatenate([result, result + weight])
        return result

    def oriented(self, values: list[int]) -> list[int]:
        """The weights of the oriented inputs."""
        if self.monotone:
            return values[:-1]
        return [values[i] - values[i + self.inputs] for i in range(self.inputs)]

    def add(self, rows: Rows, kind: str) -> None:
        """Demand of "true" rows w.x - u >= 1, of "false" ones u - w.x >= 0."""
        if not len(rows):
            return
        sign = 1 if kind == "true" else -1
        points = rows[:, None] >> np.arange(self.inputs - 1, -1, -1) & 1
        parts = [points] if self.monotone else [points, -points]
        matrix = sign * np.hstack([*parts, -np.ones((len(rows), 1), dtype=np.int64)])
        self.demand(matrix, np.full(len(rows), int(kind == "true")))
        self.rows += [(int(row), kind) for row in rows]

    def demand(self, matrix: Rows, bounds: Rows) -> None:
        """Add rows to the linear program, in its arithmetic."""
        dtype = self.linear.tableau.dtype
        self.linear.add(matrix.astype(dtype), bounds.astype(dtype))

    def bound(self, i: int, at_least: int | None = None, at_most: int | None = None) -> None:
        """Demand that weight i (of the original inputs, from 0) keeps a bound, for a branch."""
        flipped = self.flips >> (self.inputs - 1 - i) & 1
        sign = -1 if flipped else 1
        side, value = (1, at_least) if at_least is not None else (-1, at_most)
        assert value is not None
        if not fits(self.inputs, abs(value)):
            self.linear.tableau = self.linear.tableau.astype(object)
        matrix = np.zeros((1, self.columns + 1), dtype=np.int64)
        matrix[0, i] = sign * side
        if not self.monotone:
            matrix[0, i + self.inputs] = -sign * side
        self.demand(matrix, np.array([side * value]))
        self.rows.append((i, "bound" if sign * side < 0 else "floor"))

    def weights(self) -> tuple[list[int], int]:
        """The optimal weights of the original inputs as numerators, and their divisor."""
        oriented = self.oriented(self.linear.solution())
        flips = [self.flips >> bit & 1 for bit in reversed(range(self.inputs))]
        signed = [-w if flip else w for w, flip in zip(oriented, flips, strict=True)]
        return signed, self.linear.divisor

    def evidence(self, multipliers: Multiples) -> tuple[Multiples, Multiples]:
        """Multiples of original true and false rows with equal totals.

        With d the sum of the oriented true rows minus that of the false ones, the program knows
        d <= 0 (a contradiction) or d <= 1 (an optimum), bounds aside. In an increasing table, d < 0
        is mended: a false row stays false when an input goes from 1 to 0.
        """
        true: Multiples = {}
        false: Multiples = {}
        floors = set()
        for k, times in multipliers.items():
            row, kind = self.rows[k]
            if kind in ("true", "false"):
                (true if kind == "true" else false)[row] = times
            elif kind == "floor":
                floors.add(row)
        spare = sum(true.values()) - sum(false.values())
        if spare:
            false[0] = false.get(0, 0) + spare
        if self.monotone:
            for i in range(self.inputs):
                if i not in floors:
                    self.lower(true, false, 1 << (self.inputs - 1 - i))
        return (
            {row ^ self.flips: times for row, times in true.items()},
            {row ^ self.flips: times for row, times in false.items()},
        )

    @staticmethod
    def lower(true: Multiples, false: Multiples, bit: int) -> None:
        """Clear an input in as many false rows as it is 1 in too often."""
        excess = sum(times for row, times in false.items() if row & bit)
        excess -= sum(times for row, times in true.items() if row & bit)
        for row in [row for row in false if row & bit]:
            if excess <= 0:
                return
            moved = min(excess, false[row])
            excess -= moved
            false[row] -= moved
            if not false[row]:
                del false[row]
            false[row ^ bit] = false.get(row ^ bit, 0) + moved


def fits(inputs: int, bound: int) -> bool:
    """Whether int64 holds all entries and products of a tableau with constants up to `bound`.

    There are inputs + 1 columns of variables, whose entries are determinants of at most that order
    (doubled where a weight has two columns, by the row of costs); constants are such determinants
    times `bound`, summed over a column. A step of elimination subtracts one product from another.
    """
    entry = 2 * largest_determinant(inputs + 1)
    constant = 2 * (inputs + 2) * bound * largest_determinant(inputs + 1)
    if bound == 1:
        constant = 2 * largest_determinant(inputs + 2)
    return 2 * entry * max(entry, constant) < 2**63


def decreasing(table: TruthTable) -> int:
    """The inputs in which a complete monotone table decreases, as a mask of rows."""
    codes = table.codes
    flips = 0
    for bit in range(table.inputs):
        pairs = codes.reshape(-1, 2, 1 << bit)
        if (pairs[:, 0] > pairs[:, 1]).any():
            flips |= 1 << bit
    return flips


def worst(slack: npt.NDArray[np.int64]) -> Rows:
    """The indices of the most negative entries, a few at most."""
    if len(slack) > WORST:
        some = np.argpartition(slack, WORST)[:WORST] if slack.dtype != object else np.argsort(slack)
        return some[slack[some] < 0][:WORST]
    return np.flatnonzero(slack < 0)


def integer_neuron(
    weights: Sequence[int], divisor: int, table: TruthTable
) -> tuple[list[int], int]:
    """Weights over a divisor as whole numbers without a common factor, and their bias.

    The bias puts the lowest true row at exactly 0, so AND is x1 + x2 - 2 >= 0.
    """
    common = math.gcd(*weights, divisor) if any(weights) else divisor
    whole = [weight // common for weight in weights]
    sums = np.zeros(1, dtype=np.int64 if max(map(abs, whole), default=0) < 2**56 else object)
    for weight in reversed(whole):
        sums = np.concatenate([sums, sums + weight])
    true = sums[table.codes == ord("1")]
    return whole, -int(true.min())
