"""Which examples go into one batch, so that little or no position of it is padding?

Two answers: `buckets` puts examples of like lengths together (pairs, lines); `cut` and `pack` fill
rows of one fixed length with pieces of documents (text). Best-fit decreasing bin packing: Johnson
1973; for training rows: Ding et al. 2024, "Fewer truncations improve language modeling".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Array = np.ndarray
NEARLY_FULL = 0.75
"""A batch this full is closed rather than padded."""


def buckets(sizes: Array, budget: int, generator: np.random.Generator) -> list[Array]:
    """Groups of examples, each within `budget` positions with its padding counted.

    `sizes` [n, d] are the lengths of each example's d sequences; a group of r examples costs
    r times the sum of its d largest lengths. Every example is in exactly one group; which of those
    of equal lengths go together is random, and so is the order of the groups.

    With two lengths the examples are sorted as a carpet is laid: in strips of like first length,
    each strip from short to long second length and the next one back. Few strips pad the
    first length, many pad the second: the number that pads least is found by trying.
    """
    if not len(sizes):
        return []
    shuffled = generator.permutation(len(sizes))
    sizes = sizes[shuffled]
    distinct = len(np.unique(sizes[:, 0]))
    tries = [1] if sizes.shape[1] == 1 else [2**k for k in range(distinct.bit_length() + 1)]
    best: list[Array] = []
    least = np.inf
    for strips in tries:
        order = _carpet(sizes, strips)
        groups, padded = _greedy(sizes[order], budget)
        if padded < least:
            least, best = padded, [order[start:stop] for start, stop in groups]
    return [shuffled[best[i]] for i in generator.permutation(len(best))]


def _carpet(sizes: Array, strips: int) -> Array:
    """Order of the examples: by strip of the first length, there and back by the last."""
    first, last = sizes[:, 0], sizes[:, -1]
    rank = np.searchsorted(np.sort(first), first)
    strip = rank * strips // len(first)
    return np.lexsort((first, np.where(strip % 2, -last, last), strip))


def _greedy(sizes: Array, budget: int) -> tuple[list[tuple[int, int]], int]:
    """Cut the sorted examples into groups within the budget; returns also the positions used."""
    groups, used, start = [], 0, 0
    alike = np.append(np.flatnonzero((np.diff(sizes, axis=0) != 0).any(1)) + 1, len(sizes))
    while start < len(sizes):
        own = int(sizes[start].sum())
        candidates = sizes[start : start + max(1, budget // own)]
        widths = np.maximum.accumulate(candidates, axis=0).sum(1)
        count = int(np.searchsorted(widths * np.arange(1, len(widths) + 1), budget, "right"))
        count = max(1, count)
        same = int(alike[np.searchsorted(alike, start, "right")]) - start
        if same < count and same * own >= NEARLY_FULL * budget:
            count = same
        used += count * int(widths[count - 1])
        groups.append((start, start + count))
        start += count
    return groups, used


@dataclass(frozen=True)
class Pieces:
    """Stretches of a flat array of tokens, and the row of the batch that each is laid into."""

    starts: Array
    lengths: Array
    rows: Array
    """Row of each piece, ascending from 0 without gaps."""


def cut(
    starts: Array, lengths: Array, longest: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Cut stretches into pieces of at most `longest`; returns the pieces' starts and lengths.

    A stretch that fits stays whole. A longer one begins with a piece of random length, so that
    its cuts fall elsewhere each time; the pieces tile it exactly.
    """
    phase = generator.integers(1, longest + 1, size=len(lengths))
    phase = np.where(lengths <= longest, lengths, phase)
    counts = 1 + -(-(lengths - phase) // longest)
    whole = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(whole)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.where(number == 0, 0, phase[whole] + (number - 1) * longest)
    end = np.minimum(phase[whole] + number * longest, lengths[whole])
    return starts[whole] + begin, end - begin


def pack(lengths: Array, capacity: int) -> Array:
    """Row of each piece, so that no row holds more than `capacity`: best-fit decreasing.

    `lengths` must be in descending order, none above the capacity. Each piece goes into the fullest
    row that has room; it is found in a bit set: bit r of `open_rows` says that some row has r
    positions left.
    """
    row_of = np.arange(len(lengths))
    full = int(np.searchsorted(-lengths, -capacity, "right"))
    rows_with: list[list[int]] = [[] for _ in range(capacity + 1)]
    open_rows, next_row = 0, full
    for piece, length in enumerate(lengths[full:].tolist(), start=full):
        fitting = open_rows >> length
        if fitting:
            left = length + (fitting & -fitting).bit_length() - 1
            row = rows_with[left].pop()
            if not rows_with[left]:
                open_rows ^= 1 << left
        else:
            left, row, next_row = capacity, next_row, next_row + 1
        row_of[piece] = row
        left -= length
        if left:
            rows_with[left].append(row)
            open_rows |= 1 << left
    return row_of


def packed_groups(
    starts: Array, lengths: Array, capacity: int, rows: int, generator: np.random.Generator
) -> list[Pieces]:
    """Pack pieces into rows of `capacity` and the rows into groups of `rows`, in random order.

    Rows that are one full piece come in groups of their own (but for one mixed group): these need
    no document mask.
    """
    if not len(lengths):
        return []
    order = generator.permutation(len(lengths))
    order = order[np.argsort(-lengths[order], kind="stable")]
    row_of = pack(lengths[order], capacity)
    full = int((lengths == capacity).sum())
    shuffled = generator.permutation(full), full + generator.permutation(row_of.max() + 1 - full)
    place = np.argsort(np.concatenate(shuffled))[row_of]
    by_place = np.argsort(place, kind="stable")
    order, place = order[by_place], place[by_place]
    edges = np.searchsorted(place, np.arange(0, place[-1] + 1 + rows, rows))
    groups = [
        Pieces(starts[order[a:b]], lengths[order[a:b]], place[a:b] % rows)
        for a, b in pairwise(edges.tolist())
    ]
    return [groups[i] for i in generator.permutation(len(groups))]
