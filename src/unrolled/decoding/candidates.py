"""Which extensions of the live prefixes are the best? One top-k a row, then one sort a source.

A scorer's log-probabilities are read to the nearest multiple of 2^-36 (1.5e-11), and a prefix whose
sum falls below -65,536 counts as impossible. So all sums are exact in binary64: no score depends on
the order of addition, equal scores are equal, and a receipt's checker adds the same numbers.

Ties are broken the same way every time: log-probability first, then the parent's rank, then the
token's number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.errors import BadInput

UNIT = 2.0**-36
FLOOR = -65536.0
ABOVE_ZERO = 1e-5
"""Rounding in float32 may leave the log-probability of a sure token this much above 0."""
BLOCK = 64
"""Tokens whose maximum is looked at first."""


class Candidates(NamedTuple):
    """The best extensions of each source, best first; -inf where there are no more."""

    sums: Float[Tensor, "sources width"]
    parents: Int[Tensor, "sources width"]
    tokens: Int[Tensor, "sources width"]
    log_probs: Float[Tensor, "sources width"]


def rounded(values: Float[Tensor, "*any"], *, below_zero: bool = True) -> Float[Tensor, "*any"]:
    """Binary64 multiples of 2^-36, at most 0, -inf below the floor."""
    values = (values.double() / UNIT).round() * UNIT
    if below_zero:
        values = values.clamp(max=0.0)
    return values.masked_fill(values < FLOOR, -torch.inf)


def check_shape(log_probs: Tensor, rows: int, vocab_size: int) -> None:
    """Raise `BadInput` unless there is a number for each row and token."""
    if tuple(log_probs.shape) != (rows, vocab_size):
        raise BadInput(
            f"the scorer should return log-probabilities of shape ({rows}, {vocab_size}), "
            f"not {tuple(log_probs.shape)}"
        )


def check_values(best: Float[Tensor, "rows 1"], *, below_zero: bool = True) -> None:
    """Raise `BadInput` for NaN (which top-k puts first) or what can't be a log-probability."""
    if bool(best.isnan().any()):
        raise BadInput("the scorer returns NaN: its weights or its numbers are damaged")
    if bool((best > (ABOVE_ZERO if below_zero else -FLOOR)).any()):
        raise BadInput(
            f"the scorer returns {float(best.max()):.6g}; a log-probability is at most 0: "
            "return log_softmax of the logits"
        )


def top_tokens(
    log_probs: Float[Tensor, "rows vocab"], count: int, *, below_zero: bool = True
) -> tuple[Float[Tensor, "rows count"], Int[Tensor, "rows count"]]:
    """The `count` best tokens of each row, equal ones by their number; rounded values, in
    the order of the tokens' numbers. `count` + 1 tokens are taken where the row has them.
    """
    wide = min(count + 1, log_probs.shape[1])
    raw, tokens = top_by_blocks(log_probs, wide)
    check_values(raw[:, :1], below_zero=below_zero)
    values = rounded(raw, below_zero=below_zero)
    if wide > count:
        # A tie across the cut: which of the equal tokens top-k took is nobody's promise.
        tied = (values[:, -1] == values[:, -2]) & values[:, -1].isfinite()
        for row in tied.nonzero().flatten().tolist():
            exact = rounded(log_probs[row], below_zero=below_zero)
            order = exact.sort(descending=True, stable=True).indices[:wide]
            values[row], tokens[row] = exact[order], order
    tokens, order = tokens.sort(dim=1)
    return values.gather(1, order), tokens


def top_by_blocks(
    log_probs: Float[Tensor, "rows vocab"], count: int
) -> tuple[Float[Tensor, "rows count"], Int[Tensor, "rows count"]]:
    """`topk`, which on a processor is slow over a large vocabulary.

    The `count` largest tokens lie in the `count` blocks with the largest maxima: were one outside,
    each of those blocks would hold a token at least as large.
    """
    rows, vocab = log_probs.shape
    blocks = vocab // BLOCK
    if blocks < 4 * count:
        return log_probs.topk(count)
    whole = log_probs[:, : blocks * BLOCK].view(rows, blocks, BLOCK)
    chosen = whole.amax(-1).topk(count).indices
    inside = whole.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    numbers = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=chosen.device)).flatten(1)
    tail = torch.arange(blocks * BLOCK, vocab, device=chosen.device).expand(rows, -1)
    inside = torch.cat([inside, log_probs[:, blocks * BLOCK :]], 1)
    numbers = torch.cat([numbers, tail], 1)
    values, where = inside.topk(count)
    return values, numbers.gather(1, where)


def best_extensions(
    log_probs: Float[Tensor, "rows vocab"],
    sums: Float[Tensor, " rows"],
    counts: list[int],
    width: int,
    *,
    below_zero: bool = True,
) -> Candidates:
    """The `width` best extensions of each source and the one behind them.

    The rows of a source stand together, `counts[i]` of them, in the order of their rank.
    """
    values, tokens = top_tokens(log_probs, width, below_zero=below_zero)
    most, k = max(counts), values.shape[1]
    device = log_probs.device
    rank = torch.cat([torch.arange(c) for c in counts]).to(device)
    source = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(device)
    totals = sums[:, None] + values
    totals = totals.masked_fill(totals < FLOOR, -torch.inf)
    shape = (len(counts), most, k)
    grid = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
    grid[source, rank] = totals
    each = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
    each[source, rank] = values
    named = torch.zeros(shape, dtype=torch.long, device=device)
    named[source, rank] = tokens
    ordered, order = grid.flatten(1).sort(dim=1, descending=True, stable=True)
    ordered, order = ordered[:, : width + 1], order[:, : width + 1]
    flat = (named.flatten(1).gather(1, order), each.flatten(1).gather(1, order))
    return Candidates(ordered, order // k, *flat)
