"""What do two processes of one thread each lose against one process of two threads?

    python benchmarks/training.py processes

Each measurement is a process, or a torchrun with two, of its own: it trains some steps by the
trainer itself, whole (data, gradients, their sum over the processes, clipping, optimizer), and
prints the target tokens a second of those after the warm-up.

Limit first: the sum of gradients moves 4 bytes a parameter out and in; through one machine's memory
that is a few ms for 10 M parameters, against a step of about a second. The small model's step of
60 ms has some 50 µs messages in it: nothing there should cost a tenth.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from timing import spread
from unrolled.models import ModelConfig, build
from unrolled.models.batch import Batch
from unrolled.tasks.piglatin import PigLatin
from unrolled.training import Trainer, TrainingConfig
from unrolled.training.log import NoLog
from unrolled.training.memory import keep_freed_memory
from unrolled.training.parallel import joined, leads

STEPS = {"small": (20, 60), "large": (1, 4)}
"""Warm-up and measured steps of each model."""
NAMES = {
    "small": "decoder 4 × 64, 0.2 M parameters, Pig Latin, batches of 4,096 positions",
    "large": "decoder 8 × 320, 12 M parameters, batches of 8 × 256 positions",
}


class Held:
    """The same batches again and again."""

    def __init__(self, batches: list[Batch]) -> None:
        self.turning = cycle(batches)

    def __next__(self) -> Batch:
        return next(self.turning)

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


def hold(path: Path) -> None:
    """Write some batches of Pig Latin, which take much longer to make than to train on."""
    stream = PigLatin().open(PigLatin().defaults("decoder")).batches()
    found = enumerate(islice(stream, 20))
    parts = {f"{i}.{k}": v for i, batch in found for k, v in vars(batch).items() if v is not None}
    save_file({name: value.contiguous() for name, value in parts.items()}, path)


def pig_latin(path: Path) -> list[Batch]:
    """The same batches, read."""
    parts: list[dict[str, torch.Tensor]] = [{} for _ in range(20)]
    for name, value in load_file(path).items():
        number, _, key = name.partition(".")
        parts[int(number)][key] = value
    return [Batch(**part) for part in parts]


def trainer(which: str, parallel: Any, held: str) -> Trainer:
    """The trainer of one model."""
    config = TrainingConfig(max_steps=10_000, device="cpu", parallel=parallel)
    if which == "small":
        sizes = replace(PigLatin().defaults("decoder").model, vocab_size=64)
        model, batches = build("decoder", sizes), Held(pig_latin(Path(held)))
    else:
        sizes = ModelConfig(
            vocab_size=4096, hidden_size=320, num_layers=8, num_heads=8, max_positions=256
        )
        tokens = torch.randint(4096, (8, 257), generator=torch.Generator().manual_seed(0))
        model = build("decoder", sizes)
        batches = Held([Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())])
    return Trainer(model, batches, config, NoLog(), seed=0)


def worker(which: str, parallel: str, held: str) -> None:
    """Train, and print target tokens a second."""
    keep_freed_memory()
    with joined():
        made = trainer(which, parallel, held)
        made.model.train()
        warm_up, steps = STEPS[which]
        for _ in range(warm_up):
            made._take_step()
        before, start = made.tally.targets, time.perf_counter()
        for _ in range(steps):
            made._take_step()
        if leads():
            print((made.tally.targets - before) / (time.perf_counter() - start))


def measure(which: str, processes: int, parallel: str, held: Path) -> float:
    """Tokens a second of processes that are started for it."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = torchrun if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *start, __file__, which, parallel, str(held)],
        env={**os.environ, "OMP_NUM_THREADS": str(2 // processes)},
        check=True,
        capture_output=True,
        text=True,
        cwd=tempfile.gettempdir(),
    )
    return float(done.stdout.split()[-1])


def compare(rounds: int = 5, models: tuple[str, ...] = ("small", "large")) -> None:
    """In turns: one process with two threads, two with one each, the second also as FSDP."""
    contenders = {
        "one process, two threads": (1, "ddp"),
        "two processes, DDP": (2, "ddp"),
        "two processes, FSDP": (2, "fsdp"),
    }
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "batches.safetensors"
        hold(held)
        for which in models:
            report(which, rounds, contenders, held)


def report(which: str, rounds: int, contenders: dict[str, tuple[int, str]], held: Path) -> None:
    """Measure one model in turns and print the medians."""
    name = NAMES[which]
    rates: dict[str, list[float]] = {label: [] for label in contenders}
    for _ in range(rounds):
        for label, (processes, parallel) in contenders.items():
            rates[label].append(measure(which, processes, parallel, held))
    first = median(next(iter(rates.values())))
    print(f"\ntarget tokens/s, {name}\n(median and quartiles of {rounds} rounds)")
    for label, values in rates.items():
        print(f"  {label:<34} {spread(values):>24}   {median(values) / first:.2f} ×", flush=True)


if __name__ == "__main__":
    worker(*sys.argv[1:])
