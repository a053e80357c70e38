"""Is h_t what exact arithmetic says, however large t is?"""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import BadInput
from unrolled.recurrences import gradient, power
from unrolled.recurrences.power import trajectory

small = st.integers(-3, 3)
matrices = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(small, min_size=n, max_size=n), min_size=n, max_size=n),
        st.lists(small, min_size=n, max_size=n),
    )
)


def by_hand(W, h, t):
    for _ in range(t):
        h = [sum(W[j][i] * h[j] for j in range(len(h))) for i in range(len(h))]
    return h


@given(matrices, st.integers(0, 40))
def test_small_whole_numbers_agree_with_exact_unrolling(question, t):
    W, h0 = question
    exact = by_hand(W, h0, t)
    found = power(W, [float(x) for x in h0], t)
    size = math.sqrt(sum(x * x for x in exact))
    # Where almost all of h cancels, binary64 can't know it.
    largest = max(map(abs, h0), default=0) * (3 * len(W)) ** t
    if size > 1e-6 * largest:
        assert found.log_norm == pytest.approx(math.log(size), abs=1e-8)
        np.testing.assert_allclose(found.vector / size, [x / size for x in exact], atol=1e-8)


def test_it_is_the_transpose_and_not_the_conjugate():
    W = np.array([[0, 1j], [2, 0]])
    np.testing.assert_allclose(power(W, [1, 0], 1).vector, [0, 1j])
    np.testing.assert_allclose(power(W, [0, 1], 1).vector, [2, 0])


def test_a_trillion_steps_neither_overflow_nor_underflow():
    assert power([[0.5]], [3.0], 10**12).log_norm == pytest.approx(
        math.log(3) - 10**12 * math.log(2), rel=1e-15
    )
    assert power([[2.0]], [-3.0], 10**12).direction == [-1]
    jordan = power([[1.0, 1.0], [0.0, 1.0]], [1.0, 0.0], 10**12)
    assert jordan.log_norm == pytest.approx(12 * math.log(10), rel=1e-14)


def test_a_part_that_never_meets_the_growing_one_isnt_lost():
    found = power(np.diag([2.0, 0.5]), [0, 1], 10**12)
    assert found.log_norm == pytest.approx(-(10**12) * math.log(2), rel=1e-15)
    np.testing.assert_array_equal(found.direction, [0, 1])


def test_long_products_agree_with_high_precision():
    rng = np.random.default_rng(0)
    for n in (2, 5, 9):
        W, h = rng.normal(size=(n, n)), rng.normal(size=n)
        with mpmath.workdps(60):
            exact = mpmath.matrix(W.T.tolist()) ** 1000 * mpmath.matrix(h.tolist())
            size = mpmath.norm(exact)
            log, direction = float(mpmath.log(size)), [float(x / size) for x in exact]
        found = power(W, h, 1000)
        assert found.log_norm == pytest.approx(log, abs=1e-9)
        np.testing.assert_allclose(found.direction, direction, atol=1e-9)


def test_a_nilpotent_matrix_ends_in_zero():
    shift = np.diag(np.ones(4), 1)
    assert power(shift, [1, 0, 0, 0, 0], 4).vector.tolist() == [0, 0, 0, 0, 1]
    assert power(shift, [1, 0, 0, 0, 0], 5).log_norm == -math.inf
    assert power(shift, [1, 0, 0, 0, 0], 10**9).log_norm == -math.inf


def test_the_gradient_is_what_autograd_finds():
    rng = np.random.default_rng(1)
    W, h0, upstream = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)
    h = start = torch.tensor(h0, requires_grad=True)
    for _ in range(7):
        h = torch.tensor(W).T @ h
    (h @ torch.tensor(upstream)).backward()
    np.testing.assert_allclose(gradient(W, upstream, 7).vector, start.grad.numpy(), rtol=1e-12)


def test_a_trajectory_is_the_norms_one_by_one():
    W, h0 = [[0.9, 1.0], [0.0, 0.9]], [1.0, -2.0]
    logs = trajectory(W, h0, 20)
    for t in (0, 1, 7, 20):
        exact = by_hand([[Fraction(x) for x in row] for row in W], [Fraction(x) for x in h0], t)
        assert logs[t] == pytest.approx(0.5 * math.log(sum(x * x for x in exact)), abs=1e-12)


@pytest.mark.parametrize(
    ("h0", "t", "message"),
    [
        ([1, 2, 3], 1, "h_0 must have 2 entries"),
        ([1, math.nan], 1, "no number"),
        (["a", "b"], 1, "list of numbers"),
        ([1, 2], -1, "steps are a whole number"),
    ],
)
def test_what_cannot_be_used_is_refused(h0, t, message):
    with pytest.raises(BadInput, match=message):
        power(np.eye(2), h0, t)
