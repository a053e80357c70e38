"""`--weights`: what each command does with it, and what it says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from unrolled.cli import main


@pytest.fixture
def run(sort_run: Path, tmp_path: Path) -> Path:
    """A copy of its own, so that nothing is packed yet."""
    return Path(shutil.copytree(sort_run, tmp_path / "run"))


@pytest.fixture
def own_text_run(text_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(text_run, tmp_path / "text"))


def shown(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "RUN"),
        ("translate", "RUN", "201102"),
        ("generate", "RUN", "one"),
        ("check", "r.json", "--model", "RUN"),
    ],
)
def test_an_unknown_format_is_refused_with_the_list(
    words: tuple[str, ...], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(run) if word == "RUN" else word for word in words]
    out, err = shown(capsys, *named, "--weights", "int3", code=2)
    assert out == ""
    assert err == (
        f"unrolled {words[0]}: unknown format of weights 'int3': choose float32, bfloat16, int8, "
        "int4\n"
    )


def test_the_cost_stands_beside_the_scores(
    own_text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = shown(capsys, "evaluate", own_text_run, "--weights", "int8", "--json")
    scores = json.loads(out)
    assert scores["weights"] == "int8"
    names = {"bits_per_byte", "bits_per_byte_float32", "bits_per_byte_change", "continuations"}
    names |= {"continuations_changed", "log_prob_error_mean", "log_prob_error_largest"}
    assert names <= scores.keys()
    assert abs(scores["bits_per_byte_change"]) < 0.005
    assert "packing the weights" in err
    out, err = shown(capsys, "evaluate", own_text_run, "--weights", "int8")
    assert err == ""
    assert out.splitlines()[0].split() == ["weights", "int8"]
    change = next(line for line in out.splitlines() if line.startswith("bits per byte change"))
    assert change.endswith(f"{100 * scores['bits_per_byte_change']:+.3f} %")
    plain, _ = shown(capsys, "evaluate", own_text_run, "--json")
    assert json.loads(plain).keys() == scores.keys() - {
        name for name in scores if "compared" in name or "error" in name or "change" in name
    } - {"bits_per_byte_float32", "continuations"}


def test_texts_are_continued_and_sentences_translated(
    own_text_run: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("generate", own_text_run, "one", "--max-tokens", 8, "--seed", 3)
    out, _ = shown(capsys, *words, "--weights", "int8")
    assert out.startswith("one")
    assert shown(capsys, *words, "--weights", "int8") == (out, "")
    assert shown(capsys, *words, "--weights", "int8", "--alternatives", 2)[0].startswith(out)
    out, err = shown(capsys, "translate", run, "201102", "--weights", "int4")
    assert "int4 by PyTorch, not by the compiled step" in err  # an encoder–decoder
    assert out.count("\n") == 1


def test_without_numba_one_line_says_so(
    own_text_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    out, err = shown(
        capsys, "generate", own_text_run, "one", "--weights", "int8", "--max-tokens", 4
    )
    assert out.startswith("one")
    assert err.count("\n") == 1
    assert "pip install 'unrolled[fast]'" in err


def test_a_receipt_is_asked_again_in_its_format_and_in_float32(
    own_text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.json"
    words = ("generate", own_text_run, "one", "--max-tokens", 6, "--beam-size", 2)
    words += ("--receipt", file)
    shown(capsys, *words, "--rules.begin", "two", "--weights", "int4", "--stop", "exhaustive")
    document = json.loads(file.read_text())
    assert document["given"]["weights"] == "int4"
    assert ", said to be of int4 weights, which rules changed, beam search" in document["claim"]
    out, _ = shown(capsys, "check", file)
    assert out.startswith("holds")
    out, err = shown(capsys, "check", file, "--model", own_text_run)
    assert out.startswith("holds")
    assert err == ""
    assert "gives the same log-probabilities in int4; to the answer it gives " in out
    out, _ = shown(capsys, "check", file, "--model", own_text_run, "--weights", "float32", code=1)
    assert "the receipt says" in out
    shown(capsys, *words)
    assert "weights" not in json.loads(file.read_text())["given"]
    out, _ = shown(capsys, "check", file, "--model", own_text_run, "--weights", "bfloat16")
    assert "in bfloat16 and" in out


def test_a_format_without_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = shown(capsys, "check", "r.json", "--weights", "int8", code=2)
    assert "--weights is for --model RUN" in err
