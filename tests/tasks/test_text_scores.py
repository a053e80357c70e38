"""Language modelling: scores of known distributions, and texts that are learned and continued."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.data import ByteTokenizer
from unrolled.decoding import SamplingConfig
from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks import TASKS
from unrolled.tasks.answering import open_run
from unrolled.tasks.running import train
from unrolled.tasks.text import MaskedJob, TextJob
from unrolled.training import RunConfig

BYTES = ByteTokenizer().vocab_size
GREEDY = SamplingConfig()


def corpus(folder: Path, *, lines: int = 400) -> str:
    """Lines that differ by a number, é and all: a byte is not a character here."""
    path = folder / "text.txt"
    text = "".join(f"line {n:04} of the café is here\n" for n in range(lines))
    path.write_text(text, encoding="utf-8")
    return str(path)


def config(name: str, architecture: Any = "decoder", **model: Any) -> RunConfig:
    run = TASKS["text"].defaults(architecture)
    values = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "dropout": 0.0, **model}
    return replace(
        run,
        model=replace(run.model, **{"max_positions": 64, **values}),
        data=replace(run.data, corpus=name, tokenizer="bytes", tokens_per_batch=512),
        training=replace(run.training, max_steps=3, warmup_steps=5, evaluate_every=1000),
    )


def opened(run: RunConfig) -> TextJob:
    job = TASKS["text"].open(run)
    assert isinstance(job, TextJob)
    return job


def silenced(job: TextJob) -> Any:
    """A model whose logits are all 0: every token has probability 1 / vocabulary."""
    model = build(job.config.architecture, job.config.model).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    return model


@pytest.mark.parametrize("architecture", ["decoder", "lstm"])
@pytest.mark.parametrize("window", [None, 500])
def test_a_model_that_knows_nothing_has_exactly_the_perplexity_of_its_vocabulary(
    tmp_path: Path, architecture: str, window: int | None
) -> None:
    run = config(corpus(tmp_path), architecture)
    if window:
        run = replace(run, data=replace(run.data, streaming=True, window=window))
    job = opened(run)
    scores = job.score(silenced(job))
    held_out = list(job.corpus.documents("validation"))
    size = sum(len(text.encode()) for text in held_out)
    # Every byte is predicted once, and the end of every document.
    assert scores["bytes"] == size
    assert scores["tokens"] == size + len(held_out)
    assert scores["loss"] == pytest.approx(math.log(BYTES), rel=1e-6)
    assert scores["perplexity"] == pytest.approx(BYTES, rel=1e-5)
    expected = math.log2(BYTES) * scores["tokens"] / size
    assert scores["bits_per_byte"] == pytest.approx(expected, rel=1e-6)


def test_bits_per_byte_are_those_of_a_known_distribution(tmp_path: Path) -> None:
    """A model that always says the same: token t with probability p(t), whatever stood before."""
    job = opened(config(corpus(tmp_path), norm="layernorm", bias=True, tie_embeddings=False))
    model: Any = silenced(job)
    logits = torch.linspace(-2, 2, BYTES)
    with torch.no_grad():
        # The last norm gives its bias, (1, 0, …), and the head's first column the logits.
        model.stack.norm.bias[0] = 1.0
        model.head.linear.weight[:, 0] = logits
    log2_p = (logits.double().log_softmax(-1) / math.log(2)).tolist()
    held_out = list(job.corpus.documents("validation"))
    ids = [[*job.tokenizer.encode(text), job.tokenizer.end_id] for text in held_out]
    bits = -sum(log2_p[i] for document in ids for i in document)
    size = sum(len(text.encode()) for text in held_out)
    scores = job.score(model)
    assert scores["bits_per_byte"] == pytest.approx(bits / size, rel=1e-6)
    assert scores["perplexity"] == pytest.approx(2 ** (bits / scores["tokens"]), rel=1e-5)


def test_the_score_does_not_depend_on_how_rows_are_cut_where_nothing_is_cut(
    tmp_path: Path,
) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text("".join(f'{{"text": "text number {n}"}}\n' for n in range(200)))
    values = []
    for budget in (64, 100, 4096):
        run = config(str(path))
        job = opened(replace(run, data=replace(run.data, tokens_per_batch=budget)))
        values.append(job.score(build("decoder", job.config.model).eval())["bits_per_byte"])
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_a_masked_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(
    tmp_path: Path,
) -> None:
    job = opened(config(corpus(tmp_path), "encoder"))
    assert isinstance(job, MaskedJob)
    scores = job.score(silenced(job))
    assert scores["perplexity"] == pytest.approx(BYTES, rel=1e-5)
    assert scores["masked_accuracy"] == 0.0  # the likeliest of equals is padding
    held_out = sum(len(text.encode()) for text in job.corpus.documents("validation"))
    assert 0.10 * held_out < scores["tokens"] < 0.20 * held_out
    assert job.score(silenced(job)) == scores
    assert job.sample(silenced(job)) == ""


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "lstm"])
def test_a_small_text_is_learned(tmp_path: Path, architecture: Any) -> None:
    run = config(corpus(tmp_path), architecture)
    steps = 400 if architecture == "lstm" else 150
    run = replace(run, training=replace(run.training, max_steps=steps))
    trained = train(run, tmp_path / "run")
    assert trained.scores["perplexity"] < (3.0 if architecture != "encoder" else 20.0)
    Path(run.data.corpus).unlink()  # continuing a prompt needs no corpus
    job, model = open_run(tmp_path / "run")
    assert isinstance(job, TextJob)
    if architecture != "encoder":
        assert " of the café is here\n" in job.generate(model, "line 00", 40, GREEDY)


def test_a_continuation_is_repeatable_and_has_the_asked_length(tmp_path: Path) -> None:
    job = opened(config(corpus(tmp_path)))
    model: Any = build("decoder", job.config.model).eval()
    hot = SamplingConfig(temperature=1.0)
    with torch.no_grad():
        model.head.linear.weight[:5] = 0.0
        model.head.linear.weight[2] = -1.0
    assert job.generate(model, "ab", 9, hot, 1) == job.generate(model, "ab", 9, hot, 1)
    assert job.generate(model, "ab", 9, hot, 1) != job.generate(model, "ab", 9, hot, 2)


@pytest.mark.parametrize("prompt", ["", "a", "a" * 62])
def test_a_continuation_may_fill_the_model_to_its_last_position(
    tmp_path: Path, prompt: str
) -> None:
    job = opened(config(corpus(tmp_path)))
    model = silenced(job)  # the likeliest of equals is the first id, never the end
    answer = job.answer(model, prompt, 1000, GREEDY)
    assert len(answer.tokens) == 64 - 1 - len(prompt) + 1


def test_a_prompt_of_half_a_character_is_refused(tmp_path: Path) -> None:
    job = opened(config(corpus(tmp_path)))
    with pytest.raises(BadInput, match="not valid Unicode"):
        job.generate(silenced(job), "a\udcff", 5, GREEDY)


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "lstm"])
def test_a_text_too_small_to_hold_out_is_refused_before_there_is_a_folder(
    tmp_path: Path, architecture: Any
) -> None:
    (tmp_path / "tiny.txt").write_text("too small to be divided\n")
    with pytest.raises(BadInput, match="nothing to hold out: add text"):
        train(config(str(tmp_path / "tiny.txt"), architecture), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_sample_of_a_very_short_model_fits(tmp_path: Path) -> None:
    job = opened(config(corpus(tmp_path), max_positions=4))
    assert job.sample(build("decoder", job.config.model).eval()).startswith("  … ")
