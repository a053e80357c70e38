"""Beam search finds what its definition says, and stops where no later step can do better."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decoding.tiny import OBJECTIVES, Tiny, best_score

from unrolled.decoding import beam_search
from unrolled.decoding.beam import STOPS
from unrolled.decoding.candidates import rounded, top_by_blocks
from unrolled.decoding.objectives import parse_objective
from unrolled.decoding.processors import RepetitionPenalty
from unrolled.errors import BadInput

SOURCES = [[1], [2, 3], [4], [1, 1, 1]]
searches = st.tuples(
    st.integers(2, 4), st.integers(0, 10**6), st.booleans(), st.integers(1, 5), st.integers(1, 5),
    st.sampled_from(OBJECTIVES),
)  # fmt: skip


def plain_beam(
    scorer: Tiny, source: list[int], beam_size: int, max_length: int, objective: str
) -> list[tuple[list[int], float]]:
    """The definition, in lists, run to the end: completed hypotheses and scores, best first."""
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    done: list[tuple[list[int], float]] = []
    score = parse_objective(objective).score
    for length in range(1, max_length + 1):
        every = [
            ((*tokens, token), total + log_prob)
            for tokens, total in live
            for token, log_prob in enumerate(rounded(scorer.row(source, tokens)).tolist())
        ]
        every.sort(key=lambda pair: -pair[1])  # stable: parent's rank, then token
        kept = every[:beam_size]
        done += [(list(t), score(s, length)) for t, s in kept if t[-1] == scorer.end_token]
        live = [pair for pair in kept if pair[0][-1] != scorer.end_token]
    return sorted(done, key=lambda pair: -pair[1])


@settings(max_examples=150)
@given(searches)
def test_the_exhaustive_search_is_the_definition_and_the_stop_loses_nothing(search: Any) -> None:
    vocab, seed, coarse, beam_size, max_length, objective = search
    scorer = Tiny(vocab, seed, coarse=coarse)
    options: dict[str, Any] = {
        "beam_size": beam_size, "max_length": max_length, "objective": objective
    }  # fmt: skip
    whole = beam_search(scorer, SOURCES, stop="exhaustive", n_best=3, **options)
    early = beam_search(scorer, SOURCES, **options)
    nth = beam_search(scorer, SOURCES, stop="nth", n_best=3, **options)
    for source, all_steps, stopped, certain in zip(SOURCES, whole, early, nth, strict=True):
        plain = plain_beam(scorer, source, beam_size, max_length, objective)
        scores = [score for _, score in plain[:3]]
        assert [h.score for h in all_steps.hypotheses] == pytest.approx(scores, rel=1e-12)
        assert [h.score for h in certain.hypotheses] == pytest.approx(scores, rel=1e-12)
        assert stopped.steps <= certain.steps <= all_steps.steps
        assert [h.score for h in stopped.hypotheses] == pytest.approx(scores[:1], rel=1e-12)
        for answer in (all_steps, stopped, certain):
            assert answer.receipt().check() == answer.receipt().claim


@settings(max_examples=80)
@given(searches)
def test_no_sequence_scores_above_the_upper_bound_and_optimal_means_the_best_of_all(
    search: Any,
) -> None:
    vocab, seed, coarse, beam_size, max_length, objective = search
    scorer = Tiny(vocab, seed, coarse=coarse)
    for stop in STOPS:
        if stop.startswith("hf:") and objective.partition(":")[0] not in (
            "log-probability", "length-normalised"
        ):  # fmt: skip
            continue
        (answer,) = beam_search(
            scorer, [[1]], beam_size=beam_size, max_length=max_length, stop=stop,
            objective=objective,
        )  # fmt: skip
        best = best_score(scorer, [1], max_length, objective)
        assert answer.upper_bound >= best - 1e-12 * abs(best)
        if answer.optimal:
            assert answer.hypotheses[0].score == pytest.approx(best, rel=1e-12)
            assert answer.gap == 0.0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_beam_as_wide_as_the_tree_finds_the_best_of_all_and_knows_it(objective: str) -> None:
    for seed in range(10):
        scorer = Tiny(3, seed)
        (answer,) = beam_search(scorer, [[1]], beam_size=200, max_length=5, objective=objective)
        best = best_score(scorer, [1], 5, objective)
        assert answer.optimal
        assert answer.hypotheses[0].score == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("stop", STOPS)
def test_a_batch_gives_what_each_source_gives_alone_and_finished_sources_leave(stop: str) -> None:
    for coarse in (False, True):
        scorer = Tiny(5, 3, coarse=coarse)
        options: dict[str, Any] = {"beam_size": 3, "max_length": 7, "stop": stop, "n_best": 3}
        together = beam_search(scorer, SOURCES, **options)
        widths = scorer.widths
        assert len(widths) == max(answer.steps for answer in together)
        alone = [beam_search(scorer, [source], **options)[0] for source in SOURCES]
        assert together == alone
    if stop == "hf:true":
        assert len({answer.steps for answer in together}) > 1


def test_equal_candidates_are_ordered_by_parent_then_token() -> None:
    class Flat(Tiny):
        def row(self, source: Any, tokens: Any) -> torch.Tensor:
            return torch.full((self.vocab_size,), -2.0)

    for vocab in (7, 1000):
        (answer,) = beam_search(Flat(vocab, 0), [[1]], beam_size=3, max_length=3, stop="exhaustive")
        assert [[(k.parent, k.token) for k in step.kept] for step in answer.trace] == [
            [(0, 0), (0, 1), (0, 2)],
            [(1, 0), (1, 1), (1, 2)],
            [(1, 0), (1, 1), (1, 2)],
        ]


@settings(max_examples=40)
@given(st.integers(500, 1500), st.integers(1, 7), st.integers(0, 10**6))
def test_the_best_tokens_by_blocks_are_the_best_tokens(vocab: int, count: int, seed: int) -> None:
    rows = torch.randn(3, vocab, generator=torch.Generator().manual_seed(seed))
    values, tokens = top_by_blocks(rows, count)
    assert torch.equal(values, rows.topk(count).values)
    assert torch.equal(rows.gather(1, tokens), values)


def test_the_streamed_prefix_only_grows_and_ends_as_the_answer() -> None:
    for seed in range(40):
        heard: dict[int, list[list[int]]] = {}
        answers = beam_search(
            Tiny(4, seed), SOURCES, beam_size=3, max_length=8,
            on_prefix=lambda i, tokens, heard=heard: heard.setdefault(i, []).append(tokens),
        )  # fmt: skip
        for number, answer in enumerate(answers):
            told = heard.get(number, [])
            for a, b in pairwise(told):
                assert b[: len(a)] == a
                assert len(b) > len(a)
            if answer.hypotheses:
                assert told[-1] == answer.hypotheses[0].tokens


class Never(Tiny):
    def row(self, source: Any, tokens: Any) -> torch.Tensor:
        return torch.tensor([-torch.inf, -0.5, -1.5])


def test_where_every_path_is_cut_no_hypothesis_completed_is_said() -> None:
    (answer,) = beam_search(Never(3, 0), [[1]], beam_size=2, max_length=4)
    assert answer.hypotheses == []
    assert answer.reason == "no hypothesis completed: max_length of 4 tokens is reached"
    assert answer.receipt().claim.endswith("completes no hypothesis.")
    assert not answer.optimal


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size must be at least 1"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"n_best": 0}, "n_best"),
        ({"stop": "soon"}, "unknown stop rule 'soon'"),
        ({"objective": "beauty"}, "unknown objective 'beauty'"),
        ({"objective": "gnmt"}, "unknown objective"),
        ({"objective": "gnmt:11"}, "α lies in"),
        ({"objective": "bounded-reward:1:0"}, "L is a length"),
        ({"objective": "gnmt:1", "stop": "hf:true"}, "Hugging Face has no objective"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        beam_search(Tiny(3, 0), [[1]], **{"beam_size": 2, "max_length": 3, **options})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.0, float("nan"), -1.0], "NaN"),
        ([-1.0, 0.5, -1.0], "at most 0"),
        ([-1.0, float("inf"), -1.0], "at most 0"),
        ([-1.0, -1.0], r"shape \(1, 3\), not \(1, 2\)"),
    ],
)
def test_a_scorer_that_returns_no_log_probabilities_is_refused(
    row: list[float], message: str
) -> None:
    class Broken(Tiny):
        def row(self, source: Any, tokens: Any) -> torch.Tensor:
            return torch.tensor(row)

    with pytest.raises(BadInput, match=message):
        beam_search(Broken(3, 0), [[1]], beam_size=2, max_length=3)
    outside = Tiny(3, 0)
    outside.end_token = 3
    with pytest.raises(BadInput, match="end token is 3, outside"):
        beam_search(outside, [[1]], beam_size=2, max_length=3)


class Lift:
    keeps_bound = False

    def __call__(self, prefixes: Any, log_probs: torch.Tensor) -> torch.Tensor:
        return log_probs + torch.tensor([[0.5 * len(p)] for p in prefixes])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_processor_that_breaks_the_bound_makes_the_search_exhaustive_and_the_receipt_says_so(
    objective: str,
) -> None:
    (answer,) = beam_search(
        Tiny(3, 1), [[1]], beam_size=2, max_length=5, processors=[Lift()], objective=objective
    )
    assert answer.stop == "exhaustive"
    assert answer.upper_bound == float("inf")
    assert "of other sequences nothing is said" in answer.receipt().claim
    (kept,) = beam_search(
        Tiny(3, 1), [[1]], beam_size=2, max_length=5, processors=[RepetitionPenalty(1.5)]
    )
    assert kept.stop == "optimal"


def test_hugging_faces_rules_leave_no_receipt() -> None:
    (answer,) = beam_search(Tiny(3, 1), [[1]], beam_size=2, max_length=5, stop="hf:true")
    with pytest.raises(BadInput, match="proves nothing"):
        answer.receipt()
