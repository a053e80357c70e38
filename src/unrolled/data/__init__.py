"""Corpora, tokenizers and batches: from text on disk to the tensors of one step."""

from unrolled.models.batch import IGNORED, Batch
from unrolled.data.batches import line_batches, masked_batches, pair_batches, text_batches
from unrolled.data.stream import BatchStream
from unrolled.data.tokenizers import (
    BPETokenizer,
    ByteTokenizer,
    SymbolTokenizer,
    Tokenizer,
    load_tokenizer,
)

__all__ = [
    "IGNORED",
    "BPETokenizer",
    "Batch",
    "BatchStream",
    "ByteTokenizer",
    "SymbolTokenizer",
    "Tokenizer",
    "line_batches",
    "load_tokenizer",
    "masked_batches",
    "pair_batches",
    "text_batches",
]
