"""Translation of a user's pairs: scored as sacrebleu scores it, and usable without the corpus."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from unrolled.errors import BadInput
from unrolled.models import build
from unrolled.tasks.verses import Pairs
from unrolled.training.config import RunConfig

PAIRS = [(f"the number {n} is here", f"hier ist die Zahl {n} zu sehen") for n in range(200)]
ARCHITECTURES = [
    ("decoder", {}),
    ("encoder-decoder", {}),
    ("encoder-decoder", {"memory": "prefix"}),
    ("encoder-decoder", {"memory": "prefix", "positions": "learned"}),
]


def write(path: Path) -> Path:
    if path.suffix == ".tsv":
        lines = ["\t".join(pair) for pair in PAIRS]
    else:
        lines = [json.dumps({"source": s, "target": t}) for s, t in PAIRS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config_for(path: Path, architecture: Any, **model: Any) -> RunConfig:
    config = Pairs().defaults(architecture)
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "max_positions": 80, **model}
    data = replace(config.data, corpus=str(path), tokenizer="bytes", holdout=5)
    return replace(config, model=replace(config.model, **sizes), data=data)


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.jsonl"])
def test_a_users_file_is_divided_without_loss(tmp_path: Path, name: str) -> None:
    job = Pairs().open(config_for(write(tmp_path / name), "encoder-decoder"))
    train = list(job.data.train())
    assert sorted(train + job.data.held_out) == sorted(PAIRS)
    assert 20 < len(job.data.held_out) < 60
    read = []
    for batch in job.batches().once():
        assert batch.source is not None
        for source, tokens in zip(batch.source.tolist(), batch.tokens.tolist(), strict=True):
            read.append((job.tokenizer.decode(source), job.tokenizer.decode(tokens)))
    assert sorted(read) == sorted(train)


@pytest.mark.parametrize(("architecture", "options"), ARCHITECTURES)
def test_the_scores_are_sacrebleus_own_of_the_translations(
    tmp_path: Path, architecture: Any, options: dict[str, Any]
) -> None:
    job = Pairs().open(config_for(write(tmp_path / "pairs.tsv"), architecture, **options))
    model = build(architecture, job.config.model).eval()
    scores = job.score(model)
    sources, references = zip(*job.data.held_out, strict=True)
    answers = job.translate(model, sources)
    assert scores["bleu"] == sacrebleu.corpus_bleu(answers, [references]).score
    assert scores["chrf"] == sacrebleu.corpus_chrf(answers, [references]).score
    assert scores["exact_match"] == sum(map(str.__eq__, answers, references)) / len(references)
    assert scores["sentences"] == len(references)


@pytest.mark.parametrize(("architecture", "options"), ARCHITECTURES)
def test_a_sentence_that_leaves_no_room_is_refused_and_one_that_does_is_not(
    tmp_path: Path, architecture: Any, options: dict[str, Any]
) -> None:
    job = Pairs().open(config_for(write(tmp_path / "pairs.tsv"), architecture, **options))
    model = build(architecture, job.config.model).eval()
    assert len(job.translate(model, ["x" * 70])) == 1
    with pytest.raises(BadInput, match="max_positions 80"):
        job.translate(model, ["short", "x" * 81])
    with pytest.raises(BadInput, match="empty"):
        job.translate(model, ["short", " \t"])


@pytest.mark.parametrize(("architecture", "options"), ARCHITECTURES)
def test_a_trained_run_translates_without_its_corpus_and_says_what_scoring_lacks(
    tmp_path: Path, architecture: Any, options: dict[str, Any]
) -> None:
    path = write(tmp_path / "pairs.tsv")
    job = Pairs().open(config_for(path, architecture, **options))
    job.tokenizer.save(tmp_path / "run")
    model = build(architecture, job.config.model).eval()
    before = job.translate(model, ["the number 3 is here", "here"])
    path.unlink()
    again = Pairs().open(job.config, tmp_path / "run")
    assert again.translate(model, ["the number 3 is here", "here"]) == before
    with pytest.raises(BadInput, match=r"pairs\.tsv"):
        again.score(model)


def test_a_text_is_no_pairs(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one line\nand another\n")
    with pytest.raises(BadInput, match="unrolled train text"):
        _ = Pairs().open(config_for(path, "decoder")).data


def test_a_bpe_tokenizer_is_trained_on_both_sides_of_what_is_trained_on(tmp_path: Path) -> None:
    config = config_for(write(tmp_path / "pairs.tsv"), "decoder")
    config = replace(config, data=replace(config.data, tokenizer="bpe", vocab_size=320))
    job = Pairs().open(config)
    assert job.tokenizer.vocab_size == 320
    for words in (" number", " Zahl"):
        assert len(job.tokenizer.encode(words)) == 1
