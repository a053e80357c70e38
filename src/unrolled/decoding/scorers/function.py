"""How is anything at all decoded? By a Python function of the source and what was generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.decoding.scorers.rows import Row, check_end, continued
from unrolled.errors import BadInput


class FunctionScorer:
    """`function(source, generated)` gives the log-probability of every next token.

    Called once a row and step, without a cache. Raises `BadInput` for an answer of another length
    than the vocabulary, and for an end token outside it.
    """

    def __init__(
        self,
        function: Callable[[tuple[int, ...], tuple[int, ...]], Sequence[float] | Tensor],
        *,
        vocab_size: int,
        end_token: int,
    ) -> None:
        check_end(end_token, vocab_size)
        self.function, self.vocab_size, self.end_token = function, vocab_size, end_token

    def start(
        self, sources: Sequence[Sequence[int]]
    ) -> tuple[list[Row], Float[Tensor, "rows vocab"]]:
        """Nothing is generated yet."""
        rows: list[Row] = [(tuple(source), ()) for source in sources]
        return rows, self._score(rows)

    def step(
        self, state: list[Row], parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[list[Row], Float[Tensor, "rows vocab"]]:
        """One token more in every row."""
        rows = continued(state, parents, tokens)
        return rows, self._score(rows)

    def _score(self, rows: list[Row]) -> Float[Tensor, "rows vocab"]:
        answers = [torch.as_tensor(self.function(*row), dtype=torch.float32) for row in rows]
        for row, answer in zip(rows, answers, strict=True):
            if answer.shape != (self.vocab_size,):
                raise BadInput(
                    f"the function gave shape {list(answer.shape)} for {row}, not one number for "
                    f"each of {self.vocab_size} tokens"
                )
        return torch.stack(answers)
