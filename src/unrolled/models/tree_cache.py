"""What do the beams of one source share? Each token's keys and values are kept once, as a tree.

Rows that continue one another are paths from the root of a tree: the source's tokens are its trunk,
and every step adds one node a row. Nothing is moved when rows are dropped, doubled or reordered; a
row's query sees the trunk and the nodes it descends from:

    bias[s, w, c] = 0 where row w of source s descends from column c, else -inf
    attention     = softmax(Q Kᵀ / √d + bias) V

with the W rows of a source as W queries on one copy of its keys, so a step reads every key once for
all of them. Columns that no row descends from any more are cleared out now and then: behind r steps
of W rows, clearing copies n columns and a step reads W·r/2 needless ones, least together at
r = √(2n / W).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.models.cache import KeyValueCache

KEEP_ABOVE = 0.75
"""Sources without rows are cleared out when no more than this share still has some."""
SHORTEST_CYCLE = 8
"""Steps between two clearings, at least."""


class Rows:
    """Which rows ask the keys of the same source: [rows] as a grid [sources, width]."""

    def __init__(self, source: Int[Tensor, " rows"], sources: int) -> None:
        self.source = source
        counts = torch.bincount(source, minlength=sources)
        self.width = int(counts.max())
        order = source.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        self.rank = torch.empty_like(source)
        self.rank[order] = torch.arange(len(source), device=source.device) - starts[source[order]]
        self.flat = source * self.width + self.rank
        self.sources = sources
        self.full = bool((counts == self.width).all()) and bool((order[1:] > order[:-1]).all())
        """Whether the grid is the rows as they stand."""

    def spread(
        self, x: Float[Tensor, "rows ..."], empty: float = 0.0
    ) -> Float[Tensor, "sources width ..."]:
        """The rows in their places; empty places hold `empty`."""
        if not self.full:
            grid = x.new_full((self.sources * self.width, *x.shape[1:]), empty)
            x = grid.index_copy_(0, self.flat, x)
        return x.reshape(self.sources, self.width, *x.shape[1:])

    def gather(self, x: Float[Tensor, "sources width ..."]) -> Float[Tensor, "rows ..."]:
        """The way back."""
        x = x.flatten(0, 1)
        return x if self.full else x.index_select(0, self.flat)


class TreeCache:
    """The keys and values of a `KeyValueCache`, and of what its rows go on with, token by token.

    `reorder` says which row each row of the next call continues; one forward pass of one token a
    row calls `extend`, and `write` in every layer. What belongs to a source (memory, trunk) is
    never copied from row to row.
    """

    memory_bias: Float[Tensor, "sources 1 source"] | None

    def __init__(self, trunk: KeyValueCache) -> None:
        device = trunk.keys.device
        self.keys = trunk.keys[:, :, :, : trunk.length]
        self.values = trunk.values[:, :, :, : trunk.length]
        sources, self.trunk, self.length = trunk.batch, trunk.length, trunk.length
        self.memory, self.memory_bias = trunk.memory, None
        if trunk.memory_mask is not None:
            self.memory_bias = self.keys.new_zeros(trunk.memory_mask.shape)[:, None]
            self.memory_bias.masked_fill_(~trunk.memory_mask[:, None], -torch.inf)
        self.origin = trunk.origin
        self.next_position: Int[Tensor, " rows"]
        if trunk.next_position is None:
            self.next_position = torch.full((sources,), trunk.length, device=device)
        else:
            self.next_position = trunk.next_position
        self.rows = Rows(torch.arange(sources, device=device), sources)
        self.bias: Float[Tensor, "sources width column"]
        self.bias = self.keys.new_zeros(sources, 1, self.trunk)
        if trunk.real is not None:
            self.bias.masked_fill_(~trunk.real[:, None, : trunk.length], -torch.inf)
        self.positions: Int[Tensor, "rows 1"] = self.next_position[:, None]

    @property
    def batch(self) -> int:
        """Number of rows."""
        return len(self.rows.source)

    @property
    def reach(self) -> int:
        """Positions that the furthest row has taken: padding takes none."""
        return int(self.next_position.max())

    def reorder(self, rows: Int[Tensor, " new"]) -> None:
        """Keep the given rows in the given order; a row may be dropped or doubled."""
        before = self.rows
        source = before.source[rows]
        self.next_position = self.next_position[rows]
        if isinstance(self.origin, Tensor):
            self.origin = self.origin[rows]
        after = Rows(source, before.sources)
        seen = self.bias[source, before.rank[rows]]
        self.bias = after.spread(seen, -torch.inf)
        self.rows = after
        alive = torch.bincount(source, minlength=before.sources) > 0
        if int(alive.sum()) <= KEEP_ABOVE * before.sources:
            self._keep_sources(alive.nonzero().squeeze(1))

    def _keep_sources(self, kept: Int[Tensor, " left"]) -> None:
        """Forget the other sources, which have no rows."""
        self.keys, self.values = self.keys[:, kept], self.values[:, kept]
        self.bias = self.bias[kept]
        self.memory = [(k[kept], v[kept]) for k, v in self.memory]
        if self.memory_bias is not None:
            self.memory_bias = self.memory_bias[kept]
        number = torch.zeros(self.rows.sources, dtype=torch.long, device=kept.device)
        number[kept] = torch.arange(len(kept), device=kept.device)
        self.rows = Rows(number[self.rows.source], len(kept))

    def extend(self, time: int, attention_mask: Bool[Tensor, "rows time"] | None) -> None:
        """Make room for one more token a row."""
        if time != 1 or attention_mask is not None:
            raise BadInput("rows that share a tree go on by one token at a time, without padding")
        width = self.rows.width
        if self.length + width > self.keys.shape[3]:
            self._clear()
        new = slice(self.length, self.length + width)
        own = torch.eye(width, dtype=torch.bool, device=self.bias.device)
        self.bias[:, :, new].masked_fill_(own, 0.0)
        self.positions = self.next_position[:, None]
        self.next_position = self.next_position + 1
        self.length += width

    def _clear(self) -> None:
        """Drop the columns that nobody descends from, and make room for some steps."""
        nodes = self.bias[:, :, self.trunk : self.length] == 0
        alive = nodes.any(1)
        count = int(alive.sum(1).max()) if alive.shape[1] else 0
        order = (~alive).int().argsort(dim=1, stable=True)[:, :count] + self.trunk
        width, length = self.rows.width, self.trunk + count
        room = width * max(SHORTEST_CYCLE, math.isqrt(2 * length // width))
        # Where one source can spare no column, none has to move its own: those of one row a source.
        moving = None if length == self.length else order
        self.keys = self._moved(self.keys, moving, length, room)
        self.values = self._moved(self.values, moving, length, room)
        # What is known of a column goes the way of its key.
        bias = self._moved(self.bias[None, ..., None], moving, length, room)[0, ..., 0]
        bias[:, :, length:] = -torch.inf
        self.bias, self.length = bias, length

    def _moved(
        self,
        held: Float[Tensor, "layers sources heads _column head"],
        order: Int[Tensor, "sources node"] | None,
        length: int,
        room: int,
    ) -> Float[Tensor, "layers sources heads _length head"]:
        """The trunk and the given nodes of each source (None: all), with room behind them."""
        layers, sources, heads, _, head = held.shape
        moved = held.new_empty(layers, sources, heads, length + room, head)
        same = length if order is None else self.trunk
        moved[:, :, :, :same] = held[:, :, :, :same]
        if order is not None:
            index = order[:, None, :, None].expand(-1, heads, -1, head)
            for layer in range(layers):
                moved[layer, :, :, same:length] = held[layer].gather(2, index)
        return moved

    def write(
        self,
        layer: int,
        keys: Float[Tensor, "rows heads 1 head"],
        values: Float[Tensor, "rows heads 1 head"],
    ) -> tuple[
        Float[Tensor, "sources heads column head"], Float[Tensor, "sources heads column head"]
    ]:
        """Store the newest keys and values of a layer and return all of that layer's."""
        new = slice(self.length - self.rows.width, self.length)
        for held, come in ((self.keys, keys), (self.values, values)):
            held[layer, :, :, new] = self.rows.spread(come.squeeze(2)).transpose(1, 2)
        return self.keys[layer, :, :, : self.length], self.values[layer, :, :, : self.length]

    @property
    def mask(self) -> Float[Tensor, "sources width column"]:
        """0 where a row descends from a column, -inf elsewhere."""
        return self.bias[:, :, : self.length]


def attend_as_rows(
    queries: Float[Tensor, "rows heads 1 head"],
    keys: Float[Tensor, "sources kv_heads column head"],
    values: Float[Tensor, "sources kv_heads column head"],
    rows: Rows,
    bias: Float[Tensor, "sources _width column"] | None,
) -> Float[Tensor, "rows 1 hidden"]:
    """softmax(QKᵀ/√d + bias) V, the rows of a source being queries on the same keys.

    Heads that share keys (Ainslie et al. 2023) are further queries on them.
    """
    kv_heads, size = keys.shape[1], queries.shape[3]
    group = queries.shape[1] // kv_heads
    grid = rows.spread(queries.squeeze(2)).unflatten(2, (kv_heads, group))
    grid = grid.permute(0, 2, 3, 1, 4).flatten(2, 3)  # sources, kv heads, group × width, head
    scores = (grid * size**-0.5) @ keys.transpose(2, 3)
    if bias is not None:
        scores.unflatten(2, (group, -1)).add_(bias[:, None, None])
    mixed = scores.softmax(-1) @ values
    mixed = mixed.unflatten(2, (group, rows.width)).permute(0, 3, 1, 2, 4).flatten(2)
    return rows.gather(mixed)[:, None]
