"""How are token sequences of many lengths held and laid side by side? In one flat array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Ragged:
    """Sequences end to end in `values`; number i is values[starts[i] : starts[i + 1]]."""

    values: Array
    starts: Array

    @classmethod
    def of(cls, sequences: Sequence[Array], dtype: type[np.uint16] | type[np.uint32]) -> Ragged:
        """Hold a copy of the sequences, two or four bytes a token."""
        lengths = [len(s) for s in sequences]
        values = np.concatenate([np.zeros(0, dtype), *sequences], dtype=dtype, casting="same_kind")
        return cls(values, np.cumsum([0, *lengths], dtype=np.int64))

    @classmethod
    def join(cls, parts: Iterable[Ragged], dtype: type[np.uint16] | type[np.uint32]) -> Ragged:
        """The sequences of all parts, in order."""
        held = list(parts)
        lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in held)])
        values = np.concatenate([np.zeros(0, dtype), *(part.values for part in held)], dtype=dtype)
        return cls(values, np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Array:
        """Length of every sequence."""
        lengths: Array = np.diff(self.starts)
        return lengths


def rows(values: Array, starts: Array, lengths: Array, fill: int) -> Array:
    """Matrix whose row i is values[starts[i] : starts[i] + lengths[i]], then `fill` [n, widest]."""
    columns = np.arange(lengths.max())
    if lengths.min() == len(columns):
        matrix: Array = values[starts[:, None] + columns].astype(np.int64)
        return matrix
    real = columns < lengths[:, None]
    matrix = np.full(real.shape, fill, dtype=np.int64)
    matrix[real] = values[(starts[:, None] + columns)[real]]
    return matrix
