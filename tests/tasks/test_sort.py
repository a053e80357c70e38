"""Sorting: all sequences, each on one side, and a model that learns to sort those it never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks import TASKS
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.running import open_run, train
from unrolled.tasks.sort import divide


def test_every_sequence_is_on_one_side_with_its_digits_in_order() -> None:
    train_pairs, held_out = divide(4)
    sources = [source for source, _ in train_pairs + held_out]
    assert len(sources) == len(set(sources)) == 3**6
    assert 150 < len(held_out) < 220
    for source, target in train_pairs + held_out:
        zeros, ones = source.count("0"), source.count("1")
        assert target == "0" * zeros + "1" * ones + "2" * (6 - zeros - ones)


def test_what_is_no_sequence_is_refused_and_spaces_are_fine() -> None:
    job: Any = TASKS["sort"].open(TASKS["sort"].defaults("decoder"))
    model = build("decoder", job.config.model)
    for wrong in ("01210", "0121012", "012103", "abcdef", "０１２１０２"):
        with pytest.raises(BadInput, match=r"6 digits of 0, 1, 2"):
            job.translate(model, [wrong])
    assert job._source("2 0 1\t1 0 2") == job._source("201102")


@pytest.mark.parametrize("architecture", ["encoder-decoder", "decoder"])
def test_sorting_is_learned_to_the_last_held_out_sequence(
    tmp_path: Path, architecture: Any
) -> None:
    run = TASKS["sort"].defaults(architecture)
    run = replace(
        run,
        model=replace(run.model, hidden_size=32, num_layers=1),
        training=replace(
            run.training, max_steps=200, optimizer="muon", learning_rate=1e-2, evaluate_every=1000
        ),
    )
    trained = train(run, tmp_path / "run")
    assert trained.scores["exact_match"] == 1.0
    job, model = open_run(tmp_path / "run")
    assert isinstance(job, PairJob)
    assert job.translate(model, ["201102", "2 2 2 1 1 0"]) == ["001122", "011222"]
    assert job.score(model) == trained.scores
