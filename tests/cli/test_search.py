"""Beam search and exact search from the command line: answers, proofs, steps, pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import TINY
from tests.cli.terminal import piped_and_shown
from tests.cli.test_decoding import answered, refused

from unrolled.cli import main
from unrolled.decoding import beam_search, exact_search
from unrolled.tasks.answering import open_run

SENTENCE = "201102"


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned to end."""
    folder = tmp_path_factory.mktemp("runs") / "learned"
    words = ["train", "sort", "--out", str(folder), *TINY, "--training.max-steps=80"]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "other"
    assert main(["train", "sort", "--out", str(folder), *TINY, "--seed=7"]) == 0
    return folder


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([*map(str, words)]) == 0
    return capsys.readouterr().out


def test_the_hypotheses_are_those_of_beam_search(
    learned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job: Any
    job, model = open_run(learned)
    source = job.encode(SENTENCE)
    for objective in ("log-probability", "length-normalised:0.6", "bounded-reward:0.5:6"):
        words = ("--beam-size", 4, "--n-best", 3, "--stop", "nth", "--objective", objective)
        (row,) = answered(capsys, "translate", learned, SENTENCE, *words)
        (found,) = beam_search(
            job.scorer(model, 16), [source], beam_size=4, max_length=job.room(source), stop="nth",
            n_best=3, objective=objective,
        )  # fmt: skip
        assert [h["tokens"] for h in row["hypotheses"]] == [h.tokens for h in found.hypotheses]
        assert [h["score"] for h in row["hypotheses"]] == [h.score for h in found.hypotheses]
        assert row["translation"] == job.tokenizer.decode(found.hypotheses[0].tokens)
        assert (row["steps"], row["optimal"]) == (found.steps, found.optimal)
        lines = printed(capsys, "translate", learned, SENTENCE, *words).splitlines()
        assert [line.split("\t")[::2] for line in lines] == [
            ["1", h["text"]] for h in row["hypotheses"]
        ]


def test_every_sentence_has_a_receipt_that_the_model_confirms(
    learned: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [SENTENCE, "000111", "221100"]
    words = ("--beam-size", 3, "--receipt", tmp_path / "r.json", "--plot", tmp_path / "p.svg")
    rows = answered(capsys, "translate", learned, *asked, *words)
    files = [tmp_path / f"r.{number}.json" for number in (1, 2, 3)]
    found = {file.name for file in tmp_path.iterdir()}
    assert found == {f"r.{n}.json" for n in (1, 2, 3)} | {f"p.{n}.svg" for n in (1, 2, 3)}
    for row, file in zip(rows, files, strict=True):
        answer = json.loads(file.read_text())["answer"]
        assert answer["tokens"] == row["hypotheses"][0]["tokens"]
    names = list(map(str, files))
    assert main(["check", *names]) == 0
    verdicts = answered(capsys, "check", *names, "--model", learned)
    assert [verdict["status"] for verdict in verdicts] == ["holds"] * 3
    assert main(["check", names[0], "--model", str(other)]) == 1
    said = capsys.readouterr().out
    assert "refuted" in said
    assert "evidence.steps[0].kept[0]: the receipt says -" in said


def test_the_first_number_that_was_changed_is_named(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changed so that the receipt holds by itself: only the model knows better."""
    file = tmp_path / "r.json"
    answered(capsys, "translate", learned, SENTENCE, "--beam-size", 2, "--receipt", file)
    document = json.loads(file.read_text())
    document["evidence"]["steps"][1]["rejected"] -= 0.25
    from unrolled.receipts import check

    kind = check.CHECKS[document["kind"]]
    document["claim"] = kind(document["given"], document["answer"], document["evidence"])
    file.write_text(json.dumps(document))
    assert main(["check", str(file)]) == 0
    capsys.readouterr()
    assert main(["check", str(file), "--model", str(learned)]) == 1
    assert "evidence.steps[1].rejected: the receipt says" in capsys.readouterr().out


def test_what_a_model_can_not_be_asked_is_unreadable(
    learned: Path, text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, match = tmp_path / "r.json", tmp_path / "match.json"
    answered(capsys, "translate", learned, SENTENCE, "--beam-size", 2, "--receipt", file)
    answered(capsys, "evaluate", learned, "--receipt", match)
    for path, run, said in (
        (file, text_run, "another model's"),
        (match, learned, "can't re-score a receipt of kind"),
        (tmp_path / "nowhere", learned, "can't be opened"),
    ):
        capsys.readouterr()
        assert main(["check", str(path), "--model", str(run)]) == 2
        assert said in capsys.readouterr().out
    long = json.loads(file.read_text())
    long["given"]["source"] = [5] * 1000
    file.write_text(json.dumps(long))
    assert main(["check", str(file), "--model", str(learned)]) == 2
    assert "don't fit into the model's max_positions" in capsys.readouterr().out
    long["given"]["source"] = [4096]
    file.write_text(json.dumps(long))
    assert main(["check", str(file), "--model", str(learned)]) == 2
    assert "no folder" in refused(capsys, "check", file, "--model", tmp_path / "no") or True


def test_exact_search_says_whether_its_answer_is_the_best(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job: Any
    job, model = open_run(learned)
    source, file = job.encode(SENTENCE), tmp_path / "map.json"
    words = ("--exact", "--beam-size", 2, "--objective", "length-normalised:1", "--receipt", file)
    (row,) = answered(capsys, "translate", learned, SENTENCE, *words, "--budget", 300)
    found = exact_search(
        job.scorer(model, 16), source, max_length=job.room(source), beam_size=2, budget=300,
        objective="length-normalised:1",
    )  # fmt: skip
    assert found.best is not None
    assert row["hypotheses"][0]["tokens"] == found.best.tokens
    assert row["upper_bound"] == found.upper_bound
    assert row["gap"] == found.gap
    assert main(["check", str(file), "--model", str(learned)]) == 0
    shown = printed(capsys, "translate", learned, SENTENCE, *words, "--budget", 3, "--explain")
    assert "exact search scored " in shown
    assert "the budget of 3 rows is used up" in shown


def test_the_steps_and_the_reason_are_shown(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("translate", learned, SENTENCE, "--beam-size", 2, "--explain")
    (row,) = answered(capsys, *words)
    best = row["hypotheses"][0]
    kept = [line for line in row["trace"] if line["rank"] is not None]
    (answer,) = [line for line in kept if line["status"] == "the answer"]
    assert (answer["step"], answer["total"]) == (len(best["tokens"]), best["log_prob"])
    assert max(line["step"] for line in kept) == row["steps"]
    shown = printed(capsys, *words, "--plot", tmp_path / "tree.svg")
    assert shown.splitlines()[0] == row["translation"]
    assert f"stopped after step {row['steps']}: {row['reason']}" in shown
    assert ("no sequence of at most 16 tokens scores better" in shown) == row["optimal"]
    assert b"<svg" in (tmp_path / "tree.svg").read_bytes()


def test_a_file_is_searched_line_by_line(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text(f"{SENTENCE}\n\n000111\n")
    out = tmp_path / "out.txt"
    words = ("--input", lines, "--output", out, "--n-best", 2, "--receipt", tmp_path / "r.json")
    answered(capsys, "translate", learned, *words, "--stop", "exhaustive")
    rows = [line.split("\t") for line in out.read_text().split("\n")]
    assert [row[0] for row in rows] == ["1", "1", "", "3", "3", ""]
    assert float(rows[0][1]) >= float(rows[1][1])
    found = {file.name for file in tmp_path.glob("r.*")}
    assert found == {"r.1.json", "r.3.json"}


def test_a_continuation_ends_at_a_stop_string_in_every_beam(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("generate", text_run, "one", "--max-tokens", 12, "--beam-size", 3)
    rules = ("--rules.begin", "two three", "--stop-string", "three")
    file = tmp_path / "r.json"
    answer = answered(capsys, *words, *rules, "--receipt", file)
    assert answer["continuation"] == "two "
    assert answer["hypotheses"][0]["text"] == "two "
    assert (answer["completed"], answer["hypotheses"][0]["completed"]) == (False, True)
    assert main(["check", str(file), "--model", str(text_run)]) == 0
    given = json.loads(file.read_text())["given"]["rules"]
    assert given[1:] == ['stop_strings ["three"]']


def test_where_nothing_is_completed_that_is_said(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.json"
    words = ["generate", str(text_run), "one", "--max-tokens=2", "--beam-size=2", "--json"]
    words += ["--rules.begin=two", "--receipt", str(file)]
    capsys.readouterr()
    assert main(words) == 0
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert (answer["hypotheses"], answer["completed"], answer["continuation"]) == ([], False, "tw")
    assert "no hypothesis completed: max_length of 2 tokens is reached" in shown.err
    assert "completes no hypothesis" in json.loads(file.read_text())["claim"]
    assert main(["check", str(file), "--model", str(text_run)]) == 0
    said = refused(capsys, *words[:-4], "--rules.ban=a", "--exact", "--receipt", file)
    assert "no hypothesis completed" in said or "rules change" in said


def test_in_a_terminal_the_prefix_of_all_beams_comes_as_it_is_sure(text_run: Path) -> None:
    words = [sys.executable, "-m", "unrolled", "generate", str(text_run), "one two"]
    words += ["--max-tokens", "12", "--beam-size", "3", "--rules.begin", "three "]
    piped, shown = piped_and_shown(words, stderr=False)
    assert shown == piped


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--beam-size", "0"], "--beam-size must be at least 1, not 0"),
        (["--n-best", "0"], "--n-best must be at least 1"),
        (["--exact", "--budget", "0"], "--budget must be at least 1"),
        (["--budget", "5"], "add --exact"),
        (["--stop", "soon"], "unknown stop rule 'soon'"),
        (["--objective", "beauty"], "unknown objective 'beauty'"),
        (["--stop", "hf:true", "--objective", "gnmt:1"], "Hugging Face has no objective"),
        (["--stop", "hf:true", "--receipt", "r.json"], "proves nothing"),
        (["--exact", "--n-best", "2"], "leave out --stop and --n-best"),
        (["--plot", "tree.pdf"], ".svg or .png"),
        (["--receipt", "no/where.json"], "there is no folder no"),
        (["--exact", "--receipt", "r.json", "--rules.ban", "1"], "leave the rules out"),
    ],
)
def test_searches_that_can_not_be_are_refused(
    options: list[str], said: str, learned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "translate", learned, SENTENCE, *options)


def test_more_bad_input(learned: Path, text_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beams = ("--beam-size", 2)
    assert "--max-tokens" in refused(capsys, "generate", text_run, "x", "--max-tokens", 0, *beams)
    assert "shorten" in refused(capsys, "generate", text_run, "x" * 100, *beams)
    sampled = ("--sampling.temperature", 1)
    assert "draws nothing" in refused(capsys, "generate", text_run, "x", *beams, *sampled)
    refused(capsys, "translate", learned, "", *beams)
    (row,) = answered(capsys, "translate", learned, SENTENCE, "--beam-size", 200)
    assert row["completed"]
