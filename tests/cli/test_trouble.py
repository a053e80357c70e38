"""What a machine or a terminal does to a command ends in one line, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import unrolled.models.store as store
from unrolled.cli import main
from unrolled.tasks.pairs import PairJob

SMALL = ["--model.num-layers", "1", "--model.hidden-size", "16", "--model.num-heads", "2"]
QUICK = [*SMALL, "--training.max-steps", "3", "--training.evaluate-every", "3"]
COMMAND = [sys.executable, "-m", "unrolled"]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sort"
    assert main(["train", "sort", *QUICK, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def ended(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """The last line of a command that ends with `code` and has no answer."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["\udcff"],
        ["train", "\udcff"],
        ["train", "sort", "--out", "r\udcff"],
        ["train", "text", "--data.corpus", "c\udcff.txt"],
        ["evaluate", "\udcff"],
        ["translate", "run", "\udcff"],
    ],
)
def test_bytes_that_are_no_utf8_are_refused_by_their_place(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    said = ended(capsys, 2, *words)
    assert f"word {len(words)} is not valid Unicode" in said
    assert r"\udcff" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["evaluate"], ["train", "sort", *QUICK, "--out"]])
def test_a_name_that_no_file_can_have_is_one_line(words: list[str], capsys: Any) -> None:
    assert os.strerror(errno.ENAMETOOLONG) in ended(capsys, 1, *words, "a" * 5000)


def test_a_model_that_no_memory_holds_is_one_line(tmp_path: Path, capsys: Any) -> None:
    huge = ["--model.hidden-size", 8_000_000, "--model.num-heads", 1]
    said = ended(capsys, 2, "train", "sort", *huge, "--out", tmp_path / "run")
    assert "hidden_size 8000000" in said
    assert not (tmp_path / "run").exists()


def test_memory_that_runs_out_in_the_middle_is_one_line(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def large(*_: object) -> None:
        torch.empty(1 << 50)  # PyTorch's own complaint

    monkeypatch.setattr(PairJob, "predictions", large)
    assert "out of memory" in ended(capsys, 1, "evaluate", trained)


def test_another_failure_is_not_taken_for_a_lack_of_memory(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(PairJob, "predictions", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["evaluate", str(trained)])


@pytest.mark.parametrize("value", ["true", '"0.1"', "'x'", "[1.0]", "nan", "inf"])
def test_what_is_no_number_in_a_file_of_options_is_refused_by_the_option(
    value: str, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"[training]\nlearning_rate = {value}\n")
    said = ended(capsys, 2, "train", "sort", "--config", path, "--out", tmp_path / "run")
    assert "training.learning_rate" in said
    assert not (tmp_path / "run").exists()


def test_a_whole_number_is_a_float_too(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[training]\nclip_norm = 2\n")
    words = ["train", "sort", *QUICK, "--config", str(path), "--out", str(tmp_path / "run")]
    assert main(words) == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["training"]["clip_norm"] == 2.0


def test_weights_that_are_no_numbers_are_refused(run: Path, capsys: Any) -> None:
    weights = load_file(run / "model.safetensors")
    nan = {name: torch.full_like(w, float("nan")) for name, w in weights.items()}
    save_file(nan, run / "model.safetensors")
    assert "damaged" in ended(capsys, 2, "translate", run, "201102")
    assert "damaged" in ended(capsys, 2, "evaluate", run, "--json")


def test_weights_of_another_shape_are_refused_by_name(run: Path, capsys: Any) -> None:
    weights = load_file(run / "model.safetensors")
    name = "encoder.stack.embedding.weight"
    save_file({**weights, name: weights[name][1:].clone()}, run / "model.safetensors")
    assert f"{name} is [7, 16], expected [8, 16]" in ended(capsys, 2, "evaluate", run)
    config = json.loads((run / "config.json").read_text())
    config["model"]["hidden_size"] = 32
    (run / "config.json").write_text(json.dumps(config))
    assert "expected [" in ended(capsys, 2, "evaluate", run)


def test_the_tokenizer_of_another_run_is_refused(run: Path, capsys: Any) -> None:
    path = run / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"012"', '"0123"'))
    assert "the tokenizer is another run's" in ended(capsys, 2, "evaluate", run)


def test_a_run_without_weights_says_how_it_goes_on(run: Path, capsys: Any) -> None:
    (run / "model.safetensors").unlink()
    assert f"unrolled resume {run}" in ended(capsys, 2, "evaluate", run)


def test_a_full_disk_is_one_line_and_leaves_the_weights_that_were_there(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(_: object, path: Path, *rest: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "save_file", full)
    words = ["train", "sort", *QUICK, "--out", tmp_path / "run"]
    assert os.strerror(errno.ENOSPC) in ended(capsys, 1, *words)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert "model.safetensors" not in left
    assert not [name for name in left if name.endswith(".part")]
    monkeypatch.undo()
    # What was trained is in the checkpoint: nothing is lost when there is room again.
    assert main(["resume", str(tmp_path / "run")]) == 0
    new, old = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", trained))
    assert all(torch.equal(new[name], old[name]) for name in old)


def test_ctrl_c_while_scoring_is_one_line(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PairJob, "predictions", interrupted)
    assert ended(capsys, 130, "evaluate", trained) == "unrolled evaluate: interrupted"


def test_ctrl_c_while_scoring_after_training_keeps_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PairJob, "score", interrupted)
        ended(capsys, 130, "train", "sort", *QUICK, "--out", tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("words", ["evaluate RUN", "translate RUN 201102", "evaluate RUN --json"])
def test_a_reader_that_goes_away_before_the_answer_is_no_error(words: str, trained: Path) -> None:
    line = " ".join([*COMMAND, words.replace("RUN", str(trained))])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} | true"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if "is cut where" not in line]
    assert (said, done.returncode) == ([], 0)


def test_an_output_without_unicode_gets_escapes_that_json_understands(
    tmp_path: Path, trained: Path
) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"é{n}\tö{n}\n" for n in range(9)), "utf-8")
    words = ["train", "pairs", *QUICK, "--data.corpus", "pairs.tsv", "--data.tokenizer", "bytes"]
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    for more in (["--out", "run"], ["--out", "again", "--json"]):
        done = subprocess.run(
            [*COMMAND, *words, *more], env=environment, capture_output=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        done.stdout.decode("ascii")
    answered = subprocess.run(
        [*COMMAND, "translate", "run", "é1", "--json"],
        env=environment,
        capture_output=True,
        cwd=tmp_path,
    )
    assert json.loads(answered.stdout.decode("ascii"))[0]["source"] == "é1"


def test_a_long_scoring_shows_a_bar_on_a_terminal_and_nothing_in_a_pipe(trained: Path) -> None:
    words = [*COMMAND, "evaluate", str(trained), "--json"]
    silent = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
    assert silent.stderr == ""
    leader, follower = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(leader)
    out, _ = process.communicate()
    assert json.loads(out) == json.loads(silent.stdout)
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    number = json.loads(out)["sentences"]
    assert "scoring on what was held out" in plain
    assert f"/{number}" in plain
