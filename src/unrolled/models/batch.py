"""What does one training step look at? A `Batch`: tokens, what to predict, and what is real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor

IGNORED = -100
"""A target with this value is not predicted (PyTorch's `ignore_index`)."""


@dataclass(frozen=True)
class Batch:
    """Rows of one step. Padding is on the right; `None` always means "nothing to say here".

    A field that is `None` lets the model take its fastest path: no `attention_mask` means that no
    row is padded, no `documents` that no row holds more than one document.
    """

    tokens: Int[Tensor, "batch time"]
    """Input of the decoder, the encoder or the LSTM."""
    targets: Int[Tensor, "batch time"] | Int[Tensor, " batch"]
    """The token to predict at each position (`IGNORED`: none), or one class a row."""
    attention_mask: Bool[Tensor, "batch time"] | None = None
    """True where `tokens` is real, False where it is padding."""
    documents: Int[Tensor, "batch time"] | None = None
    """Number of the document that a position belongs to, where rows are packed."""
    positions: Int[Tensor, "batch time"] | None = None
    """Position inside the document, where rows are packed; else 0, 1, 2, …"""
    source: Int[Tensor, "batch source"] | None = None
    """Input of the encoder, for an encoder–decoder."""
    source_mask: Bool[Tensor, "batch source"] | None = None
    """True where `source` is real."""

    @property
    def num_targets(self) -> int:
        """How many predictions the loss sums over."""
        return int((self.targets != IGNORED).sum())

    @property
    def num_tokens(self) -> int:
        """How many positions the model computes, padding included."""
        return self.tokens.numel() + (0 if self.source is None else self.source.numel())

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in present.items() if v is not None})

    def rows(self, start: int, step: int = 1) -> Batch:
        """Rows start, start + step, …: what one of `step` processes works on."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[start::step] for k, v in present.items() if v is not None})


def segments(batch: Batch) -> Iterator[tuple[list[int], list[int]]]:
    """The sequences that a batch for a decoder is made of: tokens and targets of each, in order.

    A sequence is what one document has in one row, up to its last target.
    """
    for row, tokens in enumerate(batch.tokens):
        targets = batch.targets[row]
        wanted = (targets != IGNORED).nonzero()
        end = int(wanted[-1]) + 1 if len(wanted) else 0
        cuts = [0, end]
        if batch.documents is not None:
            changes = batch.documents[row, :end].diff().nonzero()[:, 0] + 1
            cuts = [0, *changes.tolist(), end]
        for start, stop in pairwise(cuts):
            if start < stop:
                yield tokens[start:stop].tolist(), targets[start:stop].tolist()
