import json
import shutil
from pathlib import Path

import pytest

from unrolled.cli import main


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.count("\n") == 1
    return shown.err


def test_answers_as_json(
    sort_run: Path, text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(sort_run), "--json"]) == 0
    assert {"exact_match", "bleu", "sentences"} <= json.loads(capsys.readouterr().out).keys()
    assert main(["translate", str(sort_run), "201102", "0 0 0 1 1 1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in rows] == ["201102", "0 0 0 1 1 1"]
    assert main(["generate", str(text_run), "one", "--max-tokens=5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "one"


def test_what_a_run_can_not_do_is_refused(
    sort_run: Path, text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "doesn't continue text" in refused(["generate", str(sort_run), "hi"], capsys)
    assert "doesn't translate" in refused(["translate", str(text_run), "hi"], capsys)
    for sentence in ("", "20110", "abcdef", "\udcff"):
        refused(["translate", str(sort_run), sentence], capsys)
    assert "shorten" in refused(["generate", str(text_run), "x" * 100], capsys)
    assert "not valid Unicode" in refused(["generate", str(text_run), "\udcff"], capsys)


@pytest.mark.parametrize(
    ("file", "old", "new", "hint"),
    [
        ("config.json", '"hidden_size": 16', '"hidden_size": 32', "expected [8, 32]"),
        ("config.json", '"format": 1', '"format": 99', "update unrolled"),
        ("config.json", '"format": 1', "", "can't be read"),
        ("config.json", '"seed": 0', '"seed": 0, "sed": 0', "unknown key 'sed'"),
        ("config.json", '"max_steps": 4', '"max_steps": "4"', "training.max_steps is int"),
        ("config.json", '"encoder-decoder"', '"lstm"', "does not fit"),
        ("tokenizer_config.json", "{", "", "damaged tokenizer"),
    ],
)
def test_a_damaged_run_is_refused(
    file: str,
    old: str,
    new: str,
    hint: str,
    sort_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(sort_run, run)
    content = (run / file).read_text()
    assert old in content
    (run / file).write_text(content.replace(old, new, 1))
    assert hint in refused(["evaluate", str(run)], capsys)


@pytest.mark.parametrize("size", [0, 4, 500, -1])
def test_weights_cut_short_are_refused(
    size: int, sort_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(sort_run, run)
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "not a whole safetensors file" in refused(["evaluate", str(run)], capsys)


def test_an_answer_that_is_cut_says_so(
    sort_run: Path, text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither run has learned anything, least of all to stop."""
    capsys.readouterr()
    assert main(["translate", str(sort_run), "201102", "--json"]) == 0
    shown = capsys.readouterr()
    (row,) = json.loads(shown.out)
    said = "the translation of sentence 1 is cut where the model's positions end (max_positions 16)"
    assert row["completed"] == (said not in shown.err)
    words = ["generate", str(text_run), "x" * 50, "--sampling.temperature=0", "--json"]
    assert main([*words, "--max-tokens=100"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["completed"] is False
    assert "the continuation is cut" in shown.err
    assert "max_positions 64" in shown.err
    assert main([*words, "--max-tokens=5"]) == 0
    shown = capsys.readouterr()
    assert (json.loads(shown.out)["completed"], shown.err) == (False, "")
