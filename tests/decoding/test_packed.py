"""The compiled step finds what the ordinary model finds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

pytest.importorskip("numba")

from tests.models.test_packed import APART, FALLEN, made, rounded

from unrolled.decoding import DecoderScorer, Scorer, beam_search, rescore, sample
from unrolled.decoding.scorers import PackedScorer
from unrolled.errors import BadInput
from unrolled.kernels import FORMATS
from unrolled.kernels.formats import WHOLE
from unrolled.models import ModelConfig, build

SOURCES = [[3, 1, 4, 1, 5], [9, 2], [6], [5, 3, 5], [8] * 11, [2]]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"norm": "layernorm", "activation": "gelu", "positions": "learned", "bias": True},
    {"num_kv_heads": 2, "positions": "sinusoidal", "tie_embeddings": False},
]


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("options", OPTIONS, ids=["llama", "gpt", "untied"])
def test_greedy_and_beams_find_the_same_tokens(weights: str, options: dict[str, Any]) -> None:
    """In the integer formats one activation on the other side of a half may turn a close race."""
    model = made(**options)
    ours = PackedScorer(model, weights=weights, end_token=0, max_length=12)
    theirs = DecoderScorer(rounded(model, weights), end_token=0, max_length=12)
    assert isinstance(ours, Scorer)
    least, apart = (len(SOURCES) - 1, FALLEN) if weights in WHOLE else (len(SOURCES), APART)
    one, other = (sample(scorer, SOURCES, max_length=12) for scorer in (ours, theirs))
    assert sum(a.tokens == b.tokens for a, b in zip(one, other, strict=True)) >= least
    for stop in ("optimal", "hf:false"):
        one, other = (
            beam_search(scorer, SOURCES, beam_size=5, max_length=12, stop=stop)
            for scorer in (ours, theirs)
        )
        same = [
            (a.hypotheses, b.hypotheses)
            for a, b in zip(one, other, strict=True)
            if [h.tokens for h in a.hypotheses] == [h.tokens for h in b.hypotheses]
        ]
        assert len(same) >= least
        for x, y in itertools.chain.from_iterable(zip(*pair, strict=True) for pair in same):
            assert x.score == pytest.approx(y.score, abs=13 * apart)


def test_an_answer_is_the_same_whatever_else_is_in_the_batch() -> None:
    ours = PackedScorer(made(), weights="int8", end_token=0, max_length=12)
    together = beam_search(ours, SOURCES, beam_size=4, max_length=12)
    for source, answer in zip(SOURCES, together, strict=True):
        (single,) = beam_search(ours, [source], beam_size=4, max_length=12)
        assert single.hypotheses == answer.hypotheses


def test_its_receipts_are_scored_again_to_the_bit() -> None:
    ours = PackedScorer(made(), weights="int4", end_token=0, max_length=12)
    (found,) = beam_search(ours, [SOURCES[0]], beam_size=4, max_length=12)
    assert rescore(ours, found.receipt().document()) == ""


def test_damaged_weights_end_as_with_the_ordinary_model() -> None:
    model = made()
    with torch.no_grad():
        model.stack.norm.weight[0] = math.nan
    for weights in FORMATS:
        scorer = PackedScorer(model, weights=weights, end_token=0, max_length=3)
        with pytest.raises(BadInput, match="NaN"):
            sample(scorer, [[1]], max_length=3)
        with pytest.raises(BadInput, match="NaN"):
            beam_search(scorer, [[1]], beam_size=2, max_length=3)


def test_what_cannot_be_packed_is_refused() -> None:
    config = ModelConfig(vocab_size=9, hidden_size=8, num_layers=1, num_heads=2)
    with pytest.raises(BadInput, match="LSTMModel can't be packed"):
        PackedScorer(build("lstm", config), weights="int8", end_token=0, max_length=3)
    with pytest.raises(BadInput, match="end token 37"):
        PackedScorer(made(), weights="int8", end_token=37, max_length=3)
