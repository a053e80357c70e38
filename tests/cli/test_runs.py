"""Train, evaluate, translate, generate, resume: what a person types, and what comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unrolled.cli import COMMANDS, main
from unrolled.models import load

SMALL = ["--model.num-layers", "1", "--model.hidden-size", "16", "--model.num-heads", "2"]
QUICK = [*SMALL, "--training.max-steps", "12", "--training.evaluate-every", "6"]
TEXT = "\n".join(
    f"the {a} {b} saw the {c} and it was {d} number {i}"
    for i, (a, b, c, d) in enumerate(
        zip(
            ["red", "old", "big", "sad"] * 30,
            ["cat", "dog", "hen"] * 40,
            ["rat", "mat", "hat"] * 40,
            ["odd", "good"] * 60,
            strict=False,
        )
    )
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpora, and a trained run of each kind."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "mine.txt").write_text(TEXT)
    rows = [f"{line}\t{line.upper()}" for line in TEXT.splitlines()]
    (folder / "pairs.tsv").write_text("\n".join(rows))
    text = ["--data.corpus", str(folder / "mine.txt"), "--data.tokenizer", "bytes"]
    pairs = ["--data.corpus", str(folder / "pairs.tsv"), "--data.tokenizer", "bytes"]
    for name, words in {
        "sort": ["sort", *QUICK],
        "text": ["text", *text, *QUICK],
        "masked": ["text", "--architecture", "encoder", *text, *QUICK],
        "pairs": ["pairs", *pairs, *QUICK],
        "parity": ["parity", "--training.max-steps", "5"],
    }.items():
        assert main(["train", *words, "--out", str(folder / name), "--seed", "3"]) == 0
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """A copy of the sort run, to be damaged."""
    return Path(shutil.copytree(home / "sort", tmp_path / "run"))


def refused(capsys: pytest.CaptureFixture[str], *words: object, code: int = 2) -> str:
    """The one line that a command prints when it ends with `code`."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("unrolled ")
    assert "Traceback" not in err
    return err


def answered(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    """What a command prints as JSON: nothing else may stand on standard output."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [name, "piglatin", "--help"] if name == "train" else [name, "--help"]
    try:
        code: object = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code in (0, None)
    assert f"Example: unrolled {name}" in capsys.readouterr().out


def test_scores_are_json_with_the_names_others_rely_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = answered(capsys, "evaluate", home / "sort")
    assert {"exact_match", "bleu", "sentences"} <= scores.keys()
    assert scores["sentences"] == 199
    assert answered(capsys, "evaluate", home / "text")["bits_per_byte"] > 0
    assert 0 <= answered(capsys, "evaluate", home / "masked")["masked_accuracy"] <= 1
    assert {"exact_match", "bleu"} <= answered(capsys, "evaluate", home / "pairs").keys()
    assert "accuracy_to_20" in answered(capsys, "evaluate", home / "parity")


def test_translations_and_continuations_are_json_too(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = answered(capsys, "translate", home / "sort", "201102", "0 0 1 1 2 2")
    assert [row["source"] for row in rows] == ["201102", "0 0 1 1 2 2"]
    answer = answered(capsys, "generate", home / "text", "the red", "--max-tokens", 5)
    assert answer["prompt"] == "the red"
    again = answered(capsys, "generate", home / "text", "the red", "--max-tokens", 5)
    assert again == answer
    other = answered(capsys, "generate", home / "text", "the red", "--max-tokens", 20, "--seed", 1)
    assert other["continuation"] != answer["continuation"]


def test_the_list_of_tasks_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {row["task"] for row in answered(capsys, "tasks")}
    assert {"piglatin", "sort", "parity", "text", "verses", "pairs"} <= tasks


def test_a_run_folder_holds_what_the_documentation_says(home: Path) -> None:
    names = {path.name for path in (home / "text").iterdir()}
    assert names >= {
        "model.safetensors",
        "config.json",
        "environment.json",
        "tokenizer_config.json",
        "metrics.jsonl",
        "tensorboard",
        "loss.png",
    }
    assert json.loads((home / "text/config.json").read_text())["seed"] == 3
    assert load(home / "text").config.hidden_size == 16


def test_translating_and_generating_need_no_corpus_and_scoring_says_that_it_is_gone(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(home, tmp_path / "home"))
    for name, corpus in (("text", "mine.txt"), ("pairs", "pairs.tsv")):
        path = moved / name / "config.json"
        config = json.loads(path.read_text())
        config["data"]["corpus"] = str(moved / corpus)
        path.write_text(json.dumps(config))
        (moved / corpus).unlink()
    answered(capsys, "generate", moved / "text", "the")
    answered(capsys, "translate", moved / "pairs", "the cat")
    assert "mine.txt" in refused(capsys, "evaluate", moved / "text")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "pigltin"], "did you mean piglatin"),
        (["train", "--out", "x"], "the task comes first"),
        (["train", "sort", "--training.max-step", "3"], "max-steps"),
        (["train", "sort", "--training.max-steps", "many"], "max-steps"),
        (["train", "sort", "--training.max-steps", "0"], "training.max_steps"),
        (["train", "sort", "--architecture", "lstm"], "encoder-decoder"),
        (["train", "sort", "--model.num-heads", "5"], "model.num_heads"),
        (["train", "sort", "--model.vocab-size", "99"], "model.vocab_size"),
        (["train", "sort", "--data.corpus", "pydocs"], "--data.corpus"),
        (["train", "text", "--data.corpus", "pydoc"], "pydocs"),
        (["train", "text", "--data.corpus", "none.txt"], "none.txt"),
        (["train", "text", "--data.tokenizer", "symbols"], "alphabet"),
        (["train", "pairs", "--data.corpus", "pydocs"], "train text"),
        (["train", "sort", "--config", "none.toml"], "none.toml"),
        (["train", "sort", "--training.device", "abacus"], "training.device"),
        (["evaluate", "nowhere"], "no run folder"),
        (["translate", "nowhere", "x"], "no run folder"),
        (["generate", "nowhere", "x"], "no run folder"),
        (["resume", "nowhere"], "no run folder"),
        (["evaluate"], "RUN"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_what_to_do(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("seed = 'x'", "seed"),
        ("sead = 1", "sead"),
        ("[model]\ndepth = 2", "depth"),
        ("[model]\nnum_layers = 'two'", "num_layers"),
        ("[model", "--config"),
        ("task = 'text'", "for the task"),
    ],
)
def test_a_bad_file_of_options_is_refused_by_the_option(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(content)
    assert said in refused(capsys, "train", "sort", "--config", path, "--out", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_command_line_goes_over_the_file_and_the_file_over_the_defaults(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        "seed = 7\narchitecture = 'decoder'\n[training]\nmax_steps = 3\nwarmup_steps = 2\n"
        "[model]\nnum_layers = 1\n"
    )
    words = ["train", "sort", "--config", str(path), "--out", str(tmp_path / "run")]
    assert main([*words, "--training.max-steps", "2"]) == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["seed"], config["architecture"]) == (7, "decoder")
    assert (config["training"]["max_steps"], config["training"]["warmup_steps"]) == (2, 2)
    assert config["model"]["num_layers"] == 1


def test_what_stands_at_out_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes").write_text("mine")
    assert "--overwrite" in refused(capsys, "train", "sort", "--out", run)
    for name in ("file", "full"):
        refused(capsys, "train", "sort", "--out", tmp_path / name, "--overwrite")
    assert (tmp_path / "file").read_text() == (tmp_path / "full/notes").read_text() == "mine"
    assert main(["train", "sort", *QUICK, "--out", str(run), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"PK\x03\x04 a pickle, perhaps"),
        ("config.json", b"{"),
        ("config.json", b'{"format": 99}'),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", None),
        ("config.json", None),
    ],
)
def test_a_damaged_run_is_refused(
    name: str, content: bytes | None, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    assert name in refused(capsys, "translate", run, "201102") or content is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["translate", "sort", "20110"], "6 digits"),
        (["translate", "sort", "201103"], "6 digits"),
        (["translate", "sort"], "no sentence"),
        (["translate", "sort", "201102", "--input", "x"], "not both"),
        (["translate", "text", "--input", "none.txt"], "doesn't translate"),
        (["translate", "sort", "--input", "none.txt"], "none.txt"),
        (["translate", "pairs", " "], "empty"),
        (["translate", "pairs", "word " * 99], "max_positions"),
        (["translate", "text", "x"], "doesn't translate"),
        (["generate", "sort", "x"], "doesn't continue"),
        (["generate", "masked", "x"], "doesn't continue"),
        (["generate", "text", "x" * 300], "max_positions"),
        (["generate", "text", "x", "--max-tokens", "0"], "--max-tokens"),
        (["generate", "text", "x", "--sampling.top-p", "2"], "top_p"),
        (["generate", "text", "\udcff"], "Unicode"),
    ],
)
def test_questions_that_a_run_cannot_answer_are_refused(
    words: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, name, *rest = words
    assert said in refused(capsys, command, home / name, *rest)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", b""),
        ("binary.txt", b"\x00\x01\xff" * 100),
        ("numbers.txt", b"1 2 3\n" * 100),
        ("broken.tsv", b"no tab here\n" * 10),
        ("photo.jpg", b"\xff\xd8"),
    ],
)
def test_a_corpus_of_nothing_usable_is_refused(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(capsys, "train", "piglatin", "--data.corpus", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_fails_and_keeps_the_best_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    wild = ["--training.learning-rate", "1e30", "--training.warmup-steps", "1"]
    words = ["train", "sort", *SMALL, *wild, "--training.clip-norm", "0", "--out", str(run)]
    assert main(words) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "at step 2 the loss is" in said
    assert "weights of step 0" in said
    assert main(["evaluate", str(run)]) == 0


def test_a_finished_run_says_so_and_goes_on_with_more_steps(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is finished, at step 12" in refused(capsys, "resume", run)
    assert answered(capsys, "resume", run, "--training.max-steps", 15)["steps"] == 15
    assert "at step 15" in refused(capsys, "resume", run)


def test_a_run_does_not_go_on_with_another_corpus(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, run = tmp_path / "mine.txt", tmp_path / "run"
    corpus.write_text(TEXT)
    words = ["text", "--data.corpus", str(corpus), "--data.tokenizer", "bytes", *QUICK]
    assert main(["train", *words, "--out", str(run)]) == 0
    corpus.write_text(TEXT + "\none line more")
    said = refused(capsys, "resume", run, "--training.max-steps", 20)
    assert "mine.txt is not what the run was trained on" in said


COMMAND = [sys.executable, "-m", "unrolled"]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
}


@pytest.mark.parametrize("words", [["tasks"], ["--help"], ["train", "piglatin", "--help"]])
def test_a_reader_that_goes_away_is_no_error(words: list[str]) -> None:
    line = f"{' '.join(COMMAND)} {' '.join(words)} | true"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_version_and_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("unrolled ")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
