"""The rule of Pig Latin against another writing of it, and sentences that are really English."""

from __future__ import annotations

import re
from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import open_corpus
from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks.piglatin import ALPHABET, STRETCH, PigLatin, sentences
from unrolled.tasks.piglatin_rule import translate, translate_word

WORDS = sorted({word for text in topics.values() for word in re.findall("[a-z]+", text.lower())})


def by_regex(word: str) -> str:
    """The rule once more, as one regular expression."""
    match = re.fullmatch(r"(y?(?:qu|[b-df-hj-np-tv-xz])*)(.*)", word)
    assert match is not None
    head, rest = match.groups()
    return f"{rest}-{head}ay" if head else f"{word}-way"


def test_the_rule_agrees_with_another_writing_of_it_on_every_word_of_the_corpus() -> None:
    assert len(WORDS) > 2000
    for word in WORDS:
        assert translate_word(word) == by_regex(word)


@given(st.text("aeiouyqubcdfgh", min_size=1, max_size=12))
def test_the_rule_agrees_with_another_writing_of_it_on_any_word(word: str) -> None:
    assert translate_word(word) == by_regex(word)


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12))
def test_no_letter_is_lost(word: str) -> None:
    rest, _, head = translate_word(word).partition("-")
    assert head.removesuffix("ay") + rest == word or translate_word(word) == f"{word}-way"


def test_the_examples_of_the_rule() -> None:
    english = "translate this to pig latin quick square yes my apple rhythm nth queue"
    latin = (
        "anslate-tray is-thay o-tay ig-pay atin-lay ick-quay are-squay es-yay y-may apple-way "
        "ythm-rhay -nthay eue-quay"
    )
    assert translate(english) == latin


@pytest.mark.parametrize("sentence", ["", "Two words", "a  b", "don't", "x1"])
def test_what_is_no_sentence_of_words_is_refused(sentence: str) -> None:
    with pytest.raises(BadInput, match="lower-case words"):
        translate(sentence)


@pytest.mark.parametrize(
    ("text", "stretches"),
    [
        ("The cat sat.", ["The cat sat"]),
        ("one foo_bar two three", ["two three"]),
        ("call the foo.bar method now", ["call the", "method now"]),
        ("we don't know that", ["know that"]),
        ("that's what it is", ["what it is"]),
        ("see f(x) here now (or there now)", ["here now", "or there now"]),
        ("see any(x is small for x in it) here", ["is small for x in it"]),
        ("(at the start)", ["at the start"]),
        ("at a1 the b2 end", []),
        ("use __init__ with care", ["with care"]),
        ("first line\n  second line\n\nthird line", ["first line\n  second line", "third line"]),
        ("yes, it is so; or not so", ["it is so", "or not so"]),
        ("a-b c d", ["c d"]),
        ("naïve word order", ["word order"]),
        ("well (as he said) it is", ["as he said", "it is"]),
    ],
)
def test_only_whole_words_with_nothing_between_them_are_a_stretch(
    text: str, stretches: list[str]
) -> None:
    assert [match.group() for match in STRETCH.finditer(text)] == stretches


def test_held_out_sentences_are_a_thousand_and_none_is_trained_on() -> None:
    task = PigLatin()
    job = task.open(task.defaults("decoder"))
    held_out = [source for source, _ in job.data.held_out]
    train = [source for source, _ in job.data.train()]
    assert len(held_out) == len(set(held_out)) == 1000
    assert len(train) > 20_000
    words = f" {' . '.join(train)} "
    assert not [source for source in held_out if f" {source} " in words]


def test_the_same_text_gives_the_same_sentences() -> None:
    documents = ["the cat sat on the mat and saw the rat that ate the malt"]
    assert list(sentences(documents, cuts=5)) == list(sentences(documents, cuts=5))


def test_every_sentence_is_three_to_ten_words_that_stand_so_in_the_corpus() -> None:
    documents = list(open_corpus("pydocs").documents("all"))  # type: ignore[union-attr]
    stripped = [
        (raw.removeprefix("("), raw.rstrip(".,;:!?)"))
        for raw in " ".join(documents).lower().split()
    ]
    # Every run of ten white-space tokens; only its ends may wear punctuation.
    places: dict[str, list[int]] = {}
    for place, (first, _) in enumerate(stripped):
        places.setdefault(first, []).append(place)
    for sentence in sentences(documents, cuts=2):
        words = sentence.split(" ")
        assert 3 <= len(words) <= 10
        assert set(sentence) <= set(ALPHABET)
        assert any(
            [first for first, _ in stripped[place : place + len(words) - 1]] == words[:-1]
            and stripped[place + len(words) - 1][1] == words[-1]
            for place in places[words[0]]
            if place + len(words) <= len(stripped)
        )


def test_capitals_are_fine_and_other_signs_are_refused_by_name() -> None:
    task = PigLatin()
    job = task.open(task.defaults("decoder"))
    model = build("decoder", job.config.model)
    assert job._source("Hello  World") == job._source("hello world")
    for sentence, sign in (("hello, world", "','"), ("take 5", "'5'"), ("naïve", "'ï'")):
        with pytest.raises(BadInput, match=sign):
            job.translate(model, [sentence])
    with pytest.raises(BadInput, match="empty"):
        job.translate(model, ["  "])
    with pytest.raises(BadInput, match="max_positions"):
        job.translate(model, ["word " * 60])
