"""What does beam search keep of one source, and when does it stop there? The whole beam.

The rules and their proof are those of `beam.py`; this file is a step of them, and the six stop
rules. Under Hugging Face's, completed hypotheses take no place from live ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key

from unrolled.decoding.decoded import Decoded, Hypothesis, Kept, Step
from unrolled.decoding.objectives import Objective

OnPrefix = Callable[[int, list[int]], None]


@dataclass(frozen=True)
class Options:
    """What one search is asked for."""

    beam_size: int
    stop: str
    objective: Objective
    n_best: int
    end_token: int
    vocab_size: int
    below_zero: bool
    rules: tuple[str, ...] = ()
    weights: str = "float32"


@dataclass(slots=True)
class Live:
    """A prefix that goes on: its place in the beam, and its row in the call before."""

    tokens: list[int] = field(default_factory=list)
    total: float = 0.0
    rank: int = 0
    row: int = 0


@dataclass
class Search:
    """The search for one source."""

    number: int
    source: list[int]
    max_length: int
    options: Options
    on_prefix: OnPrefix | None = None
    live: list[Live] = field(default_factory=lambda: [Live()])
    completed: list[Hypothesis] = field(default_factory=list)
    trace: list[Step] = field(default_factory=list)
    reason: str = ""
    again: bool = False
    """Whether this search stopped only for the source to be searched again, in full."""
    shared: int = 0

    def __post_init__(self) -> None:
        """Hugging Face's rules are others."""
        self.foreign = self.options.stop.startswith("hf:")

    def advance(
        self, parents: list[int], tokens: list[int], each: list[float], totals: list[float]
    ) -> None:
        """Take the step's best candidates, as many as there are totals: keep, complete, reject,
        and see whether to stop.
        """
        end, length = self.options.end_token, len(self.trace) + 1
        places = self._places(tokens, len(totals))
        cut = self.foreign and length == self.max_length
        live, before, kept, ended = [], self.live, [], len(self.completed)
        for rank, i in enumerate(places):
            parent, token, total = before[parents[i]], tokens[i], totals[i]
            kept.append(Kept(parent.rank, token, each[i], total))
            if token == end or cut:
                score = self.options.objective.score(total, length)
                found = [*parent.tokens, token]
                self.completed.append(Hypothesis(found, total, score, token == end))
            else:
                live.append(Live([*parent.tokens, token], total, rank, parents[i]))
        self.trace.append(Step(kept, self._rejected(places, totals)))
        self.live = live
        if len(self.completed) > ended:
            self._order()
        self.reason = self._why_stop(length)
        if self.on_prefix is not None:
            self._stream()

    def _places(self, tokens: list[int], possible: int) -> Sequence[int]:
        """Which candidates enter the beam: the first ones."""
        if not self.foreign:
            return range(min(self.options.beam_size, possible))
        b = self.options.beam_size
        last = len(self.trace) + 1 == self.max_length
        ends = [token == self.options.end_token or last for token in tokens[:possible]]
        places = [i for i, ended in enumerate(ends) if not ended][:b]
        return sorted({*places, *(i for i, ended in enumerate(ends[:b]) if ended)})

    def _rejected(self, places: Sequence[int], totals: list[float]) -> float | None:
        """The best that does not enter the beam."""
        if not self.foreign:
            return totals[len(places)] if len(totals) > len(places) else None
        chosen = set(places)
        return next((total for i, total in enumerate(totals) if i not in chosen), None)

    def _order(self) -> None:
        """Best first; of equal scores, what was completed first. Hugging Face keeps b of them."""

        def order(a: Hypothesis, b: Hypothesis) -> int:
            compare = self.options.objective.compare
            return compare(b.log_prob, len(b.tokens), a.log_prob, len(a.tokens))

        if len(self.completed) > 1:
            self.completed.sort(key=cmp_to_key(order))
        if self.foreign:
            del self.completed[self.options.beam_size :]

    def _why_stop(self, length: int) -> str:
        """The reason to stop behind this step; empty to go on."""
        options = self.options
        if not self.live:
            return "nothing is left to extend"
        if length == self.max_length:
            return f"max_length of {self.max_length} tokens is reached"
        if self.foreign:
            return self._why_stop_as_hugging_face(length)
        wanted = options.n_best if options.stop == "nth" else 1
        if options.stop == "exhaustive" or len(self.completed) < wanted:
            return ""
        sure = self.completed[wanted - 1]
        objective, best = options.objective, self.live[0].total
        reach = objective.best_length(length, self.max_length)
        assert reach is not None
        if objective.compare(best, reach, sure.log_prob, len(sure.tokens)) > 0:
            return ""
        bound = objective.score(best, reach)
        return f"no live prefix can score above {bound:.6g}, and {sure.score:.6g} is reached"

    def _why_stop_as_hugging_face(self, length: int) -> str:
        """transformers, `_check_early_stop_heuristic` and what surrounds it."""
        if len(self.completed) < self.options.beam_size:
            return ""
        alpha = self.options.objective.alpha
        if self.options.stop == "hf:true":
            return f"{self.options.beam_size} hypotheses are completed"
        longest = self.options.stop == "hf:never" and alpha > 0
        hoped = self.live[0].total / (self.max_length if longest else length) ** alpha
        worst = self.completed[-1].score
        if hoped > worst:
            return ""
        return f"the best live prefix counts as {hoped:.6g}, the worst completed has {worst:.6g}"

    def _stream(self) -> None:
        """Tell the tokens that every possible answer begins with."""
        assert self.on_prefix is not None
        possible = [list(h.tokens) for h in self.completed[:1]]
        if not self.reason:
            possible += [list(live.tokens) for live in self.live]
        if not possible:
            return
        low, high = min(possible), max(possible)
        same = next(
            (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b),
            min(len(low), len(high)),
        )
        if same > self.shared:
            self.shared = same
            self.on_prefix(self.number, low[:same])

    def decoded(self) -> Decoded:
        """What was found."""
        options = self.options
        reason = self.reason if self.completed else f"no hypothesis completed: {self.reason}"
        return Decoded(
            self.completed[: options.n_best],
            self.trace,
            [(list(live.tokens), live.total) for live in self.live],
            reason,
            options.stop,
            self.source,
            options.objective,
            options.vocab_size,
            options.end_token,
            options.beam_size,
            self.max_length,
            options.below_zero,
            options.rules,
            options.weights,
        )
