"""How is a decoder with packed weights decoded? By its compiled step, which keeps its own rows.

Nothing of `models` is imported: a decoder packs itself, and brings the state of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrolled.decoding.scorers.rows import check_end
from unrolled.errors import BadInput


class PackedScorer:
    """A `PackedDecoder`, or a `Decoder` to be packed into the format that `weights` names.

    `max_length` is the longest continuation that will be asked for; rows go on as far as the model
    has positions. `tell` is called with a line when kernels must be compiled first. Raises
    `BadInput` for a model that has no compiled step (`models.packed.refusal` says why), for an
    unknown format, and for an end token that is no token.
    """

    own_threads = True
    """As `scorer.one_pool` wants to know."""

    def __init__(
        self,
        model: Any,
        *,
        end_token: int,
        max_length: int,
        weights: str | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        if weights is not None:
            if not hasattr(model, "packed"):
                raise BadInput(f"{type(model).__name__} can't be packed, only a Decoder can")
            model = model.packed(weights, tell=tell)
        self.packed, self.end_token, self.max_length = model, end_token, max_length
        self.vocab_size: int = model.vocab_size
        self.weights: str = model.format
        check_end(end_token, self.vocab_size)

    @torch.no_grad()
    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """Read the prompts, each as long as it is."""
        state, log_probs = self.packed.start(sources)
        return state, log_probs

    @torch.no_grad()
    def step(
        self, state: Any, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> tuple[Any, Float[Tensor, "rows vocab"]]:
        """One token more in every row."""
        return state, self.packed.step(state, parents, tokens)
