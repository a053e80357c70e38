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
from dataclasses import dataclass

from unrolled.decoding.decoded import Hypothesis, Kept, Step
from unrolled.decoding.search import Search

SURE = 0.9
"""Probability of the first token from which on the best prefix is followed alone."""


@dataclass
class Narrow(Search):
    """The search for one source by its best prefix alone; `again` if that can't be the answer."""

    left_behind: tuple[float, int] | None = None
    """(log-probability, best length) of the best that was rejected."""

    def unsure(self, totals: list[float]) -> bool:
        """Whether the first step gives little hope: then the whole beam may as well begin."""
        return not self.trace and not (totals and totals[0] > math.log(SURE))

    def whole(self) -> Search:
        """The search by the whole beam, from its first step on."""
        return Search(self.number, self.source, self.max_length, self.options)

    def advance(
        self, parents: list[int], tokens: list[int], each: list[float], totals: list[float]
    ) -> None:
        """Go on with the best candidate, if it can still beat all others or has."""
        self.reason, self.again = "another prefix may become better", True
        if not totals:
            return
        (live,), length = self.live, len(self.trace) + 1
        options, token, total = self.options, tokens[0], totals[0]
        rejected = totals[1] if len(totals) > 1 else None
        self.trace.append(Step([Kept(0, token, each[0], total)], rejected))
        objective, behind = options.objective, self.left_behind
        if rejected is not None:
            reach = objective.best_length(length - 1, self.max_length)
            assert reach is not None
            if behind is None or objective.compare(rejected, reach, *behind) > 0:
                behind = self.left_behind = (rejected, reach)
        ended = token == options.end_token
        reach = length if ended else objective.best_length(length, self.max_length)
        if reach is None or (behind is not None and objective.compare(total, reach, *behind) <= 0):
            return
        self.again, self.reason = False, ""
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
