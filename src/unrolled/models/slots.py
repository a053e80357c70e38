"""What do rows share whose beginnings are the same? Each token's keys and values stand in one slot.

A row is a list of slots, one a token: its prompt's, then its own. Rows that are dropped, doubled or
reordered copy their lists; keys and values never move. A slot that no row names is free again; free
ones are looked for when there are none left, so that a step costs nothing for them:

    slots   0 1 2 | 3 4 | 5 6        row 0: 0 1 2 3 5     row 1: 0 1 2 3 6     4 is free
            prompt  step  step
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32, Integer

from unrolled.kernels.formats import empty
from unrolled.models.config import ModelConfig

SPARE_STEPS = 16
"""Steps that a pool has room for before free slots are looked for."""
MORE_STEPS = 64
"""Steps that a pool has room for where it grew, which copies all of it: room that is not used yet
takes no memory.
"""


class Slots:
    """The pool of keys and values of some rows' tokens, and which row has which.

    Memory: 2 × layers × slots × kv heads × head size × 4 bytes.
    """

    def __init__(self, config: ModelConfig, lengths: list[int]) -> None:
        self.most = config.max_positions
        count = sum(lengths) + len(lengths) * SPARE_STEPS
        shape = (config.num_layers, count, config.kv_heads * config.head_size)
        self.keys: Float32[np.ndarray, "layers slots width"] = empty(shape, np.float32)
        self.values: Float32[np.ndarray, "layers slots width"] = empty(shape, np.float32)
        self.lengths: Int32[np.ndarray, " rows"] = np.zeros(len(lengths), np.int32)
        self.table: Int32[np.ndarray, "rows positions"]
        self.table = np.zeros((len(lengths), max(lengths) + SPARE_STEPS), np.int32)
        self.free: Int32[np.ndarray, " free"] = np.arange(count, dtype=np.int32)
        for row, length in enumerate(lengths):
            self.table[row, :length] = self._take(length)
            self.lengths[row] = length

    @property
    def count(self) -> int:
        """Slots of the pool."""
        return int(self.keys.shape[1])

    def held(self) -> Int32[np.ndarray, " held"]:
        """The slots that some row names, each once."""
        named = self.table[np.arange(self.table.shape[1]) < self.lengths[:, None]]
        used = np.zeros(self.count, bool)
        used[named] = True
        return used.nonzero()[0].astype(np.int32)

    def go_on(self, parents: Integer[np.ndarray, " new"]) -> None:
        """Row i continues row `parents[i]` of those before by one token, in a slot of its own."""
        rows = np.arange(len(parents))
        if len(parents) != len(self.lengths) or not np.array_equal(parents, rows):
            self.table, self.lengths = self.table[parents], self.lengths[parents]
        longest = int(self.lengths.max())
        if longest == self.table.shape[1]:
            room = np.zeros((len(rows), min(longest, self.most - longest)), np.int32)
            self.table = np.concatenate((self.table, room), axis=1)
        self.table[rows, self.lengths] = self._take(len(rows))
        self.lengths += 1

    def _take(self, count: int) -> Int32[np.ndarray, " taken"]:
        """Some free slots, after looking for more, or making more, where there are too few."""
        if count > len(self.free):
            free = np.ones(self.count, bool)
            free[self.held()] = False
            self.free = free.nonzero()[0].astype(np.int32)
            if len(self.free) < max(SPARE_STEPS * count, self.count // 4):
                self._grow(max(MORE_STEPS * count, self.count))
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    def _grow(self, more: int) -> None:
        count = self.count
        self.keys, self.values = (_longer(old, count + more) for old in (self.keys, self.values))
        self.free = np.concatenate((self.free, np.arange(count, count + more, dtype=np.int32)))


def _longer(
    old: Float32[np.ndarray, "layers slots width"], count: int
) -> Float32[np.ndarray, "layers {count} width"]:
    """The same slots and room behind them, which is not touched."""
    new = empty((old.shape[0], count, old.shape[2]), np.float32)
    new[:, : old.shape[1]] = old
    return new
