"""The rules against transformers' own, and the promise that scores stay at most 0."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LogitsProcessor
from transformers.generation import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from unrolled.decoding.processors import (
    BannedTokens,
    ForcedPrefix,
    LogitProcessor,
    NoRepeatNgrams,
    RepetitionPenalty,
    TokenBias,
    process,
)
from unrolled.errors import BadInput

VOCAB = 5
RULES: list[LogitProcessor] = [
    RepetitionPenalty(1.3),
    RepetitionPenalty(0.4),
    NoRepeatNgrams(1),
    NoRepeatNgrams(2),
    NoRepeatNgrams(3),
    ForcedPrefix((3, 1)),
    BannedTokens((0, 4)),
    BannedTokens(()),
    TokenBias({2: -1.5}),
]
prefixes = st.integers(0, 7).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, VOCAB - 1), min_size=n, max_size=n), min_size=1, max_size=4
    )
)


def scores(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(rows, VOCAB, generator=generator)).log_softmax(-1)


def theirs(rule: LogitsProcessor, rows: list[list[int]], given: Tensor) -> Tensor:
    answer: Tensor = rule(torch.tensor(rows, dtype=torch.long), given.clone())  # type: ignore[arg-type]
    return answer


@given(prefixes, st.sampled_from([0.5, 1.0, 1.2, 3.0]))
def test_the_repetition_penalty_is_that_of_transformers(
    rows: list[list[int]], penalty: float
) -> None:
    log_probs = scores(len(rows))
    expected = theirs(RepetitionPenaltyLogitsProcessor(penalty), rows, log_probs)
    assert torch.equal(RepetitionPenalty(penalty)(rows, log_probs), expected)


@given(prefixes, st.integers(1, 4))
def test_no_repeated_ngrams_are_those_of_transformers(rows: list[list[int]], size: int) -> None:
    log_probs = scores(len(rows))
    expected = theirs(NoRepeatNGramLogitsProcessor(size), rows, log_probs)
    assert torch.equal(NoRepeatNgrams(size)(rows, log_probs), expected)


def test_banned_tokens_are_those_that_transformers_suppresses() -> None:
    log_probs = scores(3)
    expected = theirs(SuppressTokensLogitsProcessor([1, 4]), [[0]] * 3, log_probs)
    assert torch.equal(BannedTokens((1, 4))([[0]] * 3, log_probs), expected)


def test_a_forced_prefix_leaves_one_token_with_the_models_own_log_probability() -> None:
    log_probs = scores(3)
    left = ForcedPrefix((3, 1))([[], [3], [3, 1]], log_probs)
    assert left.isfinite().sum(1).tolist() == [1, 1, VOCAB]
    assert left[0, 3] == log_probs[0, 3]
    assert left[1, 1] == log_probs[1, 1]
    assert torch.equal(left[2], log_probs[2])


def test_the_rows_of_a_batch_may_have_different_lengths() -> None:
    log_probs = scores(3)
    for rule in RULES:
        rows = [[], [2], [2, 3, 2]]
        alone = [rule([row], log_probs[i : i + 1]) for i, row in enumerate(rows)]
        assert torch.equal(rule(rows, log_probs), torch.cat(alone))


@given(prefixes, st.sampled_from(RULES), st.integers(0, 9))
def test_who_keeps_the_bound_lifts_no_score_above_zero_and_changes_nothing_in_place(
    rows: list[list[int]], rule: LogitProcessor, seed: int
) -> None:
    log_probs = scores(len(rows), seed)
    log_probs[0, 0] = 0.0
    before = log_probs.clone()
    assert rule.keeps_bound
    assert bool((rule(rows, log_probs) <= 0).all())
    assert torch.equal(log_probs, before)


def test_a_positive_bias_breaks_the_bound_and_says_so() -> None:
    rule = TokenBias({1: 9.0, 2: -1.0})
    assert not rule.keeps_bound
    log_probs = scores(2)
    after = rule([[], []], log_probs)
    assert bool((after > 0).any())
    assert torch.allclose(after - log_probs, torch.tensor([0.0, 9.0, -1.0, 0.0, 0.0]), atol=1e-5)


def test_processors_work_one_after_the_other() -> None:
    log_probs = scores(1)
    after = process([TokenBias({2: -1.0}), RepetitionPenalty(2.0)], [[2]], log_probs)
    assert after[0, 2] == (log_probs[0, 2] - 1.0) * 2.0
    assert process([], [[2]], log_probs) is log_probs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RepetitionPenalty(0.0), "repetition_penalty"),
        (lambda: RepetitionPenalty(math.nan), "repetition_penalty"),
        (lambda: NoRepeatNgrams(0), "no_repeat_ngrams"),
        (lambda: TokenBias({1: math.inf}), "bias of token 1"),
        (lambda: BannedTokens((5,))([[]], scores(1)), "token 5 is outside the vocabulary 0…4"),
        (lambda: ForcedPrefix((-1,))([[]], scores(1)), "forced_prefix: token -1"),
        (lambda: TokenBias({7: 1.0})([[]], scores(1)), "biases: token 7"),
    ],
)
def test_rules_that_make_no_sense_are_refused(make, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()
