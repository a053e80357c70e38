"""A run that begins with another one's weights computes, at its first step, what that one would."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.models import library

from unrolled.cli import main
from unrolled.data import BPETokenizer, ByteTokenizer, Tokenizer
from unrolled.data.library import export_tokenizer
from unrolled.errors import BadInput
from unrolled.models import load
from unrolled.models.batch import IGNORED, Batch
from unrolled.models.store import load_file
from unrolled.tasks import TASKS
from unrolled.tasks.running import find_task, resume, train
from unrolled.tasks.starting import check_start, starting_config
from unrolled.tasks.weights import import_run
from unrolled.training.config import RunConfig
from unrolled.training.log import read_metrics

LINES = "".join(f"the class of {n} and the class of {n} make {2 * n}\n" for n in range(300))
SMALL = ["--model.num-layers=1", "--model.hidden-size=16", "--model.num-heads=2"]
SHORT = ["--training.max-steps=2", "--model.max-positions=64"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text(LINES)
    return path


def imported(folder: Path, tokenizer: Tokenizer, options: dict[str, Any], name: str) -> Any:
    """A random model of `transformers`, saved by it and imported; that model."""
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = getattr(library.transformers, f"{name}Config")(
        **{**options, **ids, "vocab_size": tokenizer.vocab_size}
    )
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    torch.manual_seed(0)
    model = getattr(library.transformers, head)(config).eval()
    there = folder.with_name("there")
    model.save_pretrained(there)
    export_tokenizer(tokenizer, there, 40)
    import_run(str(there), folder)
    return model


def their_loss(model: Any, batches: list[Batch]) -> float:
    """Mean cross-entropy by the library alone, each document of a packed row for itself."""
    total, count = 0.0, 0
    for batch in batches:
        numbers = batch.documents if batch.documents is not None else torch.ones_like(batch.tokens)
        for row, targets, documents in zip(batch.tokens, batch.targets, numbers, strict=True):
            for number in documents.unique().tolist():
                own = (documents == number) & (targets != IGNORED)
                if number and own.any():
                    with torch.no_grad():
                        logits = model(row[own][None]).logits[0]
                    total += F.cross_entropy(logits, targets[own], reduction="sum").item()
                    count += int(own.sum())
    return total / count


@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_the_first_loss_is_that_of_the_imported_model_by_its_own_library(
    tmp_path: Path, text: Path, kind: str
) -> None:
    tokenizer = BPETokenizer.train([LINES], 300)
    options = library.GPT2 if kind == "GPT2" else library.LLAMA
    theirs = imported(tmp_path / "run", tokenizer, options, kind)
    config = starting_config(TASKS["text"], tmp_path / "run")
    config = replace(
        config,
        data=replace(config.data, corpus=str(text), tokens_per_batch=160),
        training=replace(config.training, max_steps=1, log_every=1),
    )
    stream = find_task("text").open(config, tmp_path / "run").batches()
    expected = their_loss(theirs, [next(stream) for _ in range(config.training.accumulate)])
    train(config, tmp_path / "new")
    row = next(row for row in read_metrics(tmp_path / "new") if "loss" in row)
    assert row["loss"] == pytest.approx(expected, rel=1e-5)
    # Not what just any model of that size loses.
    assert abs(row["loss"] - torch.tensor(300.0).log().item()) > 1e-3
    assert config.model == load(tmp_path / "run").config


def own_run(folder: Path, text: Path, *words: str, task: str = "text") -> Path:
    corpus = [] if task in ("sort", "parity") else [f"--data.corpus={text}"]
    given = ["train", task, "--out", str(folder), *corpus, *SMALL, *SHORT, *words]
    assert main(given) == 0
    return folder


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "lstm"])
def test_a_run_begins_with_the_very_weights_of_one_trained_here(
    tmp_path: Path, text: Path, architecture: str
) -> None:
    words = [f"--architecture={architecture}", "--data.tokenizer=bytes"]
    first = own_run(tmp_path / "first", text, *words)
    out = tmp_path / "second"
    given = ["train", "text", "--init", str(first), "--data.corpus", str(text), "--out", str(out)]
    assert main([*given, "--training.max-steps=1", "--training.learning-rate=1e-30"]) == 0
    a, b = (load_file(run / "model.safetensors") for run in (first, out))
    assert all(a[name].equal(b[name]) for name in a)
    config = json.loads((out / "config.json").read_text())
    assert config["init"] == str(first.resolve())
    assert main(["evaluate", str(out), "--json"]) == 0


def test_a_translator_goes_on_with_pairs_of_another_file(tmp_path: Path) -> None:
    pairs, more = tmp_path / "a.tsv", tmp_path / "b.tsv"
    for path, start in ((pairs, 0), (more, 500)):
        path.write_text("".join(f"a{n} b\tb a{n}\n" for n in range(start, start + 60)))
    first = own_run(tmp_path / "first", pairs, "--data.tokenizer=bytes", task="pairs")
    given = ["train", "pairs", "--init", str(first), "--data.corpus", str(more)]
    assert main([*given, "--out", str(tmp_path / "second"), "--training.max-steps=2"]) == 0


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--model.hidden-size=32", "model.hidden_size 32 is not 16"),
        ("--model.max-positions=32", "model.max_positions 32 is not 64"),
        ("--model.no-tie-embeddings", "model.tie_embeddings False is not True"),
        ("--data.tokenizer=bpe", "data.tokenizer 'bpe' is not 'bytes'"),
        ("--architecture=lstm", "architecture 'lstm' is not 'decoder'"),
        ("--data.row-length=65", "data.row_length is at most model.max_positions, 64"),
        ("--init=nowhere", "no run folder at nowhere"),
    ],
)
def test_what_contradicts_the_weights_is_refused_by_its_name(
    tmp_path: Path, text: Path, option: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = own_run(tmp_path / "first", text, "--data.tokenizer=bytes")
    capsys.readouterr()
    given = ["train", "text", f"--data.corpus={text}", "--out", str(tmp_path / "second")]
    start = [] if option.startswith("--init") else ["--init", str(first)]
    assert main([*given, *start, option]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "second").exists()


def test_tasks_that_do_not_fit_are_refused(tmp_path: Path, text: Path) -> None:
    first = own_run(tmp_path / "lstm", text, "--architecture=lstm", "--data.tokenizer=bytes")
    with pytest.raises(BadInput, match="classes"):
        starting_config(TASKS["parity"], first)
    with pytest.raises(BadInput, match="no architecture 'lstm'"):
        starting_config(TASKS["piglatin"], first)
    imported(tmp_path / "run", ByteTokenizer(), library.LLAMA, "Llama")
    config = starting_config(TASKS["piglatin"], tmp_path / "run")
    with pytest.raises(BadInput, match="no separator token"):
        train(config, tmp_path / "new")


def test_only_dropout_is_free(tmp_path: Path, text: Path) -> None:
    first = own_run(tmp_path / "first", text, "--data.tokenizer=bytes")
    config = starting_config(TASKS["text"], first)
    check_start(replace(config, model=replace(config.model, dropout=0.3)))


def test_a_killed_run_needs_the_first_weights_no_more(tmp_path: Path, text: Path) -> None:
    first = own_run(tmp_path / "first", text, "--data.tokenizer=bytes")
    config: RunConfig = starting_config(TASKS["text"], first)
    config = replace(
        config,
        data=replace(config.data, corpus=str(text)),
        training=replace(config.training, max_steps=3, save_every=3),
    )
    train(config, tmp_path / "whole")
    train(config, tmp_path / "part")
    # As a kill before the first checkpoint of a step leaves it.
    (tmp_path / "part" / "model.safetensors").unlink()
    steps = sorted((tmp_path / "part" / "checkpoints").iterdir())
    assert [step.name for step in steps] == ["step-00000000", "step-00000003"]
    steps[1].rename(tmp_path / "gone")
    first.rename(tmp_path / "moved")
    assert resume(tmp_path / "part").steps == 3
    whole, part = (tmp_path / run / "model.safetensors" for run in ("whole", "part"))
    assert whole.read_bytes() == part.read_bytes()
    for step in (tmp_path / "part" / "checkpoints").iterdir():
        step.rename(tmp_path / f"gone-{step.name}")
    with pytest.raises(BadInput, match="train it again"):
        resume(tmp_path / "part", max_steps=4)


def test_an_imported_run_is_not_resumed_and_says_what_to_do(tmp_path: Path) -> None:
    imported(tmp_path / "run", ByteTokenizer(), library.LLAMA, "Llama")
    with pytest.raises(BadInput, match="unrolled train text --init"):
        resume(tmp_path / "run")


def test_a_disk_too_small_for_the_checkpoints_is_said_before_a_folder_is_made(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from unrolled.training import checkpoint

    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    out = tmp_path / "run"
    given = ["train", "text", "--out", str(out), "--data.corpus", str(text), *SMALL, *SHORT]
    assert main([*given, "--data.tokenizer=bytes"]) == 2
    assert "has 1e-06 GB left: make room" in capsys.readouterr().err
    assert not out.exists()
