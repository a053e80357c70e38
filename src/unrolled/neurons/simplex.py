"""What is the least c.x over x >= 0 and A x >= b, exactly, when the rows come one by one?

The dual simplex method (Lemke 1954) on a tableau of whole numbers over one common divisor (Edmonds
1967, Bareiss 1968: every division leaves no remainder). The costs are never negative, so the
tableau without rows is already dual feasible: there is no first phase, rows can be added at any
time, and when there is no solution the tableau's row spells out why (Farkas). No floating point.

Every entry is a determinant of the data. Where the data are 0 or ±1 with one sign a row and a
column, it is bounded by `largest_determinant`; the caller chooses int64 when twice the product of
two entries fits, and Python integers (dtype=object) otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[Any]

PATIENCE = 50  # pivots a column by the quick rule, before the one that can't cycle


def largest_determinant(order: int) -> int:
    """No k by k matrix of zeros and ones has a larger one: (k+1)^((k+1)/2) / 2^k (Hadamard)."""
    return math.isqrt((order + 1) ** (order + 1)) // (1 << order) + 1


class DualSimplex:
    """A linear program in exact arithmetic, solved again after each batch of new rows.

    Row 0 of `tableau` is the cost, column 0 the constant: divisor * (basic variable of row i) =
    tableau[i, 0] + sum over j of tableau[i, j] * (nonbasic variable of column j). Variables 0..n-1
    are the program's own, n + k is the slack of the k-th row added.
    """

    def __init__(self, costs: Sequence[int], dtype: type = object) -> None:
        if min(costs, default=0) < 0:
            raise ValueError("the dual simplex method starts from costs that aren't negative")
        self.variables = len(costs)
        self.slacks = 0
        self.divisor = 1
        self.tableau: Integers = np.array([[0, *costs]], dtype=dtype)
        self.basic: list[int] = [-1]  # the variable of each row
        self.nonbasic: list[int] = [-1, *range(len(costs))]  # the variable of each column

    def copy(self) -> DualSimplex:
        """An independent copy, for a branch of a search."""
        twin = object.__new__(DualSimplex)
        twin.__dict__.update(self.__dict__)
        twin.tableau = self.tableau.copy()
        twin.basic, twin.nonbasic = self.basic.copy(), self.nonbasic.copy()
        return twin

    def add(self, rows: Integers, bounds: Integers) -> None:
        """Demand rows @ x >= bounds too; shapes (k, n) and (k,)."""
        new = np.zeros((len(rows), self.tableau.shape[1]), dtype=self.tableau.dtype)
        new[:, 0] = -self.divisor * bounds
        at_column = {variable: j for j, variable in enumerate(self.nonbasic)}
        at_row = {variable: i for i, variable in enumerate(self.basic)}
        for variable in range(self.variables):
            coefficients = rows[:, variable]
            if variable in at_column:
                new[:, at_column[variable]] += self.divisor * coefficients
            else:
                new += np.multiply.outer(coefficients, self.tableau[at_row[variable]])
        first = self.variables + self.slacks
        self.basic += range(first, first + len(rows))
        self.slacks += len(rows)
        self.tableau = np.vstack([self.tableau, new])

    def solve(self) -> dict[int, int] | None:
        """Find the least cost; None once found.

        If nothing satisfies the rows: nonnegative multipliers of rows, {k: y_k}, such that
        sum y_k (A_k x) <= 0 for all x >= 0 while sum y_k b_k > 0.
        """
        patience = PATIENCE * self.tableau.shape[1]
        while True:
            constants = self.tableau[1:, 0]
            negative = np.flatnonzero(constants < 0)
            if not len(negative):
                return None
            # The most negative row is quick; Bland's rule, after that, can't cycle.
            if patience > 0:
                row = 1 + int(negative[np.argmin(constants[negative])])
            else:
                row = 1 + min(negative.tolist(), key=lambda i: self.basic[i + 1])
            patience -= 1
            column = self.entering(row)
            if column is None:
                return self.farkas(row)
            self.pivot(row, column)

    def entering(self, row: int) -> int | None:
        """The column whose cost rises least, by exact comparison; ties go to the first variable."""
        best: tuple[int, int, int] | None = None  # cost, entry, column
        entries = zip(self.tableau[row].tolist(), self.tableau[0].tolist(), strict=True)
        for j, (entry, cost) in enumerate(entries):
            if j == 0 or entry <= 0:
                continue
            if best is not None:
                difference = cost * best[1] - best[0] * entry
                if difference > 0 or (
                    difference == 0 and self.nonbasic[j] > self.nonbasic[best[2]]
                ):
                    continue
            best = (cost, entry, j)
        return None if best is None else best[2]

    def pivot(self, row: int, column: int) -> None:
        """Exchange the variables of a row and a column."""
        old = self.tableau
        pivot = old[row, column]
        new = old * pivot
        new -= np.multiply.outer(old[:, column], old[row])
        new //= self.divisor
        new[:, column] = old[:, column]
        new[row] = -old[row]
        new[row, column] = self.divisor
        self.tableau, self.divisor = new, int(pivot)
        self.basic[row], self.nonbasic[column] = self.nonbasic[column], self.basic[row]

    def farkas(self, row: int) -> dict[int, int]:
        """The multipliers that a row with a negative constant and no positive entry spells out."""
        return self._multipliers(row, -1) | (
            {self.basic[row] - self.variables: self.divisor}
            if self.basic[row] >= self.variables
            else {}
        )

    def multipliers(self) -> dict[int, int]:
        """The optimal dual: {k: y_k}, over `divisor`; sum y_k A_k <= c, sum y_k b_k = the cost."""
        return self._multipliers(0, 1)

    def _multipliers(self, row: int, sign: int) -> dict[int, int]:
        entries = zip(self.nonbasic, self.tableau[row].tolist(), strict=True)
        slack = self.variables
        return {v - slack: sign * entry for v, entry in entries if v >= slack and entry}

    def solution(self) -> list[int]:
        """The optimal x, over `divisor`."""
        values = [0] * self.variables
        for variable, constant in zip(self.basic, self.tableau[:, 0].tolist(), strict=True):
            if 0 <= variable < self.variables:
                values[variable] = constant
        return values
