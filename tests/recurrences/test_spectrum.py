"""Does every certified interval contain the true spectral radius?"""

from __future__ import annotations

import json
import math

import flint
import numpy as np
import pytest
from tests.receipts.examples import uninstrumented

from unrolled.errors import BadInput
from unrolled.receipts import check
from unrolled.recurrences import spectrum
from unrolled.recurrences.chains import by_polynomial
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


def jordan(n, value, rng):
    """One block of size n, hidden by a whole-number change of basis."""
    L = np.tril(rng.integers(-1, 2, (n, n)), -1) + np.eye(n)
    return np.round(np.linalg.inv(L)) @ (value * np.eye(n) + np.eye(n, k=1)) @ L


def troublesome(rng, n):
    """Random; with clustered eigenvalues; defective; badly scaled; far up or down in binary64."""
    normal = rng.normal(size=(n, n)) / math.sqrt(n)
    Q = np.linalg.qr(normal)[0]
    scales = 2.0 ** rng.integers(-20, 21, n)
    return {
        "normal": normal,
        "clustered": Q @ np.diag(0.9 + 1e-9 * rng.normal(size=n)) @ Q.T,
        "defective": jordan(n, 0.75, rng),
        "scaled": scales[:, None] * normal / scales,
        "tiny": normal * 2.0**-900,
        "huge": normal * 2.0**900,
        "low rank": np.outer(normal[0], normal[1]),
        "triangular": np.triu(normal) + 0.5 * np.eye(n),
    }


@pytest.mark.parametrize("n", [6, 11, 17, 24])
def test_larger_and_troublesome_matrices_hold_their_true_radius_too(n):
    """The truth is FLINT's again, of the doubles taken exactly."""
    rng = np.random.default_rng(n)
    for _ in range(3):
        for name, W in troublesome(rng, n).items():
            answer, true = spectrum(W), by_polynomial(Matrix.of(W))
            assert answer.low <= true.high, name
            assert true.low <= answer.high, name
            if name in ("normal", "clustered", "tiny", "huge"):
                assert answer.high - answer.low <= 1e-6 * answer.high, name
            assert answer.receipt().check() == answer.receipt().claim, name


def test_a_large_zero_matrix_has_radius_zero_exactly():
    answer = spectrum(np.zeros((200, 200)))
    assert (answer.low, answer.high) == (0, 0)
    assert answer.receipt().check()


def test_powers_whose_error_outgrows_the_matrix_stay_short():
    """The error once doubled its length with each squaring, and the check never ended."""
    W = [[(9, 10), (1, 1)], [(0, 1), (9, 10)]]
    for power in check.powers(W, 20, 64):
        assert power.norm.bit_length() < 256


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
    assert found.receipt().check()


def block(n, value):
    return value * np.eye(n) + np.eye(n, k=1)


DERIVED = {
    "one block": (block(70, 0.9), 0.9),
    "a nilpotent one": (np.eye(70, k=1), 0),
    "two of the same eigenvalue": (np.kron(np.eye(2), block(35, -0.75)), 0.75),
    "pairs on a circle": (np.kron(block(35, 1.0), 0.5 * np.array([[0.6, -0.8], [0.8, 0.6]])), 0.5),
    "a complex one": (block(40, 1.25j), 1.25),
    "small blocks among simple ones": (np.diag(np.arange(70) // 2 / 36) + np.eye(70, k=1), 34 / 36),
}


@pytest.mark.parametrize("name", DERIVED)
def test_defective_matrices_beyond_powers_have_receipts_by_polynomials(name):
    W, rho = DERIVED[name]
    answer = spectrum(W)
    assert answer.method == "polynomial"
    assert len(answer.eigenvalues) == len(W)
    assert answer.low - 1e-15 <= rho <= answer.high + 1e-15
    assert answer.high - answer.low <= 1e-12 * rho
    receipt, plain = answer.receipt(), uninstrumented()
    assert plain.check(plain.parse(receipt.to_json())) == receipt.claim


def test_many_blocks_of_one_eigenvalue_are_spanned_by_many_chains():
    W = 0.9 * np.eye(12)
    W[0, 1] = W[4, 5] = W[5, 6] = 1
    found = by_polynomial(Matrix.of(W))
    assert len(found.evidence["chains"]) > 1
    assert found.receipt().check()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: e["factors"][0]["polynomial"].__setitem__(0, "1"), "doesn't annihilate"),
        (lambda e: e["chains"][0]["powers"].__setitem__(1, 2), "doesn't annihilate"),
        (lambda e: e["chains"][0].update(vector=[0, 0, 1, 0]), "shorter polynomial|annihilate"),
        (lambda e: e["factors"][0]["roots"].reverse(), None),
        (lambda e: e["factors"][0]["roots"][0].reverse(), "may lie"),
        (lambda e: e["factors"][0].update(roots=[["-100000000", "0"]]), "may lie above"),
        (lambda e: e["factors"].append(e["factors"][0]), "expected 3 entries"),
        (lambda e: e.update(chains=[]), "expected 1..4"),
        (lambda e: e["factors"][0]["polynomial"].append("2"), "not monic"),
        (lambda e: e["factors"][0]["polynomial"].__setitem__(0, "f" * 9999), "too long"),
        (lambda e: e["factors"][0].update(roots=[["f" * 9999, "0"]]), "far above"),
    ],
)
def test_chains_that_prove_something_else_are_refused(change, reason):
    W = [[0.5, 1, 0, 0], [0, 0.5, 1, 0], [0, 0, 0.5, 0], [0, 0, 0, 0.25]]
    document = by_polynomial(Matrix.of(W)).receipt().document()
    document = json.loads(json.dumps(document))
    change(document["evidence"])
    if reason is None:
        assert check.check(document)
        return
    with pytest.raises((check.Refuted, check.Malformed), match=reason):
        check.check(document)


def test_a_polynomial_that_is_not_the_least_cannot_raise_the_radius():
    """(z - 1/2)(z - 3) annihilates W = [1/2] too; 3 is no eigenvalue."""
    given, answer = {"W": [[0.5, 0], [0, 0.5]]}, {"radius": [3, 3], "verdict": "exploding"}
    factors = [
        {"polynomial": [format(-c, "x"), "1"], "roots": [[format(c, "x"), "0"]]} for c in (1, 6)
    ]
    evidence = {"q": 0, "factors": factors, "chains": [{"vector": [1, 0], "powers": [0, 1]}]}
    with pytest.raises(check.Refuted, match="doesn't annihilate"):
        check.check_spectrum(given, answer, evidence)
    evidence["chains"][0]["powers"] = [2, 1]
    with pytest.raises(check.Malformed, match="product of degree"):
        check.check_spectrum(given, answer, evidence)
    evidence["chains"] = [{"vector": v, "powers": [1, 1]} for v in ([1, 0], [0, 1])]
    with pytest.raises(check.Refuted, match="shorter polynomial"):
        check.check_spectrum(given, answer, evidence)
    evidence["chains"] = [{"vector": [1, 0], "powers": [1]}]
    del evidence["factors"][1]
    answer = {"radius": [0.5, 0.5], "verdict": "vanishing"}
    with pytest.raises(check.Refuted, match="don't span"):
        check.check_spectrum({"W": [[0.5, 0], [0, 3]]}, answer, evidence)


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
        ([], "empty"),
        ([[]], "empty"),
        ([1, 2], "row 1: expected a list"),
        ([[1, 2], [3]], "rows of length 1 and 2, 2 in all"),
        ([[1e308, 1e308], [1e308, 1e308]], "divide W by a power of two"),
        (np.array([[np.longdouble(1) / 3]]), "binary64 can't"),
        (np.array([[2**53 + 1]]), "binary64 can't"),
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
        spectrum(W)


@pytest.mark.parametrize("entry", [[-1, 1], [1, 1], ["1/3", "-1/7"], [-5, 3]])
def test_a_root_known_exactly_needs_no_room_beyond_the_intervals(entry):
    """Its modulus is irrational and its disc a point: whole units of 2^-q would round it out."""
    receipt = by_polynomial(Matrix.of([[entry]])).receipt()
    assert receipt.check() == receipt.claim
