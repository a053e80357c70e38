"""What may the next token be, beyond what the model says? Rules that a search or a draw obeys.

A processor sees each row's generated tokens (the source is not among them) and its scores, and
returns scores. It does not normalise them again: a token that it leaves alone keeps the model's own
log-probability, and a hypothesis's score stays the sum of what was returned.

`keeps_bound` says that scores from 0 down stay from 0 down, whatever the row. Beam search may stop
early only because no continuation adds anything to a score; a rule that can lift one above 0 takes
that proof away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.errors import BadInput

Prefixes = Sequence[Sequence[int]]


@runtime_checkable
class LogitProcessor(Protocol):
    """Changes the scores of the next token, row by row."""

    @property
    def keeps_bound(self) -> bool:
        """Whether scores that are at most 0 stay so."""

    def __call__(
        self, prefixes: Prefixes, log_probs: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """New scores; `prefixes` are the tokens generated so far, one list a row."""


def process(
    processors: Sequence[LogitProcessor],
    prefixes: Prefixes,
    log_probs: Float[Tensor, "rows vocab"],
) -> Float[Tensor, "rows vocab"]:
    """The scores after all processors, in their order; `log_probs` itself is left as it is."""
    for processor in processors:
        log_probs = processor(prefixes, log_probs)
    return log_probs


@dataclass(frozen=True)
class RepetitionPenalty:
    """Makes tokens that were generated before less likely (Keskar et al. 2019, section 4.1).

    Their scores are multiplied by `penalty`. The paper divides logits, which turns upside down
    where a logit is negative; log-probabilities all are, and there the product is what it means.
    """

    penalty: float
    """Above 1 discourages repetition, below 1 encourages it; the paper uses 1.2."""
    keeps_bound = True
    """A number that is at most 0 times a positive one is at most 0."""

    def __post_init__(self) -> None:
        """Refuse what would turn likely into unlikely."""
        if not 0.0 < self.penalty < math.inf:
            raise BadInput(f"repetition_penalty must be a positive number, not {self.penalty}")

    def __call__(
        self, prefixes: Prefixes, log_probs: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Scores of each row's own tokens, times the penalty."""
        pairs = [(row, token) for row, prefix in enumerate(prefixes) for token in set(prefix)]
        if not pairs:
            return log_probs
        rows, tokens = torch.tensor(pairs, device=log_probs.device).T
        # No rounding may lift a product above 0, and 0 × penalty is 0: the bound is exact.
        return log_probs.index_put((rows, tokens), log_probs[rows, tokens] * self.penalty)


@dataclass(frozen=True)
class NoRepeatNgrams:
    """No `size` tokens in a row are generated twice (Paulus et al. 2018, section 2.5)."""

    size: int
    keeps_bound = True
    """It only forbids: a score stays or becomes -inf."""

    def __post_init__(self) -> None:
        """Refuse sizes that are none."""
        if self.size < 1:
            raise BadInput(f"no_repeat_ngrams must be at least 1, not {self.size}")

    def __call__(
        self, prefixes: Prefixes, log_probs: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Forbid what followed the last `size` - 1 tokens before."""
        pairs = [
            (row, token) for row, prefix in enumerate(prefixes) for token in self.closing(prefix)
        ]
        return forbid(log_probs, pairs)

    def closing(self, prefix: Sequence[int]) -> set[int]:
        """The tokens that would complete an n-gram a second time."""
        before = self.size - 1
        last = list(prefix[len(prefix) - before :]) if before else []
        if len(last) < before:
            return set()
        starts = range(len(prefix) - before)
        return {prefix[i + before] for i in starts if list(prefix[i : i + before]) == last}


@dataclass(frozen=True)
class ForcedPrefix:
    """Every answer begins with these tokens; behind them the model is free."""

    tokens: tuple[int, ...]
    keeps_bound = True
    """It only forbids: the forced token keeps the model's own log-probability."""

    def __call__(
        self, prefixes: Prefixes, log_probs: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Forbid all but the forced token, as long as there is one."""
        check_tokens("forced_prefix", self.tokens, log_probs.shape[1])
        rows = [row for row, prefix in enumerate(prefixes) if len(prefix) < len(self.tokens)]
        if not rows:
            return log_probs
        index = torch.tensor(rows, device=log_probs.device)
        forced = [self.tokens[len(prefixes[row])] for row in rows]
        tokens = torch.tensor(forced, device=log_probs.device)
        left = log_probs.index_fill(0, index, -math.inf)
        left[index, tokens] = log_probs[index, tokens]
        return left


@dataclass(frozen=True)
class BannedTokens:
    """These tokens are never generated."""

    tokens: tuple[int, ...]
    keeps_bound = True
    """It only forbids: a score stays or becomes -inf."""

    def __call__(
        self, prefixes: Prefixes, log_probs: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Forbid them in every row."""
        check_tokens("banned_tokens", self.tokens, log_probs.shape[1])
        index = torch.tensor(self.tokens, dtype=torch.long, device=log_probs.device)
        return log_probs.index_fill(1, index, -math.inf)


@dataclass(frozen=True)
class TokenBias:
    """Adds a number to a token's score, the same everywhere."""

    biases: Mapping[int, float]
    """Nats by token."""

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        for token, bias in self.biases.items():
            if not math.isfinite(bias):
                raise BadInput(f"the bias of token {token} must be a number, not {bias}")

    @property
    def keeps_bound(self) -> bool:
        """Only without a positive bias: a likely token with one gains score by being added."""
        return all(bias <= 0 for bias in self.biases.values())

    def __call__(
        self, prefixes: Prefixes, log_probs: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Add the biases in every row."""
        check_tokens("biases", list(self.biases), log_probs.shape[1])
        added = torch.zeros_like(log_probs[0])
        for token, bias in self.biases.items():
            added[token] = bias
        return log_probs + added


def forbid(
    log_probs: Float[Tensor, "rows vocab"], pairs: Sequence[tuple[int, int]]
) -> Float[Tensor, "rows vocab"]:
    """The scores with -inf at each (row, token)."""
    if not pairs:
        return log_probs
    rows, tokens = torch.tensor(list(pairs), device=log_probs.device).T
    return log_probs.index_put((rows, tokens), log_probs.new_tensor(-math.inf))


def check_tokens(name: str, tokens: Sequence[int], vocab_size: int) -> None:
    """Raise `BadInput` for a token that the vocabulary doesn't have."""
    for token in tokens:
        if not 0 <= token < vocab_size:
            raise BadInput(f"{name}: token {token} is outside the vocabulary 0…{vocab_size - 1}")
