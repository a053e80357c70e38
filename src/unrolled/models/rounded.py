"""How does PyTorch give a packed model's answers? By the numbers that its packs stand for.

For models and machines that the compiled step does not take: slower, in float32, but with what the
format loses. Where float32's own rounding lets an activation fall on the other side of a half, the
two ways differ by a step of it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.kernels.formats import GROUP, LEVELS, SMALLEST, WHOLE, pack, unpack
from unrolled.models.build import Model
from unrolled.models.calibration import input_sizes
from unrolled.models.decoder import Decoder
from unrolled.models.laid_out import format_for, head_of
from unrolled.models.store import parameters


def is_matrix(name: str, weight: torch.Tensor) -> bool:
    """Whether a parameter is packed: all that is multiplied by, and the embeddings of tokens."""
    return weight.ndim == 2 and "position_embedding" not in name


Factors = dict[str, Float[Tensor, " inputs"]]
"""What activations are multiplied by before they are rounded, by the name of their matrix."""


@torch.no_grad()
def round_weights(model: Model, weights: str) -> Factors:
    """Put Ŵ in the place of each matrix W of a model, as the compiled step has it."""
    sizes = input_sizes(model) if weights in WHOLE and isinstance(model, Decoder) else {}
    factors = {}
    for name, weight in parameters(model).items():
        if is_matrix(name, weight):
            inputs = weight.shape[1]
            array = weight.float().numpy()
            packed = pack(array, format_for(name, weights), sizes.get(name))
            weight.copy_(torch.from_numpy(unpack(packed, inputs)))
            factors[name] = torch.from_numpy(packed.factors[:inputs])
    vars(model)["format"] = weights
    return factors


def round_activations(model: Decoder, factors: Factors) -> None:
    """Let all that a decoder's matrices are multiplied by be rounded before."""
    for name, module in model.stack.blocks.named_modules(prefix="stack.blocks"):
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(partial(_nearest_given, factors[f"{name}.weight"]))
    head = factors[head_of(model.config)]
    model.stack.norm.register_forward_hook(partial(_nearest_made, head))


def _nearest_given(factors: Tensor, _: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
    return (nearest(given[0], factors),)


def _nearest_made(factors: Tensor, *given: Any) -> Tensor:
    return nearest(given[-1], factors)


def nearest(
    x: Float[Tensor, "*rows inputs"], factors: Float[Tensor, " inputs"]
) -> Float[Tensor, "*rows inputs"]:
    """The activations that `kernels.activations.quantise` puts in the place of x."""
    inputs, factors = x.shape[-1], factors.to(x)
    groups = F.pad(x * factors, (0, -inputs % GROUP)).unflatten(-1, (-1, GROUP))
    most = groups.abs().amax(-1, keepdim=True)
    whole = (groups * (LEVELS / most)).round()
    rounded = torch.where(most < SMALLEST, 0.0, whole * (most / LEVELS))
    return rounded.flatten(-2)[..., :inputs] / factors
