"""Which sequences does beam search find, and when may it stop?

The problem of the set. With B_0 = {the empty prefix}, step t keeps

    B_t = top-b of { (y ∘ y_t, s + log p(y_t | x, y)) : (y, s) live in B_t-1, y_t a token }.

A hypothesis in B_t whose last token is the end token is completed: it takes one of the b places of
this step and is not expanded, so the b places of the next step are filled by the live ones'
extensions alone. All candidates of a step have the same length, so every objective orders them as
their log-probabilities do. best_≤t is the best completed score so far.

**The stop.** Every extension adds log p ≤ 0, so no completion of a live prefix scores above its
bound (`objectives.py`). All later hypotheses complete a live prefix; once the bound of the best
live prefix is no better than best_≤t, no later step can do better (Huang et al. 2017, theorem 1).

**Narrow first.** Where a model is sure of itself, one row a source does. Follow the best prefix
alone, of sum s_t after t tokens, and remember the best bound of what it left behind. If it ends, as
y of sum s, and scores above all of these bounds, y is the best sequence of all, and beam search of
any size finds it: a rival at length t would have a sum above s_t ≥ s, so a bound of at least y's
score, and it continues a prefix that was left behind, whose bound is no smaller. As soon as y can
no longer do so, the source is searched again in full (compare Meister, Vieira and Cotterell 2020,
whose best-first search also leaves out expansions that cannot matter).

Stop rules: `optimal` stops there; `nth` when the n-th best is as certain; `exhaustive` when nothing
is live or max_length is reached. `hf:false`, `hf:true` and `hf:never` are Hugging Face's
early_stopping False, True and "never", for comparison: there completed hypotheses take no place
from live ones (the b best that go on are kept besides), the search waits for b of them, compares
the best live one with the worst of them by a heuristic, and lets what is cut at max_length compete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.candidates import best_extensions, check_shape
from unrolled.decoding.decoded import Decoded, Hypothesis, Kept, Step
from unrolled.decoding.objectives import Objective, parse_objective
from unrolled.decoding.processors import LogitProcessor, process, rule_of
from unrolled.decoding.scorer import Scorer, weights_of
from unrolled.errors import BadInput

STOPS = ("optimal", "nth", "exhaustive", "hf:false", "hf:true", "hf:never")
ROWS_TOGETHER = 256
"""Sources × beam_size decoded side by side."""
SURE = 0.9
"""Probability of the first token from which on the best prefix is followed alone."""
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


@torch.no_grad()
def beam_search(
    scorer: Scorer,
    sources: Sequence[Sequence[int]],
    *,
    beam_size: int,
    max_length: int | Sequence[int],
    stop: str = "optimal",
    objective: str = "log-probability",
    n_best: int = 1,
    processors: Sequence[LogitProcessor] = (),
    on_prefix: OnPrefix | None = None,
    on_finished: Callable[[int], None] | None = None,
    narrow_first: bool = True,
) -> list[Decoded]:
    """The `n_best` best hypotheses of every source, by the rules in this file's docstring.

    max_length counts the end token; what is not completed by then is not an answer (except under
    Hugging Face's rules). `on_prefix(source's number, tokens)` is called as the tokens grow that
    all live prefixes and the best completed hypothesis share: whatever comes, the answer begins so.
    `narrow_first` follows the best prefix alone where that is certain to be the answer (for the
    stop `optimal`, one answer, no `on_prefix`); False keeps all of the beam in every trace.
    Raises `BadInput` for options that can't be, and for a scorer that returns NaN, positive
    log-probabilities or another shape.
    """
    options = _options(scorer, beam_size, stop, objective, n_best, processors)
    limits = [max_length] * len(sources) if isinstance(max_length, int) else list(max_length)
    if len(limits) != len(sources):
        raise BadInput(f"{len(sources)} sources, but {len(limits)} values of max_length")
    if min(limits, default=1) < 1:
        raise BadInput(f"max_length must be at least 1, not {min(limits)}")
    left = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    narrow = narrow_first and n_best == 1 < beam_size and on_prefix is None
    widths = [1, beam_size] if narrow and options.stop == "optimal" else [beam_size]
    answers: dict[int, Decoded] = {}
    for width in widths:
        together = max(1, ROWS_TOGETHER // width)
        for start in range(0, len(left), together):
            chunk = left[start : start + together]
            searches = [
                _Search(i, list(sources[i]), limits[i], options, width, on_prefix) for i in chunk
            ]
            _run(scorer, searches, options, processors, on_finished)
            answers.update({s.number: s.decoded() for s in searches if not s.again})
        left = [i for i in left if i not in answers]
    return [answers[i] for i in range(len(sources))]


def _options(
    scorer: Scorer,
    beam_size: int,
    stop: str,
    objective: str,
    n_best: int,
    processors: Sequence[LogitProcessor],
) -> Options:
    """The options, vetted."""
    if beam_size < 1:
        raise BadInput(f"beam_size must be at least 1, not {beam_size}")
    if n_best < 1:
        raise BadInput(f"n_best must be at least 1, not {n_best}")
    if stop not in STOPS:
        raise BadInput(f"unknown stop rule {stop!r}: choose one of {', '.join(STOPS)}")
    if not 0 <= scorer.end_token < scorer.vocab_size:
        raise BadInput(
            f"the end token is {scorer.end_token}, outside the vocabulary of {scorer.vocab_size}"
        )
    parsed = parse_objective(objective)
    if stop.startswith("hf:") and parsed.kind not in ("log-probability", "length-normalised"):
        raise BadInput(f"Hugging Face has no objective {objective!r}: use length-normalised:α")
    keeps = all(processor.keeps_bound for processor in processors)
    if not keeps and stop in ("optimal", "nth"):
        stop = "exhaustive"
    rules = tuple(map(rule_of, processors))
    end, vocab = scorer.end_token, scorer.vocab_size
    weights = weights_of(scorer)
    return Options(beam_size, stop, parsed, n_best, end, vocab, keeps, rules, weights)


def _run(
    scorer: Scorer,
    active: list[_Search],
    options: Options,
    processors: Sequence[LogitProcessor],
    on_finished: Callable[[int], None] | None,
) -> None:
    """Step all sources together; a finished one leaves the batch at once."""
    state, log_probs = scorer.start([search.source for search in active])
    refill = options.stop.startswith("hf:")
    width = 2 * options.beam_size if refill else options.beam_size
    first = 0  # the rows of the call before
    while True:
        rows = [live for search in active for live in search.live]
        check_shape(log_probs, len(rows), options.vocab_size)
        if processors:
            log_probs = process(processors, [live.tokens for live in rows], log_probs)
        sums = torch.tensor([r.total for r in rows], dtype=torch.float64, device=log_probs.device)
        counts = [len(search.live) for search in active]
        found = best_extensions(log_probs, sums, counts, width, below_zero=options.below_zero)
        lists = zip(*(part.tolist() for part in found), strict=True)
        going, parents, tokens, first = [], [], [], 0
        spare = ROWS_TOGETHER - len(active)
        for search, count, (totals, ranks, names, each) in zip(active, counts, lists, strict=True):
            possible = totals.index(-math.inf) if totals[-1] == -math.inf else len(totals)
            search.advance(ranks, names, each, totals[:possible], spare)
            if not search.reason:
                going.append(search)
                parents += [first + live.row for live in search.live]
                tokens += [live.tokens[-1] for live in search.live]
            elif on_finished is not None and not search.again:
                on_finished(search.number)
            first += count
            spare -= len(search.live) - 1
        active = going
        if not active:
            return
        device = log_probs.device
        where, last = torch.tensor(parents, device=device), torch.tensor(tokens, device=device)
        state, log_probs = _step(scorer, state, where, last)


def _step(scorer: Scorer, state: Any, parents: Tensor, tokens: Tensor) -> tuple[Any, Tensor]:
    """The one place where the search asks a model: another engine takes the scorer's place."""
    return scorer.step(state, parents, tokens)


@dataclass(slots=True)
class _Live:
    """A prefix that goes on: its place in the beam, and its row in the call before."""

    tokens: tuple[int, ...] = ()
    total: float = 0.0
    rank: int = 0
    row: int = 0


@dataclass
class _Search:
    """The search for one source."""

    number: int
    source: list[int]
    max_length: int
    options: Options
    width: int
    """Prefixes kept: beam_size, or 1 while the best one is followed alone."""
    on_prefix: OnPrefix | None
    live: list[_Live] = field(default_factory=lambda: [_Live()])
    completed: list[Hypothesis] = field(default_factory=list)
    trace: list[Step] = field(default_factory=list)
    reason: str = ""
    again: bool = False
    """Whether this search stopped only for the source to be searched again, in full."""
    shared: int = 0
    left_behind: tuple[float, int] | None = None
    """(log-probability, best length) of the best that was rejected while the search was narrow."""

    def __post_init__(self) -> None:
        """Hugging Face's rules are others."""
        self.foreign = self.options.stop.startswith("hf:")

    def advance(
        self,
        parents: list[int],
        tokens: list[int],
        each: list[float],
        totals: list[float],
        spare: int,
    ) -> None:
        """Take the step's best candidates, as many as there are totals: keep, complete, reject,
        and see whether to stop. `spare` rows are free for a search that has to widen.
        """
        end, length = self.options.end_token, len(self.trace) + 1
        unsure = length == 1 and self.width == 1 and not (totals and totals[0] > math.log(SURE))
        if unsure and self.options.beam_size - 1 <= spare:
            self.width = self.options.beam_size
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
                live.append(_Live((*parent.tokens, token), total, rank, parents[i]))
        rejected = self._rejected(places, totals)
        self.trace.append(Step(kept, rejected))
        self.live = live
        if len(self.completed) > ended:
            self._order()
        self.reason = self._why_stop(length)
        if self.width < self.options.beam_size:
            self._stay_narrow(length)
        if self.on_prefix is not None:
            self._stream()

    def _stay_narrow(self, length: int) -> None:
        """See whether the one prefix can still beat all that it left behind, or has."""
        objective, rejected = self.options.objective, self.trace[-1].rejected
        reach = objective.best_length(length - 1, self.max_length)
        if rejected is not None and reach is not None:
            behind = self.left_behind
            if behind is None or objective.compare(rejected, reach, *behind) > 0:
                self.left_behind = (rejected, reach)
        if self.completed:
            hoped: tuple[float, int] | None = (self.completed[0].log_prob, length)
        else:
            reach = objective.best_length(length, self.max_length)
            hoped = (self.live[0].total, reach) if self.live and reach is not None else None
        if hoped is None or (
            self.left_behind is not None and objective.compare(*hoped, *self.left_behind) <= 0
        ):
            self.reason, self.again = "another prefix may become better", True
        elif self.completed and self.left_behind is not None:
            bound = objective.score(*self.left_behind)
            self.reason = (
                f"no other prefix can score above {bound:.6g}, and "
                f"{self.completed[0].score:.6g} is reached"
            )

    def _places(self, tokens: list[int], possible: int) -> Sequence[int]:
        """Which candidates enter the beam: the first ones."""
        if not self.foreign:
            return range(min(self.width, possible))
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
