"""What do scorers share that keep no cache: a row is its source and its tokens so far."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from unrolled.errors import BadInput

Row = tuple[tuple[int, ...], tuple[int, ...]]
"""A source, and what follows it."""


def continued(
    rows: list[Row], parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
) -> list[Row]:
    """Row i is row `parents[i]` of those before, with `tokens[i]` behind it."""
    pairs = zip(parents.tolist(), tokens.tolist(), strict=True)
    return [(rows[p][0], (*rows[p][1], token)) for p, token in pairs]


def check_end(end_token: int, vocab_size: int) -> None:
    """Raise `BadInput` for an end token that is no token."""
    if not 0 <= end_token < vocab_size:
        raise BadInput(f"end token {end_token} is outside the vocabulary of {vocab_size}")
