"""Do texts survive encoding and decoding, and do special ids stay special?"""

from __future__ import annotations

import json

import pytest
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.tokenizers import (
    SPECIALS,
    BPETokenizer,
    ByteTokenizer,
    SymbolTokenizer,
    Tokenizer,
    load_tokenizer,
)
from unrolled.errors import BadInput

TEXTS = [
    "the cat sat on the mat\n",
    "the hat of the cat",
    "naïve café, 12 o'clock — \U0001f600",
] * 3
BPE = BPETokenizer.train(TEXTS, 300)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=lambda t: t.kind)
@given(text=ANY_TEXT | st.sampled_from([*SPECIALS, "a<|end|>b", "\x00\r\n ", "​é"]))
def test_any_text_survives_encoding_and_decoding(tokenizer: Tokenizer, text: str):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert all(len(SPECIALS) <= i < tokenizer.vocab_size for i in ids)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=lambda t: t.kind)
@given(texts=st.lists(ANY_TEXT, max_size=5))
def test_many_texts_encode_as_each_alone(tokenizer: Tokenizer, texts: list[str]):
    arrays = tokenizer.encode_many(texts)
    assert [a.tolist() for a in arrays] == [tokenizer.encode(t) for t in texts]
    assert all(a.dtype == tokenizer.dtype for a in arrays)


@given(text=st.text("ab c", max_size=30))
def test_a_stated_alphabet_survives_too(text: str):
    tokenizer = SymbolTokenizer("ab c")
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE, SymbolTokenizer("01")])
def test_the_five_special_ids_mean_the_same_everywhere_and_decode_to_nothing(tokenizer: Tokenizer):
    specials = [
        tokenizer.pad_id,
        tokenizer.begin_id,
        tokenizer.end_id,
        tokenizer.separator_id,
        tokenizer.mask_id,
    ]
    assert specials == [0, 1, 2, 3, 4]
    assert tokenizer.decode(specials) == ""


def test_bytes_are_shifted_by_the_special_ids():
    assert ByteTokenizer().encode("Aé") == [65 + 5, 0xC3 + 5, 0xA9 + 5]
    assert ByteTokenizer().vocab_size == 261


def test_a_cut_character_becomes_a_replacement_character_only_when_decoded():
    ids = ByteTokenizer().encode("é")[:1]
    assert ByteTokenizer().decode_bytes(ids) == b"\xc3"
    assert ByteTokenizer().decode(ids) == "�"


def test_bpe_merges_what_is_frequent():
    assert len(BPE.encode(" the")) == 1
    assert BPE.decode(BPE.encode(" the")) == " the"


def test_bpe_training_is_deterministic():
    again = BPETokenizer.train(iter(TEXTS), 300)
    assert again._inner.to_str() == BPE._inner.to_str()


def test_bpe_agrees_with_the_library_s_own_decoder():
    ids = BPE.encode(TEXTS[2])
    assert BPE._inner.decode(ids) == BPE.decode(ids) == TEXTS[2]


def test_a_document_longer_than_one_training_piece_is_used_to_its_end():
    long = BPETokenizer.train(["ab" * 40_000 + " zqzqzq" * 9], 300)
    assert len(long.encode(" zqzqzq")) < len(BPE.encode(" zqzqzq"))


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE, SymbolTokenizer("012")])
def test_a_saved_tokenizer_is_read_back(tokenizer: Tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new")
    back = load_tokenizer(tmp_path / "new")
    assert type(back) is type(tokenizer)
    assert back.vocab_size == tokenizer.vocab_size
    assert back.encode("0120") == tokenizer.encode("0120")
    if tokenizer is BPE:
        assert back.encode("<|end|>") == BPE.encode("<|end|>") != [2]


def test_the_saved_bpe_file_is_the_library_s_own(tmp_path):
    BPE.save(tmp_path)
    library = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.encode("the cat").ids == BPE.encode("the cat")
    assert library.token_to_id("<|mask|>") == 4
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "<|end|>"


def spoil(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("tokenizer.json", spoil, "tokenizer.json: .*damaged"),
        ("tokenizer_config.json", spoil, "tokenizer_config.json: .*damaged"),
        ("tokenizer_config.json", lambda _: "[1]", "another program"),
        ("tokenizer_config.json", lambda _: '{"format": 99}', "another program"),
        ("tokenizer_config.json", lambda t: t.replace("bpe", "spm"), "unknown kind .*'spm'"),
        ("tokenizer.json", lambda t: t.replace("<|pad|>", "[PAD]"), "first ids must be"),
        ("tokenizer.json", lambda t: t.replace('"Ġthe"', '"日"'), "byte-level|damaged"),
        ("tokenizer.json", lambda _: "{}", "damaged"),
    ],
)
def test_a_damaged_or_foreign_tokenizer_is_one_clear_line(file, change, message, tmp_path):
    BPE.save(tmp_path)
    path = tmp_path / file
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"tokenizer_config\.json: no such file"):
        load_tokenizer(tmp_path)
    BPE.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match=r"tokenizer\.json: no"):
        load_tokenizer(tmp_path)


def test_a_character_outside_the_alphabet_is_named_with_its_column():
    with pytest.raises(BadInput, match="column 3: 'x' is not in the alphabet '01'"):
        SymbolTokenizer("01").encode("01x0")


@pytest.mark.parametrize(("symbols", "message"), [("", "empty"), ("abca", "'a' twice")])
def test_an_alphabet_must_be_different_characters(symbols: str, message: str):
    with pytest.raises(BadInput, match=message):
        SymbolTokenizer(symbols)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=lambda t: t.kind)
def test_a_lone_surrogate_is_refused_with_its_column(tokenizer: Tokenizer):
    for attempt in (tokenizer.encode, lambda text: tokenizer.encode_many([text])):
        with pytest.raises(BadInput, match="column 3"):
            attempt("ab\udcff")


@pytest.mark.parametrize("wrong", [-1, 261])
def test_an_id_outside_the_vocabulary_is_refused(wrong: int):
    with pytest.raises(BadInput, match=f"token id {wrong} .* 261"):
        ByteTokenizer().decode([65, wrong])


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(BadInput, match="at least 261, got 260"):
        BPETokenizer.train(TEXTS, 260)
