"""Do the bounds of sparse matrices hold what dense arithmetic finds?"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from unrolled.errors import BadInput
from unrolled.recurrences.sparse import sparse_radius


@pytest.mark.parametrize("seed", range(8))
def test_nonnegative_bounds_hold_the_radius_whatever_the_components(seed):
    rng = np.random.default_rng(seed)
    A = sp.random_array((60, 60), density=0.02 + 0.01 * seed, rng=rng, format="csr")
    rho = np.abs(np.linalg.eigvals(A.toarray())).max()
    found = sparse_radius(A, seconds=5)
    assert found.low <= rho + 1e-9
    assert rho - 1e-9 <= found.high


def test_a_cycle_and_a_triangle_are_found_to_the_digit():
    cycle = sp.csr_array(2.0 * np.eye(6)[[1, 2, 3, 4, 5, 0]])
    found = sparse_radius(cycle)
    assert found.low == pytest.approx(2, rel=1e-6)
    assert found.high == pytest.approx(2, rel=1e-6)
    triangle = sp.csr_array(np.triu(np.ones((5, 5)), 1) + np.diag([0.1, 0.5, 0.2, 0.3, 0.4]))
    found = sparse_radius(triangle)
    assert found.components == 5
    assert found.low <= 0.5 <= found.high < 0.5 + 1e-12


def test_mixed_signs_get_an_upper_bound_and_an_estimate():
    rng = np.random.default_rng(0)
    A = sp.random_array((80, 80), density=0.1, rng=rng, format="csr")
    A.data -= 0.5
    rho = np.abs(np.linalg.eigvals(A.toarray())).max()
    found = sparse_radius(A, seconds=10)
    assert found.low == 0
    assert rho <= found.high
    assert found.estimate == pytest.approx(rho, rel=1e-4)


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.eye(2), "scipy.sparse"),
        (sp.csr_array((2, 3)), "square"),
        (sp.csr_array(np.array([[1j]])), "real"),
        (sp.csr_array(np.array([[np.nan]])), "no number"),
    ],
)
def test_what_cannot_be_used_is_refused(W, message):
    with pytest.raises(BadInput, match=message):
        sparse_radius(W)
