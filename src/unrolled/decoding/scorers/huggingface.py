"""How is a Hugging Face model decoded here? Through its own cache, reordered as rows are.

Nothing of `transformers` is imported: the model brings its cache (`DynamicCache`, or
`EncoderDecoderCache`) with its first answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unrolled.decoding.scorer import device_of, pad
from unrolled.decoding.scorers.rows import check_end
from unrolled.errors import BadInput


@dataclass
class Past:
    """What a model keeps between two steps."""

    cache: Any
    mask: Bool[Tensor, "rows time"]
    """Real tokens of the prompt and what follows, or of the encoded source."""
    memory: Float[Tensor, "rows source hidden"] | None = None
    """The encoder's output."""
    length: int = 0
    """Tokens that the decoder has read of its target."""

    def reorder(self, parents: Int[Tensor, " rows"]) -> None:
        """Keep these rows, in this order."""
        count = len(self.mask)
        if len(parents) == count and parents.tolist() == list(range(count)):
            return
        self.cache.reorder_cache(parents)
        self.mask = self.mask[parents]
        if self.memory is not None:
            self.memory = self.memory[parents]


class CausalScorer:
    """A `transformers` causal language model; the source is its prompt."""

    def __init__(self, model: Any, *, end_token: int) -> None:
        self.model, self.end_token = model.eval(), end_token
        self.vocab_size: int = model.config.vocab_size
        self.max_positions = max_positions(model.config)
        check_end(end_token, self.vocab_size)
        self.places = "position_ids" in inspect.signature(model.forward).parameters
        self.cache_name = cache_name(model)

    @torch.no_grad()
    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Past, Float[Tensor, "rows vocab"]]:
        """Read the prompts, padded on the left."""
        tokens, real = pad(sources, left=True, device=device_of(self.model))
        mask = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
        return self._read(Past(None, mask), tokens)

    @torch.no_grad()
    def step(
        self, state: Past, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[Past, Float[Tensor, "rows vocab"]]:
        """One token more in every row."""
        state.reorder(parents)
        state.mask = torch.cat((state.mask, state.mask.new_ones(len(tokens), 1)), dim=1)
        return self._read(state, tokens[:, None])

    def _read(
        self, state: Past, tokens: Int[Tensor, "rows time"]
    ) -> tuple[Past, Float[Tensor, "rows vocab"]]:
        positions = (state.mask.long().cumsum(1) - 1).clamp(min=0)
        check_room(int(positions.max()) + 1, self.max_positions)
        placed = {"position_ids": positions[:, -tokens.shape[1] :]} if self.places else {}
        out = self.model(
            input_ids=tokens,
            attention_mask=state.mask.long(),
            use_cache=True,
            **placed,
            **{self.cache_name: state.cache},
        )
        state.cache = out[self.cache_name]
        return state, out.logits[:, -1].float().log_softmax(-1)


class Seq2SeqScorer:
    """A `transformers` encoder–decoder; `begin_token` is its decoder's first input."""

    def __init__(self, model: Any, *, begin_token: int, end_token: int) -> None:
        self.model, self.begin_token, self.end_token = model.eval(), begin_token, end_token
        self.vocab_size: int = model.config.vocab_size
        self.max_positions = max_positions(model.config)
        self.cache_name = cache_name(model)
        check_end(end_token, self.vocab_size)

    @torch.no_grad()
    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Past, Float[Tensor, "rows vocab"]]:
        """Encode the sources and score the token behind the begin token."""
        tokens, real = pad(sources, left=False, device=device_of(self.model))
        check_room(tokens.shape[1], self.max_positions)
        mask = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
        encoded = self.model.get_encoder()(input_ids=tokens, attention_mask=mask.long())
        begin = torch.full((len(tokens),), self.begin_token, device=tokens.device)
        return self._read(Past(None, mask, encoded[0]), begin)

    @torch.no_grad()
    def step(
        self, state: Past, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[Past, Float[Tensor, "rows vocab"]]:
        """One token more in every row."""
        state.reorder(parents)
        return self._read(state, tokens)

    def _read(
        self, state: Past, tokens: Int[Tensor, " rows"]
    ) -> tuple[Past, Float[Tensor, "rows vocab"]]:
        state.length += 1
        check_room(state.length, self.max_positions)
        out = self.model(
            encoder_outputs=(state.memory,),
            attention_mask=state.mask.long(),
            decoder_input_ids=tokens[:, None],
            use_cache=True,
            **{self.cache_name: state.cache},
        )
        state.cache = out[self.cache_name]
        return state, out.logits[:, -1].float().log_softmax(-1)


def cache_name(model: Any) -> str:
    """What this version of `transformers` calls the cache."""
    known = inspect.signature(model.forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def max_positions(config: Any) -> int | None:
    """How far the model can count; None: as far as one likes."""
    names = ("max_position_embeddings", "n_positions")
    if getattr(config, "model_type", "") in ("t5", "mt5", "umt5"):
        return None  # `n_positions` is a leftover there: T5 knows distances alone
    return next((n for n in (getattr(config, name, None) for name in names) if n), None)


def check_room(positions: int, limit: int | None) -> None:
    """Raise `BadInput` for more positions than the model has."""
    if limit is not None and positions > limit:
        raise BadInput(f"{positions} positions asked of a model of {limit}: shorten the source")
