"""Attention on slots, and the arithmetic under it, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

import numba

from unrolled.kernels.heads import attend, dot, exponential, highest


@numba.njit
def dotted(a, b):
    return dot(a, b, len(a))


@numba.njit
def highest_of(a):
    return highest(a, len(a))


@numba.njit
def exponentials(x, out):
    for i in range(len(x)):
        out[i] = exponential(x[i])


@numba.njit
def attended(queries, keys, values, table, length, scores, ones, out):
    for r in range(len(queries)):
        attend(queries, keys, values, table, 1, length, scores, ones, out, r, 2)


def run(queries, keys, values, slots):
    """Each row's query and answer stand behind two numbers of somebody else's."""
    out = np.full((len(queries), queries.shape[1] + 3), np.nan, np.float32)
    around = np.pad(queries, ((0, 0), (2, 1)), constant_values=np.nan)
    table = np.stack([np.full_like(slots, 10**6), slots])
    ones, scores = np.ones(len(slots), np.float32), np.full(len(slots) + 8, np.nan, np.float32)
    attended(around, keys, values, table, len(slots), scores, ones, out)
    assert np.isnan(out[:, [0, 1, -1]]).all()
    return out[:, 2:-1]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 63, 64, 65, 100, 577])
def test_a_dot_product_is_that_of_float64(length: int) -> None:
    a, b = np.random.default_rng(length).standard_normal((2, length)).astype(np.float32)
    exact = a.astype(np.float64) @ b
    assert dotted(a, b) == pytest.approx(exact, abs=1e-6 * float(1 + np.abs(a * b).sum()))


@pytest.mark.parametrize("length", [0, 1, 7, 31, 32, 33, 100])
def test_the_highest_is_the_largest_number(length: int) -> None:
    rng = np.random.default_rng(length)
    for _ in range(20):
        a = rng.standard_normal(length).astype(np.float32)
        assert highest_of(a) == a.max(initial=-np.inf)
        a[rng.random(length) < 0.2] = np.nan
        assert highest_of(a) == np.nanmax(a, initial=-np.inf, where=~np.isnan(a))


def test_an_exponential_is_within_one_unit_of_the_last_place() -> None:
    x = np.linspace(-87, 87, 200_003).astype(np.float32)
    found = np.empty_like(x)
    exponentials(x, found)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(found - exact) <= np.spacing(exact.astype(np.float32))).all()


def test_an_exponential_of_no_number_is_none_and_of_infinity_nearly_so() -> None:
    x = np.array([np.nan, -np.inf, np.inf, 0.0, -200.0, 200.0], np.float32)
    found = np.empty_like(x)
    exponentials(x, found)
    assert np.isnan(found[0])
    assert found[3] == 1.0
    assert (found[[1, 4]] < 1e-37).all()
    assert (found[[2, 5]] > 1e37).all()


@pytest.mark.parametrize("size", [2, 6, 8, 16, 20, 40, 64, 100])
@pytest.mark.parametrize("length", [1, 5, 8, 17, 120])
def test_attention_on_slots_is_softmax_of_the_scores(size: int, length: int) -> None:
    rng = np.random.default_rng(size * length)
    pool = rng.standard_normal((2, 130, 3 * size)).astype(np.float32)
    keys, values = pool[:, :, size : 2 * size]
    queries = 3 * rng.standard_normal((3, size)).astype(np.float32)
    slots = rng.permutation(130)[:length].astype(np.int32)
    scores = queries.astype(np.float64) @ keys[slots].T / np.sqrt(size)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    exact = shares / shares.sum(1, keepdims=True) @ values[slots]
    np.testing.assert_allclose(run(queries, keys, values, slots), exact, rtol=0, atol=3e-6)


def test_which_slots_a_row_has_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    keys, values = rng.standard_normal((2, 40, 24)).astype(np.float32)
    queries = rng.standard_normal((2, 24)).astype(np.float32)
    first = run(queries, keys, values, np.arange(33, dtype=np.int32))
    moved = rng.permutation(40)
    again = run(queries, keys[moved], values[moved], np.argsort(moved)[:33].astype(np.int32))
    assert np.array_equal(first, again)


def test_large_scores_neither_overflow_nor_hide_what_is_no_number() -> None:
    keys = np.array([[1000.0, 0], [-1000.0, 0], [999.0, 0]], np.float32)
    values = np.array([[1.0, 2], [3, 4], [5, 6]], np.float32)
    queries = np.array([[100.0, 0]], np.float32)
    slots = np.arange(3, dtype=np.int32)
    np.testing.assert_array_equal(run(queries, keys, values, slots), values[:1])
    for wrong in (np.nan, np.inf):
        queries[0, 0] = wrong
        assert np.isnan(run(queries, keys, values, slots)).all()
