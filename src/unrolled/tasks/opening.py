"""What does a run open? Its corpus, and the tokenizer it was saved with or a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from unrolled.data import (
    BPETokenizer,
    ByteTokenizer,
    SymbolTokenizer,
    Tokenizer,
    load_tokenizer,
    open_corpus,
)
from unrolled.data.config import DataConfig
from unrolled.data.corpora import is_missing
from unrolled.data.corpus import PairCorpus, TextCorpus
from unrolled.errors import BadInput


def corpus_of(data: DataConfig, folder: Path | None) -> TextCorpus | PairCorpus:
    """The corpus of a run; `folder` is the run's own, where there is one already.

    Raises `BadInput` for what is no corpus, and where a run's file is not there any more.
    """
    if folder is not None and is_missing(data.corpus):
        raise BadInput(
            f"{data.corpus}: no such file; it is what {folder} was trained on: put it there, or "
            f'write where it is into {folder / "config.json"} (data, "corpus")'
        )
    return open_corpus(data.corpus, holdout=data.holdout)


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
