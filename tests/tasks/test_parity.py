"""Parity: labels by counting, held-out strings apart, and a recurrent model that learns it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks import TASKS
from unrolled.tasks.parity import LONGEST, ParityJob, draw
from unrolled.tasks.running import open_run, train


@pytest.fixture(scope="module")
def job() -> ParityJob:
    task = TASKS["parity"]
    opened = task.open(task.defaults("lstm"))
    assert isinstance(opened, ParityJob)
    return opened


def test_labels_are_the_parities_and_lengths_those_that_were_asked_for() -> None:
    lines = draw(3000, 3, 9, seed=5)
    assert {len(text) for text, _ in lines} == set(range(3, 10))
    for text, label in lines:
        assert set(text) <= {"0", "1"}
        assert label == sum(c == "1" for c in text) % 2
    assert 0.45 < sum(label for _, label in lines) / 3000 < 0.55
    assert draw(50, 1, 9, seed=1) == draw(50, 1, 9, seed=1) != draw(50, 1, 9, seed=2)


def test_what_is_held_out_is_never_trained_on(job: ParityJob) -> None:
    held_out, trained = ({text for text, _ in side} for side in (job.held_out, job.train))
    assert held_out.isdisjoint(trained)
    assert len(held_out) > 300
    assert len(job.train) > 40_000
    assert max(map(len, trained)) == max(map(len, held_out)) == LONGEST


def test_scores_are_the_shares_of_right_answers_by_length(
    job: ParityJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(_: Any, texts: list[str]) -> list[int]:
        return [(text.count("1") + (len(text) > 40)) % 2 for text in texts]

    monkeypatch.setattr(job, "answers", answers)
    scores = job.score(build("lstm", job.config.model))
    assert scores == {
        "accuracy_to_20": 1.0,
        "accuracy_21_to_40": 1.0,
        "accuracy_41_to_80": 0.0,
        "accuracy_81_to_160": 0.0,
        "sentences": len(job.held_out),
    }


@pytest.mark.parametrize("architecture", ["lstm", "encoder"])
def test_a_string_is_answered_as_if_it_were_alone(architecture: Any) -> None:
    task = TASKS["parity"]
    opened: Any = task.open(task.defaults(architecture))
    model: Any = build(architecture, opened.config.model, seed=3).eval()
    texts = [text for text, _ in draw(40, 1, 30, seed=9)]
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 3.0
        alone = [
            int(model(torch.tensor([opened.tokenizer.encode(text)])).argmax()) for text in texts
        ]
    assert opened.answers(model, texts) == alone
    assert 0 < sum(alone) < len(alone)


def test_longer_strings_are_scored_only_where_the_model_can_read_them() -> None:
    task = TASKS["parity"]
    run = task.defaults("encoder")
    opened = task.open(replace(run, model=replace(run.model, max_positions=50)))
    scores = opened.score(build("encoder", opened.config.model).eval())
    assert list(scores) == ["accuracy_to_20", "accuracy_21_to_40", "accuracy_41_to_50", "sentences"]


@pytest.mark.parametrize(
    ("part", "option", "message"),
    [
        ("data", {"corpus": "pydocs"}, r"leave --data\.corpus out"),
        ("model", {"num_classes": 3}, r"two classes"),
        ("model", {"max_positions": 19}, r"up to 20 bits.*not 19"),
    ],
)
def test_what_parity_cannot_use_is_refused(part: str, option: dict[str, Any], message: str) -> None:
    run = TASKS["parity"].defaults("lstm")
    run = replace(run, **{part: replace(getattr(run, part), **option)})
    with pytest.raises(BadInput, match=message):
        TASKS["parity"].open(run)


def test_an_lstm_trains_on_parity_and_answers_from_its_folder(tmp_path: Path) -> None:
    """A short run: that it learns takes thousands of steps, and is measured, not tested."""
    run = TASKS["parity"].defaults("lstm")
    run = replace(
        run,
        model=replace(run.model, hidden_size=8),
        training=replace(run.training, max_steps=5, evaluate_every=5),
    )
    trained = train(run, tmp_path / "run")
    job, model = open_run(tmp_path / "run")
    assert job.score(model) == trained.scores
    assert trained.samples.strip().split(" → ")[1] in ("odd", "even")
