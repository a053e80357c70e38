"""What need not be computed twice while decoding? Keys and values of the positions already seen."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.models.config import ModelConfig


class KeyValueCache:
    """Keys and values of all layers, allocated once for `capacity` positions.

    A forward pass with a cache calls `extend` once, `write` in every layer, and returns; the next
    call continues behind what is there. Rows may start with padding (`attention_mask` False): the
    cache remembers which columns are real and at which position each row stands.

    Memory: 2 × layers × batch × kv heads × capacity × head size × bytes of `dtype`.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch < 1 or capacity < 1:
            raise BadInput(f"a cache needs a row and a position, not {batch} × {capacity}")
        shape = (config.num_layers, batch, config.kv_heads, capacity, config.head_size)
        self.keys: Float[Tensor, "layers batch heads capacity head"]
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values: Float[Tensor, "layers batch heads capacity head"]
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0
        self.real: Bool[Tensor, "batch capacity"] | None = None
        self.next_position: Int[Tensor, " batch"] | None = None
        self.origin: int | Int[Tensor, "batch 1"] = 0
        """Real positions of a prefix of hidden states: where the tokens' own count begins."""
        self.memory: list[tuple[Tensor, Tensor]] = []
        """Keys and values of the source, a pair a layer, where the decoder has cross-attention."""
        self.memory_mask: Bool[Tensor, "batch source"] | None = None
        self.shared = 0
        self.descent: Int[Tensor, " batch"] | None = None
        """Which row of `branch` each row descends from; None before it."""

    @property
    def batch(self) -> int:
        """Number of rows."""
        return self.keys.shape[1]

    @property
    def capacity(self) -> int:
        """Number of positions that fit."""
        return self.keys.shape[3]

    @property
    def reach(self) -> int:
        """Positions that the furthest row has taken: padding takes none."""
        return self.length if self.next_position is None else int(self.next_position.max())

    def extend(self, time: int, attention_mask: Bool[Tensor, "batch time"] | None) -> None:
        """Make room for `time` more positions; False in the mask marks padding among them."""
        if self.length + time > self.capacity:
            raise BadInput(
                f"the cache holds {self.capacity} positions and {self.length} are taken: "
                f"{time} more don't fit"
            )
        if attention_mask is not None and self.real is None and not bool(attention_mask.all()):
            self._track_padding(attention_mask.device)
        if self.real is not None and self.next_position is not None:
            new = slice(self.length, self.length + time)
            self.real[:, new] = True if attention_mask is None else attention_mask
            self.next_position = self.next_position + self.real[:, new].sum(1)
        self.length += time

    def _track_padding(self, device: torch.device) -> None:
        """From the first padding on, what is real must be remembered; all before it was."""
        self.real = torch.zeros(self.batch, self.capacity, dtype=torch.bool, device=device)
        self.real[:, : self.length] = True
        self.next_position = torch.full((self.batch,), self.length, device=device)

    def write(
        self,
        layer: int,
        keys: Float[Tensor, "batch heads time head"],
        values: Float[Tensor, "batch heads time head"],
    ) -> tuple[Float[Tensor, "batch heads all head"], Float[Tensor, "batch heads all head"]]:
        """Store the newest keys and values of a layer and return all of that layer's."""
        start = self.length - keys.shape[2]
        self.keys[layer, :, :, start : self.length] = keys
        self.values[layer, :, :, start : self.length] = values
        return self.keys[layer, :, :, : self.length], self.values[layer, :, :, : self.length]

    def branch(self) -> None:
        """From here on rows may continue one another: what is held now is shared by descent.

        Rows of the same row here go on agreeing in all that is held by then, which `reorder` need
        not move between them.
        """
        self.shared = self.length
        self.descent = torch.arange(self.batch, device=self.keys.device)

    def reorder(self, rows: Int[Tensor, " new"]) -> None:
        """Keep the given rows in the given order; a row may be dropped or doubled."""
        if self.descent is not None:
            before, self.descent = self.descent, self.descent[rows]
            if len(rows) == self.batch and torch.equal(before, self.descent):
                self._move(rows, slice(self.shared, self.length))
                return
        used = slice(0, self.length)
        if len(rows) == self.batch:
            self._move(rows, used)
        else:
            keys, values = self.keys, self.values
            shape = (keys.shape[0], len(rows), *keys.shape[2:])
            self.keys, self.values = keys.new_empty(shape), values.new_empty(shape)
            self.keys[:, :, :, used] = keys[:, :, :, used].index_select(1, rows)
            self.values[:, :, :, used] = values[:, :, :, used].index_select(1, rows)
        if self.real is not None and self.next_position is not None:
            self.real, self.next_position = self.real[rows], self.next_position[rows]
        if isinstance(self.origin, Tensor):
            self.origin = self.origin[rows]
        self.memory = [(k[rows], v[rows]) for k, v in self.memory]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask[rows]

    def _move(self, rows: Int[Tensor, " batch"], columns: slice) -> None:
        """Copy the columns of rows that become another's; those that stay cost nothing."""
        moved = (rows != torch.arange(self.batch, device=rows.device)).nonzero().squeeze(1)
        origin = rows[moved]
        for held in (self.keys, self.values):
            held[:, moved, :, columns] = held[:, :, :, columns].index_select(1, origin)
