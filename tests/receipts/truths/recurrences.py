"""Is a receipt true? Recurrences: small matrices, by FLINT's polynomials."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import flint
from hypothesis import strategies as st
from tests.receipts.truths.common import Document, whole

from unrolled.errors import WorkFailed
from unrolled.recurrences import Matrix, spectrum
from unrolled.recurrences.chains import by_polynomial
from unrolled.recurrences.exact import decide


def entries() -> st.SearchStrategy[Any]:
    real = st.sampled_from([0, 0, 1, -1, 2, 0.5, -0.25, 0.9, "1/3", "-4/5", "3/5"])
    return real | st.tuples(real, real).map(list)


def square() -> st.SearchStrategy[Any]:
    simple = st.sampled_from([0, 0, 1, -1, 1, 0.5])

    def of(n: int, entry: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(st.lists(entry, min_size=n, max_size=n), min_size=n, max_size=n)

    return st.integers(1, 3).flatmap(lambda n: of(n, entries()) | of(n, simple))


def triangular() -> st.SearchStrategy[Any]:
    """Matrices with ones on the diagonal, and the rotations by them: rho is 1, blocks any."""
    above = st.lists(st.sampled_from([0, 0, 1, "1/2"]), min_size=6, max_size=6)
    signs = st.lists(st.sampled_from([1, -1, [0, 1], "1/2", 0]), min_size=3, max_size=3)

    def build(question: Any) -> list[list[Any]]:
        diagonal, off, n = question
        return [
            [diagonal[i] if i == j else off[i + j] if j > i else 0 for j in range(n)]
            for i in range(n)
        ]

    return st.tuples(signs, above, st.integers(1, 3)).map(build)


def roots(given: Document, *, minimal: bool) -> list[tuple[Any, int]]:
    """Moduli of the characteristic or minimal polynomial's roots, with multiplicities."""
    assert set(given) == {"W"}
    for row in given["W"]:
        for entry in row:
            for x in entry if type(entry) is list else [entry]:
                assert type(x) in (int, float, str)
                assert type(x) is not str or str(Fraction(x)) == x
    rows = Matrix.of(given["W"]).fractions()
    flat = [flint.fmpq(x.numerator, x.denominator) for row in rows for x in row]
    W = flint.fmpq_mat(len(rows), len(rows), flat)
    found = (W.minpoly() if minimal else W.charpoly()).numer().complex_roots()
    return [(abs(root), times) for root, times in found]


def spectrum_holds(document: Document) -> bool:
    low, high = document["answer"]["radius"]
    assert set(document["answer"]) == {"radius", "verdict"}
    assert type(low) in (int, float)
    assert type(high) in (int, float)
    found = roots(document["given"], minimal=False)
    verdict = "vanishing" if high < 1 else "exploding" if low > 1 else "undecided"
    assert document["answer"]["verdict"] == verdict
    words = {
        "vanishing": "h_t = W^T h_{t-1} vanishes for every h_0",
        "exploding": "h_t = W^T h_{t-1} explodes for almost every h_0",
        "undecided": "whether h_t = W^T h_{t-1} vanishes or explodes is left open",
    }[verdict]
    n = len(document["given"]["W"])
    where = f"in [{low!r}, {high!r}]"
    claim = f"The spectral radius of this {n} x {n} matrix lies {where}: {words}."
    assert document["claim"] == claim
    return max(float(r.upper()) for r, _ in found) >= low and all(
        r.lower() <= high for r, _ in found
    )


def exact_holds(document: Document) -> bool:
    answer, n = document["answer"], len(document["given"]["W"])
    assert set(answer) == {"verdict", "degree"}
    assert whole(answer["degree"])
    found = roots(document["given"], minimal=True)
    assert max(float(r.mid()) for r, _ in found) < 1 + 1e-12
    largest = max(times for r, times in found if float(r.mid()) > 1 - 1e-12)
    assert answer["degree"] == largest - 1
    assert answer["verdict"] == ("bounded" if largest == 1 else "polynomial")
    what = "stays bounded and doesn't tend to 0" if largest == 1 else f"grows like t^{largest - 1}"
    claim = f"The spectral radius of this {n} x {n} matrix is exactly 1, and ||W^t|| {what}."
    return bool(document["claim"] == claim)


def enclosed(W: Any, by_roots: bool) -> Document:
    """The receipt of the spectral radius, by the polynomial's roots or whatever comes first."""
    found = by_polynomial(Matrix.of(W)) if by_roots else spectrum(W)
    return json.loads(json.dumps(found.receipt().document()))


def on_the_circle(W: Any) -> Document | None:
    try:
        return decide(W).receipt().document()
    except WorkFailed:
        return None
