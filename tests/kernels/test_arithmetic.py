"""Sums, the largest and exponentials, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

import numba

from unrolled.kernels.arithmetic import dot, exponential, highest


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
