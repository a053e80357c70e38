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

**Narrow first.** Where a model is sure of itself, one row a source does: the best prefix is
followed alone as long as it can prove better than all that it left behind (`narrow.py`).

Stop rules: `optimal` stops there; `nth` when the n-th best is as certain; `exhaustive` when nothing
is live or max_length is reached. `hf:false`, `hf:true` and `hf:never` are Hugging Face's
early_stopping False, True and "never", for comparison: there completed hypotheses take no place
from live ones (the b best that go on are kept besides), the search waits for b of them, compares
the best live one with the worst of them by a heuristic, and lets what is cut at max_length compete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.candidates import best_extensions, check_shape
from unrolled.decoding.decoded import Decoded
from unrolled.decoding.narrow import Narrow
from unrolled.decoding.objectives import parse_objective
from unrolled.decoding.processors import LogitProcessor, process, rule_of
from unrolled.decoding.scorer import Scorer, one_pool, weights_of
from unrolled.decoding.search import OnPrefix, Options, Search
from unrolled.errors import BadInput

STOPS = ("optimal", "nth", "exhaustive", "hf:false", "hf:true", "hf:never")
ROWS_TOGETHER = 256
"""Sources × beam_size decoded side by side."""


@one_pool
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
    passes: list[tuple[type[Search], int]] = [(Search, max(1, ROWS_TOGETHER // beam_size))]
    if narrow and options.stop == "optimal":
        passes.insert(0, (Narrow, ROWS_TOGETHER))
    answers: dict[int, Decoded] = {}
    for kind, together in passes:
        for start in range(0, len(left), together):
            chunk = left[start : start + together]
            searches = [kind(i, list(sources[i]), limits[i], options, on_prefix) for i in chunk]
            done = _run(scorer, searches, options, processors, on_finished)
            answers.update({s.number: s.decoded() for s in done if not s.again})
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
    active: list[Search],
    options: Options,
    processors: Sequence[LogitProcessor],
    on_finished: Callable[[int], None] | None,
) -> list[Search]:
    """Step all sources together; a finished one leaves the batch at once. Returns the finished."""
    done: list[Search] = []
    state, log_probs = scorer.start([search.source for search in active])
    width = 2 * options.beam_size if options.stop.startswith("hf:") else options.beam_size
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
            if totals[-1] == -math.inf:
                del totals[totals.index(-math.inf) :]
            one = search
            room = options.beam_size - 1 <= spare
            if room and isinstance(search, Narrow) and search.unsure(totals):
                one = search.whole()
            one.advance(ranks, names, each, totals)
            if not one.reason:
                going.append(one)
                for live in one.live:
                    parents.append(first + live.row)
                    tokens.append(live.tokens[-1])
            else:
                done.append(one)
                if on_finished is not None and not one.again:
                    on_finished(one.number)
            first += count
            spare -= len(one.live) - 1
        active = going
        if not active:
            return done
        if all(type(search) is Narrow for search in active):
            width = 1  # of narrow searches only the best candidate is kept, and one more looked at
        device = log_probs.device
        where, last = torch.tensor(parents, device=device), torch.tensor(tokens, device=device)
        state, log_probs = _step(scorer, state, where, last)


def _step(scorer: Scorer, state: Any, parents: Tensor, tokens: Tensor) -> tuple[Any, Tensor]:
    """The one place where the search asks a model: another engine takes the scorer's place."""
    return scorer.step(state, parents, tokens)
