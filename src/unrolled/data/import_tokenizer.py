"""Which tokenizer belongs to imported weights? A folder's tokenizer.json, or a GGUF file's tokens.

A GGUF file has the tokens, their types and the merges, and for the rules that cut text before
merging only a name. The rules are those of the models' own tokenizer.json, which llama.cpp writes
out as regular expressions under the same names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers as hf
from tokenizers import AddedToken, Regex
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split
from tokenizers.processors import TemplateProcessing

from unrolled.data.imported import ImportedTokenizer, SpecialIds, from_file, read_library
from unrolled.data.tokenizers import BPE_FILE, CONFIG_FILE
from unrolled.errors import BadInput

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL, USER_DEFINED = 3, 4
"""Types of a token in a GGUF file: special; added by the model's makers, but ordinary text."""


def tokenizer_of_folder(folder: Path, vocab_size: int) -> ImportedTokenizer:
    """The tokenizer of a Hugging Face folder, for a model with so many rows of embeddings.

    The special tokens are those of tokenizer_config.json, else of config.json. Raises `BadInput`
    where there is no tokenizer.json, or no end token.
    """
    path = folder / BPE_FILE
    if not path.is_file():
        raise BadInput(
            f"{folder} has no {BPE_FILE}: "
            "`transformers.AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` writes one"
        )
    inner = read_library(path)
    settings, model = read_optional(folder / CONFIG_FILE), read_optional(folder / "config.json")

    def find(kind: str) -> int | None:
        token = settings.get(f"{kind}_token")
        name = token.get("content") if isinstance(token, dict) else token
        number = inner.token_to_id(name) if isinstance(name, str) else None
        number = model.get(f"{kind}_token_id") if number is None else number
        number = number[0] if isinstance(number, list) and number else number
        return number if isinstance(number, int) else None

    template = settings.get("chat_template")
    ids = special_ids(
        str(folder),
        vocab_size,
        {kind: find(kind) for kind in ("bos", "eos", "pad")},
        adds_begin(inner, settings, find("bos")),
        template if isinstance(template, str) else None,
    )
    return from_file(path, ids)


def special_ids(
    where: str,
    vocab_size: int,
    ids: Mapping[str, int | None],
    adds_begin: bool,
    chat_template: str | None,
) -> SpecialIds:
    """The special ids; a missing begin or padding is stood for by the end token."""
    end = ids["eos"]
    if end is None:
        raise BadInput(f"{where} says of no token that it ends a text (eos_token)")
    begin, padding = ids["bos"], ids["pad"]
    return SpecialIds(
        vocab_size,
        end if begin is None else begin,
        end,
        end if padding is None else padding,
        adds_begin and begin is not None,
        chat_template,
    )


def read_optional(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where the file is missing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} can't be read: {error}") from None
    return content if isinstance(content, dict) else {}


def adds_begin(inner: hf.Tokenizer, settings: Mapping[str, Any], begin: int | None) -> bool:
    """Whether the makers' tokenizer puts the begin token in front of a text."""
    stated = settings.get("add_bos_token")
    if isinstance(stated, bool):
        return stated
    return begin is not None and inner.encode("a").ids[:1] == [begin]


def tokenizer_of_gguf(
    metadata: Mapping[str, Any], vocab_size: int, where: str
) -> ImportedTokenizer:
    """The tokenizer that a GGUF file's metadata describes, rebuilt.

    Raises `BadInput` for a kind other than byte-level BPE, and for unknown rules of cutting.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise BadInput(
            f"{where}: a tokenizer of kind {kind!r} can't be rebuilt, only 'gpt2' (byte-level "
            "BPE); import the model's safetensors folder instead"
        )
    rules = str(metadata.get("tokenizer.ggml.pre"))
    names, merges = strings(metadata, "tokens", where), strings(metadata, "merges", where)
    vocab = {name: i for i, name in enumerate(names)}
    pairs = [merge_pair(merge, where) for merge in merges]
    try:
        inner = hf.Tokenizer(BPE(vocab, pairs, ignore_merges=rules == "llama-bpe"))
    except Exception as error:  # the library raises a bare Exception
        raise BadInput(f"{where}: its tokens and merges don't belong together: {error}") from None
    inner.pre_tokenizer = cutting(rules, where)
    inner.decoder = ByteLevelDecoder()
    mark_special(inner, names, metadata.get("tokenizer.ggml.token_type") or [])
    begin = metadata.get("tokenizer.ggml.bos_token_id")
    adds = bool(metadata.get("tokenizer.ggml.add_bos_token", rules == "llama-bpe"))
    found = {
        "bos": begin,
        "eos": metadata.get("tokenizer.ggml.eos_token_id"),
        "pad": metadata.get("tokenizer.ggml.padding_token_id"),
    }
    ids = special_ids(where, vocab_size, found, adds, metadata.get("tokenizer.chat_template"))
    if ids.adds_begin and ids.begin_id < len(names):
        token = names[ids.begin_id]
        inner.post_processor = TemplateProcessing(
            single=f"{token} $A",
            pair=f"{token} $A {token} $B",
            special_tokens=[(token, ids.begin_id)],
        )
    try:
        return ImportedTokenizer(inner, ids)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def strings(metadata: Mapping[str, Any], name: str, where: str) -> list[str]:
    """A list of strings of the tokenizer's metadata."""
    found = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise BadInput(f"{where} has no list tokenizer.ggml.{name}")
    return found


def merge_pair(merge: str, where: str) -> tuple[str, str]:
    """The two tokens that a merge joins; they are written with a space between them."""
    first, space, second = merge.partition(" ")
    if not (first and space and second):
        raise BadInput(f"{where}: the merge {merge!r} is not two tokens with a space between")
    return first, second


def cutting(rules: str, where: str) -> PreTokenizer:
    """How text is cut before merging, by the name that a GGUF file gives it."""
    match rules:
        case "gpt-2":
            return ByteLevel(add_prefix_space=False)
        case "smollm" | "starcoder" | "refact":
            return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
        case "llama-bpe":
            words = Split(Regex(LLAMA3), "isolated")
            return Sequence([words, ByteLevel(add_prefix_space=False, use_regex=False)])
    raise BadInput(
        f"{where}: the tokenizer's rules of cutting text {rules!r} are unknown; there are gpt-2, "
        "smollm, starcoder, refact and llama-bpe. Import the model's safetensors folder instead"
    )


def mark_special(inner: hf.Tokenizer, names: list[str], types: list[int]) -> None:
    """Tell the library which tokens stand for themselves."""
    control = [n for n, kind in zip(names, types, strict=False) if kind == CONTROL]
    added = [n for n, kind in zip(names, types, strict=False) if kind == USER_DEFINED]
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    inner.add_tokens([AddedToken(name, normalized=False) for name in added])
