"""Trains runs in all processes that torchrun starts: `torchrun ... shared_runs.py JOBS.json`.

A job is a folder and the options of `train`; a folder with a checkpoint goes on from it. Run by
test_parallel.py, once for a number of processes: it is their start that takes time.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tests.training.test_checkpoint import MODEL, stream
from tests.training.test_loop import Repeated

from unrolled.models import build, save
from unrolled.training import Trainer, TrainingConfig
from unrolled.training.checkpoint import Checkpoints
from unrolled.training.log import NoLog, RunLog
from unrolled.training.parallel import joined, leads

STEPS, SAVED = 8, 4


def train(
    folder: Path,
    architecture: str = "decoder",
    data: str = "stream",
    dropout: float = 0.0,
    model: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Train to the end: on the checkpoints' tests' stream, or on batches of 7, 1 and 2 rows."""
    folder.mkdir(exist_ok=True)
    values = {"max_steps": STEPS, "save_every": SAVED, "warmup_steps": 2, "device": "cpu"}
    config = TrainingConfig(**{**values, **options})
    made = build(architecture, replace(MODEL, dropout=dropout, **(model or {})), seed=0)
    batches: Any = stream(architecture, None)
    if data == "rows":
        batches = Repeated(1, 7)
        second, third = batches.batches[1:]
        batches.batches[1:] = second.rows(0, 7), third.rows(0, 4)
    with RunLog(folder) if leads() else NoLog() as log:
        checkpoints = Checkpoints(folder)
        trainer = Trainer(
            made,
            batches,
            config,
            log,
            seed=7,
            validate=partial(dict, validation_loss=1.0),
            checkpoints=checkpoints,
        )
        if latest := checkpoints.latest():
            trainer.resume(latest)
        trainer.fit()
        trainer.engine.gather()
        if leads():
            save(made, folder / "model.safetensors", trainer.step)


def main() -> None:
    """Do the jobs one after the other."""
    torch.set_num_threads(1)
    with joined():
        for job in json.loads(Path(sys.argv[1]).read_text()):
            print(job, file=sys.stderr)
            train(Path(job.pop("folder")), **job)


if __name__ == "__main__":
    main()
