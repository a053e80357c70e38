"""How do gradients become steps? AdamW or Muon, a learning rate that rises and falls, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from unrolled.training.config import TrainingConfig
from unrolled.training.muon import Muon
from unrolled.training.parallel import share_like, whole


class Optimizer:
    """One or two PyTorch optimizers driven by one learning rate.

    Matrices decay, norms, biases and embeddings do not. Muon takes the matrices inside the blocks,
    its step scaled to AdamW's, so that one rate fits both.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self.config = config
        matrices, others = split(model)
        betas = (0.9, config.beta2)
        plain = {"params": others, "weight_decay": 0.0}
        decayed = {"params": matrices, "weight_decay": config.weight_decay}
        self.parts: list[torch.optim.Optimizer]
        if config.optimizer == "muon" and matrices:
            muon = Muon(matrices, config.weight_decay)
            self.parts = [muon, torch.optim.AdamW([plain], betas=betas, fused=True)]
        else:
            self.parts = [torch.optim.AdamW([decayed, plain], betas=betas, fused=True)]

    def size(self) -> int:
        """Bytes of what it will remember: AdamW two numbers a weight, Muon one."""
        return sum(
            (1 if isinstance(part, Muon) else 2) * p.numel() * p.element_size()
            for part in self.parts
            for group in part.param_groups
            for p in group["params"]
        )

    def step(self, learning_rate: float) -> None:
        """Apply the gradients that the parameters hold, then drop them."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All that the optimizers remember, by name; what is in shares is brought together."""
        return {
            f"{i}.{index}.{name}": whole(value)
            for i, part in enumerate(self.parts)
            for index, kept in part.state_dict()["state"].items()
            for name, value in kept.items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Remember what `tensors` gave."""
        kept: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.parts]
        for name, value in tensors.items():
            i, index, key = name.split(".")
            kept[int(i)].setdefault(int(index), {})[key] = value
        for part, state in zip(self.parts, kept, strict=True):
            held = [p for group in part.param_groups for p in group["params"]]
            for number, values in state.items():
                state[number] = {k: share_like(v, held[number]) for k, v in values.items()}
            groups = part.state_dict()["param_groups"]
            part.load_state_dict({"state": state, "param_groups": groups})


def split(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The matrices of linear and recurrent layers; then embeddings, norms and biases."""
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for parameter in model.parameters():
        inner = parameter.ndim == 2 and parameter not in embeddings
        (matrices if inner else others).append(parameter)
    return matrices, others


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """The rate of step `step` (from 0), when a share `progress` of the run is over.

    A linear rise over the warm-up times a fall, from the first step on, to `final_fraction` at
    progress 1: along a line, or along half a cosine (Loshchilov and Hutter 2017, equation 5). The
    product stays below the stated rate: a warm-up of a tenth of the run peaks at 0.9 of it.
    """
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = min(1.0, max(0.0, progress))
    fall = 1.0 - progress
    if config.schedule == "cosine":
        fall = 0.5 * (1.0 + math.cos(math.pi * progress))
    end = config.final_fraction
    return config.learning_rate * rise * (end + (1.0 - end) * fall)


def clip(parameters: Iterable[Tensor], limit: float) -> float:
    """Scale the gradients down to the norm `limit` (0: leave them); returns the norm before."""
    norm = nn.utils.clip_grad_norm_(parameters, limit or math.inf)
    return float(whole(norm))
