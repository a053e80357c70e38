"""What can be said about the data of a run? The fields that become options of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unrolled.data.tokenizers import SPECIALS
from unrolled.errors import BadInput


@dataclass(frozen=True)
class DataConfig:
    """Which text a model is trained on, and how it is cut into batches."""

    corpus: str = "pydocs"
    """Built in (pydocs, stdlib, verses), or a file: .txt, .jsonl, .tsv of pairs, also .gz."""
    tokenizer: Literal["symbols", "bytes", "bpe"] = "bpe"
    """Characters of the task's alphabet, bytes of UTF-8, or byte-pair encoding."""
    vocab_size: int = 4096
    """Size of the BPE vocabulary, its 256 bytes and 5 special ids included."""
    tokens_per_batch: int = 8192
    """Positions of one batch, padding included."""
    row_length: int = 0
    """Positions of a row of packed text: shorter rows need less memory; 0: model.max_positions."""
    streaming: bool = False
    """Read the corpus anew each epoch instead of holding its tokens in memory."""
    window: int = 1 << 22
    """Characters held (and shuffled) at once when streaming."""
    mask_fraction: float = 0.15
    """Share of the tokens that masked language modelling hides."""
    holdout: int = 20
    """One part, or one source of a pair, in so many is held out for validation."""

    def __post_init__(self) -> None:
        """Raise `BadInput`, naming the field, for a value that can't be used."""
        least = {
            "vocab_size": 256 + len(SPECIALS),
            "tokens_per_batch": 1,
            "row_length": 0,
            "window": 1,
            "holdout": 2,
        }
        for field, smallest in least.items():
            value = getattr(self, field)
            if value < smallest:
                raise BadInput(f"data.{field} is {smallest} or more, got {value}")
        if not self.corpus:
            raise BadInput("data.corpus is the name of a corpus or a file, and came empty")
        if self.tokenizer not in ("symbols", "bytes", "bpe"):
            raise BadInput(f"data.tokenizer is symbols, bytes or bpe, got {self.tokenizer!r}")
        if not 0 < self.mask_fraction < 1:
            raise BadInput(f"data.mask_fraction lies between 0 and 1, got {self.mask_fraction}")

    @property
    def stream_window(self) -> int | None:
        """What the batch functions call `window`: None when everything is held in memory."""
        return self.window if self.streaming else None
