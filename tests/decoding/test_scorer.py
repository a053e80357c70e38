"""A scorer's rows are the model's own log-probabilities, however rows are dropped and reordered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from tests.models.test_values import VOCAB, close, draw, random_model, tiny

from unrolled.decoding import DecoderScorer, EncoderDecoderScorer, beam_search, sample
from unrolled.decoding.scorer import pad
from unrolled.decoding.scorers import TableScorer
from unrolled.errors import BadInput

BEGIN, END = 1, 0
# Rows dropped, doubled and reordered, then beams of two: within a source, across sources, and out.
ORDERS = ([0, 1, 2], [2, 0, 0, 1, 2], [4, 3, 1], [0, 0, 1, 1, 2, 2], [1, 0, 2, 2, 4, 5])
ORDERS += ([0, 0, 3, 2, 5, 5], [2, 3, 0, 1, 5, 4], [1, 0, 3, 3, 5, 4], [3, 2, 4, 5], [1, 1, 3, 2])
MODELS = [
    ("decoder", {}),
    ("decoder", {"positions": "sinusoidal"}),
    ("lstm", {}),
    ("encoder-decoder", {}),
    ("encoder-decoder", {"memory": "prefix"}),
    ("encoder-decoder", {"memory": "prefix", "positions": "learned"}),
]


def scorer_of(architecture: str, model: Any, max_length: int) -> Any:
    if architecture == "encoder-decoder":
        return EncoderDecoderScorer(model, begin_token=BEGIN, end_token=END, max_length=max_length)
    return DecoderScorer(model, end_token=END, max_length=max_length)


def alone(architecture: str, model: Any, source: list[int], tokens: list[int]) -> torch.Tensor:
    """Log-probabilities of the next token, the row computed by itself and without a cache."""
    with torch.no_grad():
        if architecture == "encoder-decoder":
            logits = model(torch.tensor([source]), torch.tensor([[BEGIN, *tokens]]))
        else:
            logits = model(torch.tensor([[*source, *tokens]]))
    return logits[0, -1].log_softmax(-1)


@pytest.mark.parametrize(("architecture", "options"), MODELS)
@torch.no_grad()
def test_rows_that_are_dropped_doubled_and_reordered_continue_their_parents(
    architecture: str, options: dict[str, Any]
) -> None:
    model = random_model(architecture, tiny(**options))
    sources = [draw(1, n, seed=n)[0].tolist() for n in (7, 1, 4)]
    scorer = scorer_of(architecture, model, 10)
    state, log_probs = scorer.start(sources)
    rows: list[tuple[list[int], list[int]]] = [(source, []) for source in sources]
    for step, parents in enumerate(ORDERS):
        for (source, tokens), scored in zip(rows, log_probs, strict=True):
            close(scored, alone(architecture, model, source, tokens))
        new = draw(1, len(parents), seed=step)[0]
        rows = [(rows[p][0], [*rows[p][1], t]) for p, t in zip(parents, new.tolist(), strict=True)]
        state, log_probs = scorer.step(state, torch.tensor(parents), new)
    for (source, tokens), scored in zip(rows, log_probs, strict=True):
        close(scored, alone(architecture, model, source, tokens))


@pytest.mark.parametrize(("architecture", "options"), MODELS)
@torch.no_grad()
def test_every_row_is_a_distribution_over_the_vocabulary(
    architecture: str, options: dict[str, Any]
) -> None:
    scorer = scorer_of(architecture, random_model(architecture, tiny(**options)), 3)
    _, log_probs = scorer.start([[3, 4], [5]])
    assert scorer.vocab_size == VOCAB
    assert log_probs.shape == (2, VOCAB)
    close(log_probs.exp().sum(-1), torch.ones(2))


@pytest.mark.parametrize(("architecture", "options"), MODELS)
@torch.no_grad()
def test_as_many_tokens_as_were_asked_for_fit(architecture: str, options: dict[str, Any]) -> None:
    """The source's own room is added to the answer's; the model's positions are filled exactly."""
    model = random_model(architecture, replace(tiny(**options), max_positions=9))
    shared = architecture == "decoder" or (
        options.get("memory") == "prefix" and options.get("positions", "rope") == "rope"
    )
    length = 5 if shared else 8
    scorer = scorer_of(architecture, model, length)
    state, log_probs = scorer.start([[3, 4, 5, 6]])
    for _ in range(length - 1):
        state, log_probs = scorer.step(state, torch.tensor([0]), log_probs.argmax(-1))
    assert bool(log_probs.isfinite().all())


@torch.no_grad()
def test_the_source_changes_what_an_encoder_decoder_answers() -> None:
    for memory in ("cross-attention", "prefix"):
        scorer = scorer_of(
            "encoder-decoder", random_model("encoder-decoder", tiny(memory=memory)), 3
        )
        _, log_probs = scorer.start([[3, 4, 5], [5, 4, 3]])
        assert (log_probs[0] - log_probs[1]).abs().max() > 1e-3


def test_padding_stands_on_the_asked_side_and_is_marked() -> None:
    device = torch.device("cpu")
    tokens, real = pad([[5, 6, 7], [8]], left=True, device=device)
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert real is not None
    assert real.tolist() == [[True, True, True], [False, False, True]]
    tokens, real = pad([[5, 6, 7], [8]], left=False, device=device)
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert real is not None
    assert real.tolist() == [[True, True, True], [True, False, False]]


def test_sources_of_one_length_need_no_mask() -> None:
    tokens, real = pad([[5, 6], [0, 0]], left=True, device=torch.device("cpu"))
    assert tokens.tolist() == [[5, 6], [0, 0]]
    assert real is None


@pytest.mark.parametrize("sources", [[], [[]], [[1], []]])
def test_a_source_of_no_tokens_is_refused(sources: list[list[int]]) -> None:
    for architecture in ("decoder", "lstm", "encoder-decoder"):
        scorer = scorer_of(architecture, random_model(architecture, tiny()), 3)
        with pytest.raises(BadInput, match="at least one token"):
            scorer.start(sources)


class Counting(TableScorer):
    """Notes how many threads PyTorch has in each step, and may fail."""

    own_threads = True
    seen: ClassVar[list[int]] = []

    def step(self, *row: Any) -> Any:
        self.seen.append(torch.get_num_threads())
        if len(self.seen) == 3:
            raise BadInput("enough")
        return super().step(*row)


def test_a_scorer_with_threads_of_its_own_has_no_others_beside_it_while_it_is_searched() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        scorer = Counting(torch.tensor([0.1, 0.5, 0.4]), end_token=0)
        with pytest.raises(BadInput, match="enough"):
            sample(scorer, [[1]], max_length=8)
        assert torch.get_num_threads() == 3
        beam_search(scorer, [[1]], beam_size=2, max_length=4)
        assert torch.get_num_threads() == 3
        assert len(scorer.seen) > 3
        assert set(scorer.seen) == {1}
        scorer.own_threads, scorer.seen = False, []
        sample(scorer, [[1]], max_length=2)
        assert scorer.seen == [3]
    finally:
        torch.set_num_threads(before)
