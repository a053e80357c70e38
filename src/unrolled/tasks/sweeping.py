"""Which runs does a sweep over sizes and budgets consist of, and how is one of them trained?

Budgets of compute, C = 6 N D, give each size its tokens D (Hoffmann et al. 2022, section 3.2). The
learning rate falls as one over the width, as Adam's does for hidden matrices in Yang et al. 2022
(table 3); what was tried on this trainer stands in docs/scaling.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unrolled.errors import BadInput
from unrolled.models import ModelConfig
from unrolled.tasks.running import Trained, resume, train
from unrolled.tasks.text import Text
from unrolled.training.checkpoint import Checkpoints
from unrolled.training.config import RunConfig
from unrolled.training.log import read_metrics
from unrolled.training.plan import flop_per_token, parameter_count
from unrolled.training.run import load_config

POINTS = 10
"""Places of a run's curve at which the loss is measured."""


@dataclass(frozen=True)
class Recipe:
    """What all runs of a sweep have in common."""

    corpus: str = "stdlib"
    """Built in (pydocs, stdlib), or a file or folder of texts."""
    vocab_size: int = 1024
    """Size of the byte-pair vocabulary."""
    row_length: int = 128
    """Positions of a row."""
    tokens_per_batch: int = 1024
    """Tokens of one step."""
    learning_rate: float = 0.009
    """Highest learning rate at hidden_size 64; it falls as one over the width."""
    head_size: int = 16
    """Dimensions of one attention head."""
    seed: int = 0
    """Of the weights and of the order of the data."""

    def __str__(self) -> str:
        return (
            f"{self.corpus} bpe-{self.vocab_size} rows-{self.row_length} "
            f"batch-{self.tokens_per_batch} rate-{self.learning_rate:g} head-{self.head_size} "
            f"seed-{self.seed}"
        )


@dataclass(frozen=True)
class SizedRun:
    """One decoder on so many tokens."""

    hidden_size: int
    num_layers: int
    tokens: int
    common: Recipe = field(default_factory=Recipe)

    @property
    def name(self) -> str:
        """Width x layers - tokens."""
        return f"{self.hidden_size}x{self.num_layers}-{self.tokens}"

    @property
    def recipe(self) -> str:
        """What it has in common with the other runs of its sweep."""
        return str(self.common)

    @property
    def learning_rate(self) -> float:
        """The highest of the run."""
        return self.common.learning_rate * 64 / self.hidden_size

    def model(self) -> ModelConfig:
        """The decoder, without dropout: few tokens are seen more than a few times."""
        return sized(self.hidden_size, self.num_layers, self.common)

    def config(self) -> RunConfig:
        """The run as `unrolled train` would make it."""
        base, common = Text().defaults("decoder"), self.common
        steps = max(1, self.tokens // common.tokens_per_batch)
        return replace(
            base,
            seed=common.seed,
            model=replace(self.model(), vocab_size=0),
            data=replace(
                base.data,
                corpus=common.corpus,
                vocab_size=common.vocab_size,
                tokens_per_batch=common.tokens_per_batch,
            ),
            training=replace(
                base.training,
                max_steps=steps,
                optimizer="adamw",
                learning_rate=self.learning_rate,
                warmup_steps=steps // 10,
                evaluate_every=max(1, steps // POINTS),
                save_every=max(200, steps // 5),
            ),
        )


def sized(hidden_size: int, num_layers: int, common: Recipe) -> ModelConfig:
    """A decoder of this width and depth. Raises `BadInput` for a width its heads don't divide."""
    if hidden_size < 1 or hidden_size % common.head_size:
        raise BadInput(
            f"a width is a multiple of the head size {common.head_size}, not {hidden_size}"
        )
    return ModelConfig(
        vocab_size=common.vocab_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=hidden_size // common.head_size,
        max_positions=common.row_length,
    )


def grid(
    sizes: Sequence[tuple[int, int]],
    flops: Sequence[float],
    common: Recipe,
    *,
    min_tokens: float = 0.0,
    max_tokens: float = float("inf"),
) -> list[SizedRun]:
    """A run for each size (width, layers) and budget C, on C / 6 N tokens, the cheapest first.

    N counts every parameter, embedding included. Tokens are whole batches; pairs that call for
    fewer than `min_tokens` or more than `max_tokens` are left out.
    """
    runs: dict[str, tuple[float, SizedRun]] = {}
    for budget in flops:
        if not 0 < budget < float("inf"):
            raise BadInput(f"a budget is a positive number of FLOPs, not {budget}")
        for hidden_size, num_layers in sizes:
            count = parameter_count(sized(hidden_size, num_layers, common))
            steps = round(budget / (6 * count) / common.tokens_per_batch)
            run = SizedRun(hidden_size, num_layers, steps * common.tokens_per_batch, common)
            if steps >= 1 and min_tokens <= run.tokens <= max_tokens:
                runs[run.name] = (budget, run)
    return [run for _, run in sorted(runs.values(), key=lambda pair: pair[0])]


def train_sized(run: SizedRun, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train one run in its folder, or go on with it; its row, and its curve's rows.

    Raises `KeyboardInterrupt` where it was interrupted: its folder then holds a checkpoint.
    """
    torch.set_num_threads(1)
    ended = begin_or_go_on(run, folder)
    if ended.ended != "finished":
        raise KeyboardInterrupt
    config, metrics = load_config(folder), read_metrics(folder)
    count, embedding = parameter_count(config.model), config.model.vocab_size * run.hidden_size
    batch = run.common.tokens_per_batch
    last = [row for row in metrics if "epoch" in row][-1]
    row = {
        "parameters": count,
        "embedding_parameters": embedding,
        "tokens": run.tokens,
        "loss": ended.scores["loss"],
        "unique_tokens": round(min(run.tokens, last["step"] * batch / last["epoch"])),
        "flops": 6 * count * run.tokens,
        "flops_exact": flop_per_token(config.model, run.common.row_length) * run.tokens,
        "hidden_size": run.hidden_size,
        "num_layers": run.num_layers,
        "learning_rate": run.learning_rate,
        "seconds": round(ended.seconds, 1),
    }
    curve = [
        {
            "parameters": count,
            "tokens": int(point["step"]) * batch,
            "loss": point["validation_loss"],
        }
        for point in metrics
        if "validation_loss" in point
    ]
    return row, curve


def begin_or_go_on(run: SizedRun, folder: Path) -> Trained:
    """Train from the start, or from the last checkpoint of the same run."""
    if (folder / "config.json").exists() and Checkpoints(folder).latest() is not None:
        try:
            return resume(folder)
        except BadInput:  # it had finished, and stopped before its row was written
            return train(run.config(), folder, overwrite=True)
    if folder.exists():
        shutil.rmtree(folder)
    return train(run.config(), folder)
