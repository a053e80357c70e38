"""Which text may be shown already? Tokens become text as they come, up to a stop string.

A stop string may begin in one token and end in another, and a character may be spread over tokens:
what could still become part of either is held back until it is decided.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from unrolled.errors import BadInput


class TextStream:
    """Bytes in, text out; `stopped` once a stop string has appeared, which is never shown.

    The text ends before the stop string that is complete first (of two, the longer), so it doesn't
    depend on how the tokens cut it. Raises `BadInput` for an empty stop string.
    """

    def __init__(
        self, stop_strings: Sequence[str] = (), show: Callable[[str], object] | None = None
    ) -> None:
        if not all(stop_strings):
            raise BadInput("a stop string needs at least one character")
        self.stops = [text.encode("utf-8", "surrogatepass") for text in stop_strings]
        self.show = show
        self.text, self.stopped = "", False
        self._held = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; returns whether a stop string ended the text."""
        if self.stopped:
            return True
        self._held += data
        found = [(at + len(s), at) for s in self.stops if (at := self._held.find(s)) >= 0]
        if found:
            self._emit(min(found)[1], final=True)
            self.stopped = True
        else:
            self._emit(len(self._held) - self._undecided(), final=False)
        return self.stopped

    def close(self) -> str:
        """No more is to come: show what was held back, and return the whole text."""
        if not self.stopped:
            self._emit(len(self._held), final=True)
        return self.text

    def _undecided(self) -> int:
        """How many bytes at the end could begin a stop string."""
        longest = max(map(len, self.stops), default=1) - 1
        lengths = range(min(longest, len(self._held)), 0, -1)
        ends = (n for n in lengths if any(s.startswith(self._held[-n:]) for s in self.stops))
        return next(ends, 0)

    def _emit(self, count: int, *, final: bool) -> None:
        piece = self._decoder.decode(self._held[:count], final)
        self._held = self._held[count:]
        self.text += piece
        if piece and self.show is not None:
            self.show(piece)
