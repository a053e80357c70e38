"""How does text become numbers and back, without loss? Bytes, byte-level BPE, a stated alphabet.

The first five ids mean the same in every tokenizer made here: padding, begin, end, separator, mask
(imported ones have others: `unrolled.data.imported`). They stand for themselves only: no text a
user writes is ever encoded as one of them.

Byte-level BPE: Sennrich et al. 2016 (merges), Radford et al. 2019 (on bytes); the work is done by
the `tokenizers` library. Bytes with the special ids in front: Xue et al. 2022 (ByT5).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tokenizers as hf
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from unrolled.errors import BadInput

SPECIALS = ("<|pad|>", "<|begin|>", "<|end|>", "<|separator|>", "<|mask|>")
"""Names of the ids 0–4 of every tokenizer made here."""
CONFIG_FILE = "tokenizer_config.json"
BPE_FILE = "tokenizer.json"
FORMAT = 1
TRAINING_PIECE = 65536
"""Characters of one document that BPE training looks at together: bounds its memory."""


class Tokenizer(ABC):
    """Text to ids and back. `pieces[i]` is what id i stands for, empty for the special ids."""

    kind: ClassVar[str]
    pad_id: int = 0
    begin_id: int = 1
    end_id: int = 2
    separator_id: int = 3
    mask_id: int = 4
    adds_begin: bool = True
    """Whether a model reads the begin token before a text that it is to continue."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = (*[b""] * len(SPECIALS), *pieces)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        return len(self._pieces)

    @property
    def dtype(self) -> type[np.uint16] | type[np.uint32]:
        """The smallest NumPy type that holds every id."""
        return np.uint16 if self.vocab_size <= 2**16 else np.uint32

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of `text`, no special ids added. Raises `BadInput` if the text has no encoding."""

    def encode_prompt(self, text: str) -> list[int]:
        """What a decoder reads to continue `text`: at least one id, the begin token if need be."""
        ids = self.encode(text)
        return [self.begin_id, *ids] if self.adds_begin or not ids else ids

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of each text, as compact arrays: what batches are made from."""
        return [np.array(self.encode(text), dtype=self.dtype) for text in texts]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for; special ids stand for none.

        Raises `BadInput` for an id outside the vocabulary.
        """
        ids = [int(i) for i in ids]
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            wrong = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise BadInput(f"token id {wrong} is outside the vocabulary of {self.vocab_size} ids")
        return b"".join([self._pieces[i] for i in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 (a cut character) become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def save(self, folder: Path | str) -> None:
        """Write the tokenizer's files into `folder` (made if missing); see `load_tokenizer`."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        config = {"format": FORMAT, "kind": self.kind, **self._config()}
        (path / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def _config(self) -> dict[str, Any]:
        return {}


class ByteTokenizer(Tokenizer):
    """One id a byte of the text's UTF-8."""

    kind = "bytes"

    def __init__(self) -> None:
        super().__init__([bytes([b]) for b in range(256)])

    def encode(self, text: str) -> list[int]:
        """Ids of `text`: each byte plus the number of special ids."""
        return [b + len(SPECIALS) for b in utf8(text)]

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of each text, vectorised."""
        offset = np.uint16(len(SPECIALS))
        return [np.frombuffer(utf8(text), dtype=np.uint8) + offset for text in texts]


class SymbolTokenizer(Tokenizer):
    """One id a character of a stated alphabet, for tasks whose alphabet is known: "01", "012"."""

    kind = "symbols"

    def __init__(self, symbols: str) -> None:
        repeated = {c for c in symbols if symbols.count(c) > 1}
        if not symbols or repeated:
            raise BadInput(
                "an alphabet is one or more different characters, "
                + (f"and {symbols!r} has {min(repeated)!r} twice" if repeated else "and came empty")
            )
        super().__init__([utf8(c) for c in symbols])
        self.symbols = symbols
        self._ids = {c: i for i, c in enumerate(symbols, start=len(SPECIALS))}

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; a character outside the alphabet is `BadInput` with its column."""
        try:
            return [self._ids[c] for c in text]
        except KeyError:
            column, char = next((i, c) for i, c in enumerate(text, 1) if c not in self._ids)
            raise BadInput(
                f"column {column}: {char!r} is not in the alphabet {self.symbols!r}"
            ) from None

    def _config(self) -> dict[str, Any]:
        return {"symbols": self.symbols}


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding: any text has an encoding, frequent words a short one."""

    kind = "bpe"

    def __init__(self, inner: hf.Tokenizer) -> None:
        # Text that spells a special token is text. The library doesn't save this setting.
        inner.encode_special_tokens = True
        self._inner = inner
        super().__init__(_byte_pieces(inner))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> BPETokenizer:
        """Learn the merges from `texts`; the same texts give the same tokenizer.

        The vocabulary stays smaller than `vocab_size` if the texts have no more pairs to merge.
        Raises `BadInput` if `vocab_size` has no room for 256 bytes and the special ids.
        """
        least = 256 + len(SPECIALS)
        if vocab_size < least:
            raise BadInput(f"vocab_size of a BPE tokenizer is at least {least}, got {vocab_size}")
        inner = hf.Tokenizer(BPE())
        inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
        inner.decoder = ByteLevelDecoder()
        trainer = BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIALS),
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(_short_pieces(texts), trainer=trainer)
        return cls(inner)

    @classmethod
    def load(cls, path: Path) -> BPETokenizer:
        """Read the `tokenizers` library's own file. Raises `BadInput` if it isn't one of ours."""
        try:
            inner = hf.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: no tokenizer file, or a damaged one: {error}") from None
        except Exception as error:  # the library raises a bare Exception for what it can't parse
            raise BadInput(f"{path}: a damaged tokenizer file: {error}") from None
        try:
            return cls(inner)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None

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

    def save(self, folder: Path | str) -> None:
        """Write the two files; Hugging Face's `AutoTokenizer` reads the folder too."""
        super().save(folder)
        self._inner.save(str(Path(folder) / BPE_FILE))

    def _config(self) -> dict[str, Any]:
        return hf_config()


def hf_config() -> dict[str, Any]:
    """What Hugging Face is told of our special tokens; text that spells one stays text."""
    names = ("pad_token", "bos_token", "eos_token", "sep_token", "mask_token")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        **dict(zip(names, SPECIALS, strict=True)),
    }


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """The tokenizer that `save` wrote into `folder`.

    Raises `BadInput`, naming the file, if one is missing, truncated or not ours.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; a folder with a saved tokenizer has one") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: a damaged tokenizer file: {error}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise BadInput(f'{path}: expected "format": {FORMAT}; another program wrote this file')
    match config:
        case {"kind": "bytes"}:
            return ByteTokenizer()
        case {"kind": "symbols", "symbols": str(symbols)}:
            return SymbolTokenizer(symbols)
        case {"kind": "bpe"}:
            return BPETokenizer.load(path.parent / BPE_FILE)
        case {"kind": "imported"}:
            from unrolled.data.imported import ImportedTokenizer  # it builds on this file

            return ImportedTokenizer.load(path.parent / BPE_FILE, config)
    raise BadInput(f"{path}: unknown kind of tokenizer {config.get('kind')!r}")


def utf8(text: str) -> bytes:
    """UTF-8 of `text`, whose length is what bits per byte divide by.

    Raises `BadInput` for a lone surrogate: Python's stand-in for a byte that was no UTF-8.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"the text is not valid Unicode at column {error.start + 1}") from None


def _short_pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), TRAINING_PIECE):
            yield text[start : start + TRAINING_PIECE]


def _byte_pieces(inner: hf.Tokenizer) -> list[bytes]:
    """The bytes of every ordinary id, after checking that the vocabulary is one of ours."""
    names = {i: name for name, i in inner.get_vocab(with_added_tokens=True).items()}
    size = len(names)
    if tuple(names.get(i) for i in range(len(SPECIALS))) != SPECIALS or max(names) != size - 1:
        raise BadInput(f"not a tokenizer of this package: its first ids must be {SPECIALS}")
    byte_of = byte_alphabet()
    missing = set(byte_of) - set(names.values())
    try:
        pieces = [bytes([byte_of[c] for c in names[i]]) for i in range(len(SPECIALS), size)]
    except KeyError as error:
        raise BadInput(f"not a byte-level tokenizer: a token holds {error}") from None
    if missing:
        raise BadInput(f"not a byte-level tokenizer: {len(missing)} of the 256 bytes have no token")
    return pieces


def byte_alphabet() -> dict[str, int]:
    """Which byte each character of byte-level BPE stands for (Radford et al. 2019).

    Printable bytes stand for themselves; the others take the characters from U+0100 on, in order.
    """
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + n): b for n, b in enumerate(hidden)}
