"""Does the exact dual simplex method agree with HiGHS, and are its proofs proofs?"""

from __future__ import annotations

from fractions import Fraction

import highspy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.neurons import simplex
from unrolled.neurons.simplex import DualSimplex, largest_determinant


def by_highs(costs, matrix, bounds):
    """The least cost; None if there is none."""
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    inf = highspy.kHighsInf
    for cost in costs:
        model.addCol(float(cost), 0.0, inf, 0, np.array([], dtype=np.int32), np.array([]))
    for row, bound in zip(matrix, bounds, strict=True):
        index = np.arange(len(row), dtype=np.int32)
        model.addRow(float(bound), inf, len(row), index, np.array(row, dtype=float))
    model.run()
    if model.getModelStatus() == highspy.HighsModelStatus.kOptimal:
        return model.getInfo().objective_function_value
    return None


@st.composite
def programs(draw):
    columns, rows = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    numbers = st.integers(-3, 3)
    matrix = [[draw(numbers) for _ in range(columns)] for _ in range(rows)]
    return (
        [draw(st.integers(0, 3)) for _ in range(columns)],
        np.array(matrix),
        np.array([draw(numbers) for _ in range(rows)]),
        draw(st.integers(0, rows)),
        draw(st.sampled_from([np.int64, object])),
    )


@pytest.mark.parametrize("patience", [simplex.PATIENCE, 0])
@given(program=programs())
def test_optimum_and_contradiction_are_exact_however_the_rows_come(patience, program):
    """With no patience it is Bland's rule from the first pivot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simplex, "PATIENCE", patience)
        agree(program)


def agree(program):
    costs, matrix, bounds, first, dtype = program
    linear = DualSimplex(costs, dtype)
    contradiction = None
    for part in (slice(0, first), slice(first, None)):
        linear.add(matrix[part].astype(dtype), bounds[part].astype(dtype))
        contradiction = linear.solve()
        if contradiction is not None:
            break
    expected = by_highs(costs, matrix, bounds)
    if contradiction is not None:
        assert expected is None
        y = np.zeros(len(matrix), dtype=np.int64)
        for row, times in contradiction.items():
            y[row] = times
        assert (y >= 0).all()
        assert (y @ matrix <= 0).all()
        assert y @ bounds > 0
        return
    x = [Fraction(value, linear.divisor) for value in linear.solution()]
    assert all(value >= 0 for value in x)
    for row, bound in zip(matrix.tolist(), bounds.tolist(), strict=True):
        assert sum(a * v for a, v in zip(row, x, strict=True)) >= bound
    cost = sum(c * v for c, v in zip(costs, x, strict=True))
    dual = {row: Fraction(value, linear.divisor) for row, value in linear.multipliers().items()}
    assert all(value >= 0 for value in dual.values())
    assert sum(value * int(bounds[row]) for row, value in dual.items()) == cost
    for column in range(len(costs)):
        assert sum(v * int(matrix[row, column]) for row, v in dual.items()) <= costs[column]
    assert expected == pytest.approx(float(cost), abs=1e-6)


def test_costs_below_zero_are_refused():
    with pytest.raises(ValueError, match="aren't negative"):
        DualSimplex([1, -1])


@pytest.mark.parametrize(("order", "largest"), [(1, 1), (2, 1), (3, 2), (7, 32), (11, 1458)])
def test_no_determinant_of_zeros_and_ones_is_larger(order, largest):
    """The largest there are (OEIS A003432); the bound is exact where a Hadamard matrix exists."""
    assert largest <= largest_determinant(order) <= max(1.6 * largest, largest + 1)
