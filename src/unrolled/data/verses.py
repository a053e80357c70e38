"""What is the same sentence in two Englishes? A verse, in two of the public-domain Bibles.

The texts are the optional packages `pythonbible-*`; Wycliffe's is Middle English of about 1390, the
World English Bible (`web`) modern. Verses are paired by book, chapter and number. Where two
versions divide a chapter differently the numbers don't mean the same verse, so such chapters are
left out; Wycliffe numbers the Psalms as the Vulgate does, so against a version that follows the
Hebrew they are left out as a whole. Whole chapters are held out: a verse says much about the next.
Parallel passages (the gospels, Kings and Chronicles) can still be on both sides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import version

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
    rows = partial(_aligned, ours, theirs)
    apart = {
        ours[number]
        for number in _kept(ours, theirs, lambda _: None)
        if _hash(number // 1000) % holdout == 0
    }

    def fingerprint() -> dict[str, str]:
        return {_described(n, v): _digest(v) for n, v in ((source, ours), (target, theirs))}

    name = f"verses:{source}-{target}"
    return PairCorpus(name, rows, fingerprint, held_out=apart.__contains__, unit="verse")


def _aligned(ours: Verses, theirs: Verses, skip: Skip) -> Iterator[tuple[str, str]]:
    return ((ours[number], theirs[number]) for number in _kept(ours, theirs, skip))


def _kept(ours: Verses, theirs: Verses, skip: Skip) -> Iterator[int]:
    """Numbers of the verses that are the same verse in both, in order."""
    last, their_last = _last_verses(ours), _last_verses(theirs)
    psalms_differ = _vulgate_psalms(ours) != _vulgate_psalms(theirs)
    for number in sorted(ours.keys() | theirs.keys()):
        chapter = number // 1000
        if number not in ours or number not in theirs:
            skip("only in one version")
        elif psalms_differ and chapter // 1000 == PSALMS:
            skip("in Psalms that are numbered differently")
        elif last[chapter] != their_last[chapter]:
            skip("in chapters that are divided differently")
        elif not ours[number] or not theirs[number]:
            skip("empty")
        elif _uneven(len(ours[number]), len(theirs[number])):
            skip(f"more than {UNEVEN} times as long as the other")
        else:
            yield number


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


def _last_verses(verses: Verses) -> dict[int, int]:
    """The highest verse number of each chapter."""
    last: dict[int, int] = {}
    for number in verses:
        last[number // 1000] = max(last.get(number // 1000, 0), number)
    return last


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
