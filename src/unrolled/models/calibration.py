"""How large are the numbers that a decoder's matrices are given? As it writes text of its own.

Where activations are rounded in groups, it helps to know which inputs of a matrix are large before
(`kernels.formats.smoothing`). What a model writes by itself from any first tokens on is near enough
to what it will be asked, and needs no data: SmolLM2-135M on Python's documentation comes as near to
float32 as by sizes measured on that (benchmarks/LOG.md). Random tokens are not as good.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from unrolled.models.decoder import Decoder
from unrolled.models.laid_out import head_of

ROWS, LENGTH = 16, 32
"""Texts that are written, and tokens of each."""


@torch.no_grad()
def input_sizes(model: Decoder) -> dict[str, Float32[np.ndarray, " inputs"]]:
    """Root mean squares of each input of a decoder's matrices, by the matrices' names."""
    squares: dict[str, Tensor] = {}
    count = min(LENGTH, model.config.max_positions)
    hooks = [
        module.register_forward_pre_hook(_adding(squares, f"{name}.weight"))
        for name, module in model.stack.blocks.named_modules(prefix="stack.blocks")
        if isinstance(module, nn.Linear)
    ]
    add = _adding(squares, head_of(model.config))
    hooks.append(model.stack.norm.register_forward_hook(lambda _, __, made: add(_, (made,))))
    training = [module for module in model.modules() if module.training]
    try:
        with torch.autocast(model.head.linear.weight.device.type, enabled=False):
            _write(model.eval(), count)
    finally:
        for module in training:
            module.training = True
        for hook in hooks:
            hook.remove()
    return {name: total.div(ROWS * count).sqrt().float().numpy() for name, total in squares.items()}


def _adding(squares: dict[str, Tensor], name: str) -> Callable[[Any, tuple[Tensor, ...]], None]:
    mine = get_ident()  # another thread may be using the model

    def add(_: Any, given: tuple[Tensor, ...]) -> None:
        if get_ident() == mine:
            here = given[0].flatten(0, -2).double().square().sum(0)
            squares[name] = squares.get(name, torch.zeros_like(here)) + here

    return add


def _write(model: Decoder, count: int) -> None:
    """Draw `count` tokens, a random one first, in each of `ROWS` rows; the last ones are read."""
    drawn = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.config.vocab_size, (ROWS, 1), generator=drawn)
    cache = model.make_cache(ROWS, count)
    for _ in range(count):
        logits: Float[Tensor, "rows 1 vocab"] = model.head(model.hidden(tokens, cache=cache))
        # A model of no numbers has no next token; any will do.
        chances = logits[:, -1].float().nan_to_num().softmax(-1)
        tokens = torch.multinomial(chances, 1, generator=drawn)
