"""What are the batches of each kind of training? Pairs, packed text, masked text, labelled lines.

Each function takes a restartable source of text (`functools.partial(corpus.pairs, "train")`), and
returns a `BatchStream`. With `window=None` the source is read and tokenised once and held in
memory; else it is read anew every epoch, about `window` characters at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import numpy as np

from unrolled.data.arrange import Pieces, buckets, cut, packed_groups
from unrolled.data.collate import classification, continuation, packed, translation
from unrolled.data.ragged import Array, Ragged
from unrolled.data.stream import BatchStream, Skips, read_windows
from unrolled.data.tokenizers import SPECIALS, Tokenizer
from unrolled.errors import BadInput
from unrolled.models.batch import Batch

PairLayout = Literal["encoder-decoder", "decoder"]


def pair_batches(
    pairs: Callable[[], Iterable[tuple[str, str]]],
    tokenizer: Tokenizer,
    *,
    layout: PairLayout,
    tokens_per_batch: int,
    max_positions: int,
    seed: int,
    window: int | None = None,
) -> BatchStream[Array]:
    """Batches of (source, target) pairs of like lengths, within `tokens_per_batch` positions.

    "encoder-decoder": source is the source and end; tokens are begin and the target; targets the
    target and end. "decoder": tokens are source, separator, target; targets the target and
    end, from the separator's position on. Masks are None where nothing is padded. Pairs longer than
    `max_positions`, or than a whole batch, are skipped and counted.
    """
    if layout not in ("encoder-decoder", "decoder"):
        raise BadInput(f"pairs are laid out for a decoder or an encoder-decoder, not {layout!r}")
    skipped: Counter[str] = Counter()
    too_long = Skips(f"longer than {max_positions} positions", skipped)
    too_large = Skips(f"longer than a batch of {tokens_per_batch} positions", skipped)
    end = np.array([tokenizer.end_id], tokenizer.dtype)
    if layout == "decoder":
        after_source, before_target = end[:0], np.array([tokenizer.separator_id], tokenizer.dtype)
    else:
        after_source, before_target = end, np.array([tokenizer.begin_id], tokenizer.dtype)

    def encode(chunk: list[tuple[str, str]]) -> list[Array]:
        """Two sequences a pair, one behind the other: for the decoder they are one."""
        sequences = []
        sources = tokenizer.encode_many([source for source, _ in chunk])
        targets = tokenizer.encode_many([target for _, target in chunk])
        for pair, source, target in zip(chunk, sources, targets, strict=True):
            both = len(source) + len(target) + 1
            longest = both if layout == "decoder" else max(len(source), len(target)) + 1
            total = both if layout == "decoder" else both + 1
            if longest > max_positions:
                too_long.add("\t".join(pair))
            elif total > tokens_per_batch:
                too_large.add("\t".join(pair))
            else:
                sequences.append(np.concatenate([source, after_source]))
                sequences.append(np.concatenate([before_target, target, end]))
        return sequences

    def arrange(held: Ragged, generator: np.random.Generator) -> list[Array]:
        sizes = held.lengths.reshape(-1, 2) - [0, 1]
        if layout == "decoder":
            sizes = sizes.sum(1, keepdims=True)
        return buckets(sizes, tokens_per_batch, generator)

    windows = read_windows(
        pairs, encode, lambda pair: len(pair[0]) + len(pair[1]), window, tokenizer.dtype
    )
    collate = translation if layout == "encoder-decoder" else continuation
    return BatchStream(windows, arrange, collate, seed, skipped, in_memory=window is None)


def line_batches(
    lines: Callable[[], Iterable[tuple[str, int]]],
    tokenizer: Tokenizer,
    *,
    tokens_per_batch: int,
    max_positions: int,
    seed: int,
    window: int | None = None,
) -> BatchStream[Array]:
    """Batches of (text, class) lines of like lengths; `targets` [batch] is one class a row.

    Lines longer than `max_positions`, or than a whole batch, are skipped and counted, and so are
    empty ones.
    """
    skipped: Counter[str] = Counter()
    longest = min(max_positions, tokens_per_batch)
    too_long = Skips(f"longer than {longest} positions", skipped)
    empty = Skips("empty", skipped)

    def encode(chunk: list[tuple[str, int]]) -> list[Array]:
        """Two sequences a line: its tokens, its class."""
        sequences = []
        for (text, label), ids in zip(
            chunk, tokenizer.encode_many([text for text, _ in chunk]), strict=True
        ):
            if len(ids) > longest:
                too_long.add(text)
            elif not len(ids):
                empty.add(text)
            else:
                sequences += [ids, np.array([label], tokenizer.dtype)]
        return sequences

    def arrange(held: Ragged, generator: np.random.Generator) -> list[Array]:
        return buckets(held.lengths[::2, None], tokens_per_batch, generator)

    windows = read_windows(lines, encode, lambda line: len(line[0]), window, tokenizer.dtype)
    return BatchStream(windows, arrange, classification, seed, skipped, in_memory=window is None)


def text_batches(
    documents: Callable[[], Iterable[str]],
    tokenizer: Tokenizer,
    *,
    length: int,
    tokens_per_batch: int,
    seed: int,
    window: int | None = None,
) -> BatchStream[Pieces]:
    """Rows of `length` positions packed with pieces of documents, for predicting the next token.

    A document is begin, its tokens, end; an epoch predicts each of its tokens and its end exactly
    once. One that doesn't fit in a row is cut where the epoch's draw falls. `documents` numbers the
    pieces of a row from 1 on (0 is padding), `positions` restart with every piece; both are None
    where every row of the batch is one piece.
    """
    collate = partial(packed, length=length, masked=None)
    return _packed_stream(documents, tokenizer, length, tokens_per_batch, seed, window, 1, collate)


def masked_batches(
    documents: Callable[[], Iterable[str]],
    tokenizer: Tokenizer,
    *,
    length: int,
    tokens_per_batch: int,
    seed: int,
    window: int | None = None,
    mask_fraction: float = 0.15,
) -> BatchStream[Pieces]:
    """Packed rows for masked language modelling (Devlin et al. 2019, section 3.1).

    Of the positions that hold an ordinary token, `mask_fraction` are chosen, at least one a row:
    80 % of them become the mask, 10 % a random token, 10 % stay; targets are the tokens that stood
    there. The choice is drawn anew each epoch.
    """
    if not 0 < mask_fraction < 1:
        raise BadInput(f"mask_fraction lies between 0 and 1, got {mask_fraction}")
    collate = partial(packed, length=length, masked=(mask_fraction, tokenizer.vocab_size))
    return _packed_stream(documents, tokenizer, length, tokens_per_batch, seed, window, 0, collate)


def _packed_stream(
    documents: Callable[[], Iterable[str]],
    tokenizer: Tokenizer,
    length: int,
    tokens_per_batch: int,
    seed: int,
    window: int | None,
    predicted: int,
    collate: Callable[[Ragged, Pieces, np.random.Generator], Batch],
) -> BatchStream[Pieces]:
    """Rows of pieces; with `predicted` 1, a piece has one token more behind it to predict."""
    if length < 1 or tokens_per_batch < length:
        raise BadInput(
            f"a batch of {tokens_per_batch} tokens has no room for a row of length {length}: "
            "tokens_per_batch is at least the length, and that at least 1"
        )
    begin = np.array([tokenizer.begin_id], tokenizer.dtype)
    end = np.array([tokenizer.end_id], tokenizer.dtype)

    def encode(chunk: list[str]) -> list[Array]:
        many = tokenizer.encode_many(chunk)
        return [np.concatenate([begin, ids, end]) for ids in many if len(ids)]

    def arrange(held: Ragged, generator: np.random.Generator) -> list[Pieces]:
        starts, lengths = cut(held.starts[:-1], held.lengths - predicted, length, generator)
        if not predicted:  # a lone begin or end has nothing that could be masked
            useful = (lengths > 1) | (held.values[starts] >= len(SPECIALS))
            starts, lengths = starts[useful], lengths[useful]
        return packed_groups(starts, lengths, length, tokens_per_batch // length, generator)

    windows = read_windows(documents, encode, len, window, tokenizer.dtype)
    return BatchStream(windows, arrange, collate, seed, in_memory=window is None)
