"""What a run keeps when something goes wrong, and where it can still be used afterwards."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.test_running import LINES, text_config
from unrolled.errors import BadInput
from unrolled.models.store import load_file, saved_step
from unrolled.tasks.answering import open_run
from unrolled.tasks.running import resume, train
from unrolled.tasks.text import LARGEST_EXPONENT, loss_and_perplexity
from unrolled.training import Diverged, Trainer
from unrolled.training.checkpoint import Checkpoints
from unrolled.training.lock import locked
from unrolled.training.log import read_metrics


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.txt"
    path.write_text(LINES)
    return path


def wild_from(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a step on, weights are thrown far away, finite for two steps and then not."""
    take_step = Trainer._take_step

    def wild(self: Any) -> None:
        if self.config.learning_rate > 1e-3 and self.step >= step:
            with torch.no_grad():
                factor = 3.0 if self.step < step + 2 else math.inf
                for weight in self.model.parameters():
                    weight.mul_(factor)
        take_step(self)

    monkeypatch.setattr(Trainer, "_take_step", wild)


def test_a_run_that_diverged_keeps_its_best_weights_and_goes_on_from_them(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    options = {"max_steps": 8, "save_every": 1, "evaluate_every": 1, "log_every": 1}
    wild_from(3, monkeypatch)
    config = text_config(file, learning_rate=1e-2, warmup_steps=0, **options)
    with pytest.raises(Diverged, match=r"at step 6 .* the weights of step 3, the best") as caught:
        train(config, run)
    assert f"unrolled resume {run} --training.learning-rate 0.0033" in str(caught.value)
    assert saved_step(run / "model.safetensors") == 3
    assert Checkpoints(run).steps()[-1] == 3
    good = load_file(Checkpoints(run).path(3) / "model.safetensors")
    kept = load_file(run / "model.safetensors")
    assert all(kept[name].equal(good[name]) for name in good)
    job, model = open_run(run)
    assert job.score(model)["loss"] < 6
    resumed = resume(run, learning_rate=1e-4)
    assert (resumed.ended, resumed.steps) == ("finished", 8)
    rows = [row["step"] for row in read_metrics(run) if "loss" in row]
    assert rows == list(range(1, 9))
    assert json.loads((run / "config.json").read_text())["training"]["learning_rate"] == 1e-4


def test_a_run_that_diverged_at_once_begins_anew(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild_from(0, monkeypatch)
    with pytest.raises(Diverged, match="the weights of step 0"):
        train(text_config(file, learning_rate=1e-2), tmp_path / "run")
    assert resume(tmp_path / "run", learning_rate=1e-4).steps == 6
    train(text_config(file, learning_rate=1e-4), tmp_path / "calm")
    weights = [tmp_path / name / "model.safetensors" for name in ("run", "calm")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_folder_in_which_a_run_trains_is_not_cleared_from_under_it(
    tmp_path: Path, file: Path
) -> None:
    run = tmp_path / "run"
    train(text_config(file), run)
    before = (run / "model.safetensors").read_bytes()
    with locked(run):
        for attempt in (
            lambda: train(text_config(file), run, overwrite=True),
            lambda: resume(run, max_steps=8),
        ):
            with pytest.raises(BadInput, match="another process is training there"):
                attempt()
    assert (run / "model.safetensors").read_bytes() == before
    train(text_config(file, max_steps=2), run, overwrite=True)
    assert not (run / ".lock").exists()


def test_a_folder_with_another_programs_config_is_never_cleared(tmp_path: Path, file: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"format": 1, "model": "llama"}')
    (foreign / "model.safetensors").write_text("theirs")
    with pytest.raises(BadInput, match="is not a run"):
        train(text_config(file), foreign, overwrite=True)
    assert sorted(p.name for p in foreign.iterdir()) == ["config.json", "model.safetensors"]


def test_a_run_on_a_relative_path_can_be_used_from_everywhere(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(text_config(Path("sums.txt")), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    job, model = open_run(tmp_path / "run")
    assert job.score(model)["tokens"] > 0
    assert resume(tmp_path / "run", max_steps=7).steps == 7


def test_a_folder_of_texts_may_move_with_its_run(tmp_path: Path, file: Path) -> None:
    texts = tmp_path / "texts"
    (texts / "deep").mkdir(parents=True)
    file.rename(texts / "deep" / "a.txt")
    (texts / "b.txt").write_text(LINES)
    run = tmp_path / "run"
    train(text_config(texts), run)
    moved = tmp_path / "moved"
    texts.rename(moved)
    job, model = open_run(run)
    for attempt in (lambda: job.score(model), lambda: resume(run, max_steps=7)):
        with pytest.raises(BadInput, match=r"no such file; it is what .* was trained on: put it"):
            attempt()
    config = run / "config.json"
    config.write_text(config.read_text().replace(str(texts), str(moved)))
    assert resume(run, max_steps=7).steps == 7


def test_a_corpus_that_is_not_there_is_no_runs_affair_before_training(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.txt: no such file$"):
        train(text_config(tmp_path / "none.txt"), tmp_path / "run")


def test_a_folder_that_is_called_like_a_corpus_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from unrolled.tasks.sort import Sort

    (tmp_path / "sort").mkdir()
    monkeypatch.chdir(tmp_path)
    config = Sort().defaults("decoder")
    train(replace(config, training=replace(config.training, max_steps=2)), tmp_path / "run")


def test_an_exception_in_the_middle_loses_no_checkpoint(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from unrolled.training import checkpoint as room

    write, failing = room.save_file, threading.Event()

    def slow(*arguments: Any) -> None:
        failing.wait(0.5)  # as slow as a disk may be
        write(*arguments)

    take_step = Trainer._take_step

    def fragile(self: Any) -> None:
        if self.step == 3:
            raise MemoryError
        take_step(self)

    monkeypatch.setattr(room, "save_file", slow)
    monkeypatch.setattr(Trainer, "_take_step", fragile)
    with pytest.raises(MemoryError):
        train(text_config(file), tmp_path / "run")
    assert Checkpoints(tmp_path / "run").steps() == [0, 3]


def test_a_perplexity_beyond_floating_point_is_left_out_and_a_loss_that_is_none_refused() -> None:
    assert loss_and_perplexity(2 * math.log(7), 2)["perplexity"] == pytest.approx(7)
    assert loss_and_perplexity(1e6, 10) == {"loss": 1e5}
    assert math.isfinite(math.exp(LARGEST_EXPONENT))
    with pytest.raises(BadInput, match="damaged"):
        loss_and_perplexity(math.nan, 3)


def test_a_copied_run_still_answers_without_its_corpus(tmp_path: Path, file: Path) -> None:
    from unrolled.decoding import SamplingConfig

    train(text_config(file), tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "copy")
    file.unlink()
    job, model = open_run(tmp_path / "copy")
    assert isinstance(job.generate(model, "1 and", 3, SamplingConfig()), str)  # type: ignore[attr-defined]
