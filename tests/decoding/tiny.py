"""A scorer small enough that every sequence can be written down, and the oracle that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.candidates import rounded
from unrolled.decoding.objectives import parse_objective

OBJECTIVES = [
    "log-probability",
    "length-normalised:0.6",
    "length-normalised:1",
    "length-normalised:2.5",
    "length-normalised:-0.5",
    "gnmt:0.6",
    "gnmt:-1",
    "word-reward:0.7",
    "word-reward:-0.3",
    "bounded-reward:0.8:2",
    "bounded-reward:-0.8:2",
]


class Tiny:
    """Log-probabilities that depend on the source and the whole prefix; coarse ones tie often."""

    end_token = 0
    weights = "float32"

    def __init__(
        self, vocab_size: int, seed: int, *, coarse: bool = False, sharpness: float = 1.5
    ) -> None:
        self.vocab_size, self.seed, self.coarse = vocab_size, seed, coarse
        self.sharpness = sharpness
        self.widths: list[int] = []

    def row(self, source: Sequence[int], tokens: Sequence[int]) -> Tensor:
        seed = hash((self.seed, tuple(source), tuple(tokens))) % 2**31
        draw = torch.Generator().manual_seed(seed)
        if self.coarse:
            return -torch.randint(1, 5, (self.vocab_size,), generator=draw) / 4.0
        return (torch.randn(self.vocab_size, generator=draw) * self.sharpness).log_softmax(-1)

    def _rows(self, state: list[Any]) -> tuple[Any, Tensor]:
        self.widths.append(len(state))
        return state, torch.stack([self.row(*pair) for pair in state])

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Any, Tensor]:
        return self._rows([(tuple(source), ()) for source in sources])

    def step(self, state: Any, parents: Tensor, tokens: Tensor) -> tuple[Any, Tensor]:
        pairs = zip(parents.tolist(), tokens.tolist(), strict=True)
        return self._rows([(state[p][0], (*state[p][1], t)) for p, t in pairs])


def sequences(
    row: Callable[[Sequence[int], Sequence[int]], Tensor],
    source: Sequence[int],
    end_token: int,
    max_length: int,
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every completed sequence of at most max_length tokens with its log-probability."""
    waiting: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    while waiting:
        tokens, total = waiting.pop()
        for token, log_prob in enumerate(rounded(row(source, tokens)).tolist()):
            if token == end_token:
                yield (*tokens, token), total + log_prob
            elif len(tokens) + 1 < max_length:
                waiting.append(((*tokens, token), total + log_prob))


def best_score(scorer: Tiny, source: Sequence[int], max_length: int, objective: str) -> float:
    score = parse_objective(objective).score
    found = sequences(scorer.row, source, scorer.end_token, max_length)
    return max(score(total, len(tokens)) for tokens, total in found)
