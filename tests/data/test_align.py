"""Are sentences paired in order, by what they share, as well as any alignment could?"""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import align as module
from unrolled.data.align import align

SENTENCES = st.lists(st.text("abcd", min_size=3, max_size=7), max_size=5)


def worth(ours: list[str], theirs: list[str], pairs) -> float:
    a, b = [module._runs(t) for t in ours], [module._runs(t) for t in theirs]
    return sum(module._likeness(a[i], b[j]) - module.LEAST for i, j in pairs)


@given(ours=SENTENCES, theirs=SENTENCES)
def test_no_alignment_in_order_is_better(ours: list[str], theirs: list[str]):
    found = align(ours, theirs)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(found))
    most = max(
        worth(ours, theirs, zip(left, right, strict=True))
        for n in range(min(len(ours), len(theirs)) + 1)
        for left in combinations(range(len(ours)), n)
        for right in combinations(range(len(theirs)), n)
    )
    assert abs(worth(ours, theirs, found) - most) < 1e-9


def test_a_sentence_that_only_one_side_has_stays_alone():
    ours = ["And God seide, Liyt be maad", "and liyt was maad", "a note of the glosator"]
    theirs = ["a heading", "And God said, Let light be made", "and light was made"]
    assert align(ours, theirs) == [(0, 1), (1, 2)]


def test_likeness_is_the_cosine_of_the_runs_of_four():
    a, b = module._runs("Lyke"), module._runs("like it")
    assert a == {"like"}
    assert b == {"like", "ike ", "ke i", "e it"}
    assert module._likeness(a, b) == 0.5
    assert module._likeness(set(), b) == 0
