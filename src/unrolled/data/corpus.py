"""What is a corpus? Documents or pairs that can be read again and again, divided once and for all.

Which side of the division a text falls on depends on the text alone: its hash decides. So no
text is both trained on and held out, however often it occurs, and nothing need be remembered while
reading a stream. The first text is always trained on and the second different one always held
out, so that the smallest corpus has both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Literal

from unrolled.errors import BadInput

Split = Literal["train", "validation", "all"]
Skip = Callable[[str], None]
"""Called with the reason for which something is left out."""
LONGEST_RUN = 64
"""Parts of a document that are given out as one: bounds the memory a document needs."""


class Corpus:
    """What both kinds share: a name, the skips of a reading, and what identifies the data."""

    def __init__(
        self, name: str, units: tuple[str, str], fingerprint: Callable[[], dict[str, str]]
    ):
        self.name = name
        self.skipped: Counter[str] = Counter()
        """Reasons for which something was left out, and how often in one whole reading."""
        self._units = units
        self._fingerprint = fingerprint
        self._read = 0

    def report(self) -> str:
        """One line on what was left out, for a person; "" if nothing was."""
        if not self.skipped:
            return ""
        read = counted(self._read, self._units[0])
        return f"read {read}; skipped {in_words(self.skipped, self._units[1])}"

    def fingerprint(self) -> dict[str, str]:
        """File name to SHA-256: tells whether this is still the same data. Reads all of it."""
        return self._fingerprint()

    def _counting(self) -> tuple[Skip, Callable[[], None]]:
        """Counters of one reading; a second reading of the same data changes no total."""
        skipped: Counter[str] = Counter()
        read = 0

        def skip(reason: str) -> None:
            skipped[reason] += 1
            self.skipped[reason] = max(self.skipped[reason], skipped[reason])

        def count() -> None:
            nonlocal read
            read += 1
            self._read = max(self._read, read)

        return skip, count

    def _nothing(self) -> BadInput:
        why = f": {in_words(self.skipped, self._units[1])}" if self.skipped else ""
        return BadInput(f"{self.name}: no usable {self._units[0]}{why}")


class TextCorpus(Corpus):
    """Documents, each read as parts that end at line ends.

    A part is held out or trained on as a whole. Neighbouring parts of a document on the same side
    are given out as one document.
    """

    def __init__(
        self,
        name: str,
        parts: Callable[[Skip], Iterable[Iterable[str]]],
        fingerprint: Callable[[], dict[str, str]],
        *,
        holdout: int = 20,
        unit: str = "line",
    ) -> None:
        super().__init__(name, ("document", unit), fingerprint)
        self._parts = parts
        skip, _ = self._counting()
        rule = by_hash((part for document in parts(skip) for part in document), holdout)
        if rule is None:
            raise self._nothing()
        self._held_out = rule

    def documents(self, split: Split) -> Iterator[str]:
        """The documents of one side, or of both; each call reads from the start."""
        skip, count = self._counting()
        for document in self._parts(skip):
            run: list[str] = []
            for part in document:
                if split == "all" or self._held_out(part) == (split == "validation"):
                    run.append(part)
                    if len(run) < LONGEST_RUN:
                        continue
                if run:
                    yield "".join(run)
                    run = []
            if run:
                yield "".join(run)
            count()


class PairCorpus(Corpus):
    """Pairs of a source and a target. Pairs with the same source are on the same side."""

    def __init__(
        self,
        name: str,
        rows: Callable[[Skip], Iterable[tuple[str, str]]],
        fingerprint: Callable[[], dict[str, str]],
        *,
        holdout: int = 20,
        held_out: Callable[[str], bool] | None = None,
        unit: str = "line",
    ) -> None:
        super().__init__(name, ("pair", unit), fingerprint)
        self._rows = rows
        skip, _ = self._counting()
        rule = held_out or by_hash((source for source, _ in rows(skip)), holdout)
        if rule is None:
            raise self._nothing()
        self._held_out = rule

    def pairs(self, split: Split) -> Iterator[tuple[str, str]]:
        """The pairs of one side, or of both; each call reads from the start."""
        skip, count = self._counting()
        for pair in self._rows(skip):
            count()
            if split == "all" or self._held_out(pair[0]) == (split == "validation"):
                yield pair


def by_hash(texts: Iterable[str], holdout: int) -> Callable[[str], bool] | None:
    """The rule that holds out about one text in `holdout`; None if every text is blank.

    Reads no further than the second different text.
    """
    if holdout < 2:
        raise BadInput(
            f"holdout says that one text in so many is held out: 2 or more, got {holdout}"
        )
    fixed: dict[bytes, bool] = {}
    for text in texts:
        if text.strip():
            fixed.setdefault(_hash(text), bool(fixed))
        if len(fixed) == 2:
            break

    def held_out(text: str) -> bool:
        key = _hash(text)
        if key in fixed:
            return fixed[key]
        return int.from_bytes(key) % holdout == 0

    return held_out if fixed else None


def in_words(counts: Counter[str], unit: str) -> str:
    """The counts for a person: "3 lines: 2 without a tab, 1 not UTF-8"."""
    parts = [f"{count:,} {reason}" for reason, count in counts.most_common() if count]
    total = counted(counts.total(), unit)
    if len(parts) == 1:
        return f"{total} {next(r for r in counts if counts[r])}"
    return f"{total}: {', '.join(parts)}"


def counted(number: int, unit: str) -> str:
    """The number with its unit: "1 line", "2,000 lines"."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
