"""From a config to a trained run, and from a run's folder back to a model that answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.errors import BadInput
from unrolled.models import Model, build, load, save
from unrolled.models.store import WEIGHTS
from unrolled.tasks import TASKS
from unrolled.tasks.task import Job, Scores, Task
from unrolled.training import Diverged, RunConfig, Trainer
from unrolled.training.draw import draw_loss
from unrolled.training.log import RunLog
from unrolled.training.memory import keep_freed_memory
from unrolled.training.run import CURVE, create, load_config


@dataclass(frozen=True)
class Trained:
    """A run that has ended, in order."""

    folder: Path
    ended: str
    """"finished", "out of time" or "interrupted"."""
    steps: int
    seconds: float
    scores: Scores
    samples: str


def find_task(name: str) -> Task:
    """The task of that name. Raises `BadInput` with the list of them."""
    from difflib import get_close_matches

    if name not in TASKS:
        close = get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(TASKS)}"
        raise BadInput(f"unknown task {name!r}: {hint}")
    return TASKS[name]


def train(
    config: RunConfig, folder: Path, *, overwrite: bool = False, command: Sequence[str] = ()
) -> Trained:
    """Train a run from its config; the folder then holds all there is to know of it.

    Interrupted or out of time, it ends in order all the same. Raises `BadInput` for a config that
    can't be trained, `Diverged` when the loss is no number (the last good weights are saved).
    """
    keep_freed_memory()
    job = find_task(config.task).open(config)
    model = build(config.architecture, job.config.model, seed=config.seed)
    batches = job.batches()
    create(folder, job.config, job.tokenizer, command or sys.argv, overwrite=overwrite)
    with RunLog(folder) as log:
        for line in job.skipped():
            log.say(line)
        log.say(introduction(job, model))
        trainer = Trainer(
            model,
            batches,
            config.training,
            log,
            seed=config.seed,
            validate=lambda: job.validate(model),
            sample=lambda: job.sample(model),
        )
        try:
            ended = trainer.fit()
        except Diverged as error:
            save(model, folder / WEIGHTS)
            raise Diverged(f"{error}; {folder} holds the weights of step {trainer.step}") from None
        save(model, folder / WEIGHTS)
        log.say("scoring on what was held out …")
    model.eval()
    draw_loss(folder, folder / CURVE)
    scores = {} if ended == "interrupted" else job.score(model)
    return Trained(
        folder, ended, trainer.step, trainer.clock.seconds, scores, job.sample(model)
    )


def introduction(job: Job, model: Model) -> str:
    """One line on what is trained."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{job.config.task}: {job.config.architecture} with {count:,} parameters, "
        f"vocabulary of {job.tokenizer.vocab_size:,}, corpus {job.config.data.corpus}"
    )


def open_run(folder: Path) -> tuple[Job, Model]:
    """A trained run's job and model. Raises `BadInput` for a folder that is none."""
    config = load_config(folder)
    model = load(folder)
    job = find_task(config.task).open(config, folder)
    return job, model
