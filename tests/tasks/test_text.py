"""Language modelling: the scores are the definitions' own numbers, over all that is held out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.decoding import SamplingConfig
from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks.text import Text, TextJob
from unrolled.training.config import RunConfig

LINES = [f"line {n} says naïvely that {n} and {n + 1} make {2 * n + 1}\n" for n in range(400)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("".join(LINES), encoding="utf-8")
    return path


def config_for(file: Path, architecture: Any, **model: Any) -> RunConfig:
    config = Text().defaults(architecture)
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "max_positions": 64, **model}
    data = replace(config.data, corpus=str(file), tokenizer="bytes", tokens_per_batch=512)
    return replace(config, model=replace(config.model, **sizes), data=data)


def with_zero_outputs(job: TextJob, architecture: Any) -> Any:
    """Every token is equally likely: the embedding, not the output, carries the noise."""
    model: Any = build(architecture, job.config.model).eval()
    with torch.no_grad():
        model.head.linear.weight.zero_()
    return model


@pytest.mark.parametrize("architecture", ["decoder", "lstm"])
def test_a_uniform_model_has_the_loss_log_vocab_and_its_bits_per_byte(
    file: Path, architecture: Any
) -> None:
    job = Text().open(config_for(file, architecture, tie_embeddings=False))
    scores = job.score(with_zero_outputs(job, architecture))
    vocab = job.tokenizer.vocab_size
    held_out = list(job.corpus.documents("validation"))
    size = sum(len(text.encode()) for text in held_out)
    assert size > sum(map(len, held_out))
    assert scores["loss"] == pytest.approx(math.log(vocab), rel=1e-6)
    assert scores["perplexity"] == pytest.approx(vocab, rel=1e-5)
    # With bytes for tokens: every held-out byte is predicted once, and every document's end.
    assert scores["bytes"] == size
    assert scores["tokens"] == size + len(held_out)
    expected = math.log2(vocab) * (size + len(held_out)) / size
    assert scores["bits_per_byte"] == pytest.approx(expected, rel=1e-6)


def test_bits_per_byte_divide_by_bytes_whatever_the_tokenizer(file: Path) -> None:
    config = config_for(file, "decoder", tie_embeddings=False)
    bpe = replace(config, data=replace(config.data, tokenizer="bpe", vocab_size=300))
    job = Text().open(bpe)
    scores = job.score(with_zero_outputs(job, "decoder"))
    held_out = list(job.corpus.documents("validation"))
    size = sum(len(text.encode()) for text in held_out)
    tokens = sum(len(job.tokenizer.encode(text)) + 1 for text in held_out)
    assert job.tokenizer.vocab_size == 300
    assert (scores["bytes"], scores["tokens"]) == (size, tokens)
    assert tokens < size
    assert scores["bits_per_byte"] == pytest.approx(math.log2(300) * tokens / size, rel=1e-6)


def test_a_masked_model_of_zero_outputs_has_the_loss_log_vocab(file: Path) -> None:
    job = Text().open(config_for(file, "encoder", tie_embeddings=False))
    model = with_zero_outputs(job, "encoder")
    scores = job.score(model)
    assert scores["loss"] == pytest.approx(math.log(job.tokenizer.vocab_size), rel=1e-6)
    assert scores["perplexity"] == pytest.approx(job.tokenizer.vocab_size, rel=1e-5)
    assert scores["masked_accuracy"] == 0  # of equals the first is taken, and id 0 is padding
    size = sum(len(text.encode()) for text in job.corpus.documents("validation"))
    assert scores["tokens"] == pytest.approx(0.15 * size, rel=0.1)
    assert job.sample(model) == ""


def test_the_two_sides_are_the_whole_text_and_share_no_line(file: Path) -> None:
    job = Text().open(config_for(file, "decoder"))
    sides = [
        set("".join(job.corpus.documents(s)).splitlines(True)) for s in ("train", "validation")
    ]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(LINES)


@pytest.mark.parametrize("architecture", ["decoder", "lstm"])
def test_generating_gives_the_same_text_for_a_seed_and_needs_no_corpus(
    file: Path, architecture: Any, tmp_path: Path
) -> None:
    job = Text().open(config_for(file, architecture))
    job.tokenizer.save(tmp_path / "run")
    job = Text().open(job.config, tmp_path / "run")
    file.unlink()
    model = build(architecture, job.config.model).eval()
    hot = SamplingConfig(temperature=1.0)
    texts = [job.generate(model, "line", 12, hot, seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert job.generate(model, "", 3, hot) != ""
    with pytest.raises(BadInput, match=r"no corpus|no such file"):
        job.score(model)


def test_a_prompt_that_fills_the_model_is_refused_but_an_lstm_reads_on(file: Path) -> None:
    config = SamplingConfig()
    job = Text().open(config_for(file, "decoder"))
    model = build("decoder", job.config.model).eval()
    with pytest.raises(BadInput, match="max_positions 64"):
        job.generate(model, "x" * 64, 5, config)
    assert len(job.tokenizer.encode(job.generate(model, "x" * 60, 50, config))) <= 3 * 4
    job = Text().open(config_for(file, "lstm"))
    job.generate(build("lstm", job.config.model).eval(), "x" * 200, 5, config)


def test_pairs_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("a b\tc d\ne f\tg h\n")
    with pytest.raises(BadInput, match="unrolled train pairs"):
        Text().open(config_for(path, "decoder")).batches()
