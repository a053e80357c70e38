"""One continuation a source: the likeliest token each time, or one drawn from the distribution.

Top-k: Fan et al. 2018; top-p (nucleus): Holtzman et al. 2020, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.decoding.scorer import Scorer
from unrolled.errors import BadInput

ROWS_TOGETHER = 256
"""Sources decoded side by side; more would fill the cache, not speed it up."""
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

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        if not 0.0 <= self.temperature < float("inf"):
            raise BadInput(f"temperature must be a number from 0 on, not {self.temperature}")
        if self.top_k < 0:
            raise BadInput(f"top_k must be 0 or more, not {self.top_k}")
        if not 0.0 < self.top_p <= 1.0:
            raise BadInput(f"top_p must lie in (0, 1], not {self.top_p}")


@dataclass(frozen=True)
class Sampled:
    """One continuation, the end token included where it was reached."""

    tokens: list[int]
    log_prob: float
    """Sum of the model's own log-probabilities of the tokens (before temperature, k and p)."""
    completed: bool
    """Whether it ends in the end token, not at `max_length`."""


@torch.no_grad()
def sample(
    scorer: Scorer,
    sources: Sequence[Sequence[int]],
    *,
    max_length: int,
    config: SamplingConfig | None = None,
    generator: torch.Generator | None = None,
    on_token: Callable[[int, int], None] | None = None,
) -> list[Sampled]:
    """Continue every source up to the end token or `max_length` tokens.

    `on_token(row, token)` is called as tokens come. Sources of like lengths are decoded together,
    the answers stand in the sources' order. Raises `BadInput` for an empty source.
    """
    if max_length < 1:
        raise BadInput(f"max_length must be at least 1, not {max_length}")
    config = config or SamplingConfig()
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    answers: dict[int, Sampled] = {}
    for start in range(0, len(order), ROWS_TOGETHER):
        rows = order[start : start + ROWS_TOGETHER]
        together = _Together(rows, max_length, on_token)
        together.run(scorer, [sources[i] for i in rows], config, generator)
        answers.update(together.answers())
    return [answers[i] for i in range(len(sources))]


class _Together:
    """The rows that are decoded side by side, and what each has so far."""

    def __init__(
        self, rows: list[int], max_length: int, on_token: Callable[[int, int], None] | None
    ) -> None:
        self.rows, self.max_length, self.on_token = rows, max_length, on_token
        self.tokens: list[list[int]] = [[] for _ in rows]
        self.log_probs = [0.0] * len(rows)

    def run(
        self,
        scorer: Scorer,
        sources: list[Sequence[int]],
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> None:
        state, log_probs = scorer.start(sources)
        self.end = scorer.end_token
        held = list(range(len(sources)))  # which of the rows each row of the state is
        for length in range(1, self.max_length + 1):
            chosen = choose(log_probs, config, generator)
            gained = log_probs.gather(1, chosen[:, None]).squeeze(1)
            self._take(held, chosen.tolist(), gained.tolist())
            alive = [r for r, row in enumerate(held) if not self._finished(row)]
            if not alive or length == self.max_length:
                return
            if len(alive) > COMPACT_BELOW * len(held):
                alive = list(range(len(held)))
            held = [held[r] for r in alive]
            parents = torch.tensor(alive, device=chosen.device)
            state, log_probs = scorer.step(state, parents, chosen[parents])

    def _finished(self, row: int) -> bool:
        return bool(self.tokens[row]) and self.tokens[row][-1] == self.end

    def _take(self, held: list[int], chosen: list[int], gained: list[float]) -> None:
        for row, token, log_prob in zip(held, chosen, gained, strict=True):
            if not self._finished(row):
                self.tokens[row].append(token)
                self.log_probs[row] += log_prob
                if self.on_token is not None:
                    self.on_token(self.rows[row], token)

    def answers(self) -> dict[int, Sampled]:
        return {
            i: Sampled(self.tokens[row], self.log_probs[row], self._finished(row))
            for row, i in enumerate(self.rows)
        }


def choose(
    log_probs: Float[Tensor, "rows vocab"],
    config: SamplingConfig,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " rows"]:
    """The next token of each row."""
    if config.temperature == 0.0:
        return log_probs.argmax(-1)
    scores = log_probs / config.temperature
    if config.top_k and config.top_k < scores.shape[1]:
        least = scores.topk(config.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if config.top_p < 1.0:
        ordered, index = scores.softmax(-1).sort(descending=True)
        # A token stays while those before it have not reached p: the first always does.
        beyond = ordered.cumsum(-1) - ordered >= config.top_p
        scores = scores.masked_fill(beyond.scatter(1, index, beyond), -torch.inf)
    return torch.multinomial(scores.softmax(-1), 1, generator=generator).squeeze(1)
