"""The loop: the same numbers however a step is cut up, and an orderly end whatever happens."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.errors import BadInput
from unrolled.models import ModelConfig, build
from unrolled.models.batch import IGNORED, Batch
from unrolled.training import Diverged, Trainer, TrainingConfig, mean_loss
from unrolled.training.log import RunLog, read_metrics

VOCAB = 11
CONFIG = ModelConfig(vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, max_positions=16)
ARCHITECTURES = ("decoder", "encoder", "encoder-decoder", "lstm")


def ragged_batch(rows: int, seed: int) -> Batch:
    """Rows of which each has another number of targets, so that means of means are wrong."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB, (rows, 12), generator=generator)
    kept = torch.randint(1, 12, (rows, 1), generator=generator)
    targets = torch.where(torch.arange(12) < kept, tokens.roll(-1, 1), IGNORED)
    source = torch.randint(VOCAB, (rows, 7), generator=generator)
    return Batch(tokens, targets, source=source)


class Repeated:
    """The same batches again and again, cut into `parts` each."""

    def __init__(self, parts: int, rows: int = 64) -> None:
        whole = [ragged_batch(rows, seed) for seed in range(3)]
        self.batches = [batch.rows(i, parts) for batch in whole for i in range(parts)]
        self.place = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.place += 1
        return self.batches[(self.place - 1) % len(self.batches)]

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state["place"]


def run(
    folder: Path,
    *,
    architecture: Any = "decoder",
    parts: int = 1,
    dropout: float = 0.0,
    double: bool = False,
    seed: int = 0,
    rows: int = 64,
    batches: Any = None,
    **options: Any,
) -> Trainer:
    """Train a few steps and return the trainer."""

    folder.mkdir(exist_ok=True)
    model = build(architecture, replace(CONFIG, dropout=dropout), seed=0)
    if double:
        model = model.double()
    values = {"max_steps": 6, "warmup_steps": 2, "log_every": 2, "evaluate_every": 3}
    config = TrainingConfig(**{**values, "device": "cpu", **options})
    with RunLog(folder) as log:
        trainer = Trainer(model, batches or Repeated(parts, rows), config, log, seed=seed)
        trainer.ended = trainer.fit()  # type: ignore[attr-defined]
    return trainer


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_batch_of_64_rows_and_four_of_16_give_the_same_parameters(
    tmp_path: Path, architecture: str, optimizer: str
) -> None:
    options: dict[str, Any] = {"architecture": architecture, "optimizer": optimizer}
    whole = run(tmp_path / "a", **options)
    parts = run(tmp_path / "b", parts=4, accumulate=4, **options)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=0, atol=1e-5)


def test_a_mean_of_the_batches_means_would_not_have_passed_that_test(tmp_path: Path) -> None:
    class MeanOfMeans(Trainer):
        def _take_step(self) -> None:
            self.batches, kept = iter([next(self.batches) for _ in range(4)]), self.batches
            held = list(self.batches)
            for batch in held:
                (self.model.loss(batch) / batch.num_targets / len(held)).backward()
            self.optimizer.step(1e-3)
            self.batches, self.step = kept, self.step + 1
            self.rate, self.norm, self.tally.steps = 0.0, 0.0, 1

    config = TrainingConfig(max_steps=6, warmup_steps=2, device="cpu")
    trainers = []
    for kind, parts in ((Trainer, 1), (MeanOfMeans, 4)):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        with RunLog(folder) as log:
            model = build("decoder", CONFIG, seed=0)
            trainers.append(kind(model, Repeated(parts), config, log, seed=0))
            trainers[-1].fit()
    assert (weights(trainers[0]) - weights(trainers[1])).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_trains_the_same_weights_bit_for_bit(
    tmp_path: Path, architecture: str
) -> None:
    runs = [
        run(tmp_path / str(i), architecture=architecture, dropout=0.2, seed=seed)
        for i, seed in enumerate((1, 1, 2))
    ]
    assert weights(runs[0]).equal(weights(runs[1]))
    assert not weights(runs[0]).equal(weights(runs[2]))


def test_watching_a_run_does_not_change_it(tmp_path: Path) -> None:
    often = run(tmp_path / "a", dropout=0.2, evaluate_every=1, log_every=1)
    seldom = run(tmp_path / "b", dropout=0.2, evaluate_every=6, log_every=6)
    assert weights(often).equal(weights(seldom))


def test_a_loss_that_is_no_number_stops_before_it_touches_the_weights(tmp_path: Path) -> None:
    class Poisoned(Repeated):
        def __next__(self) -> Batch:
            batch = super().__next__()
            if self.place == 4:
                with torch.no_grad():
                    self.model.head.linear.weight[0, 0] = math.nan  # type: ignore[attr-defined]
            return batch

    batches = Poisoned(1)
    model = build("decoder", CONFIG)
    batches.model = model  # type: ignore[attr-defined]
    config = TrainingConfig(max_steps=9, device="cpu")
    with RunLog(tmp_path) as log:
        trainer = Trainer(model, batches, config, log, seed=0)
        with pytest.raises(Diverged, match=r"at step 4 the loss is nan"):
            trainer.fit()
    assert trainer.step == 3
    healthy = [p for n, p in model.named_parameters() if "embedding" not in n]
    assert all(p.isfinite().all() for p in healthy)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_run_after_the_step_at_hand(
    tmp_path: Path, number: signal.Signals
) -> None:
    class Interrupting(Repeated):
        def __next__(self) -> Batch:
            if self.place == 2:
                os.kill(os.getpid(), number)
            return super().__next__()

    before = signal.getsignal(number)
    trainer = run(tmp_path, batches=Interrupting(1))
    assert trainer.ended == "interrupted"  # type: ignore[attr-defined]
    assert trainer.step == 3
    assert read_metrics(tmp_path)[-1]["step"] == 3
    assert signal.getsignal(number) is before


def test_a_run_out_of_time_has_let_its_learning_rate_fall(tmp_path: Path) -> None:
    trainer = run(tmp_path, max_steps=10**6, max_minutes=0.01, log_every=1, evaluate_every=10**6)
    assert trainer.ended == "out of time"  # type: ignore[attr-defined]
    rates = [row["learning_rate"] for row in read_metrics(tmp_path) if "learning_rate" in row]
    assert rates[-1] < 0.2 * max(rates)


@pytest.mark.parametrize(("warmup", "said"), [(10**6, 1), (1, 0)])
def test_a_run_whose_time_is_over_within_its_warm_up_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: int, said: int
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(RunLog, "say", lambda _, text: lines.append(text))
    run(tmp_path, max_steps=10**6, max_minutes=1e-3, warmup_steps=warmup, evaluate_every=10**6)
    assert sum("within the warm-up" in line for line in lines) == said


def test_the_log_holds_the_mean_loss_a_target_since_its_last_line(tmp_path: Path) -> None:
    trainer = run(tmp_path, max_steps=2, log_every=2, learning_rate=1e-12)
    batches = trainer.batches.batches[:2]  # type: ignore[attr-defined]
    row = next(row for row in read_metrics(tmp_path) if "loss" in row)
    assert row["step"] == 2
    assert row["loss"] == pytest.approx(mean_loss(trainer.model, batches), rel=1e-5)
    assert row["learning_rate"] == pytest.approx(1e-12 * 0.5)


def test_auto_precision_is_measured_and_leaves_no_trace(tmp_path: Path) -> None:
    auto = run(tmp_path / "auto", dropout=0.2, precision="auto", max_steps=2)
    assert auto.precision in ("float32", "bfloat16")
    stated = run(tmp_path / "stated", dropout=0.2, precision=auto.precision, max_steps=2)
    assert weights(auto).equal(weights(stated))


def test_bfloat16_trains_close_to_float32(tmp_path: Path) -> None:
    half = run(tmp_path / "a", precision="bfloat16", max_steps=30)
    full = run(tmp_path / "b", max_steps=30)
    losses = [mean_loss(t.model, [ragged_batch(64, 0)]) for t in (half, full)]
    assert half.model.head.linear.weight.dtype == torch.float32  # type: ignore[union-attr]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert not weights(half).equal(weights(full))


def test_where_compiling_fails_a_warning_says_so_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        def call(batch: Batch) -> Any:
            raise RuntimeError("no compiler here")

        return call

    plain = run(tmp_path / "a")
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match="no compiler here"):
        fallen_back = run(tmp_path / "b", compile=True)
    assert weights(plain).equal(weights(fallen_back))


def test_mean_loss_leaves_the_model_in_its_mode_and_weighs_by_targets() -> None:
    model = build("decoder", CONFIG).train()
    batches = [ragged_batch(5, 1), ragged_batch(3, 2)]
    sums = [model.loss(batch).item() for batch in batches]
    expected = sum(sums) / sum(batch.num_targets for batch in batches)
    assert mean_loss(model, batches) == pytest.approx(expected)
    assert model.training


def test_batches_that_have_nothing_to_predict_are_no_divergence(tmp_path: Path) -> None:
    batches = Repeated(1)
    batches.batches = [
        replace(batch, targets=torch.full_like(batch.targets, IGNORED)) for batch in batches.batches
    ]
    with pytest.raises(BadInput, match="step 1 have nothing to predict"):
        run(tmp_path, batches=batches)
