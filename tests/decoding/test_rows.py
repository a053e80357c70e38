"""Every row of a batch is on its own: its room, its place, its end, whatever stands beside it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.decoding.tables import Table

from unrolled.decoding import DecoderScorer, EncoderDecoderScorer, SamplingConfig, sample
from unrolled.decoding.sampling import choose
from unrolled.errors import BadInput
from unrolled.models import ModelConfig, build

VOCAB, BEGIN, LONGEST = 9, 1, 24
SOURCES = [[3, 4], [5], [6, 7, 8, 3, 4, 2, 2], [8, 8, 8], [5], [2, 3, 4, 5]]
KINDS = [
    ("decoder", {}),
    ("decoder", {"positions": "learned"}),
    ("decoder", {"num_kv_heads": 1}),
    ("lstm", {}),
    ("encoder-decoder", {}),
    ("encoder-decoder", {"positions": "sinusoidal"}),
    ("encoder-decoder", {"memory": "prefix"}),
    ("encoder-decoder", {"memory": "prefix", "positions": "learned"}),
]


def made(architecture: str, options: dict[str, Any], seed: int = 0) -> Any:
    """A model whose distributions are far from uniform, so that greedy choices vary."""
    config = ModelConfig(
        vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, max_positions=LONGEST,
        **{"tie_embeddings": False, **options},
    )  # fmt: skip
    model = build(architecture, config, seed=seed).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 3.0
    return model


def scorer(model: Any, end_token: int, max_length: int = 20) -> Any:
    if hasattr(model, "encode"):
        return EncoderDecoderScorer(
            model, begin_token=BEGIN, end_token=end_token, max_length=max_length
        )
    return DecoderScorer(model, end_token=end_token, max_length=max_length)


@torch.no_grad()
def next_log_probs(model: Any, source: list[int], tokens: list[int]) -> torch.Tensor:
    """One row, no cache, no padding."""
    if hasattr(model, "encode"):
        logits = model(torch.tensor([source]), torch.tensor([[BEGIN, *tokens]]))
    else:
        logits = model(torch.tensor([[*source, *tokens]]))
    return logits[0, -1].log_softmax(-1)


def plain_greedy(
    model: Any, source: list[int], end_token: int, max_length: int
) -> tuple[list[int], float]:
    tokens: list[int] = []
    total = 0.0
    while len(tokens) < max_length and tokens[-1:] != [end_token]:
        log_probs = next_log_probs(model, source, tokens)
        tokens.append(int(log_probs.argmax()))
        total += float(log_probs[tokens[-1]])
    return tokens, total


@pytest.mark.parametrize(("architecture", "options"), KINDS)
def test_greedy_equals_a_plain_loop_over_the_model(
    architecture: str, options: dict[str, Any]
) -> None:
    model = made(architecture, options)
    lengths = set()
    for end_token in range(2, VOCAB):
        answers = sample(scorer(model, end_token), SOURCES, max_length=12)
        for source, answer in zip(SOURCES, answers, strict=True):
            tokens, log_prob = plain_greedy(model, source, end_token, 12)
            assert answer.tokens == tokens
            assert answer.log_prob == pytest.approx(log_prob, abs=1e-4)
            assert answer.completed == (tokens[-1] == end_token)
            lengths.add(len(tokens))
    assert len(lengths) >= 3  # rows did leave at different times


@pytest.mark.parametrize(("architecture", "options"), KINDS)
def test_each_source_may_use_all_the_room_its_own_length_leaves(
    architecture: str, options: dict[str, Any]
) -> None:
    """Up to the last position of the model, whatever longer source stands beside it."""
    model = made(architecture, options)
    shared = architecture == "decoder" or options == {"memory": "prefix"}
    sources = [*SOURCES, [3] * LONGEST, [4] * (LONGEST - 3)]
    limits = [LONGEST - len(s) + 1 if shared else LONGEST for s in sources]
    if architecture == "encoder-decoder" and shared:
        sources[-2], limits[-2] = [3] * (LONGEST - 1), 1
        limits = [min(limit, LONGEST - len(s)) for limit, s in zip(limits, sources, strict=True)]
    answers = sample(scorer(model, 2, max(limits)), sources, max_length=limits)
    assert {len(answer.tokens) for answer in answers} & set(limits)
    for source, limit, answer in zip(sources, limits, answers, strict=True):
        assert answer.tokens == plain_greedy(model, source, 2, limit)[0]


# Token 0 ends; 1 ends at once; k ≥ 2 counts down to 1.
COUNTDOWN = [[1.0 if j == max(i - 1, 0) else 0.0 for j in range(12)] for i in range(12)]


def test_the_end_token_may_be_the_first() -> None:
    (answer,) = sample(Table(COUNTDOWN), [[1]], max_length=5)
    assert (answer.tokens, answer.log_prob, answer.completed) == ([0], 0.0, True)


def test_an_answer_cut_at_its_length_is_not_completed() -> None:
    answers = sample(Table(COUNTDOWN), [[1], [2], [9]], max_length=1)
    assert [(a.tokens, a.completed) for a in answers] == [([0], True), ([1], False), ([8], False)]


def test_finished_rows_leave_the_batch() -> None:
    table = Table(COUNTDOWN)
    answers = sample(table, [[k] for k in (11, 1, 2, 3, 4, 5, 6, 7)], max_length=20)
    assert [len(a.tokens) for a in answers] == [11, 1, 2, 3, 4, 5, 6, 7]
    assert all(a.completed for a in answers)
    # The first of eight is over after one step: seven alive are more than three quarters.
    assert table.widths == [8, 8, 6, 6, 4, 3, 2, 1, 1, 1, 1]


def test_a_row_never_goes_beyond_its_own_limit() -> None:
    table = Table(COUNTDOWN)
    sources = [[11]] * 8
    answers = sample(table, sources, max_length=[3, *[8] * 7])
    assert [len(a.tokens) for a in answers] == [3, *[8] * 7]
    assert table.widths == [8, 8, 8, 7, 7, 7, 7, 7]


def test_each_source_is_reported_once_when_it_is_finished() -> None:
    finished: list[int] = []
    sample(Table(COUNTDOWN), [[5], [1], [9], [2]], max_length=6, on_finished=finished.append)
    assert finished == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("max_length", "message"), [(0, "at least 1, not 0"), ([3], "2 sources"), ([3, -1], "not -1")]
)
def test_lengths_that_are_none_are_refused(max_length: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        sample(Table(COUNTDOWN), [[1], [2]], max_length=max_length)


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    broken = made("decoder", {})
    with torch.no_grad():
        broken.head.linear.weight[0, 0] = math.nan
    for config in (SamplingConfig(), SamplingConfig(temperature=1.0)):
        with pytest.raises(BadInput, match="NaN"):
            sample(scorer(broken, 2), [[3]], max_length=3, config=config)


@pytest.mark.parametrize("temperature", [1e-3, 1e-40, 5e-324])
def test_the_coldest_draw_is_the_likeliest_token(temperature: float) -> None:
    rows = torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1], [0.0, 0.0, 1.0]]).log()
    assert choose(rows, SamplingConfig(temperature)).tolist() == [1, 0, 2]


def test_equal_tokens_do_not_make_top_k_larger() -> None:
    rows = torch.zeros(1000, 5).log_softmax(-1)
    drawn = choose(rows, SamplingConfig(1.0, top_k=2), torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) == 2


def test_a_scorer_orders_doubles_and_drops_rows_of_unequal_prompts() -> None:
    """Parents [2, 0, 2] of three left- or right-padded prompts, against each row alone."""
    for architecture, options in KINDS:
        model = made(architecture, options)
        search = scorer(model, 2)
        prompts = [[3, 4, 5, 6], [7], [8, 3]]
        state, first = search.start(prompts)
        for row, prompt in zip(first, prompts, strict=True):
            torch.testing.assert_close(row, next_log_probs(model, prompt, []), rtol=0, atol=1e-4)
        parents, tokens = torch.tensor([2, 0, 2]), torch.tensor([4, 5, 6])
        state, second = search.step(state, parents, tokens)
        _, third = search.step(state, torch.tensor([1, 2]), torch.tensor([7, 8]))
        expected = [(2, [4]), (0, [5]), (2, [6]), (0, [5, 7]), (2, [6, 8])]
        for row, (prompt, behind) in zip([*second, *third], expected, strict=True):
            alone = next_log_probs(model, prompts[prompt], behind)
            torch.testing.assert_close(row, alone, rtol=0, atol=1e-4)
