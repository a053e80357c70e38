"""Which tokenizer does a run get? The one it was saved with, or a new one as its config says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from unrolled.data import (
    BPETokenizer,
    ByteTokenizer,
    SymbolTokenizer,
    Tokenizer,
    load_tokenizer,
)
from unrolled.data.config import DataConfig
from unrolled.errors import BadInput


def tokenizer_for(
    data: DataConfig,
    folder: Path | None,
    texts: Callable[[], Iterable[str]],
    symbols: str = "",
) -> Tokenizer:
    """Load the tokenizer of a run's folder, or make one; BPE is trained on `texts`.

    Raises `BadInput` for "symbols" where the task has no alphabet of its own.
    """
    if folder is not None:
        return load_tokenizer(folder)
    if data.tokenizer == "bytes":
        return ByteTokenizer()
    if data.tokenizer == "bpe":
        return BPETokenizer.train(texts(), data.vocab_size)
    if not symbols:
        raise BadInput("data.tokenizer 'symbols' needs a task with an alphabet: use bytes or bpe")
    return SymbolTokenizer(symbols)
