"""How much room has an answer, what counts as too long, and what is a score made of?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.decoding import sample
from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks import TASKS
from unrolled.tasks.answering import open_run
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.running import train
from unrolled.tasks.task import Answer
from unrolled.training import RunConfig

KINDS: list[tuple[Any, dict[str, Any]]] = [
    ("decoder", {}),
    ("encoder-decoder", {}),
    ("encoder-decoder", {"memory": "prefix"}),
    ("encoder-decoder", {"memory": "prefix", "positions": "learned"}),
]
ANIMALS = ("cat", "dog", "owl", "emu", "ant", "bee", "cow", "hen", "pig", "yak")
PAIRS = [(f"{a} {b}", f"{b} {a}!") for a in ANIMALS for b in ANIMALS]


def written(folder: Path, ending: str, pairs: list[tuple[str, str]] = PAIRS) -> str:
    rows = {
        "tsv": [f"{source}\t{target}" for source, target in pairs],
        "jsonl": [json.dumps({"source": source, "target": target}) for source, target in pairs],
    }[ending]
    path = folder / f"pairs.{ending}"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def config(corpus: str, architecture: Any = "encoder-decoder", **model: Any) -> RunConfig:
    """Small, on bytes, one sentence in four held out."""
    run = TASKS["pairs"].defaults(architecture)
    values = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "dropout": 0.0, **model}
    return replace(
        run,
        model=replace(run.model, **values),
        data=replace(run.data, corpus=corpus, tokenizer="bytes", holdout=4, tokens_per_batch=512),
        training=replace(run.training, max_steps=3, warmup_steps=5, evaluate_every=1000),
    )


def opened(run: RunConfig) -> PairJob:
    job = TASKS[run.task].open(run)
    assert isinstance(job, PairJob)
    return job


def test_a_tsv_and_a_jsonl_of_the_same_pairs_are_the_same_task(tmp_path: Path) -> None:
    tsv, jsonl = (opened(config(written(tmp_path, ending))).data for ending in ("tsv", "jsonl"))
    assert list(tsv.train()) == list(jsonl.train())
    assert tsv.held_out == jsonl.held_out
    assert len(tsv.held_out) > 10


def test_a_users_own_pairs_are_learned_and_translated(tmp_path: Path) -> None:
    run = config(written(tmp_path, "tsv"))
    run = replace(run, training=replace(run.training, max_steps=200))
    trained = train(run, tmp_path / "run")
    Path(run.data.corpus).unlink()  # a run needs its corpus no more
    job, model = open_run(tmp_path / "run")
    assert isinstance(job, PairJob)
    answers = job.translate(model, [source for source, _ in PAIRS])
    right = sum(answer == target for answer, (_, target) in zip(answers, PAIRS, strict=True))
    assert right > 60
    assert trained.scores["sentences"] > 10
    assert trained.scores["chrf"] > 50


class Fixed(PairJob):
    """Answers from a list instead of a model's: what is scored is then known."""

    fixed: dict[str, str]

    def _answers(self, model: Any, sources: Any, *_: Any, **__: Any) -> list[Answer]:
        texts = [self.fixed[self.tokenizer.decode(source)] for source in sources]
        return [Answer(text, completed=True, cut=False) for text in texts]


def test_scores_are_those_of_the_answers(tmp_path: Path) -> None:
    run = config(written(tmp_path, "tsv"))
    plain = opened(run)
    job = Fixed(run, plain.tokenizer, plain.read)
    held_out = job.data.held_out
    job.fixed = dict(held_out)
    model = build("decoder", plain.config.model)
    perfect = job.score(model)
    assert perfect["exact_match"] == 1.0
    assert perfect["chrf"] == pytest.approx(100.0)
    assert perfect["sentences"] == len(held_out)
    job.fixed[held_out[0][0]] = "wrong"
    assert job.score(model)["exact_match"] == pytest.approx(1 - 1 / len(held_out))
    job.fixed = {source: "" for source, _ in held_out}
    assert {k: job.score(model)[k] for k in ("exact_match", "bleu", "chrf")} == {
        "exact_match": 0.0,
        "bleu": 0.0,
        "chrf": 0.0,
    }


@pytest.mark.parametrize(("architecture", "options"), KINDS)
def test_a_pair_that_just_fits_in_training_can_also_be_answered(
    tmp_path: Path, architecture: Any, options: dict[str, Any]
) -> None:
    """The longest target that is trained on, end token included, has room in an answer."""
    for length in range(4, 20):
        pairs = [("ab", "y" * length), ("cd", "z"), ("ef", "z")]
        run = config(written(tmp_path, "tsv", pairs), architecture, max_positions=16, **options)
        job = opened(run)
        stream = job.batches()
        list(stream.once())
        if not stream.skipped:
            assert job.room(job._source("ab")) >= length + 1


@pytest.mark.parametrize(("architecture", "options"), KINDS)
def test_an_answer_does_not_depend_on_what_else_is_translated(
    tmp_path: Path, architecture: Any, options: dict[str, Any]
) -> None:
    job = opened(config(written(tmp_path, "tsv"), architecture, max_positions=32, **options))
    model = build(architecture, job.config.model, seed=1).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 3.0
    sentences = ["a", "w" * 30, "owl emu", "x" * 29, "ant"]
    together = job.translate(model, sentences)
    assert together == [job.translate(model, [sentence])[0] for sentence in sentences]


@pytest.mark.parametrize(("architecture", "options"), KINDS)
def test_answers_may_fill_the_model_to_its_last_position(
    tmp_path: Path, architecture: Any, options: dict[str, Any]
) -> None:
    job = opened(config(written(tmp_path, "tsv"), architecture, max_positions=32, **options))
    model = build(architecture, job.config.model).eval()
    source = job._source("cat")
    room = job.room(source)
    scorer = job.scorer(model, room)
    scorer.end_token = -1  # type: ignore[misc]  # never drawn: the answer runs to its limit
    (answer,) = sample(scorer, [source], max_length=room)
    assert len(answer.tokens) == room
    scorer = job.scorer(model, room + 1)
    scorer.end_token = -1  # type: ignore[misc]
    with pytest.raises(BadInput, match="max_positions"):
        sample(scorer, [source], max_length=room + 1)


def test_held_out_pairs_that_are_too_long_count_as_wrong_and_are_told(tmp_path: Path) -> None:
    pairs = [(f"{n} " + "x" * (60 if n % 2 else 3), "yes") for n in range(60)]
    run = config(written(tmp_path, "tsv", pairs), max_positions=32)
    trained = train(run, tmp_path / "run")
    held_out = [source for source, _ in opened(run).data.held_out]
    too_long = sum(len(source) > 31 for source in held_out)
    assert 0 < too_long < len(held_out)
    assert trained.scores["too_long"] == too_long
    assert trained.scores["sentences"] == len(held_out)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("one", "eins")], "too small"),
        ([("x" * 99, "y"), ("z" * 99, "y"), ("w" * 99, "y")], "longer than"),
        ([("short", "y"), ("z" * 99, "y")], "nothing to hold out"),
    ],
)
def test_nothing_to_train_or_score_on_is_refused_before_there_is_a_folder(
    tmp_path: Path, pairs: list[tuple[str, str]], message: str
) -> None:
    run = config(written(tmp_path, "tsv", pairs), max_positions=32)
    with pytest.raises(BadInput, match=message):
        train(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    job = opened(config(written(tmp_path, "tsv")))
    model = build("encoder-decoder", job.config.model).eval()
    told: list[tuple[int, int]] = []
    job.score(model, lambda done, total: told.append((done, total)))
    number = len(job.data.held_out)
    assert told == [(i, number) for i in range(1, number + 1)]
