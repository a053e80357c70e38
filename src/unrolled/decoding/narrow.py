"""When is one row a source enough? Where the best prefix proves better than all it left behind.

Follow the best prefix alone, of sum s_t after t tokens, and remember the best bound of what it left
behind (`objectives.py`). If it ends, as y of sum s, and scores above all of these bounds, y is the
best sequence of all, and beam search of any size finds it: a rival at length t would have a sum
above s_t ≥ s, so a bound of at least y's score, and it continues a prefix that was left behind,
whose bound is no smaller. As soon as y can no longer do so, the source is searched again in full
(compare Meister, Vieira and Cotterell 2020, whose best-first search also leaves out expansions that
cannot matter).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from unrolled.decoding.decoded import Decoded, Hypothesis, Kept, Step
from unrolled.decoding.search import Search

SURE = 0.9
"""Probability of the first token from which on the best prefix is followed alone."""


class Followed(Sequence[Step]):
    """The trace of a prefix that is followed alone; its steps are made when they are looked at.

    Most never are, and a thousand answers have so many that Python would look through all of its
    objects for garbage again and again: a sixth of the whole search's time.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.log_probs: list[float] = []
        self.totals: list[float] = []
        self.rejected: list[float | None] = []

    def add(self, token: int, log_prob: float, total: float, rejected: float | None) -> None:
        """One step more."""
        self.tokens.append(token)
        self.log_probs.append(log_prob)
        self.totals.append(total)
        self.rejected.append(rejected)

    def __len__(self) -> int:
        return len(self.tokens)

    @overload
    def __getitem__(self, index: int) -> Step: ...

    @overload
    def __getitem__(self, index: slice) -> list[Step]: ...

    def __getitem__(self, index: int | slice) -> Step | list[Step]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        kept = Kept(0, self.tokens[index], self.log_probs[index], self.totals[index])
        return Step([kept], self.rejected[index])

    def __eq__(self, other: object) -> bool:
        """As a list of the same steps."""
        return isinstance(other, Sequence) and self[:] == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Narrow(Search):
    """The search for one source by its best prefix alone; `again` if that can't be the answer."""

    followed: Followed = field(default_factory=Followed)
    left_behind: tuple[float, int] | None = None
    """(log-probability, best length) of the best that was rejected."""

    def unsure(self, totals: list[float]) -> bool:
        """Whether the first step gives little hope: then the whole beam may as well begin."""
        return not self.followed and not (totals and totals[0] > math.log(SURE))

    def whole(self) -> Search:
        """The search by the whole beam, from its first step on."""
        return Search(self.number, self.source, self.max_length, self.options)

    def advance(
        self, parents: list[int], tokens: list[int], each: list[float], totals: list[float]
    ) -> None:
        """Go on with the best candidate, if it can still beat all others or has."""
        if not totals:
            self._give_up()
            return
        token, total, length = tokens[0], totals[0], len(self.followed) + 1
        rejected = totals[1] if len(totals) > 1 else None
        self.followed.add(token, each[0], total, rejected)
        objective, behind = self.options.objective, self.left_behind
        if rejected is not None:
            reach = objective.best_length(length - 1, self.max_length)
            assert reach is not None
            if behind is None or objective.compare(rejected, reach, *behind) > 0:
                behind = self.left_behind = (rejected, reach)
        ended = token == self.options.end_token
        reach = length if ended else objective.best_length(length, self.max_length)
        if reach is None or (behind is not None and objective.compare(total, reach, *behind) <= 0):
            self._give_up()
            return
        live = self.live[0]
        live.tokens.append(token)
        live.total = total
        if ended:
            score = objective.score(total, length)
            self.completed, self.live = [Hypothesis(live.tokens, total, score, True)], []
            self.reason = "nothing is left to extend"
            if behind is not None:
                bound = objective.score(*behind)
                self.reason = (
                    f"no other prefix can score above {bound:.6g}, and {score:.6g} is reached"
                )

    def _give_up(self) -> None:
        self.reason, self.again = "another prefix may become better", True

    def decoded(self) -> Decoded:
        """What was found."""
        return replace(super().decoded(), trace=self.followed)
