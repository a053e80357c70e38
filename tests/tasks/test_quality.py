"""What packed weights cost, against numbers worked out otherwise."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.errors import BadInput
from unrolled.models import build, load
from unrolled.models.packs import format_of, load_packed
from unrolled.models.rounded import round_weights
from unrolled.models.store import CONFIG, WEIGHTS, save, write_json
from unrolled.tasks import TASKS, quality
from unrolled.tasks.answering import evaluate, open_run, translate
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.quality import against_float32, cut, text_rows
from unrolled.tasks.searching import SearchConfig
from unrolled.tasks.text import TextJob


def run_of(folder: Path, task: str, architecture: Any = "decoder", **data: Any) -> Path:
    """A run that has learned nothing, but is sure of something: its weights are made large."""
    config = TASKS[task].defaults(architecture)
    sizes = replace(config.model, hidden_size=32, num_layers=1, num_heads=2, max_positions=64)
    config = replace(config, model=sizes, data=replace(config.data, **data))
    job = TASKS[task].open(config)
    model = build(architecture, job.config.model)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(4.0)
    folder.mkdir()
    job.tokenizer.save(folder)
    write_json(folder / CONFIG, job.config.to_json())
    save(model, folder / WEIGHTS)
    return folder


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    lines = (f"line {n:03} of the café is here, {n * n % 97} of them\n" for n in range(300))
    (folder / "mine.txt").write_text("".join(lines), encoding="utf-8")
    corpus = str(folder / "mine.txt")
    return run_of(folder / "run", "text", corpus=corpus, tokenizer="bytes", tokens_per_batch=512)


@pytest.fixture(scope="module")
def sort_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("sort") / "run", "sort")


def test_text_is_measured_in_every_way(text_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "TOKENS", 300)
    monkeypatch.setattr(quality, "LENGTH", 40)
    monkeypatch.setattr(quality, "NEW", 6)
    job, _ = open_run(text_run)
    assert isinstance(job, TextJob)
    exact, near = load(text_run), load(text_run)
    round_weights(near, "int4")
    found = against_float32(job, exact, near)
    # The whole of each row at once, by the models themselves.
    nats, errors, size = [0.0, 0.0], [], 0
    for source, tokens in text_rows(job):
        row, wanted = torch.tensor([[*source, *tokens[:-1]]]), torch.tensor(tokens)
        with torch.no_grad():
            values = [
                model(row)[0].log_softmax(-1).gather(1, wanted[:, None]).double()[:, 0]
                for model in (exact, near)
            ]
        nats = [total - float(value.sum()) for total, value in zip(nats, values, strict=True)]
        errors += (values[0] - values[1]).abs().tolist()
        size += len(job.tokenizer.decode_bytes(tokens))
    assert found["compared_tokens"] == len(errors) == 300
    assert found["log_prob_error_largest"] == pytest.approx(max(errors), abs=1e-4)
    assert found["log_prob_error_mean"] == pytest.approx(sum(errors) / 300, abs=1e-5)
    assert found["log_prob_error_largest"] > 0.01
    for name, total in zip(("float32", "compared"), nats, strict=True):
        bits = total / math.log(2) / size
        assert found[f"bits_per_byte_{name}"] == pytest.approx(bits, rel=1e-4)
    assert found["bits_per_byte_change"] == pytest.approx(nats[1] / nats[0] - 1, abs=1e-5)
    prompts = quality.prompts_of(text_rows(job))
    lengths = [len(source) + len(tokens) for source, tokens in text_rows(job)]
    assert len(prompts) == sum(max(1, math.ceil(n / quality.PROMPT) - 1) for n in lengths)
    changed = 0
    for prompt in prompts:
        rows = [list(prompt), list(prompt)]
        for row, model in zip(rows, (exact, near), strict=True):
            while len(row) < len(prompt) + 6 and row[-1] != job.tokenizer.end_id:
                row.append(int(model(torch.tensor([row]))[0, -1].argmax()))
        changed += rows[0] != rows[1]
    assert (found["continuations"], found["continuations_changed"]) == (len(prompts), changed)
    assert changed > 0


def test_a_model_loses_nothing_against_itself(text_run: Path, sort_run: Path) -> None:
    for run in (text_run, sort_run):
        job, model = open_run(run)
        assert not isinstance(model, str)
        answers = job.predictions(model) if isinstance(job, PairJob) else []
        found = against_float32(job, load(run), model, answers)
        zero = ("log_prob_error_largest", "log_prob_error_mean", "bits_per_byte_change")
        zero += ("continuations_changed", "answers_changed")
        assert {name: found[name] for name in zero if name in found} == dict.fromkeys(
            [name for name in zero if name in found], 0
        )


def test_pairs_are_measured_by_their_answers(sort_run: Path) -> None:
    scores = evaluate(sort_run, weights="int4")
    job, packed = open_run(sort_run, "int4")
    assert isinstance(job, PairJob)
    exact = load(sort_run)
    before, after = job.predictions(exact), job.predictions(packed)
    assert scores["exact_match"] == job.scores_of(after)["exact_match"]
    assert scores["exact_match_float32"] == job.scores_of(before)["exact_match"]
    assert scores["answers_changed"] == sum(map(str.__ne__, before, after)) > 0
    assert scores["log_prob_error_largest"] > scores["log_prob_error_mean"] > 0.0
    # Seven tokens an answer, the end included, and no more rows than are needed.
    assert quality.TOKENS > scores["compared_tokens"] == 7 * len(job.data.held_out)


@pytest.mark.parametrize(
    ("task", "architecture", "name"),
    [("parity", "lstm", "accuracy_to_20"), ("text", "encoder", "masked_accuracy")],
)
def test_other_runs_are_scored_twice(
    task: str, architecture: str, name: str, tmp_path: Path
) -> None:
    data = {}
    if task == "text":
        (tmp_path / "mine.txt").write_text("one two three four five six\n" * 40)
        data = {"corpus": str(tmp_path / "mine.txt"), "tokenizer": "bytes"}
    run = run_of(tmp_path / "run", task, architecture, **data)
    lines: list[str] = []
    scores = evaluate(run, weights="int8", tell=lines.append)
    assert len(lines) == 1
    job, _ = open_run(run)
    assert scores[name] == job.score(load_packed(run, "int8"))[name]
    assert scores[f"{name}_float32"] == job.score(load(run))[name]


def test_an_lstm_of_text_and_an_encoder_decoder_are_compared_by_pytorch(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("".join(f"{n} is a number of mine\n" for n in range(99)))
    data = {"corpus": str(tmp_path / "mine.txt"), "tokenizer": "bytes"}
    found = evaluate(run_of(tmp_path / "lstm", "text", "lstm", **data), weights="int8")
    assert found["log_prob_error_largest"] > 0.0
    found = evaluate(run_of(tmp_path / "both", "sort", "encoder-decoder"), weights="int8")
    assert found["log_prob_error_largest"] > 0.0


def test_receipts_name_the_format(sort_run: Path, tmp_path: Path) -> None:
    config = SearchConfig(beam_size=2, stop="exhaustive", receipt=tmp_path / "r.json")
    _, rows = translate(sort_run, ["201102"], weights="int8", search=config)
    found = rows[0][1].found
    assert found is not None
    assert found.receipt().document()["given"]["weights"] == "int8"
    evaluate(sort_run, receipt=tmp_path / "e.json", weights="bfloat16")
    assert '"weights":"bfloat16"' in (tmp_path / "e.json").read_text().replace(" ", "")
    evaluate(sort_run, receipt=tmp_path / "e.json")
    assert "weights" not in (tmp_path / "e.json").read_text()


def test_a_run_opens_in_a_format(sort_run: Path) -> None:
    assert format_of(open_run(sort_run)[1]) == "float32"
    assert format_of(open_run(sort_run, "bfloat16")[1]) == "bfloat16"
    with pytest.raises(BadInput, match="choose float32, bfloat16, int8, int4"):
        open_run(sort_run, "int3")


def test_prompts_are_spread_over_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "PROMPT", 2)
    rows = [([1], [2, 3, 4]), ([5], []), ([6], [7, 8, 9, 10])]
    assert quality.prompts_of(rows) == [[1, 2], [5], [6, 7], [8, 9]]
    monkeypatch.setattr(quality, "CONTINUED", 2)
    assert quality.prompts_of(rows) == [[1, 2], [6, 7]]


def test_rows_are_cut_where_there_are_enough_tokens() -> None:
    rows = [([1], [2, 3, 4]), ([5], [6, 7]), ([8], [9])]
    assert cut(iter(rows), 4) == [([1], [2, 3, 4]), ([5], [6])]
    assert cut(iter(rows), 5) == rows[:2]
    assert cut(iter(rows), 99) == rows
