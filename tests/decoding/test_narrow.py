"""Following the best prefix alone gives what the whole beam gives, or it is searched whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decoding.tiny import OBJECTIVES, Tiny

from unrolled.decoding import beam, beam_search, narrow
from unrolled.receipts.check import check

SOURCES = [[1], [2, 3], [4], [1, 1, 1], [5], [6]]
searches = st.tuples(
    st.integers(2, 4), st.integers(0, 10**6), st.booleans(), st.integers(2, 5), st.integers(1, 6),
    st.sampled_from(OBJECTIVES),
)  # fmt: skip


@pytest.fixture
def _always_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "SURE", 1e-300)


@pytest.mark.usefixtures("_always_narrow")
def test_the_answer_is_the_whole_beams_and_its_receipt_holds() -> None:
    seen = {"narrow": 0, "again": 0, "proved": 0}

    @settings(max_examples=150, deadline=None)
    @given(searches)
    def run(search: Any) -> None:
        vocab, seed, coarse, beam_size, max_length, objective = search
        scorer = Tiny(vocab, seed, coarse=coarse, sharpness=6.0)
        options: dict[str, Any] = {
            "beam_size": beam_size, "max_length": max_length, "objective": objective
        }  # fmt: skip
        whole = beam_search(scorer, SOURCES, narrow_first=False, **options)
        for one, other in zip(beam_search(scorer, SOURCES, **options), whole, strict=True):
            assert one.hypotheses == other.hypotheses
            alone = all(len(step.kept) == 1 for step in one.trace)
            wide = any(len(step.kept) > 1 for step in other.trace)
            seen["narrow"] += alone and wide
            seen["again"] += not alone
            seen["proved"] += one.optimal
            assert one.optimal or not (alone and wide)
            check(one.receipt().document())

    run()
    assert min(seen.values()) > 50, seen


def test_one_row_a_source_does_while_the_model_is_sure_and_no_more_than_the_budget_widen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sure = Tiny(4, 3, sharpness=60.0)
    found = beam_search(sure, SOURCES, beam_size=4, max_length=6)
    assert sure.widths[: found[0].steps] == sorted(sure.widths[: found[0].steps], reverse=True)
    assert max(sure.widths) <= len(SOURCES)
    monkeypatch.setattr(beam, "ROWS_TOGETHER", 12)
    unsure = Tiny(4, 3, sharpness=0.1)
    few = beam_search(unsure, SOURCES, beam_size=4, max_length=6)
    assert max(unsure.widths) <= 12
    assert few == beam_search(unsure, SOURCES, beam_size=4, max_length=6, narrow_first=False)


@pytest.mark.usefixtures("_always_narrow")
def test_an_equal_rival_makes_the_search_wide() -> None:
    """The rival is found first by the whole beam: an equal score must not hide it."""

    class Tied:
        vocab_size, end_token = 3, 0
        rows = {  # noqa: RUF012
            (): [-9.0, -0.5, -1.0],
            (1,): [-0.5, -9.0, -9.0],
            (2,): [-0.0, -9.0, -9.0],
        }

        def start(self, sources: Any) -> Any:
            return [()] * len(sources), torch.tensor([self.rows[()]] * len(sources))

        def step(self, state: Any, parents: Any, tokens: Any) -> Any:
            pairs = zip(parents.tolist(), tokens.tolist(), strict=True)
            state = [(*state[p], t) for p, t in pairs]
            return state, torch.tensor([self.rows.get(s, [-9.0] * 3) for s in state])

    (one,) = beam_search(Tied(), [[1]], beam_size=2, max_length=3)
    (other,) = beam_search(Tied(), [[1]], beam_size=2, max_length=3, narrow_first=False)
    assert one == other
    assert len(one.trace[0].kept) == 2
