"""How does a run begin with another one's weights? Its model and tokenizer are taken as they are.

What fits: a task that has the other run's architecture, reads any text (`text` and, with an own
tokenizer, `piglatin`, `pairs`, `verses`), and predicts what the other one predicted: tokens, or as
many classes. An imported tokenizer has no separator and no mask: only `text` by a decoder fits.
"""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path

from unrolled.errors import BadInput
from unrolled.models import ModelConfig
from unrolled.tasks.task import Task
from unrolled.training.config import RunConfig
from unrolled.training.run import load_config

FREE = {"dropout"}
"""What of a model may be another than where the weights come from: it changes no weight."""
ROW_LENGTH = 512
PARTS = 4


def starting_config(task: Task, run: Path) -> RunConfig:
    """A task's defaults with the model and the tokenizer of a run, for training it further.

    AdamW with a small rate, as pretrained weights want it, and as many targets a step as the task
    has, in four batches of short rows: the activations need a quarter of the memory. Raises
    `BadInput` for a folder that is no run, and for a run that the task can't go on from.
    """
    source = load_config(run)
    task.check(source.architecture)
    defaults = task.defaults(source.architecture)
    if defaults.model.num_classes != source.model.num_classes:
        raise BadInput(
            f"{run} has {source.model.num_classes} classes and the task {task.name} "
            f"{defaults.model.num_classes} (0: it predicts tokens): begin with a run of that kind"
        )
    short = min(ROW_LENGTH, source.model.max_positions) if task.name == "text" else 0
    return replace(
        defaults,
        model=replace(source.model, dropout=0.0),
        data=replace(
            defaults.data,
            tokenizer=source.data.tokenizer,
            vocab_size=source.data.vocab_size,
            tokens_per_batch=max(defaults.data.tokens_per_batch // PARTS, short),
            row_length=short,
        ),
        training=replace(
            defaults.training,
            max_steps=200,
            optimizer="adamw",
            learning_rate=2e-4,
            warmup_steps=20,
            weight_decay=0.01,
            accumulate=PARTS,
            evaluate_every=50,
            save_every=100,
        ),
        init=str(run.resolve()),
    )


def check_start(config: RunConfig) -> None:
    """Raise `BadInput`, naming the option, for what contradicts the run that this begins with."""
    source = load_config(Path(config.init))
    named = [f"model.{field.name}" for field in fields(ModelConfig) if field.name not in FREE]
    for name in ("architecture", *named, "data.tokenizer", "data.vocab_size"):
        own, theirs = attrgetter(name)(config), attrgetter(name)(source)
        if own != theirs:
            option = name.replace("_", "-")
            raise BadInput(
                f"{name} {own!r} is not {theirs!r}, that of {config.init}, with whose weights this "
                f"run begins: leave --{option} out"
            )
