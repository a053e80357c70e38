"""Do tokenizers from elsewhere, and ours elsewhere, give the ids that their makers' code gives?"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st
from tests.models import library
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.trainers import BpeTrainer

from unrolled.data import BPETokenizer, ByteTokenizer, SymbolTokenizer, Tokenizer, load_tokenizer
from unrolled.data.import_tokenizer import tokenizer_of_folder, tokenizer_of_gguf
from unrolled.data.imported import ImportedTokenizer
from unrolled.data.library import export_tokenizer
from unrolled.errors import BadInput

TEXTS = ["the cat sat on 1234 mats\n", "naïve café, it's 12 o'clock — \U0001f600", " the  hat"] * 3
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The rules of cutting as OpenAI's and Meta's published code have them."""


def words(text: str, rules: str) -> list[str]:
    """Text cut as llama.cpp does it, by regular expressions one after the other."""
    if rules == "llama-bpe":
        return regex.findall(LLAMA3_WORDS, text)
    if rules == "gpt-2":
        return regex.findall(GPT2_WORDS, text)
    parts = [part for part in regex.split(r"(\p{N})", text) if part]
    return [word for part in parts for word in regex.findall(GPT2_WORDS, part)]


class Merger:
    """Byte-pair encoding as Sennrich et al. 2016 write it: the earliest merge first, in a loop."""

    def __init__(self, names: list[str], merges: list[str], rules: str) -> None:
        self.ids = {name: i for i, name in enumerate(names)}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self.rules = rules
        shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [b for b in range(256) if b not in shown]
        self.letters = {b: chr(b) for b in shown}
        self.letters |= {b: chr(256 + n) for n, b in enumerate(others)}
        self.word = lru_cache(None)(self._word)

    def encode(self, text: str) -> list[int]:
        return [i for word in words(text, self.rules) for i in self.word(word)]

    def _word(self, word: str) -> list[int]:
        parts = [self.letters[b] for b in word.encode()]
        whole = "".join(parts)
        if self.rules == "llama-bpe" and whole in self.ids:
            return [self.ids[whole]]
        while True:
            pairs = [(self.ranks.get(p, 10**9), p) for p in pairwise(parts)]
            if not pairs or min(pairs)[0] == 10**9:
                return [self.ids[part] for part in parts]
            first, second = min(pairs)[1]
            merged: list[str] = []
            for part in parts:
                if merged and merged[-1] == first and part == second:
                    merged[-1] = first + second
                else:
                    merged.append(part)
            parts = merged


def metadata(rules: str, **changes: Any) -> dict[str, Any]:
    """What a GGUF file says of a small byte-level tokenizer, its special tokens at the end."""
    inner = hf.Tokenizer(BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    model = json.loads(inner.to_str())["model"]
    names = [*sorted(model["vocab"], key=model["vocab"].get), "<s>", "</s>", "<tool>"]
    count = len(names)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": rules,
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": [1] * (count - 3) + [3, 3, 4],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": count - 3,
        "tokenizer.ggml.eos_token_id": count - 2,
    } | {f"tokenizer.ggml.{name}": value for name, value in changes.items()}


def rebuilt(rules: str, **changes: Any) -> tuple[ImportedTokenizer, int]:
    content = metadata(rules, **changes)
    count = len(content["tokenizer.ggml.tokens"])
    return tokenizer_of_gguf(content, count + 2, "file"), count


@pytest.mark.parametrize("rules", ["gpt-2", "smollm", "llama-bpe"])
@given(text=ANY_TEXT | st.sampled_from([*TEXTS, "<s>", "it'S 12345\r\n \n\tx  y", "Ⅷ½²3"]))
def test_a_rebuilt_tokenizer_gives_the_ids_of_the_published_rules(rules: str, text: str) -> None:
    tokenizer, merger = cached(rules)
    assert tokenizer.encode(text) == merger.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@lru_cache(None)
def cached(rules: str) -> tuple[ImportedTokenizer, Merger]:
    content = metadata(rules)
    names, merges = content["tokenizer.ggml.tokens"], content["tokenizer.ggml.merges"]
    return rebuilt(rules)[0], Merger(names, merges, rules)


def test_special_tokens_are_where_the_file_says_and_never_in_a_text() -> None:
    tokenizer, count = rebuilt("gpt-2")
    assert (tokenizer.begin_id, tokenizer.end_id) == (count - 3, count - 2)
    assert tokenizer.pad_id == tokenizer.end_id
    assert tokenizer.vocab_size == count + 2
    assert {count - 3, count - 2}.isdisjoint(tokenizer.encode("<s>a</s>"))
    assert tokenizer.decode([count - 3, *tokenizer.encode("a<s>"), count - 2, count]) == "a<s>"


def test_a_token_that_users_may_write_is_text() -> None:
    tokenizer, count = rebuilt("gpt-2")
    assert tokenizer.encode("<tool>") == [count - 1]
    assert tokenizer.decode([count - 1]) == "<tool>"


def test_a_tokenizer_without_separator_or_mask_says_so() -> None:
    tokenizer, _ = rebuilt("gpt-2")
    for name in ("separator", "mask"):
        with pytest.raises(BadInput, match=f"no {name} token"):
            getattr(tokenizer, f"{name}_id")


@pytest.mark.parametrize(
    ("rules", "changes", "adds"),
    [
        ("gpt-2", {}, False),
        ("gpt-2", {"add_bos_token": True}, True),
        ("llama-bpe", {}, True),
        ("llama-bpe", {"add_bos_token": False}, False),
        ("llama-bpe", {"bos_token_id": None}, False),
    ],
)
def test_a_prompt_begins_as_the_makers_say(rules: str, changes: Any, adds: bool) -> None:
    tokenizer, _ = rebuilt(rules, **changes)
    ids = tokenizer.encode("the")
    assert tokenizer.encode_prompt("the") == ([tokenizer.begin_id] if adds else []) + ids
    assert tokenizer.encode_prompt("") == [tokenizer.begin_id]
    assert tokenizer.library().encode("the").ids == tokenizer.encode_prompt("the")


@pytest.mark.parametrize("adds", [False, True])
def test_an_imported_tokenizer_is_read_back(tmp_path: Path, adds: bool) -> None:
    tokenizer, _ = rebuilt("smollm", add_bos_token=adds)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, ImportedTokenizer)
    assert again.ids == tokenizer.ids
    for text in TEXTS:
        assert again.encode_prompt(text) == tokenizer.encode_prompt(text)
    assert [a.tolist() for a in again.encode_many(TEXTS)] == [again.encode(t) for t in TEXTS]
    assert again.encode("<s>") == tokenizer.encode("<s>")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "llama"}, "'llama' can't be rebuilt"),
        ({"pre": "deepseek-llm"}, "'deepseek-llm' are unknown"),
        ({"merges": None}, "no list tokenizer.ggml.merges"),
        ({"merges": ["ab"]}, "'ab' is not two tokens"),
        ({"tokens": [1, 2]}, "no list tokenizer.ggml.tokens"),
        ({"eos_token_id": None}, "eos_token"),
        ({"eos_token_id": 10**6}, "end_id 1000000 is outside"),
        ({"merges": ["日 本"]}, "file"),
    ],
)
def test_a_description_that_is_not_enough_is_refused(changes: Any, message: str) -> None:
    content = metadata("gpt-2", **changes)
    with pytest.raises(BadInput, match=message):
        tokenizer_of_gguf(content, 400, "file")


def test_a_damaged_saved_tokenizer_is_one_clear_line(tmp_path: Path) -> None:
    rebuilt("smollm")[0].save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    whole = json.loads(path.read_text())
    for key, value in (("end_id", None), ("end_id", 9999), ("vocab_size", 3), ("pad_id", "x")):
        content = {k: v for k, v in {**whole, key: value}.items() if v is not None}
        path.write_text(json.dumps(content))
        with pytest.raises(BadInput):
            load_tokenizer(tmp_path)


def sentencepiece() -> hf.Tokenizer:
    """Built as the library builds Llama 2's: no cutting, ▁ for spaces, bytes for the unknown."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *"▁thecas", "▁t", "he"]
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    inner = hf.Tokenizer(
        BPE(vocab, [("▁", "t"), ("h", "e")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    inner.add_special_tokens([AddedToken(n, special=True) for n in ("<unk>", "<s>", "</s>")])
    return inner


def folder_with(folder: Path, inner: hf.Tokenizer, **config: Any) -> Path:
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_sentencepiece_bytes_and_spaces_become_text(tmp_path: Path) -> None:
    inner = sentencepiece()
    folder = folder_with(tmp_path, inner, bos_token="<s>", eos_token={"content": "</s>"})
    tokenizer = tokenizer_of_folder(folder, 300)
    assert (tokenizer.begin_id, tokenizer.end_id) == (1, 2)
    for text in ("the cat", "naïve\n\U0001f600", "<s>"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == f" {text}"
        assert inner.decode(ids) == f" {text}"


def test_the_special_tokens_of_a_folder_are_found_where_they_are_said(tmp_path: Path) -> None:
    folder_with(tmp_path, sentencepiece())
    with pytest.raises(BadInput, match="eos_token"):
        tokenizer_of_folder(tmp_path, 300)
    (tmp_path / "config.json").write_text('{"eos_token_id": [2, 0], "pad_token_id": 0}')
    tokenizer = tokenizer_of_folder(tmp_path, 300)
    assert (tokenizer.begin_id, tokenizer.end_id, tokenizer.pad_id) == (2, 2, 0)
    assert not tokenizer.adds_begin


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (hf.Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]")), "WordPiece"),
        (hf.Tokenizer(Unigram([("a", 0.0)])), "Unigram"),
        (hf.Tokenizer(BPE({"a": 0}, [])), "BPE can't"),
    ],
)
def test_other_kinds_of_tokenizer_are_refused_by_name(
    tmp_path: Path, inner: hf.Tokenizer, message: str
) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 0}')
    with pytest.raises(BadInput, match=message):
        tokenizer_of_folder(folder_with(tmp_path, inner), 300)


def test_tokens_beyond_the_models_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 0}')
    with pytest.raises(BadInput, match="don't belong together"):
        tokenizer_of_folder(folder_with(tmp_path, sentencepiece()), 100)


def test_a_missing_or_damaged_tokenizer_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="save_pretrained"):
        tokenizer_of_folder(tmp_path, 10)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        tokenizer_of_folder(tmp_path, 10)


OWN = [
    BPETokenizer.train(TEXTS, 300),
    ByteTokenizer(),
    SymbolTokenizer("thecas <|>\n1"),
    "imported",
]


@pytest.mark.parametrize("tokenizer", OWN, ids=lambda t: getattr(t, "kind", t))
def test_an_exported_tokenizer_gives_our_ids_in_transformers(
    tmp_path: Path, tokenizer: Tokenizer | str
) -> None:
    ours = rebuilt("smollm")[0] if isinstance(tokenizer, str) else tokenizer
    export_tokenizer(ours, tmp_path, 40)
    theirs = library.transformers.AutoTokenizer.from_pretrained(tmp_path)
    symbols = isinstance(ours, SymbolTokenizer)
    for text in ["the cat", "a<|t|>s\n 1"] if symbols else [*TEXTS, "<|end|>", "a\r\n ​é"]:
        assert theirs(text).input_ids == ours.encode_prompt(text)
        assert theirs(text, add_special_tokens=False).input_ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    assert theirs.bos_token_id == ours.begin_id
    assert theirs.eos_token_id == ours.end_id
    assert theirs.pad_token_id == ours.pad_id
    assert theirs.model_max_length == 40
    assert theirs.decode([ours.begin_id, ours.end_id], skip_special_tokens=True) == ""


def test_smollm2s_ids_are_those_of_its_rules_on_real_text() -> None:
    from pydoc_data.topics import topics

    from unrolled.models.import_gguf import open_gguf
    from unrolled.tasks.weights import find

    content, _ = open_gguf(find("smollm2"))
    names, merges = content["tokenizer.ggml.tokens"], content["tokenizer.ggml.merges"]
    tokenizer = tokenizer_of_gguf(content, len(names), "smollm2")
    merger = Merger(names, merges, "smollm")
    texts = [topics[name] for name in sorted(topics)[::4]]
    for text in [*texts, "Im Jahr 1984 → 2½ Äpfel\r\n\t\U0001f600  日本語<|im_end|>"]:
        assert tokenizer.encode(text) == merger.encode(text)
    assert tokenizer.encode_prompt("a") == tokenizer.encode("a")
    assert names[tokenizer.end_id] == "<|im_end|>"
