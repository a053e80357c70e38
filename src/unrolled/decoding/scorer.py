"""What does a search need to know of a model? Only this: log-probabilities of the next token.

A `Scorer` is all that `decoding/` sees, so whatever can be asked this way can be decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unrolled.errors import BadInput

Search = TypeVar("Search", bound=Callable[..., Any])


@runtime_checkable
class Scorer(Protocol):
    """Scores continuations of rows; what a row's state is, is the scorer's own affair."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""

    @property
    def end_token(self) -> int:
        """The token that completes a hypothesis."""

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """A row for each source, and the log-probabilities of its first token."""

    def step(
        self, state: Any, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """Row i continues row `parents[i]` of the call before with `tokens[i]`.

        Rows may be dropped, doubled and reordered. `state` is used up by the call.
        """


def weights_of(scorer: Scorer) -> str:
    """The format of the weights that a scorer's numbers come from; float32 if it says nothing."""
    return str(getattr(scorer, "weights", "float32"))


def one_pool(search: Search) -> Search:
    """A search during which PyTorch keeps to one thread if the scorer has threads of its own.

    PyTorch's others go on looking for work for some milliseconds, each on a core that the scorer's
    next step waits for: on two cores SmolLM2 in int8 did 84 steps/s greedily, and does 203.
    """

    @wraps(search)
    def run(scorer: Scorer, *args: Any, **options: Any) -> Any:
        before = torch.get_num_threads()
        if before == 1 or not getattr(scorer, "own_threads", False):
            return search(scorer, *args, **options)
        torch.set_num_threads(1)
        try:
            return search(scorer, *args, **options)
        finally:
            torch.set_num_threads(before)

    return cast(Search, run)


class DecoderScorer:
    """An Unrolled decoder or LSTM, which reads the source as a prompt.

    `max_length` is the longest continuation that will be asked for, in tokens.
    """

    def __init__(self, model: Any, *, end_token: int, max_length: int) -> None:
        self.model, self.end_token, self.max_length = model, end_token, max_length
        self.vocab_size: int = model.config.vocab_size
        self.weights: str = getattr(model, "format", "float32")

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """Read the prompts, padded on the left, into a cache."""
        tokens, real = pad(sources, left=True, device=device_of(self.model))
        cache = self.model.make_cache(len(sources), tokens.shape[1] + self.max_length)
        logits = self.model(tokens, attention_mask=real, cache=cache, start=tokens.shape[1] - 1)
        return self.model.branch(cache), logits[:, -1].float().log_softmax(-1)

    def step(
        self, state: Any, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """One token more in every row."""
        reorder(state, parents)
        logits = self.model(tokens[:, None], cache=state)[:, -1]
        return state, logits.float().log_softmax(-1)


class EncoderDecoderScorer:
    """An Unrolled encoder–decoder: the source is encoded, the target starts at `begin_token`."""

    def __init__(self, model: Any, *, begin_token: int, end_token: int, max_length: int) -> None:
        self.model, self.begin_token, self.end_token = model, begin_token, end_token
        self.max_length = max_length
        self.vocab_size: int = model.config.vocab_size
        self.weights: str = getattr(model, "format", "float32")

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """Encode the sources and score the token behind the begin token."""
        tokens, real = pad(sources, left=False, device=device_of(self.model))
        cache = self.model.encode(tokens, real, capacity=self.max_length + 1)
        begin = torch.full((len(sources),), self.begin_token, device=tokens.device)
        return self._score(self.model.branch(cache), begin)

    def step(
        self, state: Any, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """One token more in every row."""
        reorder(state, parents)
        return self._score(state, tokens)

    def _score(
        self, cache: Any, tokens: Int[Tensor, " rows"]
    ) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        logits = self.model.decode(tokens[:, None], cache)[:, -1]
        return cache, logits.float().log_softmax(-1)


def reorder(cache: Any, parents: Int[Tensor, " rows"]) -> None:
    """Reorder a cache's rows, unless they already stand so."""
    if len(parents) != cache.batch or not torch.equal(
        parents, torch.arange(len(parents), device=parents.device)
    ):
        cache.reorder(parents)


def pad(
    sources: Sequence[Sequence[int]], *, left: bool, device: torch.device
) -> tuple[Int[Tensor, "rows time"], Bool[Tensor, "rows time"] | None]:
    """Rows of equal length, and where they are real (None: everywhere)."""
    if not sources or not all(sources):
        raise BadInput("every source needs at least one token")
    width = max(map(len, sources))
    rows = [
        [0] * (width - len(s)) + list(s) if left else list(s) + [0] * (width - len(s))
        for s in sources
    ]
    tokens = torch.tensor(rows, device=device)
    lengths = torch.tensor([len(s) for s in sources], device=device)[:, None]
    columns = torch.arange(width, device=device)
    real = columns >= width - lengths if left else columns < lengths
    return tokens, None if bool(real.all()) else real


def device_of(model: Any) -> torch.device:
    """Where a model's weights are; packed ones are the processor's."""
    if not isinstance(model, nn.Module):
        return torch.device("cpu")
    device: torch.device = next(model.parameters()).device
    return device
