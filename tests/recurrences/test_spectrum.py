"""Does every certified interval contain the true spectral radius?"""

from __future__ import annotations

import math

import flint
import numpy as np
import pytest
from tests.receipts.examples import uninstrumented

from unrolled.errors import BadInput, WorkFailed
from unrolled.recurrences import spectrum
from unrolled.recurrences.exact import by_polynomial
from unrolled.recurrences.matrix import Matrix


def grcar(n):
    """Ones on and three above the diagonal, -1 below it: far from normal."""
    return -np.eye(n, k=-1) + sum(np.eye(n, k=k) for k in range(4))


def companion(roots):
    return np.diag(np.ones(len(roots) - 1), -1) - np.outer(
        np.poly(roots)[:0:-1], np.eye(len(roots))[-1]
    )


KNOWN = [
    ([[0.0]], 0.0),
    ([[-0.75]], 0.75),
    (np.zeros((4, 4)), 0.0),
    (np.diag(np.ones(5), 1), 0.0),
    ([[3, -4], [4, 3]], 5.0),
    (np.eye(7)[[1, 2, 3, 4, 5, 6, 0]], 1.0),
    ([[0.9, 1], [0, 0.9]], 0.9),
    (0.5 * np.eye(6) + np.eye(6, k=1), 0.5),
    (companion([1.0, 2.0, 3.0, -4.0]), 4.0),
    ([[[0, 2]]], 2.0),
    ([[[0, 1], 1], [0, [0, 1]]], 1.0),
    (np.diag([1e-300, 1e-305]), 1e-300),
    (np.diag([1e300, 1e280]), 1e300),
]


@pytest.mark.parametrize(("W", "rho"), KNOWN)
def test_known_radii_lie_in_their_interval_and_the_receipt_holds(W, rho):
    answer = spectrum(W)
    assert answer.low <= rho <= answer.high
    assert answer.high - answer.low <= 1e-5 * rho
    assert answer.receipt().check() == answer.receipt().claim


def test_ten_thousand_random_matrices_hold_their_true_radius():
    """The truth is FLINT's, by the characteristic polynomial in exact arithmetic."""
    rng = np.random.default_rng(0)
    for k in range(10_000):
        n = 1 + k % 5
        W = rng.integers(-4, 5, size=(n, n)) / 4
        answer = spectrum(W)
        char = flint.fmpz_mat(n, n, [int(4 * x) for x in W.ravel()]).charpoly()
        # rho is a root's modulus: the polynomial's roots, enclosed to 1e-15.
        roots = [abs(root) / 4 for root, _ in char.complex_roots()]
        true = max(roots, key=lambda r: float(r.mid()))
        assert answer.low <= float(true.upper()), W
        assert answer.high >= float(true.lower()), W


def test_discs_hold_the_eigenvalues_of_a_grcar_matrix():
    W = grcar(40)
    answer = spectrum(W)
    exact = by_polynomial(Matrix.of(W))
    assert answer.low <= exact.high
    assert exact.low <= answer.high
    assert answer.receipt().check()


def test_clusters_are_found_with_their_multiplicity():
    found = by_polynomial(Matrix.of(np.diag([0.5, 0.5, 0.5, 0.25]) + np.eye(4, k=1)))
    assert np.round(found.eigenvalues.real, 9).tolist() == [0.5, 0.5, 0.5, 0.25]
    assert found.low <= 0.5 <= found.high
    with pytest.raises(WorkFailed, match="another proof"):
        found.receipt()


def test_complex_eigenvalues_have_the_right_sign():
    answer = spectrum([[[0.25, 0.5], 0], [0, [-0.5, -0.125]]])
    np.testing.assert_allclose(answer.eigenvalues, [0.25 + 0.5j, -0.5 - 0.125j])
    answer = spectrum(np.random.default_rng(3).normal(size=(9, 9)))
    expected = np.linalg.eigvals(answer.matrix.values)
    assert np.abs(np.subtract.outer(answer.eigenvalues, expected)).min(axis=0).max() < 1e-12


def test_complex_matrices_have_receipts_that_hold():
    rng = np.random.default_rng(2)
    W = rng.normal(size=(12, 12)) + 1j * rng.normal(size=(12, 12))
    answer = spectrum(W)
    rho = np.abs(np.linalg.eigvals(W)).max()
    assert answer.low <= rho <= answer.high < answer.low + 1e-9
    assert answer.receipt().check()


def test_a_large_matrix_is_checked_by_the_plain_checker():
    W = np.random.default_rng(4).normal(size=(60, 60)) / 10
    receipt = spectrum(W).receipt()
    plain = uninstrumented()
    assert plain.check(plain.parse(receipt.to_json())) == receipt.claim


def test_fractions_are_taken_exactly():
    third = spectrum([["1/3"]])
    assert third.low <= 1 / 3 <= third.high
    assert third.receipt().given == {"W": [["1/3"]]}


@pytest.mark.parametrize(
    ("W", "message"),
    [
        ([[1, 2]], "must be square"),
        ([], "must be square"),
        (np.zeros((0, 0)), "empty"),
        (np.zeros((2, 3)), "square"),
        (np.zeros(4), "square"),
        ([[math.nan]], "row 1, column 1"),
        (np.array([[1, math.inf], [0, 1]]), "row 1, column 2"),
        (np.array([[None]], dtype=object), "holds object"),
        ([[1, 2], [3, "x"]], "row 2, column 2"),
        ([[True]], "row 1, column 1"),
        ([["1/0"]], "row 1, column 1"),
        (np.broadcast_to(0.0, (10**5, 10**5)), "at most 4,000 rows"),
    ],
)
def test_what_is_no_matrix_is_refused(W, message):
    with pytest.raises(BadInput, match=message):
        Matrix.of(W)


def test_files_are_read_and_pickles_refused(tmp_path):
    np.save(tmp_path / "w.npy", np.eye(2))
    np.save(tmp_path / "p.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    (tmp_path / "w.csv").write_text("1/2, 0.25\n0, 1\n")
    (tmp_path / "w.json").write_text('{"W": [[1, [0, 1]], [0, 1]]}')
    assert Matrix.read(str(tmp_path / "w.npy")).size == 2
    assert Matrix.read(str(tmp_path / "w.csv")).values.tolist() == [[0.5, 0.25], [0, 1]]
    assert Matrix.read(str(tmp_path / "w.json")).is_complex
    with pytest.raises(BadInput, match="pickled array is refused"):
        Matrix.read(str(tmp_path / "p.npy"))
    with pytest.raises(BadInput, match="No such file"):
        Matrix.read(str(tmp_path / "none.npy"))
    with pytest.raises(BadInput, match=r"expected a \.npy"):
        Matrix.read("w.txt")
