"""How does a tokenizer of ours open in Hugging Face? As a file of the `tokenizers` library.

Bytes are byte-level BPE without a merge, a stated alphabet is a list of one-character words. A text
is encoded with the begin token in front where the model reads it so, as `Tokenizer.encode_prompt`.
"""

from __future__ import annotations

from pathlib import Path

import tokenizers as hf
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import Fuse
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.processors import TemplateProcessing

from unrolled.data.imported import ImportedTokenizer
from unrolled.data.tokenizers import (
    BPE_FILE,
    CONFIG_FILE,
    SPECIALS,
    BPETokenizer,
    ByteTokenizer,
    SymbolTokenizer,
    Tokenizer,
    byte_alphabet,
    hf_config,
)
from unrolled.errors import BadInput
from unrolled.models.store import write_atomically, write_json


def export_tokenizer(tokenizer: Tokenizer, folder: Path, max_positions: int) -> None:
    """Write tokenizer.json and tokenizer_config.json as `transformers.AutoTokenizer` reads them."""
    if isinstance(tokenizer, ImportedTokenizer):
        inner, config = tokenizer.library(), tokenizer.hf_config()
    else:
        inner, config = as_library(tokenizer), hf_config()
    config["model_max_length"] = max_positions
    text = inner.to_str(pretty=True)
    write_atomically(folder / BPE_FILE, lambda path: path.write_text(text, encoding="utf-8"))
    write_json(folder / CONFIG_FILE, config)


def as_library(tokenizer: Tokenizer) -> hf.Tokenizer:
    """The `tokenizers` library's object with the same ids."""
    match tokenizer:
        case BPETokenizer():
            inner = hf.Tokenizer.from_str(tokenizer.library().to_str())
        case ByteTokenizer():
            names = sorted(byte_alphabet().items(), key=lambda pair: pair[1])
            inner = hf.Tokenizer(BPE(_numbered([name for name, _ in names]), []))
            inner.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
            inner.decoder = ByteLevelDecoder()
        case SymbolTokenizer():
            inner = hf.Tokenizer(WordLevel(_numbered(list(tokenizer.symbols)), SPECIALS[0]))
            inner.pre_tokenizer = Split(hf.Regex(r"[\s\S]"), "isolated")
            inner.decoder = Fuse()
        case _:
            raise BadInput(f"a tokenizer of kind {tokenizer.kind} can't be exported")
    inner.add_special_tokens(list(SPECIALS))
    inner.encode_special_tokens = True
    begin = SPECIALS[tokenizer.begin_id]
    inner.post_processor = TemplateProcessing(
        single=f"{begin} $A",
        pair=f"{begin} $A $B",
        special_tokens=[(begin, tokenizer.begin_id)],
    )
    return inner


def _numbered(names: list[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate([*SPECIALS, *names])}


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids that Hugging Face's config.json and generation_config.json name."""
    return {
        "bos_token_id": tokenizer.begin_id,
        "eos_token_id": tokenizer.end_id,
        "pad_token_id": tokenizer.pad_id,
    }
