"""Under Hugging Face's rules the answers are those of its own `generate`, on the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from unrolled.decoding import beam_search

VOCAB, END, LONGEST = 12, 0, 9
EARLY: dict[str, Any] = {"hf:false": False, "hf:true": True, "hf:never": "never"}


def model(seed: int) -> Any:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=32, n_embd=8, n_layer=1, n_head=2, bos_token_id=None,
        eos_token_id=END, pad_token_id=END, initializer_range=1.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


class Plain:
    """The model without a cache: each row is computed anew."""

    vocab_size, end_token = VOCAB, END

    def __init__(self, network: Any) -> None:
        self.network = network

    def start(self, sources: Any) -> tuple[Any, Tensor]:
        return self._score(torch.tensor(sources))

    def step(self, state: Any, parents: Tensor, tokens: Tensor) -> tuple[Any, Tensor]:
        return self._score(torch.cat([state[parents], tokens[:, None]], 1))

    def _score(self, rows: Tensor) -> tuple[Any, Tensor]:
        return rows, self.network(rows).logits[:, -1].log_softmax(-1)


@pytest.mark.parametrize("stop", EARLY)
@pytest.mark.parametrize("alpha", [0, 1, 2, -1])
def test_the_tokens_and_scores_of_the_n_best_are_equal(stop: str, alpha: int) -> None:
    lengths = set()
    for seed in range(12):
        network = model(seed)
        sources = [[3, 4, 5], [6, 7, 8], [1, 1, 2]]
        theirs = network.generate(
            torch.tensor(sources), attention_mask=torch.ones(3, 3, dtype=torch.long),
            num_beams=4, num_return_sequences=3, max_new_tokens=LONGEST, do_sample=False,
            early_stopping=EARLY[stop], length_penalty=float(alpha),
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        ours = beam_search(
            Plain(network), sources, beam_size=4, max_length=LONGEST, stop=stop, n_best=3,
            objective=f"length-normalised:{alpha}",
        )  # fmt: skip
        found = [h for answer in ours for h in answer.hypotheses]
        for row, score, h in zip(theirs.sequences, theirs.sequences_scores, found, strict=True):
            generated = row[3:].tolist()
            assert generated[: len(h.tokens)] == h.tokens
            assert set(generated[len(h.tokens) :]) <= {END}
            assert h.score == pytest.approx(float(score), abs=1e-4)
            lengths.add(len(h.tokens))
    assert len(lengths) > 3
