"""How does a tokenizer from elsewhere become ours? A file of the library `tokenizers`, and ids.

Its special ids are where its makers put them, and it may have no separator or mask. Special tokens
stand for themselves only, here as everywhere: text that spells one is encoded as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers as hf
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import PreTokenizer

from unrolled.data.tokenizers import BPE_FILE, Tokenizer, byte_alphabet, utf8
from unrolled.errors import BadInput

SPACE = "▁"
"""What a SentencePiece token writes for a space."""


@dataclass(frozen=True)
class SpecialIds:
    """What an imported tokenizer's file does not say itself."""

    vocab_size: int
    """Rows of the model's embedding; may be more than there are tokens."""
    begin_id: int
    end_id: int
    pad_id: int
    adds_begin: bool
    """Whether the model reads the begin token before a text."""
    chat_template: str | None = None
    """Kept for those who export the model again."""


class ImportedTokenizer(Tokenizer):
    """A tokenizer of another program: byte-level BPE, or BPE with SentencePiece's bytes.

    With SentencePiece's, `decode` keeps the space that encoding puts before a text.
    """

    kind = "imported"

    def __init__(self, inner: hf.Tokenizer, ids: SpecialIds) -> None:
        inner.encode_special_tokens = True
        inner.no_truncation()
        inner.no_padding()
        self._inner, self.ids = inner, ids
        self.begin_id, self.end_id, self.pad_id = ids.begin_id, ids.end_id, ids.pad_id
        self.adds_begin = ids.adds_begin
        self._pieces = tuple(pieces(inner, ids.vocab_size))
        self._check()

    def _check(self) -> None:
        for name in ("begin_id", "end_id", "pad_id"):
            value = getattr(self.ids, name)
            if not 0 <= value < self.vocab_size:
                raise BadInput(f"{name} {value} is outside the vocabulary of {self.vocab_size} ids")

    @property
    def separator_id(self) -> int:  # type: ignore[override]  # the others have one
        """There is none."""
        raise BadInput("an imported tokenizer has no separator token: only text can be trained on")

    @property
    def mask_id(self) -> int:  # type: ignore[override]  # the others have one
        """There is none."""
        raise BadInput("an imported tokenizer has no mask token: train a decoder on text")

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; what spells a special token is encoded as the characters it is."""
        utf8(text)
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of each text, on all cores the `tokenizers` library may use."""
        for text in texts:
            utf8(text)
        encodings = self._inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=self.dtype) for encoding in encodings]

    def library(self) -> hf.Tokenizer:
        """The `tokenizers` library's object, as `save` writes it."""
        return self._inner

    def hf_config(self) -> dict[str, Any]:
        """What Hugging Face's tokenizer_config.json should say."""
        ids = {"bos_token": self.begin_id, "eos_token": self.end_id, "pad_token": self.pad_id}
        named = {name: self._inner.id_to_token(i) for name, i in ids.items()}
        template = {"chat_template": self.ids.chat_template} if self.ids.chat_template else {}
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **{name: token for name, token in named.items() if token is not None},
            **template,
        }

    def save(self, folder: Path | str) -> None:
        """Write the two files; see `load_tokenizer`."""
        super().save(folder)
        self._inner.save(str(Path(folder) / BPE_FILE))

    def _config(self) -> dict[str, Any]:
        ids = {name: value for name, value in asdict(self.ids).items() if value is not None}
        return {**self.hf_config(), **ids}

    @classmethod
    def load(cls, path: Path, config: dict[str, Any]) -> ImportedTokenizer:
        """Read what `save` wrote. Raises `BadInput`, naming the file, if it is damaged."""
        try:
            ids = SpecialIds(
                **{name: config[name] for name in SpecialIds.__dataclass_fields__ if name in config}
            )
        except TypeError as error:
            raise BadInput(f"{path.parent}: a damaged tokenizer file: {error}") from None
        return from_file(path, ids)


def from_file(path: Path, ids: SpecialIds) -> ImportedTokenizer:
    """A tokenizer.json with its special ids. Raises `BadInput` that names the file."""
    inner = read_library(path)
    try:
        return ImportedTokenizer(inner, ids)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def read_library(path: Path) -> hf.Tokenizer:
    """The `tokenizers` library's own file."""
    try:
        return hf.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: no tokenizer file, or a damaged one: {error}") from None
    except Exception as error:  # the library raises a bare Exception for what it can't parse
        raise BadInput(f"{path}: a damaged tokenizer file: {error}") from None


def pieces(inner: hf.Tokenizer, vocab_size: int) -> list[bytes]:
    """The bytes that each id stands for; empty for special ids and for those without a token.

    Raises `BadInput` for a kind of tokenizer whose ids can't be told apart into bytes, and for more
    tokens than the model has rows.
    """
    names = inner.get_vocab(with_added_tokens=True)
    if names and max(names.values()) >= vocab_size:
        raise BadInput(
            f"the tokenizer has the id {max(names.values())}, the model a vocabulary of "
            f"{vocab_size}: they don't belong together"
        )
    model = inner.model
    read = byte_level if _has(inner.pre_tokenizer, "ByteLevel") else None
    if read is None and getattr(model, "byte_fallback", False):
        read = sentencepiece
    if read is None or not isinstance(model, BPE):
        raise BadInput(
            f"a tokenizer of type {type(model).__name__} can't be represented: only BPE on "
            "bytes, or with SentencePiece's byte tokens"
        )
    added = inner.get_added_tokens_decoder()
    found = [b""] * vocab_size
    for name, i in names.items():
        if i not in added:
            found[i] = read(name)
        elif not added[i].special:
            found[i] = added[i].content.encode()
    return found


def _has(cutting: PreTokenizer | None, kind: str) -> bool:
    """Whether the pre-tokenizer is, or has among its steps, one of this type.

    Asked by its pickled form, its part of tokenizer.json: most of the whole file are merges.
    """
    step = json.loads(cutting.__getstate__()) if cutting is not None else {}
    return any(s["type"] == kind for s in [step, *step.get("pretokenizers", [])] if s)


ALPHABET = byte_alphabet()


def byte_level(name: str) -> bytes:
    """A token written in byte-level BPE's alphabet."""
    try:
        return bytes(map(ALPHABET.__getitem__, name))
    except KeyError as error:
        raise BadInput(f"not a byte-level tokenizer: the token {name!r} holds {error}") from None


def sentencepiece(name: str) -> bytes:
    """A token as SentencePiece writes it: <0x0A> is a byte, ▁ a space."""
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace(SPACE, " ").encode()
