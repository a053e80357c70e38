"""Parity: labels are right, and what is scored was never trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks.parity import LONGEST, Parity, ParityJob, draw


@pytest.fixture(scope="module")
def job() -> ParityJob:
    return Parity().open(Parity().defaults("lstm"))


def counted_by_hand(text: str) -> int:
    odd = False
    for bit in text:
        odd ^= bit == "1"
    return int(odd)


def test_every_label_is_the_parity_of_its_string(job: ParityJob) -> None:
    for text, label in job.train[:5000] + job.held_out + draw(200, 81, 160, seed=160):
        assert set(text) <= {"0", "1"}
        assert label == counted_by_hand(text)


def test_lengths_and_bits_are_uniform() -> None:
    lines = draw(20_000, 1, 20, seed=3)
    lengths = [len(text) for text, _ in lines]
    assert set(lengths) == set(range(1, 21))
    # Five standard deviations of a binomial with p = 1/20.
    assert all(abs(lengths.count(n) - 1000) < 5 * (1000 * 0.95) ** 0.5 for n in range(1, 21))
    ones = sum(text.count("1") for text, _ in lines)
    assert abs(ones - sum(lengths) / 2) < 5 * sum(lengths) ** 0.5 / 2
    assert draw(10, 1, 20, seed=3) == lines[:10]
    assert draw(10, 1, 20, seed=4) != lines[:10]


def test_what_is_held_out_was_never_trained_on(job: ParityJob) -> None:
    trained = {text for text, _ in job.train}
    held_out = {text for text, _ in job.held_out}
    assert len(held_out) > 400
    assert not trained & held_out
    assert max(map(len, trained)) == LONGEST
    assert {len(text) for text in trained} == set(range(1, LONGEST + 1))


def test_batches_hold_the_strings_with_their_classes(job: ParityJob) -> None:
    batches = job.batches().once()
    for _, batch in zip(range(5), batches, strict=False):
        for row, label in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
            assert label == counted_by_hand(job.tokenizer.decode(row))


@pytest.mark.parametrize("architecture", ["lstm", "encoder"])
@torch.no_grad()
def test_answers_in_a_ragged_batch_are_those_of_each_string_alone(architecture: Any) -> None:
    job = Parity().open(Parity().defaults(architecture))
    texts = ["1", "0110", "10111010101", "000", "1" * 40]
    texts += [text for text, _ in draw(20, 1, 40, seed=9)]
    seen = set()
    for seed in range(6):
        model = build(architecture, job.config.model).eval()
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
        together = job.answers(model, texts)
        assert together == [job.answers(model, [text])[0] for text in texts]
        seen.update(together)
    assert seen == {0, 1}


@torch.no_grad()
def test_a_model_that_always_says_odd_scores_the_share_of_odd_strings(job: ParityJob) -> None:
    model = build("lstm", job.config.model).eval()
    for parameter in model.parameters():
        parameter.zero_()
    model.classifier.bias[1] = 1.0  # type: ignore[union-attr, index]
    scores = job.score(model)
    share = sum(label for _, label in job.held_out) / len(job.held_out)
    assert scores["accuracy_to_20"] == pytest.approx(share)
    assert set(scores) == {
        "accuracy_to_20",
        "accuracy_21_to_40",
        "accuracy_41_to_80",
        "accuracy_81_to_160",
        "sentences",
    }
    for name, value in scores.items():
        if name != "sentences":
            assert 0.4 < value < 0.6
    assert job.validate(model)["accuracy"] == pytest.approx(
        sum(label for _, label in job.held_out[:200]) / 200
    )


def test_a_shorter_model_is_scored_on_the_lengths_it_can_hold() -> None:
    config = Parity().defaults("encoder")
    short = replace(config, model=replace(config.model, max_positions=50, hidden_size=8))
    job = Parity().open(short)
    scores = job.score(build("encoder", job.config.model).eval())
    assert [n for n in scores if n.startswith("accuracy")] == [
        "accuracy_to_20",
        "accuracy_21_to_40",
        "accuracy_41_to_50",
    ]


def test_what_parity_has_no_use_for_is_refused() -> None:
    config = Parity().defaults("lstm")
    with pytest.raises(BadInput, match=r"leave --data\.corpus out"):
        Parity().open(replace(config, data=replace(config.data, corpus="pydocs")))
    with pytest.raises(BadInput, match="two classes"):
        Parity().open(replace(config, model=replace(config.model, num_classes=3)))
    with pytest.raises(BadInput, match="no architecture 'decoder'"):
        Parity().open(replace(config, architecture="decoder"))
