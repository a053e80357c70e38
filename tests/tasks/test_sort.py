"""Sorting: every sequence is on one side, with the sorted one beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks.sort import Sort, divide

EVERY = {"".join(digits) for digits in product("012", repeat=6)}


@pytest.mark.parametrize("holdout", [2, 4, 10])
def test_every_sequence_is_on_exactly_one_side(holdout: int) -> None:
    train, held_out = divide(holdout)
    sources = [source for source, _ in train + held_out]
    assert len(sources) == 729
    assert set(sources) == EVERY
    # Binomial, 729 draws: five standard deviations around the mean.
    mean = 729 / holdout
    assert abs(len(held_out) - mean) < 5 * (mean * (1 - 1 / holdout)) ** 0.5


def test_a_target_is_its_source_counted_out_in_order() -> None:
    train, held_out = divide(4)
    for source, target in train + held_out:
        counts = Counter(source)
        assert target == "0" * counts["0"] + "1" * counts["1"] + "2" * counts["2"]


def test_a_run_trains_on_one_side_and_is_scored_on_the_other() -> None:
    job = Sort().open(Sort().defaults("encoder-decoder"))
    train, held_out = divide(4)
    assert list(job.data.train()) == train
    assert job.data.held_out == held_out
    seen = set()
    for batch in job.batches().once():
        assert batch.source is not None
        for row in batch.source.tolist():
            seen.add(job.tokenizer.decode(row))
    assert seen == {source for source, _ in train}


@pytest.mark.parametrize("sentence", ["01201", "0120121", "012 013", "01201a", "-12012"])
def test_what_is_not_six_digits_is_refused(sentence: str) -> None:
    job = Sort().open(Sort().defaults("decoder"))
    model = build("decoder", job.config.model)
    with pytest.raises(BadInput, match="6 digits of 0, 1, 2"):
        job.translate(model, [sentence])


@pytest.mark.parametrize("architecture", ["decoder", "encoder-decoder"])
def test_spaces_between_the_digits_are_fine(architecture: Any) -> None:
    job = Sort().open(Sort().defaults(architecture))
    model = build(architecture, job.config.model)
    together, apart = job.translate(model, ["210012", " 2 1 0 0 1 2 "])
    assert together == apart


def test_a_corpus_and_an_unsuitable_architecture_are_refused() -> None:
    config = Sort().defaults("decoder")
    with pytest.raises(BadInput, match=r"leave --data\.corpus out"):
        Sort().open(replace(config, data=replace(config.data, corpus="pydocs")))
    with pytest.raises(BadInput, match="no architecture 'lstm'"):
        Sort().open(replace(config, architecture="lstm"))
