"""Beam search with nothing around it, over anything that gives logits: no stops, no scores kept.

The least that a search costs, for peers that have no beams, or slow ones. Of each row only its best
`beam_size` tokens can be among the best of its prompt, so they are found in the logits, and the
softmax's sum is subtracted from these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch


class Stepping(Protocol):
    """A model with a cache, row by row."""

    def start(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        """A row for each prompt; logits of its next token, [rows, vocab]."""

    def step(self, parents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Row i now continues row parents[i] with tokens[i]; logits, [rows, vocab]."""


def search(
    model: Stepping, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int, end: int
) -> list[list[int]]:
    """The best continuation of each prompt, of exactly `new_tokens` tokens without `end`."""
    logits = torch.from_numpy(model.start(prompts))
    scores = torch.zeros(len(prompts), 1)
    trail: list[tuple[Any, Any]] = []
    for number in range(new_tokens):
        beams = scores.shape[1]
        logits[:, end] = -torch.inf
        best, tokens = logits.topk(beam_size, dim=-1)
        best = best - logits.logsumexp(-1, keepdim=True)
        best = (best + scores.reshape(-1, 1)).reshape(len(prompts), -1)
        scores, chosen = best.topk(beam_size, dim=-1)
        first = torch.arange(len(prompts))[:, None] * beams
        parents = (first + chosen // beam_size).reshape(-1).numpy()
        picked = tokens.reshape(len(prompts), -1).gather(1, chosen).reshape(-1).numpy()
        trail.append((parents, picked))
        if number + 1 < new_tokens:
            logits = torch.from_numpy(model.step(parents, picked))
    return [walk_back(trail, row * beam_size) for row in range(len(prompts))]


def walk_back(trail: list[tuple[Any, Any]], row: int) -> list[int]:
    """The tokens that led to a row."""
    tokens = []
    for parents, picked in reversed(trail):
        tokens.append(int(picked[row]))
        row = int(parents[row])
    return tokens[::-1]


def forced(model: Stepping, tokens: Sequence[int], first: int) -> np.ndarray:
    """Log-probabilities before the tokens from number `first` on, step by step: [steps, vocab]."""
    rows = [model.start([tokens[:first]]).copy()]
    same = np.zeros(1, dtype=np.int64)
    rows += [model.step(same, np.array([token])).copy() for token in tokens[first:-1]]
    return torch.from_numpy(np.concatenate(rows)).log_softmax(-1).numpy()


def padded(prompts: Sequence[Sequence[int]], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of equal length, padded on the left, and 1 where they are real."""
    width = max(map(len, prompts))
    rows = np.full((len(prompts), width), pad, dtype=np.int64)
    real = np.zeros_like(rows)
    for row, prompt in enumerate(prompts):
        rows[row, width - len(prompt) :] = prompt
        real[row, width - len(prompt) :] = 1
    return rows, real
