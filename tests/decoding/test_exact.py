"""Exact search finds the best of all sequences; what it says of the rest always holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decoding.tiny import OBJECTIVES, Tiny, best_score

from unrolled.decoding import beam_search, exact_search, rescore
from unrolled.errors import BadInput
from unrolled.receipts import check


@settings(max_examples=120)
@given(
    st.integers(2, 4), st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(OBJECTIVES),
    st.integers(1, 4), st.integers(1, 5),
)  # fmt: skip
def test_with_room_enough_the_answer_is_the_best_of_all_sequences(
    vocab: int, seed: int, max_length: int, objective: str, beam_size: int, rows: int
) -> None:
    scorer = Tiny(vocab, seed)
    answer = exact_search(
        scorer, [1, 2], max_length=max_length, objective=objective, beam_size=beam_size, rows=rows
    )
    best = best_score(scorer, [1, 2], max_length, objective)
    assert answer.optimal
    assert answer.best is not None
    assert answer.best.score == pytest.approx(best, rel=1e-12)
    assert answer.upper_bound == answer.best.score
    receipt = answer.receipt()
    assert receipt.check() == receipt.claim
    assert "scores better by" in receipt.claim
    assert rescore(scorer, receipt.document()) == ""


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(OBJECTIVES), st.integers(1, 40), st.integers(1, 4))
def test_a_small_budget_ends_with_a_bound_that_holds(
    seed: int, objective: str, budget: int, rows: int
) -> None:
    scorer = Tiny(4, seed)
    answer = exact_search(
        scorer, [1], max_length=5, objective=objective, budget=budget, beam_size=1, rows=rows
    )
    best = best_score(scorer, [1], 5, objective)
    assert answer.upper_bound >= best - 1e-12 * abs(best)
    if answer.best is None:
        return
    assert answer.optimal == (answer.gap == 0.0)
    if answer.optimal:
        assert answer.best.score == pytest.approx(best, rel=1e-12)
    receipt = answer.receipt()
    assert receipt.check() == receipt.claim
    assert ("scores above" in receipt.claim) != answer.optimal


def test_an_interruption_keeps_what_was_found() -> None:
    def interrupt(used: int, best: float, upper: float) -> None:
        raise KeyboardInterrupt

    for seed in range(20):
        scorer = Tiny(5, seed)
        answer = exact_search(
            scorer, [1], max_length=6, beam_size=1, rows=1, on_progress=interrupt,
            objective="length-normalised:1",
        )  # fmt: skip
        assert answer.upper_bound >= best_score(scorer, [1], 6, "length-normalised:1") - 1e-12
        if answer.reason == "interrupted" and answer.best is not None:
            assert answer.receipt().check()


def test_the_search_does_less_than_look_at_every_prefix() -> None:
    scorer = Tiny(6, 1)
    answer = exact_search(scorer, [1], max_length=6)
    assert answer.optimal
    assert answer.rows < (5**6 - 1) // 4 / 5


def test_a_scorer_that_is_no_distribution_gets_no_map() -> None:
    answer = exact_search(Tiny(4, 1, coarse=True), [1], max_length=4)
    with pytest.raises(BadInput, match="don't add up to 1"):
        answer.receipt()


def test_the_model_names_the_first_number_that_differs() -> None:
    scorer = Tiny(4, 3)
    (found,) = beam_search(scorer, [[1]], beam_size=3, max_length=5)
    document: dict[str, Any] = found.receipt().document()
    assert rescore(scorer, document) == ""
    said = rescore(Tiny(4, 4), document)
    assert said.startswith("evidence.steps[0].kept[0]: the receipt says -")
    document["evidence"]["steps"][1]["kept"][2][2] -= 0.5
    assert rescore(scorer, document).startswith("evidence.steps[1].kept[2]: the receipt says")
    document = found.receipt().document()
    document["evidence"]["steps"][0]["rejected"] -= 0.25
    assert rescore(scorer, document).startswith("evidence.steps[0].rejected: the receipt says")
    mapped = exact_search(scorer, [1], max_length=4).receipt().document()
    assert rescore(Tiny(4, 4), mapped).startswith("evidence.prefixes[0]: the receipt says")
    row = next(row for row in mapped["evidence"]["rejected"] if row[1] is not None)
    row[1] -= 0.5
    assert rescore(scorer, mapped).startswith(f"evidence.rejected, prefix {row[0]}: the receipt")
    with pytest.raises(BadInput, match="another model's"):
        rescore(Tiny(5, 3), document)


def test_a_map_that_leaves_a_token_out_is_refused() -> None:
    document = exact_search(Tiny(4, 3), [1], max_length=4).receipt().document()
    rows = document["evidence"]["rejected"]
    with pytest.raises(check.Refuted, match="row in rejected is wrong"):
        check.check({**document, "evidence": {**document["evidence"], "rejected": rows[1:]}})
    row = next(row for row in rows if row[1] is not None)
    row[2] -= 0.01
    with pytest.raises(check.Refuted, match=r"add up to|can't have that sum"):
        check.check(document)


@pytest.mark.parametrize("name", ["budget", "rows"])
def test_a_budget_of_nothing_is_refused(name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(BadInput, match="must be at least 1"):
        exact_search(Tiny(3, 0), [1], max_length=3, **options)
