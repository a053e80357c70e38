"""A run from its config to its scores, and from its folder back to a model that answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unrolled.errors import BadInput
from unrolled.tasks.answering import open_run
from unrolled.tasks.running import find_task, resume, train
from unrolled.tasks.sort import Sort
from unrolled.tasks.text import Text
from unrolled.training.config import RunConfig

LINES = "".join(f"{n} and {n} make {2 * n}\n" for n in range(300))


def text_config(file: Path, architecture: Any = "decoder", **training: Any) -> RunConfig:
    config = Text().defaults(architecture)
    options = {"max_steps": 6, "evaluate_every": 3, "save_every": 3, "log_every": 2, **training}
    return replace(
        config,
        model=replace(config.model, hidden_size=16, num_layers=1, num_heads=2, max_positions=32),
        data=replace(config.data, corpus=str(file), tokenizer="bytes", tokens_per_batch=256),
        training=replace(config.training, **options),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.txt"
    path.write_text(LINES)
    return path


def test_sorting_is_learned_to_the_last_held_out_sequence(tmp_path: Path) -> None:
    trained = train(Sort().defaults("encoder-decoder"), tmp_path / "run")
    assert trained.ended == "finished"
    assert trained.scores["exact_match"] == 1.0
    job, model = open_run(tmp_path / "run")
    assert job.translate(model, ["210210", "000111"]) == ["001122", "000111"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("architecture", ["decoder", "lstm", "encoder"])
def test_a_run_on_a_users_text_scores_again_what_it_scored(
    tmp_path: Path, file: Path, architecture: Any
) -> None:
    trained = train(text_config(file, architecture), tmp_path / "run")
    assert (trained.ended, trained.steps) == ("finished", 6)
    job, model = open_run(tmp_path / "run")
    assert job.score(model.eval()) == trained.scores
    assert job.sample(model) == trained.samples
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert list(environment["data"]) == ["sums.txt"]


def test_a_resumed_run_has_the_weights_of_one_that_was_never_stopped(
    tmp_path: Path, file: Path
) -> None:
    config = text_config(file)
    train(config, tmp_path / "whole")
    train(config, tmp_path / "stopped")
    # As a run looks that was killed after its first checkpoint.
    (tmp_path / "stopped" / "model.safetensors").unlink()
    steps = sorted((tmp_path / "stopped" / "checkpoints").glob("step-*"))
    assert len(steps) == 2
    for part in steps[-1].iterdir():
        part.unlink()
    steps[-1].rmdir()
    resumed = resume(tmp_path / "stopped")
    assert (resumed.ended, resumed.steps) == ("finished", 6)
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "stopped")]
    assert weights[0] == weights[1]


def test_a_finished_run_says_so_and_goes_on_with_more_steps(tmp_path: Path, file: Path) -> None:
    train(text_config(file), tmp_path / "run")
    with pytest.raises(BadInput, match="finished, at step 6"):
        resume(tmp_path / "run")
    trained = resume(tmp_path / "run", max_steps=8)
    assert trained.steps == 8
    with pytest.raises(BadInput, match="finished, at step 8"):
        resume(tmp_path / "run")


def test_a_corpus_that_changed_is_refused_by_name(tmp_path: Path, file: Path) -> None:
    train(text_config(file), tmp_path / "run")
    file.write_text(LINES + "one line more\n")
    with pytest.raises(BadInput, match=r"sums\.txt is not what the run was trained on"):
        resume(tmp_path / "run", max_steps=8)
    # A refusal changes nothing: with the old data the run goes on.
    file.write_text(LINES)
    with pytest.raises(BadInput, match="finished, at step 6"):
        resume(tmp_path / "run")


def test_a_folder_in_use_is_not_overwritten_unasked(tmp_path: Path, file: Path) -> None:
    train(text_config(file), tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(BadInput, match="exists already"):
        train(text_config(file), tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert train(text_config(file, max_steps=2), tmp_path / "run", overwrite=True).steps == 2


def test_an_unknown_task_is_refused_with_the_likely_one() -> None:
    with pytest.raises(BadInput, match="did you mean sort"):
        find_task("sorting")
    with pytest.raises(BadInput, match="there are piglatin"):
        find_task("zzz")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for open_it in (open_run, resume):
        with pytest.raises(BadInput):
            open_it(tmp_path)
