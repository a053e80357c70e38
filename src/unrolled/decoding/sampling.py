"""One continuation a source: the likeliest token each time, or one drawn from the distribution.

Top-k: Fan et al. 2018; top-p (nucleus): Holtzman et al. 2020, section 3.1; min-p: Nguyen et al.
2024, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.decoding.processors import LogitProcessor, process
from unrolled.decoding.scorer import Scorer, one_pool
from unrolled.errors import BadInput

ROWS_TOGETHER = 256
"""Sources decoded side by side; more would fill the cache, not speed it up."""
COLDEST = 1e-30
"""Below this temperature float32 has no quotients; all but the likeliest token are long gone."""
COMPACT_BELOW = 0.75
"""Finished rows leave the batch when no more than this share is alive: leaving copies the cache."""


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen."""

    temperature: float = 0.0
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    min_p: float = 0.0
    """Only tokens at least this many times as likely as the likeliest; 0: all."""

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        if not 0.0 <= self.temperature < float("inf"):
            raise BadInput(f"temperature must be a number from 0 on, not {self.temperature}")
        if self.top_k < 0:
            raise BadInput(f"top_k must be 0 or more, not {self.top_k}")
        if not 0.0 < self.top_p <= 1.0:
            raise BadInput(f"top_p must lie in (0, 1], not {self.top_p}")
        if not 0.0 <= self.min_p <= 1.0:
            raise BadInput(f"min_p must lie in [0, 1], not {self.min_p}")


@dataclass(frozen=True)
class Sampled:
    """One continuation, the end token included where it was reached."""

    tokens: list[int]
    log_prob: float
    """Sum of the model's own log-probabilities of the tokens (before temperature, k and p)."""
    completed: bool
    """Whether it ends in the end token, not at `max_length` or because it was told to."""


class Alternative(NamedTuple):
    """A token that could stand at a position, and the model's log-probability of it there."""

    token: int
    log_prob: float


@one_pool
@torch.no_grad()
def sample(
    scorer: Scorer,
    sources: Sequence[Sequence[int]],
    *,
    max_length: int | Sequence[int],
    config: SamplingConfig | None = None,
    generator: torch.Generator | None = None,
    processors: Sequence[LogitProcessor] = (),
    on_token: Callable[[int, int], object] | None = None,
    on_finished: Callable[[int], None] | None = None,
) -> list[Sampled]:
    """Continue every source up to the end token or `max_length` tokens (one number, or one each).

    Sources of like lengths are decoded together, the answers stand in the sources' order.
    `on_token(source's number, token)` is called as tokens come, and ends that answer by returning
    True; `on_finished(source's number)` is called as answers end. The processors change what may be
    chosen, before temperature, not the answer's `log_prob`. Raises `BadInput` for an empty source,
    and for probabilities that are no numbers.
    """
    limits = [max_length] * len(sources) if isinstance(max_length, int) else list(max_length)
    if len(limits) != len(sources):
        raise BadInput(f"{len(sources)} sources, but {len(limits)} values of max_length")
    if min(limits, default=1) < 1:
        raise BadInput(f"max_length must be at least 1, not {min(limits)}")
    config = config or SamplingConfig()
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    answers: dict[int, Sampled] = {}
    for start in range(0, len(order), ROWS_TOGETHER):
        chunk = order[start : start + ROWS_TOGETHER]
        together = _Together(chunk, [limits[i] for i in chunk], scorer.end_token, processors)
        together.on_token, together.on_finished = on_token, on_finished
        together.run(scorer, [sources[i] for i in chunk], config, generator)
        answers.update(together.answers())
    return [answers[i] for i in range(len(sources))]


class _Together:
    """The rows that are decoded side by side, and what each has so far."""

    on_token: Callable[[int, int], object] | None = None
    on_finished: Callable[[int], None] | None = None

    def __init__(
        self,
        numbers: list[int],
        limits: list[int],
        end_token: int,
        processors: Sequence[LogitProcessor] = (),
    ) -> None:
        self.numbers, self.limits, self.end_token = numbers, limits, end_token
        self.processors = processors
        self.stopped: set[int] = set()
        self.tokens: list[list[int]] = [[] for _ in numbers]
        self.log_probs = [0.0] * len(numbers)

    def run(
        self,
        scorer: Scorer,
        sources: list[Sequence[int]],
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> None:
        state, log_probs = scorer.start(sources)
        held = list(range(len(sources)))  # which of the rows each row of the state is
        length = 0
        while True:
            allowed = log_probs
            if self.processors:
                allowed = process(self.processors, [self.tokens[row] for row in held], log_probs)
                self._check_left(allowed, log_probs)
            chosen = choose(allowed, config, generator)
            gained = log_probs.gather(1, chosen[:, None]).squeeze(1)
            self._take(held, chosen.tolist(), gained.tolist())
            length += 1
            alive = [r for r, row in enumerate(held) if not self._finished(row)]
            if not alive:
                return
            # A finished row may go along for a while, but not beyond where its model can stand.
            stuck = any(self.limits[row] == length for row in held)
            if len(alive) > COMPACT_BELOW * len(held) and not stuck:
                alive = list(range(len(held)))
            held = [held[r] for r in alive]
            parents = torch.tensor(alive, device=chosen.device)
            state, log_probs = scorer.step(state, parents, chosen[parents])

    def _check_left(self, allowed: Float[Tensor, "rows vocab"], before: Tensor) -> None:
        """Tell rules that forbid everything from a model that is damaged."""
        if bool((allowed.amax(-1).isneginf() & ~before.amax(-1).isneginf()).any()):
            raise BadInput(
                "the rules leave no token to choose from: ban fewer, repeat n-grams less"
            )

    def _completed(self, row: int) -> bool:
        return self.tokens[row][-1:] == [self.end_token]

    def _finished(self, row: int) -> bool:
        full = len(self.tokens[row]) == self.limits[row]
        return full or row in self.stopped or self._completed(row)

    def _take(self, held: list[int], chosen: list[int], gained: list[float]) -> None:
        for row, token, log_prob in zip(held, chosen, gained, strict=True):
            if self._finished(row):
                continue
            self.tokens[row].append(token)
            self.log_probs[row] += log_prob
            if self.on_token is not None and self.on_token(self.numbers[row], token) is True:
                self.stopped.add(row)
            if self.on_finished is not None and self._finished(row):
                self.on_finished(self.numbers[row])

    def answers(self) -> dict[int, Sampled]:
        return {
            number: Sampled(self.tokens[row], self.log_probs[row], self._completed(row))
            for row, number in enumerate(self.numbers)
        }


def choose(
    log_probs: Float[Tensor, "rows vocab"],
    config: SamplingConfig,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " rows"]:
    """The next token of each row: temperature first, then top-k, top-p and min-p of what is left.

    Raises `BadInput` for a row with a NaN, or without any possible token.
    """
    best, token = log_probs.max(-1)
    if not bool(best.isfinite().all()):
        raise BadInput("the model's log-probabilities are NaN or all -inf: its weights are damaged")
    if config.temperature == 0.0:
        return token
    # From the best token down, so that a small temperature leaves it at 0 and sinks the rest.
    scores = (log_probs - best[:, None]) / max(config.temperature, COLDEST)
    if config.top_k and config.top_k < scores.shape[1]:
        values, kept = scores.topk(config.top_k)
        scores = torch.full_like(scores, -torch.inf).scatter(1, kept, values)
    if config.top_p < 1.0:
        ordered, index = scores.softmax(-1).sort(descending=True)
        # A token stays while those before it have not reached p: the first always does.
        beyond = ordered.cumsum(-1) - ordered >= config.top_p
        scores = scores.masked_fill(beyond.scatter(1, index, beyond), -torch.inf)
    if config.min_p > 0.0:
        # The best score is 0 here: a token's score is the logarithm of its share of the best.
        scores = scores.masked_fill(scores < math.log(config.min_p), -torch.inf)
    return torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)


@one_pool
@torch.no_grad()
def alternatives(
    scorer: Scorer, source: Sequence[int], tokens: Sequence[int], *, k: int
) -> list[list[Alternative]]:
    """The k likeliest tokens, best first, at each position of an answer and behind its end.

    Entry i is what could stand in the place of `tokens[i]`, given those before it; the last entry
    is missing if the answer ends in the end token. Raises `BadInput` for k below 1.
    """
    if k < 1:
        raise BadInput(f"alternatives: at least 1 token a position, not {k}")
    state, log_probs = scorer.start([source])
    found = [_best(log_probs[0], k)]
    stay = torch.zeros(1, dtype=torch.long, device=log_probs.device)
    for token in tokens:
        if token == scorer.end_token:
            break
        state, log_probs = scorer.step(state, stay, torch.full_like(stay, token))
        found.append(_best(log_probs[0], k))
    return found


def _best(log_probs: Float[Tensor, " vocab"], k: int) -> list[Alternative]:
    values, tokens = log_probs.topk(min(k, len(log_probs)))
    return [Alternative(*pair) for pair in zip(tokens.tolist(), values.tolist(), strict=True)]
