"""Corpora, tokenizers and batches: from text on disk to the tensors of one step."""

from unrolled.data.batches import line_batches, masked_batches, pair_batches, text_batches
from unrolled.data.config import DataConfig
from unrolled.data.corpora import open_corpus
from unrolled.data.corpus import PairCorpus, TextCorpus
from unrolled.data.stream import BatchStream
from unrolled.data.tokenizers import (
    BPETokenizer,
    ByteTokenizer,
    SymbolTokenizer,
    Tokenizer,
    load_tokenizer,
    utf8,
)
from unrolled.data.verses import open_verses
from unrolled.models.batch import IGNORED, Batch

__all__ = [
    "IGNORED",
    "BPETokenizer",
    "Batch",
    "BatchStream",
    "ByteTokenizer",
    "DataConfig",
    "PairCorpus",
    "SymbolTokenizer",
    "TextCorpus",
    "Tokenizer",
    "line_batches",
    "load_tokenizer",
    "masked_batches",
    "open_corpus",
    "open_verses",
    "pair_batches",
    "text_batches",
    "utf8",
]
