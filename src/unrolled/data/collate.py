"""How do sequences of a window become the tensors of a batch? By gathers, no loop over examples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unrolled.data.arrange import Pieces
from unrolled.data.ragged import Array, Ragged, rows
from unrolled.data.tokenizers import SPECIALS, Tokenizer
from unrolled.models.batch import IGNORED, Batch


def translation(held: Ragged, group: Array, _: np.random.Generator) -> Batch:
    """Pairs for an encoder–decoder; sequences 2i and 2i + 1 are source and target of pair i."""
    start, between, stop = (held.starts[2 * group + i] for i in range(3))
    source_lengths, lengths = between - start, stop - between - 1
    return Batch(
        tokens=_tensor(rows(held.values, between, lengths, Tokenizer.pad_id)),
        targets=_tensor(rows(held.values, between + 1, lengths, IGNORED)),
        attention_mask=_mask(lengths),
        source=_tensor(rows(held.values, start, source_lengths, Tokenizer.pad_id)),
        source_mask=_mask(source_lengths),
    )


def continuation(held: Ragged, group: Array, _: np.random.Generator) -> Batch:
    """Pairs for a decoder: one sequence each, predicted from the end of the source on."""
    start, between, stop = (held.starts[2 * group + i] for i in range(3))
    lengths = stop - start - 1
    targets = rows(held.values, start + 1, lengths, IGNORED)
    targets[np.arange(targets.shape[1]) < (between - start)[:, None]] = IGNORED
    return Batch(
        tokens=_tensor(rows(held.values, start, lengths, Tokenizer.pad_id)),
        targets=_tensor(targets),
        attention_mask=_mask(lengths),
    )


def classification(held: Ragged, group: Array, _: np.random.Generator) -> Batch:
    """Lines and their classes; sequences 2i and 2i + 1 are the tokens and the class of line i."""
    start, stop = held.starts[2 * group], held.starts[2 * group + 1]
    return Batch(
        tokens=_tensor(rows(held.values, start, stop - start, Tokenizer.pad_id)),
        targets=_tensor(held.values[stop].astype(np.int64)),
        attention_mask=_mask(stop - start),
    )


def packed(
    held: Ragged,
    pieces: Pieces,
    generator: np.random.Generator,
    *,
    length: int,
    masked: tuple[float, int] | None,
) -> Batch:
    """Pieces of documents laid into rows of `length`.

    The targets are the next tokens, or with `masked` = (fraction, vocab_size) the hidden ones.
    """
    count = int(pieces.rows[-1]) + 1
    first_of_row = np.searchsorted(pieces.rows, pieces.rows)
    ends = np.cumsum(pieces.lengths)
    begins = ends - pieces.lengths
    within = np.arange(ends[-1]) - np.repeat(begins, pieces.lengths)
    source = np.repeat(pieces.starts, pieces.lengths) + within
    corner = pieces.rows * length + begins - begins[first_of_row]
    place = np.repeat(corner, pieces.lengths) + within

    def laid(values: Array, fill: int) -> Array:
        matrix = np.full(count * length, fill, dtype=np.int64)
        matrix[place] = values
        return matrix.reshape(count, length)

    tokens = laid(held.values[source], Tokenizer.pad_id)
    if masked is None:
        targets = laid(held.values[source + 1], IGNORED)
    else:
        tokens, targets = _mask_some(tokens, *masked, generator)
    real = None if ends[-1] == tokens.size else torch.from_numpy(laid(np.array(1), 0) > 0)
    if len(pieces.rows) == count:
        return Batch(_tensor(tokens), _tensor(targets), real)
    documents = np.repeat(np.arange(len(pieces.rows)) - first_of_row + 1, pieces.lengths)
    return Batch(
        _tensor(tokens),
        _tensor(targets),
        real,
        documents=_tensor(laid(documents, 0)),
        positions=_tensor(laid(within, 0)),
    )


def _mask_some(
    tokens: Array, fraction: float, vocab_size: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Inputs with some tokens hidden, and targets that tell what stood there."""
    ordinary = tokens >= len(SPECIALS)
    draw = np.where(ordinary, generator.random(tokens.shape), 2.0)
    # the smallest draw of a row is chosen even where it exceeds the fraction
    chosen = ordinary & (draw <= np.maximum(fraction, draw.min(axis=1, keepdims=True)))
    targets = np.where(chosen, tokens, IGNORED)
    fate = generator.random(tokens.shape)
    others = generator.integers(len(SPECIALS), vocab_size, size=tokens.shape)
    hidden = np.where(fate < 0.8, Tokenizer.mask_id, np.where(fate < 0.9, others, tokens))
    return np.where(chosen, hidden, tokens), targets


def _mask(lengths: Array) -> Tensor | None:
    """True where a row of that length is real [n, widest]; None if no row is padded."""
    if lengths.min() == lengths.max():
        return None
    return torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])


def _tensor(matrix: Array) -> Tensor:
    return torch.from_numpy(matrix)
