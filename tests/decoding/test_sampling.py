"""Sampling takes the token it should, as often as it should, whatever stands beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tests.decoding.test_scorer import alone
from tests.models.test_values import draw, random_model, tiny

from unrolled.decoding import (
    DecoderScorer,
    EncoderDecoderScorer,
    SamplingConfig,
    alternatives,
    sample,
)
from unrolled.decoding.processors import BannedTokens, ForcedPrefix, NoRepeatNgrams
from unrolled.decoding.sampling import choose
from unrolled.errors import BadInput

END = 0
MODELS = [
    ("decoder", {}),
    ("decoder", {"positions": "learned", "norm": "layernorm"}),
    ("lstm", {}),
    ("encoder-decoder", {}),
    ("encoder-decoder", {"memory": "prefix"}),
    ("encoder-decoder", {"memory": "prefix", "positions": "sinusoidal"}),
]


class Table:
    """A scorer with the same log-probabilities for every row and step; counts its rows."""

    def __init__(self, probabilities: Sequence[float]) -> None:
        self.log_probs = torch.tensor(probabilities).log()
        self.vocab_size, self.end_token = len(probabilities), END
        self.rows: list[int] = []

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Any, torch.Tensor]:
        return None, self._score(len(sources))

    def step(
        self, state: Any, parents: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[Any, torch.Tensor]:
        assert len(parents) == len(tokens)
        return None, self._score(len(parents))

    def _score(self, rows: int) -> torch.Tensor:
        self.rows.append(rows)
        return self.log_probs.expand(rows, -1)


def scorer_of(architecture: str, model: Any, max_length: int) -> Any:
    if architecture == "encoder-decoder":
        return EncoderDecoderScorer(model, begin_token=1, end_token=END, max_length=max_length)
    return DecoderScorer(model, end_token=END, max_length=max_length)


def uncached(architecture: str, model: Any, source: list[int], max_length: int) -> list[int]:
    """The likeliest token each time, the whole sequence computed anew each time."""
    tokens: list[int] = []
    while len(tokens) < max_length and (not tokens or tokens[-1] != END):
        if architecture == "encoder-decoder":
            logits = model(torch.tensor([source]), torch.tensor([[1, *tokens]]))
        else:
            logits = model(torch.tensor([[*source, *tokens]]))
        tokens.append(int(logits[0, -1].argmax()))
    return tokens


@pytest.mark.parametrize(("architecture", "options"), MODELS)
def test_greedy_in_a_ragged_batch_is_what_each_source_gives_alone_without_a_cache(
    architecture: str, options: dict[str, Any]
) -> None:
    model = random_model(architecture, tiny(**options))
    sources = [draw(1, n, seed=n)[0].tolist() for n in (3, 9, 1, 6, 3)]
    answers = sample(scorer_of(architecture, model, 12), sources, max_length=12)
    for source, answer in zip(sources, answers, strict=True):
        with torch.no_grad():
            assert answer.tokens == uncached(architecture, model, source, 12)
        assert answer.completed == (answer.tokens[-1] == END)


@pytest.mark.parametrize(("architecture", "options"), MODELS)
def test_the_log_probability_is_the_models_own_of_the_whole_answer(
    architecture: str, options: dict[str, Any]
) -> None:
    model = random_model(architecture, tiny(**options))
    source = draw(1, 5)[0].tolist()
    config = SamplingConfig(temperature=1.7, top_k=5)
    generator = torch.Generator().manual_seed(0)
    scorer = scorer_of(architecture, model, 8)
    answer = sample(scorer, [source], max_length=8, config=config, generator=generator)[0]
    targets = torch.tensor(answer.tokens)
    with torch.no_grad():
        if architecture == "encoder-decoder":
            logits = model(torch.tensor([source]), torch.tensor([[1, *answer.tokens[:-1]]]))[0]
        else:
            logits = model(torch.tensor([[*source, *answer.tokens[:-1]]]))[0, len(source) - 1 :]
    expected = logits.log_softmax(-1).gather(1, targets[:, None]).sum().item()
    assert answer.log_prob == pytest.approx(expected, abs=1e-4)


PROBABILITIES = (0.05, 0.4, 0.25, 0.2, 0.1)


def expected_distribution(config: SamplingConfig) -> np.ndarray:
    """By brute force: heat, keep the k likeliest, keep the fewest that reach p, normalise."""
    heated = np.array(PROBABILITIES) ** (1 / config.temperature)
    heated /= heated.sum()
    order = np.argsort(-heated)
    kept = order[: config.top_k] if config.top_k else order
    heated[[i for i in order if i not in kept]] = 0
    heated /= heated.sum()
    total, final = 0.0, np.zeros(len(heated))
    for i in order:
        if total >= config.top_p:
            break
        total += heated[i]
        final[i] = heated[i]
    final[final < config.min_p * final.max()] = 0
    return final / final.sum()


@pytest.mark.parametrize(
    "config",
    [
        SamplingConfig(temperature=1.0),
        SamplingConfig(temperature=0.5),
        SamplingConfig(temperature=3.0),
        SamplingConfig(temperature=1.0, top_k=2),
        SamplingConfig(temperature=1.0, top_k=99),
        SamplingConfig(temperature=1.0, top_p=0.6),
        SamplingConfig(temperature=1.0, top_p=0.01),
        SamplingConfig(temperature=2.0, top_k=4, top_p=0.8),
        SamplingConfig(temperature=1.0, min_p=0.45),
        SamplingConfig(temperature=1.0, min_p=1.0),
        SamplingConfig(temperature=3.0, min_p=0.7),
        SamplingConfig(temperature=1.5, top_k=4, top_p=0.9, min_p=0.6),
    ],
)
def test_draws_follow_the_distribution(config: SamplingConfig) -> None:
    rows = torch.tensor(PROBABILITIES).log().expand(20_000, -1)
    drawn = choose(rows, config, torch.Generator().manual_seed(1)).tolist()
    counts, expected = Counter(drawn), expected_distribution(config) * len(drawn)
    possible = [i for i in range(len(PROBABILITIES)) if expected[i] > 0]
    assert sum(counts[i] for i in possible) == len(drawn)
    if len(possible) > 1:
        test = chisquare([counts[i] for i in possible], [expected[i] for i in possible])
        assert test.pvalue > 1e-3


def test_temperature_zero_takes_the_likeliest_and_the_first_of_equals() -> None:
    rows = torch.tensor([PROBABILITIES, (0.1, 0.3, 0.1, 0.3, 0.2)]).log()
    assert choose(rows, SamplingConfig()).tolist() == [1, 1]


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    config = SamplingConfig(temperature=1.0)
    answers = [
        sample(
            Table(PROBABILITIES),
            [[1]],
            max_length=20,
            config=config,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (1, 1, 2)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_finished_rows_leave_the_batch_and_answers_keep_their_order() -> None:
    table = Table((0.3, 0.7))
    answers = sample(
        table,
        [[1]] * 100,
        max_length=50,
        config=SamplingConfig(temperature=1.0),
        generator=torch.Generator().manual_seed(0),
    )
    assert table.rows[0] == 100
    assert table.rows[-1] < 50
    assert table.rows == sorted(table.rows, reverse=True)
    lengths = [len(answer.tokens) for answer in answers]
    assert len(set(lengths)) > 5
    for answer in answers:
        assert answer.tokens.count(END) == answer.completed
        assert answer.tokens.index(END) == len(answer.tokens) - 1 if answer.completed else True


def test_what_never_ends_is_cut_and_says_so() -> None:
    answer = sample(Table((0.1, 0.9)), [[1]], max_length=3)[0]
    assert (answer.tokens, answer.completed) == ([1, 1, 1], False)
    answer = sample(Table((0.9, 0.1)), [[1]], max_length=3)[0]
    assert (answer.tokens, answer.completed) == ([END], True)


def test_tokens_are_told_as_they_come() -> None:
    told: list[tuple[int, int]] = []
    sample(
        Table((0.1, 0.9)),
        [[1, 1], [1]],
        max_length=2,
        on_token=lambda row, token: told.append((row, token)),
    )
    assert sorted(told) == [(0, 1), (0, 1), (1, 1), (1, 1)]


def test_more_sources_than_fit_side_by_side_are_all_answered() -> None:
    model = random_model("decoder", tiny())
    sources = [draw(1, 1 + n % 5, seed=n)[0].tolist() for n in range(300)]
    scorer = DecoderScorer(model, end_token=END, max_length=3)
    answers = sample(scorer, sources, max_length=3)
    for i in (0, 123, 299):
        alone = sample(scorer, [sources[i]], max_length=3)[0]
        assert answers[i].tokens == alone.tokens


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": float("nan")}, "min_p"),
    ],
)
def test_what_is_no_distribution_is_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(BadInput, match=name):
        SamplingConfig(**options)


def test_no_room_and_no_source_are_refused() -> None:
    with pytest.raises(BadInput, match="max_length"):
        sample(Table((0.5, 0.5)), [[1]], max_length=0)
    scorer = DecoderScorer(random_model("decoder", tiny()), end_token=END, max_length=3)
    with pytest.raises(BadInput, match="at least one token"):
        sample(scorer, [[1], []], max_length=3)


def test_a_caller_may_end_an_answer() -> None:
    told: list[tuple[int, int]] = []

    def tell(number: int, token: int) -> bool:
        told.append((number, token))
        return number == 1 and len(told) > 4

    answers = sample(Table((0.1, 0.9)), [[1], [1]], max_length=5, on_token=tell)
    assert [(a.tokens, a.completed) for a in answers] == [([1] * 5, False), ([1] * 3, False)]
    assert len(told) == 8


def test_rules_change_what_is_drawn_and_not_what_the_model_thinks_of_it() -> None:
    table = Table(PROBABILITIES)
    rules = [ForcedPrefix((4,)), BannedTokens((0, 1)), NoRepeatNgrams(1)]
    answer = sample(table, [[1], [2, 2]], max_length=3, processors=rules)[0]
    assert answer.tokens == [4, 2, 3]
    assert answer.log_prob == pytest.approx(math.log(0.1 * 0.25 * 0.2), abs=1e-5)
    with pytest.raises(BadInput, match="the rules leave no token"):
        sample(table, [[1]], max_length=4, processors=rules)


@pytest.mark.parametrize(("architecture", "options"), MODELS)
def test_alternatives_are_the_models_likeliest_at_every_position(
    architecture: str, options: dict[str, Any]
) -> None:
    model = random_model(architecture, tiny(**options))
    source, tokens = [3, 4, 5], [7, 8, END, 9]
    found = alternatives(scorer_of(architecture, model, 6), source, tokens, k=3)
    assert len(found) == 3  # behind the end token nothing stands
    for i, best in enumerate(found):
        log_probs = alone(architecture, model, source, tokens[:i])
        expected = log_probs.sort(descending=True)
        assert [a.token for a in best] == expected.indices[:3].tolist()
        assert [a.log_prob for a in best] == pytest.approx(expected.values[:3].tolist(), abs=1e-4)
    with pytest.raises(BadInput, match="not 0"):
        alternatives(scorer_of(architecture, model, 6), source, tokens, k=0)
