"""From a config to a trained run, and from a run's folder back to a model that answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.data import BatchStream
from unrolled.data.corpora import absolute, is_missing
from unrolled.errors import BadInput
from unrolled.models import Model, build, save
from unrolled.models.store import CONFIG, WEIGHTS, load_weights, saved_step, write_json
from unrolled.tasks import TASKS
from unrolled.tasks.starting import check_start
from unrolled.tasks.task import Job, Progress, Scores, Task, silent
from unrolled.training import Diverged, RunConfig, Trainer
from unrolled.training.checkpoint import Checkpoints, read_state
from unrolled.training.draw import draw_loss
from unrolled.training.lock import locked
from unrolled.training.log import NoLog, RunLog
from unrolled.training.memory import keep_few_kernels, keep_freed_memory
from unrolled.training.parallel import agree, first, joined, leads, restarted, size
from unrolled.training.precision import pick_device
from unrolled.training.run import (
    CURVE,
    check_place,
    create,
    differences,
    load_config,
    made_by_this_launch,
    trained_on,
)

Begun = tuple[Job, Model, BatchStream[Any]]


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
    config: RunConfig,
    folder: Path,
    *,
    overwrite: bool = False,
    command: Sequence[str] = (),
    progress: Progress = silent,
) -> Trained:
    """Train a run from its config; the folder then holds all there is to know of it.

    Interrupted or out of time, it ends in order all the same. Raises `BadInput` for a config that
    can't be trained, `Diverged` when the loss is no number (the best weights so far are saved).
    `progress` is told how far the scoring at the end is.

    Under torchrun the processes train together; started again, they go on from the run's last
    checkpoint, and with `overwrite` too if it was torchrun that did so.
    """
    with joined(), ExitStack() as held:
        begun: list[Begun] = []

        def begin() -> bool:
            if restarted(by_name=not overwrite) and made_by_this_launch(folder, located(config)):
                return False
            job, model, batches = _begin(located(config))
            check_place(folder, overwrite=overwrite)
            Checkpoints(folder).announce(model, config.training)
            held.enter_context(locked(folder))
            made_by, data = command or sys.argv, job.fingerprint()
            create(folder, job.config, job.tokenizer, made_by, data=data, overwrite=overwrite)
            begun.append((job, model, batches))
            return True

        agree("options", config)
        # The first process makes the folder; the others then find the tokenizer in it.
        if not first(begin):
            return _resume(folder, {}, progress)
        job, model, batches = begun[0] if begun else _open(load_config(folder), folder)
        if config.init and not begun:
            load_weights(model, Path(config.init) / WEIGHTS)
        agree("data", job.fingerprint())
        return _fit(job, model, batches, folder, progress)


def _begin(config: RunConfig) -> Begun:
    """Open all that a new run needs, and see that nothing is amiss."""
    start = Path(config.init) if config.init else None
    if start is not None:
        check_start(config)
    job = find_task(config.task).open(config, start)
    batches = job.batches()
    if next(batches.once(), None) is None or not job.validation:
        raise BadInput(
            f"{config.data.corpus} leaves nothing to train on, or nothing to hold out: "
            + (batches.report() or "add text, or let the model be longer (--model.max-positions)")
        )
    model = build(config.architecture, job.config.model, seed=config.seed)
    if start is not None:
        load_weights(model, start / WEIGHTS)
    rehearse(batches, config)
    return job, model, batches


def _open(config: RunConfig, folder: Path) -> Begun:
    """The same for a run that has its folder."""
    job = find_task(config.task).open(config, folder)
    return job, build(config.architecture, config.model, seed=config.seed), job.batches()


def located(config: RunConfig) -> RunConfig:
    """The same with the corpus's whole path, so that the run can be used from any folder."""
    corpus = config.data.corpus
    own = find_task(config.task).defaults(config.architecture).data.corpus
    if corpus == own and not Path(own).suffix:
        return config  # a name, whatever stands in the folder by that name
    if is_missing(corpus):
        raise BadInput(f"{corpus}: no such file")
    return replace(config, data=replace(config.data, corpus=absolute(corpus)))


def rehearse(batches: BatchStream[Any], config: RunConfig) -> None:
    """Raise `BadInput` for a device or data that can't be used, before any folder is touched."""
    pick_device(config.training.device)
    place = batches.state_dict()
    next(batches)
    batches.load_state_dict(place)


def resume(
    folder: Path, *, max_steps: int = 0, learning_rate: float = 0.0, progress: Progress = silent
) -> Trained:
    """Go on with a run that was stopped, from its last checkpoint, to the bits it would have had.

    `max_steps` above the run's own lets a finished run go on; `learning_rate` lets one that
    diverged go on otherwise. Raises `BadInput` for a folder that is no run or in use, a run that is
    finished or was never trained here, and data that has changed.
    """
    changes: dict[str, Any] = {"max_steps": max_steps, "learning_rate": learning_rate}
    given = {name: value for name, value in changes.items() if value}
    with joined():
        return _resume(folder, given, progress)


def _resume(folder: Path, changes: dict[str, Any], progress: Progress) -> Trained:
    with ExitStack() as held:

        def begin() -> tuple[RunConfig, Path | None, int]:
            load_config(folder)  # a folder that is no run is not to be locked
            held.enter_context(locked(folder))
            return _last(folder, changes)

        config, latest, step = first(begin)
        job, model, batches = _open(config, folder)
        others = differences(folder, job.fingerprint())
        if changes and leads():
            write_json(folder / CONFIG, config.to_json())
        notes = [f"going on from step {step:,}"]
        notes += [f"not to the same bits: {other}" for other in others]
        return _fit(job, model, batches, folder, progress, latest, notes)


def _last(folder: Path, changes: dict[str, Any]) -> tuple[RunConfig, Path | None, int]:
    """From where a run goes on, if it does: its config, its last checkpoint and that one's step."""
    config = load_config(folder)
    config = replace(config, training=replace(config.training, **changes))
    latest = Checkpoints(folder).latest()
    step = read_state(latest)["step"] if latest else 0
    if step >= config.training.max_steps and saved_step(folder / WEIGHTS) == step:
        raise BadInput(
            f"{folder} is finished, at step {step:,}: a larger --training.max-steps goes on"
        )
    if latest is None:
        check_beginning(config, folder)
    return config, latest, step


def check_beginning(config: RunConfig, folder: Path) -> None:
    """Raise `BadInput` for a run without a checkpoint that drawn weights are no beginning of."""
    if config.init:
        raise BadInput(
            f"{folder} was stopped before it had read the weights of {config.init}: train it "
            "again, with --overwrite"
        )
    if (folder / WEIGHTS).exists() and config.task == "text" and not trained_on(folder):
        raise BadInput(
            f"{folder} was imported, not trained here, so there is nothing to go on with: "
            f"`unrolled train text --init {folder} --data.corpus FILE --out RUN` trains it further"
        )


def _fit(
    job: Job,
    model: Model,
    batches: BatchStream[Any],
    folder: Path,
    progress: Progress,
    checkpoint: Path | None = None,
    notes: Sequence[str] = (),
) -> Trained:
    """Train a model in a run's folder, from a checkpoint or from the start, and score it."""
    keep_freed_memory()
    keep_few_kernels()
    config, checkpoints = job.config, Checkpoints(folder)
    with RunLog(folder) if leads() else NoLog() as log:
        needed = first(lambda: checkpoints.announce(model, config.training))
        for line in (*job.skipped(), batches.report(), introduction(job, model), needed, *notes):
            if line:
                log.say(line)
        trainer = Trainer(
            model,
            batches,
            config.training,
            log,
            seed=config.seed,
            validate=lambda: job.validate(model),
            sample=lambda: job.sample(model),
            checkpoints=checkpoints,
        )
        if checkpoint is not None:
            trainer.resume(checkpoint)
        elif notes:
            log.cut(0, 0)
        elif config.init and leads():
            before = job.validate(model.eval())["validation_loss"]
            log.say(f"before training: held-out loss {before:.4f}")
        try:
            ended = trainer.fit()
        except Diverged as error:
            if not leads():
                raise SystemExit(1) from None  # the first process says it for all
            raise Diverged(f"{error}; {keep_best(model, checkpoints, config, folder)}") from None
        trainer.engine.gather()
        first(partial(_keep, model, folder, trainer.step))
        log.say("scoring on what was held out …")
    model.to(trainer.device).eval()
    scores = {} if ended == "interrupted" else job.score(model, progress if leads() else silent)
    sample = job.sample(model) if leads() else ""
    return Trained(folder, ended, trainer.step, trainer.clock.seconds, scores, sample)


def _keep(model: Model, folder: Path, step: int) -> None:
    """Write the weights of a run that has ended, and its curve."""
    save(model, folder / WEIGHTS, step)
    draw_loss(folder, folder / CURVE)


def keep_best(model: Model, checkpoints: Checkpoints, config: RunConfig, folder: Path) -> str:
    """Leave a run that diverged with its best checkpoint and those weights; says which and how on.

    The last weights may be finite and of no use all the same, so the loss on what is held out
    decides; where no checkpoint was validated, it is the oldest that is kept.
    """
    good = checkpoints.go_back()
    step = read_state(good)["step"] if good else 0
    if good is not None:
        load_weights(model, good / WEIGHTS)
        save(model, folder / WEIGHTS, step)
    smaller = config.training.learning_rate / 3
    return (
        f"{folder} holds the weights of step {step:,}, the best that are kept; `unrolled resume "
        f"{folder} --training.learning-rate {smaller:.2g}` goes on from there"
    )


def introduction(job: Job, model: Model) -> str:
    """One line on what is trained."""
    count = sum(parameter.numel() for parameter in model.parameters())
    together = f", {size()} processes ({job.config.training.parallel})" if size() > 1 else ""
    return (
        f"{job.config.task}: {job.config.architecture} with {count:,} parameters, "
        f"vocabulary of {job.tokenizer.vocab_size:,}, corpus {job.config.data.corpus}{together}"
    )
