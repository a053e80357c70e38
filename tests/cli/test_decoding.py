"""Answers from the command line: rules, stop strings, alternatives, streaming, counted again."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.terminal import piped_and_shown

from unrolled.cli import main


def answered(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(list(map(str, words))) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    return shown.err


def test_an_evaluations_receipt_is_counted_again(
    sort_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "match.json"
    scores = answered(capsys, "evaluate", sort_run, "--receipt", file)
    receipt = json.loads(file.read_text())
    of = scores["sentences"]
    matches = round(scores["exact_match"] * of)
    assert receipt["answer"] == {"matches": matches, "of": of}
    assert main(["check", str(file)]) == 0
    assert f"{matches} of {of} predictions" in capsys.readouterr().out
    receipt["evidence"]["predictions"][0] = receipt["given"]["references"][0] + " "
    receipt["answer"]["matches"] += 1
    file.write_text(json.dumps(receipt))
    assert main(["check", str(file)]) == 1


def test_what_does_not_translate_has_no_such_receipt(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "match.json"
    assert "runs that translate" in refused(capsys, "evaluate", text_run, "--receipt", file)
    assert not file.exists()


def test_rules_hold_in_what_is_generated_and_translated(
    sort_run: Path, text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-tokens", 9, "--rules.begin", "one", "--rules.no-repeat-ngrams", 1)
    text = answered(capsys, "generate", text_run, "two", *options)["continuation"]
    assert text.startswith("one")
    text = answered(capsys, "generate", text_run, "x", "--rules.ban", *"abcdefg \n")["continuation"]
    assert not set("abcdefg \n") & set(text)
    (row,) = answered(capsys, "translate", sort_run, "201102", "--rules.begin", "222")
    assert row["translation"].startswith("222")


def test_the_continuation_ends_before_a_stop_string(
    text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("generate", text_run, "one", "--max-tokens", 30, "--rules.begin", "two three")
    for stop, left in (("o th", "tw"), ("three", "two "), ("nowhere else", None)):
        text = answered(capsys, *words, "--stop-string", stop)["continuation"]
        assert text == left if left else text.startswith("two three")


def test_alternatives_are_the_likeliest_tokens_of_each_place(
    text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("generate", text_run, "one", "--max-tokens", 4, "--sampling.temperature", 0)
    answer = answered(capsys, *words, "--alternatives", 3)
    places = answer["alternatives"]
    assert [len(place) for place in places] == [3] * 4
    best = [place[0]["token"] for place in places]
    assert "".join(t for t in best if not t.startswith("<")) == answer["continuation"]
    for place in places:
        logs = [row["log_prob"] for row in place]
        assert logs == sorted(logs, reverse=True)
        assert sum(map(math.exp, logs)) <= 1 + 1e-6
    assert main([*map(str, words), "--alternatives", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 6


def test_in_a_terminal_the_text_comes_as_it_is_made(text_run: Path) -> None:
    """The same text as in a pipe, in more than one piece."""
    words = [sys.executable, "-m", "unrolled", "generate", str(text_run), "one two"]
    words += ["--max-tokens", "12", "--sampling.temperature", "0"]
    piped, shown = piped_and_shown(words, stderr=True)
    assert shown == piped


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rules.ban", "ab"], "is 2 tokens"),
        (["--rules.repetition-penalty", "0"], "repetition_penalty"),
        (["--rules.no-repeat-ngrams", "-1"], "no_repeat_ngrams"),
        (["--stop-string", ""], "at least one character"),
        (["--alternatives", "-1"], "--alternatives"),
        (["--sampling.min-p", "2"], "min_p"),
    ],
)
def test_rules_that_make_no_sense_are_refused(
    options: list[str], said: str, text_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "generate", text_run, "one", *options)
