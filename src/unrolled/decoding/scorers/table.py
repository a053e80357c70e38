"""How is a Markov chain decoded? P(next | the last tokens) looked up in a table of any order.

N-gram estimates: Jurafsky and Martin, *Speech and Language Processing*, chapter 3 (add-k).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.decoding.scorers.rows import check_end
from unrolled.errors import BadInput

TOLERANCE = 1e-4
"""How far a row's sum may be from 1."""
LARGEST = 1 << 26
"""Entries of a table counted from text."""


class TableScorer:
    """`probabilities[a, b, …, next]` is P(next | …, a, b): two dimensions are a bigram model.

    The context is the end of the source and what was generated. Raises `BadInput` for a table that
    is no square (cube, …), whose rows are no distributions, or without the end token.
    """

    def __init__(self, probabilities: Float[Tensor, ...], *, end_token: int) -> None:
        sizes = set(probabilities.shape)
        if probabilities.ndim < 1 or len(sizes) != 1 or 0 in sizes:
            shape = list(probabilities.shape)
            raise BadInput(f"a table has the vocabulary's size in every dimension, not {shape}")
        self.vocab_size, self.end_token = sizes.pop(), end_token
        self.context = probabilities.ndim - 1
        check_end(end_token, self.vocab_size)
        rows = probabilities.reshape(-1, self.vocab_size)
        wrong = ((rows.double().sum(-1) - 1).abs() > TOLERANCE) | ~(rows >= 0).all(-1)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise BadInput(f"row {row} of the table is no distribution: {rows[row].tolist()[:8]}")
        self.log_probs = rows.log()

    @classmethod
    def count(
        cls,
        sequences: Sequence[Sequence[int]],
        *,
        order: int,
        vocab_size: int,
        end_token: int,
        add: float = 1.0,
    ) -> TableScorer:
        """The model of `order`-grams: (count + add) / (count of the context + add · vocabulary)."""
        if order < 1 or vocab_size < 1 or vocab_size**order > LARGEST or not add > 0:
            raise BadInput(
                f"order and vocab_size of at least 1 with vocab_size^order up to {LARGEST:,} and "
                f"add above 0, not {order}, {vocab_size} and {add}"
            )
        counts = torch.full((vocab_size,) * order, add, dtype=torch.float64)
        for sequence in sequences:
            for i in range(len(sequence) - order + 1):
                gram = tuple(sequence[i : i + order])
                if not all(0 <= token < vocab_size for token in gram):
                    raise BadInput(f"{list(gram)} has a token outside the vocabulary {vocab_size}")
                counts[gram] += 1
        return cls((counts / counts.sum(-1, keepdim=True)).float(), end_token=end_token)

    def start(
        self, sources: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]:
        """The row of the table that each source's end names."""
        places = []
        for source in sources:
            if len(source) < self.context:
                raise BadInput(f"a source needs {self.context} tokens here, not {len(source)}")
            place = 0
            for token in source[len(source) - self.context :]:
                if not 0 <= token < self.vocab_size:
                    raise BadInput(f"token {token} is outside the vocabulary {self.vocab_size}")
                place = place * self.vocab_size + token
            places.append(place)
        state = torch.tensor(places, dtype=torch.long)
        return state, self.log_probs[state]

    def step(
        self, state: Int[Tensor, " before"], parents: Int[Tensor, " rows"], tokens: Tensor
    ) -> tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]:
        """The context moves on by a token."""
        state = (state[parents] * self.vocab_size + tokens) % len(self.log_probs)
        return state, self.log_probs[state]
