"""How does PyTorch give a packed model's answers? By the numbers that its packs stand for.

For models and machines that the compiled step does not take: slower, in float32, but with what the
format loses. Where float32's own rounding lets an activation fall on the other side of a half, the
two ways differ by a step of it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.kernels.formats import GROUP, LEVELS, SMALLEST, pack, unpack
from unrolled.models.build import Model
from unrolled.models.decoder import Decoder
from unrolled.models.store import parameters


def is_matrix(name: str, weight: torch.Tensor) -> bool:
    """Whether a parameter is packed: all that is multiplied by, and the embeddings of tokens."""
    return weight.ndim == 2 and "position_embedding" not in name


@torch.no_grad()
def round_weights(model: Model, weights: str) -> None:
    """Put Ŵ in the place of each matrix W of a model."""
    for name, weight in parameters(model).items():
        if is_matrix(name, weight):
            near = unpack(pack(weight.float().numpy(), weights), weight.shape[1])
            weight.copy_(torch.from_numpy(near))
    vars(model)["format"] = weights


def round_activations(model: Decoder) -> None:
    """Let all that a decoder's matrices are multiplied by be rounded before."""
    for module in model.stack.blocks.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(_nearest_given)
    model.stack.norm.register_forward_hook(_nearest_made)  # for the head


def _nearest_given(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
    return (nearest(given[0]),)


def _nearest_made(*given: Any) -> Tensor:
    return nearest(given[-1])


def nearest(x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows inputs"]:
    """The activations that `kernels.activations.quantise` puts in the place of x."""
    inputs = x.shape[-1]
    groups = F.pad(x, (0, -inputs % GROUP)).unflatten(-1, (-1, GROUP))
    most = groups.abs().amax(-1, keepdim=True)
    whole = (groups * (LEVELS / most)).round()
    rounded = torch.where(most < SMALLEST, 0.0, whole * (most / LEVELS))
    return rounded.flatten(-2)[..., :inputs]
