"""Is the verdict right, on the circle above all, where rounding can't decide?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import WorkFailed
from unrolled.recurrences import power, verdict
from unrolled.recurrences.exact import decide
from unrolled.recurrences.explain import explain
from unrolled.recurrences.transient import transient
from unrolled.recurrences.verdict import parts, rate_of

# Lehmer's polynomial: one root at 1.176..., its inverse, all others on the circle.
LEHMER = [1, 1, 0, -1, -1, -1, -1, -1, 0, 1, 1]


def companion(coefficients):
    n = len(coefficients) - 1
    W = np.eye(n, k=-1)
    W[:, -1] = [-c for c in coefficients[:-1]]
    return W


CASES = [
    ([[0, 1], [-1, 0]], "bounded", 0),
    ([["3/5", "-4/5"], ["4/5", "3/5"]], "bounded", 0),
    (np.eye(8)[[1, 2, 3, 4, 5, 6, 7, 0]], "bounded", 0),
    (np.eye(3), "bounded", 0),
    (np.eye(2) + np.eye(2, k=1), "polynomial", 1),
    (np.eye(6) + np.eye(6, k=1), "polynomial", 5),
    (-np.eye(3) + np.eye(3, k=1), "polynomial", 2),
    ([[[0, 1], 1], [0, [0, 1]]], "polynomial", 1),
    ([[1, 1, 0], [0, 1, 0], [0, 0, "1/3"]], "polynomial", 1),
    (np.diag([1, 0.5, 0.25]) + np.diag([0, 3.0], 1), "bounded", 0),
    (companion(LEHMER), "explodes", 0),
    ([[0.6, -0.8], [0.8, 0.6]], "explodes", 0),
    ([[0.5]], "vanishes", 0),
    (np.diag(np.ones(3), 1), "vanishes", 0),
    (np.diag([0.5, 2]), "explodes", 0),
]


@pytest.mark.parametrize(("W", "behaviour", "degree"), CASES)
def test_the_behaviour_is_decided_and_its_receipt_holds(W, behaviour, degree):
    answer = verdict(W)
    assert (answer.behaviour, answer.degree) == (behaviour, degree)
    assert answer.receipt().check()
    assert explain(answer)


def test_the_double_next_to_three_fifths_makes_the_rotation_explode():
    from fractions import Fraction

    assert Fraction(0.6) ** 2 + Fraction(0.8) ** 2 > 1


@given(
    st.lists(
        st.tuples(st.sampled_from([1, -1, "i", 0.5, 0]), st.integers(1, 3)), min_size=1, max_size=3
    ),
    st.integers(0, 10**6),
)
def test_a_jordan_form_in_disguise_is_recognised(blocks, seed):
    """Known blocks, hidden by a whole-number change of basis of determinant 1."""
    parts = []
    for value, size in blocks:
        if value == "i":
            block = np.kron(np.eye(size), [[0, 1], [-1, 0]]) + np.eye(2 * size, k=2)
        else:
            block = value * np.eye(size) + np.eye(size, k=1)
        parts.append(block)
    n = sum(map(len, parts))
    J = np.zeros((n, n))
    at = 0
    for block in parts:
        J[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    rng = np.random.default_rng(seed)
    L = np.tril(rng.integers(-1, 2, (n, n)), -1) + np.eye(n)
    inverse = np.round(np.linalg.inv(L))
    W = inverse @ J @ L
    sizes = [size for value, size in blocks if value in (1, -1, "i")]
    answer = decide(W)
    if not sizes:
        assert answer.verdict == "vanishing"
        return
    assert answer.degree == max(sizes) - 1
    assert answer.receipt().check()


@pytest.mark.parametrize(
    ("W", "degree"),
    [
        (np.eye(70)[[*range(1, 70), 0]], 0),
        (np.eye(66) + np.eye(66, k=1), 65),
    ],
)
def test_many_rows_are_decided_on_the_circle_too_and_have_receipts(W, degree):
    answer = decide(W)
    assert (answer.verdict, answer.degree) == ("polynomial" if degree else "bounded", degree)
    assert answer.receipt().check()


def test_what_lies_just_off_the_circle_is_told_from_what_lies_on_it():
    """Reciprocal pairs stand in the same part as roots on the circle: Lehmer's smallest."""
    assert decide([[1 - 2**-50, 0], [0, 1]]).verdict == "bounded"
    assert decide([[1 - 2**-50, 0], [0, "1/3"]]).verdict == "vanishing"
    assert decide([[1 + 2**-50, 0], [0, 1]]).verdict == "exploding"
    assert decide(np.diag([2, 0.5, 1])).verdict == "exploding"
    assert decide(companion(LEHMER)).verdict == "exploding"


def test_rates_and_half_lives():
    assert verdict([[0.5]]).steps_to_halve_or_double == pytest.approx(1)
    assert verdict([[2, 0], [0, 1]]).steps_to_halve_or_double == pytest.approx(1)
    assert verdict([[0]]).steps_to_halve_or_double == 0
    assert verdict([[1]]).steps_to_halve_or_double == math.inf


def test_which_part_of_h0_grows():
    W = [[2, 0, 0], [0, 1, 0], [0, 0, 0.5]]
    assert parts(W, [0, 3, 4]).growing == 0
    assert parts(W, [0, 3, 4]).steady == pytest.approx(0.6)
    assert parts(W, [1, 0, 0]).growing == pytest.approx(1)
    with pytest.raises(WorkFailed):
        parts([[1, 1], [0, 1]], [1, 0])


def test_the_transient_of_a_jordan_block_is_where_brute_force_finds_it():
    W = np.array([[0.9, 1], [0, 0.9]])
    norms = [np.linalg.norm(np.linalg.matrix_power(W, t), 2) for t in range(100)]
    seen = transient(W)
    assert seen.peak_step == int(np.argmax(norms))
    assert math.exp(seen.peak) == pytest.approx(max(norms), rel=1e-12)
    assert seen.kreiss <= max(norms) <= math.e * 2 * seen.kreiss
    assert seen.numerical_abscissa == pytest.approx(1.4)
    assert seen.numerical_radius == pytest.approx(1.4, rel=1e-9)
    assert seen.condition == math.inf


def test_a_normal_matrix_has_no_transient():
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    seen = transient(0.9 * Q)
    assert seen.peak == 0
    assert seen.kreiss == pytest.approx(1, abs=1e-6)
    assert seen.condition == pytest.approx(1, abs=1e-6)
    assert seen.departure == 0


@pytest.mark.parametrize(
    "W",
    [
        [[0.5, 1], [0, 2]],
        [[2, 1, 0], [0, 2, 0], [1, 1, 0.5]],
        [[2, 1, 0], [0, 1, 0], [0, 0, -1]],
        [[0, -1.5, 1], [1.5, 0, 1], [0, 0, 0.25]],
        [[-3, 0], [0, 0]],
        np.diag([1e200, 1e-200]),
    ],
)
def test_an_h0_with_no_growing_part_does_not_explode_and_any_other_does(W):
    answer = verdict(W)
    Q = answer.growing
    size, outside = Q.shape
    assert outside == int((np.abs(np.linalg.eigvals(np.array(W, dtype=float))) > 1.0001).sum())
    rng = np.random.default_rng(0)
    for _ in range(3):
        h0 = rng.normal(size=size)
        assert power(W, h0, 60).log_norm > 5
        tame = h0 - Q @ (Q.T @ h0)
        assert power(W, tame, 20).log_norm < 3
    assert "unless" in explain(answer) or "every h_0 but 0" in explain(answer)


def test_the_exception_is_spelled_out_where_it_is_one_equation():
    assert "unless h_0[1] = 0." in explain(verdict([[2, 0], [0, 0.5]])).replace("\n", " ")
    text = explain(verdict([[0.5, 1], [0, 2]])).replace("\n", " ")
    assert "unless 0.6667 h_0[1] + h_0[2] = 0." in text
    text = explain(verdict([[2, 0], [0, 3]])).replace("\n", " ")
    assert "it explodes for every h_0 but 0" in text


def test_a_states_own_rate_is_that_of_its_largest_part():
    W = [[2, 0, 0], [0, 0.5, 1], [0, 0, 0.25]]
    assert rate_of(W, [1, 1, 1]) == pytest.approx(2)
    assert rate_of(W, [0, 1, 0]) == pytest.approx(0.5)
    assert rate_of(W, [0, 0, 3]) == pytest.approx(0.25)
    assert rate_of(W, [0, 0, 0]) == 0
    assert rate_of([[1, 1], [0, 1]], [1, 0]) is None
