"""How are batches produced epoch after epoch so that a stopped run goes on with the very next one?

Examples are read in windows: the whole corpus at once, or as much of a stream as memory should
hold. How a window is arranged into batches depends on nothing but (seed, epoch, number of the
window), so that the place in the stream is three numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np

from unrolled.data.corpus import in_words
from unrolled.data.ragged import Ragged
from unrolled.errors import BadInput
from unrolled.models.batch import Batch

Item = TypeVar("Item")
Group = TypeVar("Group")
Windows = Callable[[int], Iterator[Ragged]]
"""The windows of one epoch, from the given number on."""
PLACE = ("epoch", "window", "batch", "windows")
ENCODED_TOGETHER = 1 << 20
"""Characters given to the tokenizer in one call."""


class BatchStream(Generic[Group]):
    """Batches without end, epoch after epoch; `once` gives one epoch, always the same.

    `arrange` divides a window into groups, `collate` makes a group a batch; both draw only from
    the generator they are given. `in_memory` says that an epoch is one window.
    """

    def __init__(
        self,
        windows: Windows,
        arrange: Callable[[Ragged, np.random.Generator], list[Group]],
        collate: Callable[[Ragged, Group, np.random.Generator], Batch],
        seed: int,
        skipped: Counter[str] | None = None,
        *,
        in_memory: bool = False,
    ) -> None:
        if seed < 0:
            raise BadInput(f"seed is a whole number from 0 on, got {seed}")
        self._windows, self._arrange, self._collate, self._seed = windows, arrange, collate, seed
        self.skipped: Counter[str] = Counter() if skipped is None else skipped
        """Reasons for which examples were left out, and how many; filled while reading."""
        self._place = (0, 0, 0)
        self._running: Iterator[tuple[int, int, int, Batch]] | None = None
        self._fraction = 0.0
        self._num_windows = 1 if in_memory else None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch. Raises `BadInput` if an epoch has none."""
        while True:
            epoch, window, batch = self._place
            if self._running is None:
                self._running = self._one_epoch(epoch, window, batch)
            found = next(self._running, None)
            if found is not None:
                window, batch, count, result = found
                self._place = (epoch, window, batch)
                if self._num_windows is not None:
                    self._fraction = (window + batch / count) / self._num_windows
                return result
            if (window, batch) == (0, 0):
                raise BadInput("no batch can be made: no usable example. " + self.report())
            self._num_windows = window + 1
            self._place, self._running, self._fraction = (epoch + 1, 0, 0), None, 0.0

    def once(self) -> Iterator[Batch]:
        """Every batch of the first epoch: the same ones at each call. Leaves the stream's place."""
        return (batch for *_, batch in self._one_epoch(0, 0, 0))

    @property
    def epoch(self) -> float:
        """Epochs read so far, with the fraction of this one where the epoch's size is known."""
        return self._place[0] + self._fraction

    def report(self) -> str:
        """One line on what was left out, or "" if nothing was."""
        return "skipped " + in_words(self.skipped, "example") if self.skipped.total() else ""

    def state_dict(self) -> dict[str, int]:
        """The place of the next batch, and how many windows an epoch has (0: not known yet)."""
        return dict(zip(PLACE, (*self._place, self._num_windows or 0), strict=True))

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a place that `state_dict` gave. Raises `BadInput` if it is none."""
        place = [state.get(name, -1) for name in PLACE]
        if len(state) != len(PLACE) or any(not isinstance(n, int) or n < 0 for n in place):
            raise BadInput(
                f"a place in the data is {', '.join(PLACE)} from 0 on; got {dict(state)}"
            )
        self._place, self._num_windows = (place[0], place[1], place[2]), place[3] or None
        self._running, self._fraction = None, 0.0

    def _one_epoch(
        self, epoch: int, window: int, batch: int
    ) -> Iterator[tuple[int, int, int, Batch]]:
        """Window, batches of it done, batches it has, and the batch; from the given place on."""
        number = window
        for number, held in enumerate(self._windows(window), start=window):
            groups = self._arrange(held, np.random.default_rng([self._seed, epoch, number]))
            for i in range(batch, len(groups)):
                # the key is longer than the window's own by a number that isn't 0
                generator = np.random.default_rng([self._seed, epoch, number, i + 1])
                yield number, i + 1, len(groups), self._collate(held, groups[i], generator)
            batch = 0


def read_windows(
    items: Callable[[], Iterable[Item]],
    encode: Callable[[list[Item]], Sequence[np.ndarray]],
    characters: Callable[[Item], int],
    window: int | None,
    dtype: type[np.uint16] | type[np.uint32],
) -> Windows:
    """Encode `items` into windows: all at once and once for all, or `window` characters at a time.

    A stream's windows before the first one asked for are read, but not encoded.
    """
    if window is not None:
        if window < 1:
            raise BadInput(f"window is a number of characters from 1 on, got {window}")
        size = window

        def windows(first: int) -> Iterator[Ragged]:
            for number, chunk in enumerate(_chunks(items(), characters, size)):
                if number >= first:
                    yield Ragged.of(encode(chunk), dtype)

        return windows

    chunks = _chunks(items(), characters, ENCODED_TOGETHER)
    whole = Ragged.join((Ragged.of(encode(chunk), dtype) for chunk in chunks), dtype)
    return lambda first: iter([whole][first:])


class Skips:
    """Counts examples left out for one reason, each once however often it is read."""

    def __init__(self, reason: str, skipped: Counter[str]) -> None:
        self._reason, self._skipped = reason, skipped
        self._seen: set[bytes] = set()

    def add(self, text: str) -> None:
        """Count the example `text`."""
        self._seen.add(blake2b(text.encode(), digest_size=8).digest())
        self._skipped[self._reason] = len(self._seen)


def _chunks(
    items: Iterable[Item], characters: Callable[[Item], int], most: int
) -> Iterator[list[Item]]:
    """Consecutive items, as many together as it takes to have `most` characters."""
    held: list[Item] = []
    total = 0
    for item in items:
        held.append(item)
        total += characters(item)
        if total >= most:
            yield held
            held, total = [], 0
    if held:
        yield held
