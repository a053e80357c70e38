"""Is a grid what its budgets pay for, and a run of it what its row says?"""

from __future__ import annotations

import pytest

from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.scaling import sweep
from unrolled.tasks.sweeping import Recipe, SizedRun, grid, sized, train_sized
from unrolled.training.log import read_metrics
from unrolled.training.plan import flop_per_token, parameter_count
from unrolled.training.run import load_config

SIZES = [(16, 1), (16, 2), (32, 1)]


@pytest.fixture
def recipe(tmp_path):
    text = tmp_path / "text.txt"
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs"]
    lines = (" ".join(words[(i * k) % len(words)] for k in range(1, 30)) for i in range(200))
    text.write_text("\n".join(lines))
    return Recipe(corpus=str(text), vocab_size=280, row_length=16, tokens_per_batch=64)


def test_each_size_gets_the_tokens_that_the_budget_pays_for(recipe):
    runs = grid(SIZES, [1e9, 4e9], recipe)
    assert len(runs) == 6
    for run, budget in zip(runs, [1e9] * 3 + [4e9] * 3, strict=True):
        count = parameter_count(run.model())
        assert run.tokens % recipe.tokens_per_batch == 0
        assert abs(6 * count * run.tokens / budget - 1) < 6 * count * 32 / budget + 1e-9
    assert [r.name for r in runs[:2]] == [f"16x1-{runs[0].tokens}", f"16x2-{runs[1].tokens}"]


def test_pairs_outside_the_limits_are_left_out_and_the_rate_falls_as_one_over_the_width(recipe):
    runs = grid(SIZES, [1e9, 4e9], recipe, min_tokens=20_000, max_tokens=60_000)
    assert all(20_000 <= run.tokens <= 60_000 for run in runs)
    assert 0 < len(runs) < 6
    wide, narrow = (SizedRun(h, 1, 640, recipe).learning_rate for h in (64, 32))
    assert narrow == 2 * wide == 2 * recipe.learning_rate


def test_a_row_says_what_was_trained(tmp_path, recipe):
    run = SizedRun(16, 1, 64 * 20, recipe)
    row, curve = train_sized(run, tmp_path / "run")
    config = load_config(tmp_path / "run")
    model = build("decoder", config.model, seed=0)
    assert row["parameters"] == sum(p.numel() for p in model.parameters())
    assert row["embedding_parameters"] == config.model.vocab_size * 16
    assert row["flops"] == 6 * row["parameters"] * run.tokens
    assert row["flops_exact"] == flop_per_token(config.model, 16) * run.tokens
    assert row["tokens"] == row["unique_tokens"] == 1280 == 64 * config.training.max_steps
    assert 0 < row["loss"] < 6
    measured = [m for m in read_metrics(tmp_path / "run") if "validation_loss" in m]
    assert [point["tokens"] for point in curve] == [64 * m["step"] for m in measured]
    assert [point["loss"] for point in curve] == [m["validation_loss"] for m in measured]


def test_a_run_stopped_between_its_end_and_its_row_gives_the_same_row_again(tmp_path, recipe):
    run = SizedRun(16, 1, 64 * 20, recipe)
    first, _ = train_sized(run, tmp_path / "run")
    again, _ = train_sized(run, tmp_path / "run")
    fast = {"seconds"}
    assert {k: v for k, v in first.items() if k not in fast} == {
        k: v for k, v in again.items() if k not in fast
    }


def test_what_a_stopped_run_left_without_a_checkpoint_is_trained_from_the_start(tmp_path, recipe):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("{}")
    row, _ = train_sized(SizedRun(16, 1, 64 * 10, recipe), folder)
    assert row["tokens"] == 640


def test_repeated_tokens_are_counted_once(tmp_path, recipe):
    run = SizedRun(16, 1, 64 * 200, recipe)
    row, _ = train_sized(run, tmp_path / "run")
    assert 5000 < row["unique_tokens"] < row["tokens"] == 64 * 200


def test_two_processes_train_the_same_runs_to_the_same_losses(tmp_path, recipe):
    runs = grid([(16, 1), (16, 2)], [2e8], recipe)
    one = sweep(runs, train_sized, tmp_path / "one")
    two = sweep(runs, train_sized, tmp_path / "two", jobs=2)
    losses = [sorted((row["run"], row["loss"]) for row in rows) for rows in (one, two)]
    assert losses[0] == losses[1]


def test_widths_and_budgets_that_cannot_be_are_refused(recipe):
    with pytest.raises(BadInput, match="a multiple of the head size 16, not 24"):
        sized(24, 1, recipe)
    with pytest.raises(BadInput, match="a budget is a positive number"):
        grid(SIZES, [0.0], recipe)
