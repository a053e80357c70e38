"""What must be kept so that a killed run goes on as if nothing had happened? All of this.

    checkpoints/step-00000200/
        model.safetensors       weights
        optimizer.safetensors   the optimizers' moments, the random generators' states
        state.json              step, place in the data, clock, sums and length of the log

A checkpoint is written under another name and renamed when it is whole, so a half-written one is
never seen. The tensors are copied while training waits; the copy is written while it goes on.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unrolled.errors import BadInput, WorkFailed
from unrolled.models.build import Model
from unrolled.models.store import WEIGHTS, load_weights, parameters
from unrolled.training.config import TrainingConfig
from unrolled.training.optimizer import Optimizer
from unrolled.training.parallel import rank, size, spread

FOLDER = "checkpoints"
OPTIMIZER, STATE = "optimizer.safetensors", "state.json"
FORMAT = 1
NAME = re.compile(r"step-(\d{8,})")
KEPT = 2
LARGE = 10**9
"""Bytes that a run's checkpoints are announced from."""


@dataclass
class Snapshot:
    """A run between two steps, copied out of the way of training."""

    step: int
    weights: dict[str, Tensor]
    tensors: dict[str, Tensor]
    """Moments of the optimizers and states of the random generators."""
    state: dict[str, Any] = field(default_factory=dict)
    """What is not a tensor: place in the data, clock, log."""
    score: float | None = None
    """Loss on held-out data, where this step was validated: the least one is kept."""


def take(model: Model, optimizer: Optimizer, step: int, state: Mapping[str, Any]) -> Snapshot:
    """Copy everything; the only part of saving that training waits for.

    All processes must call it; what the first gets is everything.
    """
    weights = {name: weight.clone() for name, weight in parameters(model).items()}
    tensors = {name: value.clone() for name, value in optimizer.tensors().items()}
    for number, states in enumerate(spread(lambda _: generators(), range(size()))):
        of = f"{number}." if number else ""
        tensors |= {f"generator.{of}{name}": value for name, value in states.items()}
    return Snapshot(step, weights, tensors, dict(state))


def generators() -> dict[str, Tensor]:
    """The states of this process's random generators."""
    states = {"cpu": torch.get_rng_state()}
    for i in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        states[f"cuda.{i}"] = torch.cuda.get_rng_state(i)
    return states


def restore(folder: Path, model: Model, optimizer: Optimizer) -> dict[str, Any]:
    """Put a checkpoint back into a model and its optimizer; returns the rest of its state.

    Raises `BadInput` for a checkpoint that is damaged, of another model, or of a later format.
    """
    state = read_state(folder)
    load_weights(model, folder / WEIGHTS)
    try:
        tensors = load_file(folder / OPTIMIZER)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{folder / OPTIMIZER} is not a whole safetensors file: {error}") from None
    of = f"generator.{rank()}." if rank() else "generator."
    if f"{of}cpu" in tensors:
        torch.set_rng_state(tensors[f"{of}cpu"])
    else:  # a process that the run did not have: its draws must not begin where its first did
        torch.manual_seed((torch.initial_seed() + state["step"]) % (1 << 63))
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if (saved := tensors.get(f"{of}cuda.{i}")) is not None:
            torch.cuda.set_rng_state(saved, i)
    optimizer.load_tensors({k: v for k, v in tensors.items() if not k.startswith("generator.")})
    return state


def read_state(folder: Path) -> dict[str, Any]:
    """A checkpoint's state.json, checked for its format."""
    path = folder / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} can't be read: {error}") from None
    if not isinstance(state, dict) or state.get("format") not in range(1, FORMAT + 1):
        raise BadInput(f"{path} is not of a format this version reads (1 to {FORMAT})")
    return state


class Checkpoints:
    """The checkpoints of a run: the last two and the best, written by a thread of their own."""

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER
        self.writer: threading.Thread | None = None
        self.failure: BaseException | None = None

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / f"step-{step:08}"

    def latest(self) -> Path | None:
        """The last whole checkpoint, if there is one."""
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def announce(self, model: Model, config: TrainingConfig) -> str:
        """What the checkpoints of a run will need on the disk, in a line; "" where that is little.

        Raises `BadInput` where the disk hasn't so much.
        """
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        each = weights + Optimizer(model, config).size()
        written = 1 + -(-config.max_steps // config.save_every)
        kept = min(written, KEPT + 1)
        # The new one is whole before an old one goes; the final weights stand beside them.
        most = each * min(written, kept + 1) + weights
        there = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        place = next(path for path in self.folder.absolute().parents if path.exists())
        free = shutil.disk_usage(place).free
        if most - there > free:
            raise BadInput(
                f"the checkpoints need up to {gigabytes(most)} and {place} has "
                f"{gigabytes(free)} left: make room, or choose another --out"
            )
        if each * kept < LARGE:
            return ""
        return (
            f"checkpoints: up to {gigabytes(each)} each, {gigabytes(each * kept)} in all; "
            f"{gigabytes(free)} are free"
        )

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot in the background, the one before being done.

        Raises `WorkFailed` if the one before could not be written.
        """
        self.wait()
        self.writer = threading.Thread(target=self._write, args=(snapshot,), daemon=True)
        self.writer.start()

    def finish(self) -> None:
        """Until all that can be is on disk."""
        if self.writer is not None:
            self.writer.join()
            self.writer = None

    def wait(self) -> None:
        """Until all is on disk. Raises `WorkFailed` with the last good step if that failed."""
        self.finish()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            steps = self.steps()
            kept = f"that of step {steps[-1]} stays" if steps else "there is none yet"
            raise WorkFailed(f"can't write a checkpoint to {self.folder}: {failure}; {kept}")

    def _write(self, snapshot: Snapshot) -> None:
        final = self.path(snapshot.step)
        part = final.with_name(f".{final.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_file(snapshot.weights, part / WEIGHTS, {"format": "pt"})
            save_file(snapshot.tensors, part / OPTIMIZER)
            state = {"format": FORMAT, "step": snapshot.step, "score": snapshot.score}
            (part / STATE).write_text(json.dumps({**state, **snapshot.state}), encoding="utf-8")
            for name in (WEIGHTS, OPTIMIZER, STATE):
                flush(part / name)
            if final.exists():
                shutil.rmtree(final)
            part.rename(final)
            flush(self.folder)
            self._prune()
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            self.failure = error

    def best(self) -> int | None:
        """The step with the least held-out loss, of those that were validated."""
        scores = {step: read_state(self.path(step)).get("score") for step in self.steps()}
        scored = {s: v for s, v in scores.items() if v is not None and math.isfinite(v)}
        return min(scored, key=scored.__getitem__) if scored else None

    def go_back(self) -> Path | None:
        """Drop what came after the best checkpoint (none validated: after the oldest); that one.

        For a run that went astray: its last weights may be finite and of no use all the same.
        """
        self.finish()
        steps = self.steps()
        if not steps:
            return None
        best = self.best()
        good = steps[0] if best is None else best
        for step in steps:
            if step > good:
                self._remove(step)
        return self.path(good)

    def _prune(self) -> None:
        """Keep the last two, and the one with the least held-out loss."""
        best = self.best()
        for step in self.steps()[:-KEPT]:
            if step != best:
                self._remove(step)

    def _remove(self, step: int) -> None:
        # Out of sight first: a kill half-way must not leave half a checkpoint.
        doomed = self.path(step).with_name(f".step-{step:08}.part")
        shutil.rmtree(doomed, ignore_errors=True)
        self.path(step).rename(doomed)
        shutil.rmtree(doomed)


def gigabytes(size: int) -> str:
    """Bytes in words, in units of 10^9."""
    return f"{size / 1e9:.2g} GB" if size < 10**10 else f"{size / 1e9:,.0f} GB"


def flush(path: Path) -> None:
    """Force a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
