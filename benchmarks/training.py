"""How fast is the trainer? Against a plain baseline, against the machine, and to a result.

    python benchmarks/training.py tokens     real target tokens/s, baseline and Unrolled in turns
    python benchmarks/training.py flops      model FLOP utilisation, between matrix products
    python benchmarks/training.py goal       seconds from a cold start to 95 % exact match
    python benchmarks/training.py checkpoints   what a checkpoint every 50 steps costs
    python benchmarks/training.py processes     two processes against one with two threads
    python benchmarks/training.py            all of them

Limits, written down before optimising: a step of the small model (0.2 M weights, 4,096 positions)
is 5 GFLOP, 25 ms at the 200 GFLOP/s that two cores reach here; what padding adds is wasted, so the
baseline's ceiling is its share of real tokens (about a third) times ours.
"""

from __future__ import annotations

import math
import platform
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
from torch import Tensor, nn

from processes import compare
from timing import interleaved, peak_megabytes, spread
from unrolled.models import ModelConfig, build
from unrolled.models.batch import IGNORED, Batch
from unrolled.tasks.piglatin import PigLatin
from unrolled.training import TrainingConfig
from unrolled.training.checkpoint import Checkpoints, take
from unrolled.training.memory import keep_few_kernels, keep_freed_memory
from unrolled.training.optimizer import Optimizer, clip
from unrolled.training.precision import TRIALS, autocast, faster_precision
from unrolled.training.run import processor

HIDDEN, LAYERS, HEADS = 64, 4, 2


class PlainBlock(nn.Module):
    """As a textbook has it: three projections, the whole score matrix, the mask added, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.q, self.k, self.v = (nn.Linear(HIDDEN, HIDDEN) for _ in range(3))
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, time_, _ = x.shape
        normed = self.norm1(x)
        q, k, v = (
            layer(normed).view(rows, time_, HEADS, -1).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(HIDDEN // HEADS) + mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, time_, HIDDEN)
        x = x + self.out(mixed)
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Plain(nn.Module):
    """A decoder of such blocks, logits at every position."""

    def __init__(self, vocab_size: int, longest: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab_size, HIDDEN), nn.Embedding(longest, HIDDEN)
        self.blocks = nn.ModuleList(PlainBlock() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, vocab_size)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        time_ = tokens.shape[1]
        x = self.tokens(tokens) + self.places(torch.arange(time_))
        real = (tokens != 0)[:, None, None, :]
        allowed = torch.ones(time_, time_, dtype=torch.bool).tril() & real
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, -1e9)
        for block in self.blocks:
            x = block(x, mask)
        logits = self.head(self.norm(x)).flatten(0, 1)
        return nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)


def small_job(architecture: str = "decoder") -> Any:
    """The Pig Latin task at the sizes that both sides are measured at."""
    task = PigLatin()
    config = task.defaults(architecture)  # type: ignore[arg-type]
    model = replace(config.model, hidden_size=HIDDEN, num_layers=LAYERS, num_heads=HEADS)
    return task.open(replace(config, model=model))


def padded(batches: list[Batch], longest: int) -> list[Batch]:
    """The same sentences in batches of 64 rows, each as wide as the corpus's longest sentence."""
    rows = [
        (t[: int((y != IGNORED).nonzero().max()) + 1], y)
        for batch in batches
        for t, y in zip(batch.tokens, batch.targets, strict=True)
    ]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    made = []
    for start in range(0, len(order) - 63, 64):
        tokens = torch.zeros(64, longest, dtype=torch.long)
        targets = torch.full((64, longest), IGNORED)
        for i, row in enumerate(order[start : start + 64]):
            t, y = rows[row]
            tokens[i, : len(t)], targets[i, : len(t)] = t, y[: len(t)]
        made.append(Batch(tokens, targets))
    return made


def tokens_per_second(rounds: int = 12, steps: int = 5) -> None:
    """Real target tokens a second: whole steps, optimizer and clipping included."""
    job = small_job()
    stream = job.batches()
    batches = list(islice(stream, 200))
    longest = max(batch.tokens.shape[1] for batch in stream.once())
    plain = Plain(job.tokenizer.vocab_size, longest)
    unfused = torch.optim.AdamW(plain.parameters(), foreach=False, fused=False)
    wide = cycle(padded(batches, longest))

    def baseline() -> float:
        done = 0
        for batch in islice(wide, steps):
            plain.loss(batch.tokens, batch.targets).backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 1.0, foreach=False)
            unfused.step()
            unfused.zero_grad()
            done += batch.num_targets
        return done

    def ours(optimizer_name: str, precision: str) -> Any:
        model = build("decoder", job.config.model)
        optimizer = Optimizer(model, TrainingConfig(optimizer=optimizer_name))  # type: ignore[arg-type]
        source = cycle(batches)

        def work() -> float:
            done = 0
            for batch in islice(source, steps * 3):
                targets = batch.num_targets
                with autocast(precision, torch.device("cpu")):
                    loss = model.loss(batch) / targets
                loss.backward()
                clip(model.parameters(), 1.0)
                loss.item()
                optimizer.step(1e-4)
                done += targets
            return done

        return work

    probe = build("decoder", job.config.model)
    best, _ = faster_precision(probe.loss, batches[:TRIALS], torch.device("cpu"))
    contenders = {
        "plain baseline": baseline,
        "unrolled, float32, AdamW": ours("adamw", "float32"),
        "unrolled, float32, Muon": ours("muon", "float32"),
        f"unrolled, auto ({best}), AdamW": ours("adamw", best),
    }
    rates = interleaved(contenders, rounds=rounds)
    first = median(rates["plain baseline"])
    print(f"\nreal target tokens/s, decoder {LAYERS} × {HIDDEN}, {HEADS} heads, Pig Latin")
    print(f"(longest sentence {longest} positions; median and quartiles of {rounds} rounds)")
    for name, values in rates.items():
        print(f"  {name:<34} {spread(values):>24}   {median(values) / first:.1f} ×")


def flop_utilisation(rounds: int = 8) -> None:
    """FLOP of the model's products over the step's time, against 2048³ products in between."""
    config = ModelConfig(
        vocab_size=4096, hidden_size=512, num_layers=6, num_heads=8, max_positions=256
    )
    model = build("decoder", config)
    optimizer = Optimizer(model, TrainingConfig())
    generator = torch.Generator().manual_seed(0)
    rows, length = 8, 256
    tokens = torch.randint(4096, (rows, length + 1), generator=generator)
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    # 6 products a weight and position; attention: 2 products of T²/2 scores, 3 times (2 backward).
    flop = 6 * weights * rows * length + 6 * rows * length**2 * 512 * config.num_layers
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    out = torch.empty(2048, 2048)

    def product() -> float:
        torch.mm(a, b, out=out)
        return 2 * 2048**3

    def step(precision: str) -> Any:
        def work() -> float:
            with autocast(precision, torch.device("cpu")):
                loss = model.loss(batch) / batch.num_targets
            loss.backward()
            clip(model.parameters(), 1.0)
            loss.item()
            optimizer.step(1e-5)
            return flop

        return work

    half_a, half_b, half_out = a.bfloat16(), b.bfloat16(), out.bfloat16()

    def half_product() -> float:
        torch.mm(half_a, half_b, out=half_out)
        return 2 * 2048**3

    rates = interleaved(
        {
            "float32 product": product,
            "float32 step": step("float32"),
            "bfloat16 product": half_product,
            "bfloat16 step": step("bfloat16"),
        },
        rounds=rounds,
        warm_up=2,
    )
    print("\nmodel FLOP utilisation, hidden 512, 6 layers, 8 × 256 positions, vocabulary 4,096")
    for precision in ("float32", "bfloat16"):
        of, got = median(rates[f"{precision} product"]), median(rates[f"{precision} step"])
        print(
            f"  {precision:<9} {got / 1e9:,.0f} of {of / 1e9:,.0f} GFLOP/s: {100 * got / of:.0f} %"
        )


EVERY = 50
"""Steps between two checkpoints."""


def checkpoint_cost(rounds: int = 6) -> None:
    """Steps a second of a 10 M parameter run, with a checkpoint in every 50 steps and without.

    Each turn is 50 steps. One with a checkpoint copies the run's state before its first step, while
    training waits, and ends when the file is on the disk as well.
    """
    config = ModelConfig(
        vocab_size=4096, hidden_size=320, num_layers=7, num_heads=5, max_positions=128
    )
    model = build("decoder", config)
    optimizer = Optimizer(model, TrainingConfig())
    tokens = torch.randint(4096, (4, 129), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    waits: list[float] = []
    number = 0

    def train() -> float:
        for _ in range(EVERY):
            loss = model.loss(batch) / batch.num_targets
            loss.backward()
            clip(model.parameters(), 1.0)
            loss.item()
            optimizer.step(1e-5)
        return EVERY

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))

        def saving() -> float:
            nonlocal number
            number += EVERY
            start = time.perf_counter()
            checkpoints.save(take(model, optimizer, number, {}))
            waits.append(time.perf_counter() - start)
            done = train()
            checkpoints.wait()
            return done

        rates = interleaved({"none": train, "every 50": saving}, rounds=rounds)
        size = sum(p.stat().st_size for p in checkpoints.path(number).iterdir()) / 1e6
    count = sum(parameter.numel() for parameter in model.parameters())
    # Of neighbouring turns, since the machine's speed drifts.
    costs = [100 * (a / b - 1) for a, b in zip(rates["none"], rates["every 50"], strict=True)]
    print(f"\ncheckpoint every {EVERY} steps, {count / 1e6:.1f} M parameters, {size:.0f} MB each")
    for name, values in rates.items():
        print(f"  {name:<10} {1000 / median(values):,.1f} ms a step (median of {rounds} turns)")
    print(f"  cost {median(costs):.1f} % (pairs of turns: {', '.join(f'{c:.1f}' for c in costs)})")
    print(f"  training waits {1000 * median(waits):.0f} ms for the copy")


GOAL = """
import resource, sys, time
start = time.perf_counter()
from pathlib import Path
from unrolled.tasks import piglatin
from unrolled.tasks.running import train

class Reached(Exception):
    pass

def validate(self, model, plain=piglatin.PigLatinJob.validate):
    values = dict(plain(self, model))
    # At this loss a sentence of 55 letters is right with probability exp(-55 × 0.003) = 0.85:
    # before that, decoding could not end the run and would only cost time.
    if values["validation_loss"] < 0.003:
        match = self.score(model)["exact_match"]
        seconds = time.perf_counter() - start
        print(f"  {seconds:5.0f} s  exact match {match:.3f} of 1,000", flush=True)
        if match >= 0.95:
            raise Reached
    return values

piglatin.PigLatinJob.validate = validate
try:
    trained = train(piglatin.PigLatin().defaults("decoder"), Path(sys.argv[1]))
    match, seconds = trained.scores["exact_match"], time.perf_counter() - start
    print(f"  95 % not reached: {match:.3f} of 1,000 at the end of the run, after {seconds:.0f} s")
except Reached:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak /= 1 << 20 if sys.platform == "darwin" else 1 << 10
    print(f"  95 % after {time.perf_counter() - start:.0f} s, peak memory {peak:,.0f} MB")
"""


def time_to_goal() -> None:
    """A new process, from `import` to 95 % of 1,000 held-out sentences, by the task's defaults."""
    print("\ntime to 95 % exact match, Pig Latin, `unrolled train piglatin`'s defaults")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", GOAL, str(Path(folder) / "run")]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    """Run the parts that were named, or all."""
    parts = {
        "tokens": tokens_per_second,
        "flops": flop_utilisation,
        "goal": time_to_goal,
        "checkpoints": checkpoint_cost,
        "processes": compare,
    }
    chosen = sys.argv[1:] or list(parts)
    if unknown := set(chosen) - set(parts):
        sys.exit(f"unknown part {unknown.pop()!r}: there are {', '.join(parts)}")
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    keep_freed_memory()
    keep_few_kernels()
    start = time.perf_counter()
    for part in chosen:
        parts[part]()
    peak = peak_megabytes()
    print(
        f"\n{time.perf_counter() - start:.0f} s in all, peak memory of this process {peak:,.0f} MB"
    )


if __name__ == "__main__":
    main()
