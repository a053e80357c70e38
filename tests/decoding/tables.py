"""A scorer without a model: a Markov chain written down as a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.errors import BadInput


class Table:
    """P(next | last) is row `last` of the table; also counts what is asked of it."""

    def __init__(self, probabilities: Sequence[Sequence[float]], end_token: int = 0) -> None:
        self.log_probs = torch.tensor(probabilities).log()
        self.vocab_size, self.end_token = len(probabilities), end_token
        self.widths: list[int] = []

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        if not sources or not all(sources):
            raise BadInput("every source needs at least one token")
        last = torch.tensor([source[-1] for source in sources])
        self.widths.append(len(last))
        return last, self.log_probs[last]

    def step(self, state: Tensor, parents: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        assert len(parents) == len(tokens)
        assert int(parents.max()) < len(state)
        self.widths.append(len(tokens))
        return tokens, self.log_probs[tokens]
