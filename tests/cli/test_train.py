import json
from pathlib import Path

import pytest

from cli.conftest import TINY
from unrolled.cli import main


def refused(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert main(words) == code
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("unrolled train: ")
    return line


def test_json_is_all_that_stands_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "sort", "--out", str(tmp_path / "r"), "--json", *TINY]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ended"] == "finished"
    assert {"exact_match", "bleu", "sentences"} <= answer["scores"].keys()


def test_the_command_line_stands_over_the_file_and_the_file_over_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "c.toml", tmp_path / "r"
    file.write_text(
        f'architecture = "decoder"\nseed = 3\nout = "{out}"\njson = true\n'
        "[model]\nnum_layers = 1\nhidden_size = 32\n[training]\nmax_steps = 2\n"
    )
    words = ["--architecture=encoder-decoder", "--model.hidden-size=16"]
    assert main(["train", "sort", "--config", str(file), *words]) == 0
    json.loads(capsys.readouterr().out)
    config = json.loads((out / "config.json").read_text())
    assert (config["architecture"], config["seed"]) == ("encoder-decoder", 3)
    assert config["model"]["hidden_size"] == 16
    assert config["model"]["num_layers"] == 1
    assert config["model"]["num_heads"] == 4


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("[model]\nnum_layer = 3", "unknown key 'num_layer'; did you mean 'num_layers'?"),
        ('[model]\nnum_layers = "3"', "model.num_layers is int, got '3'"),
        ('[model]\nnorm = "batch"', "model.norm is rmsnorm or layernorm, got 'batch'"),
        ("[model\nx = 1", "line 1"),
        ("out = 3", "out is a str"),
        ('task = "text"', "is for the task 'text'"),
        ("seed = -1", "seed is a whole number"),
        ("architecture = 3", "no architecture '3'"),
    ],
)
def test_a_bad_file_is_refused_by_key(
    content: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(content)
    assert hint in refused(["train", "sort", "--config", str(file)], capsys)


@pytest.mark.parametrize(
    "option", ["--training.device=cudda", "--model.max-positions=3", "--model.num-classes=2"]
)
def test_a_refused_run_leaves_no_folder_and_spares_the_one_it_would_replace(
    option: str, tmp_path: Path, sort_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["train", "sort", "--out", str(tmp_path / "r"), *TINY, option], capsys)
    assert not (tmp_path / "r").exists()
    before = (sort_run / "model.safetensors").read_bytes()
    refused(["train", "sort", "--out", str(sort_run), "--overwrite", *TINY, option], capsys)
    assert (sort_run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_what_is_no_run_is_never_replaced(
    overwrite: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file"):
        refused(["train", "sort", "--out", str(out), *TINY, *overwrite], capsys)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "lstm"])
def test_a_text_too_short_to_hold_anything_out_is_refused_before_training(
    architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "short.txt"
    file.write_text("a short text\n")
    words = ["--data.corpus", str(file), "--data.tokenizer=bytes", "--architecture", architecture]
    line = refused(["train", "text", "--out", str(tmp_path / "r"), *TINY, *words], capsys)
    assert "nothing to hold out" in line
    assert not (tmp_path / "r").exists()


def test_a_loss_that_is_no_number_says_the_step_and_keeps_the_last_good_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "r")
    options = ["--training.learning-rate=1e30", "--training.warmup-steps=0"]
    line = refused(["train", "sort", "--out", out, *TINY, *options], capsys, code=1)
    assert "at step 2" in line
    assert main(["evaluate", out, "--json"]) == 0


@pytest.mark.parametrize(
    ("task", "kinds"), [("parity", "{lstm,encoder}"), ("sort", "{encoder-decoder,decoder}")]
)
def test_help_names_the_architectures_that_the_task_can_use_and_says_what_no_does(
    task: str, kinds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", task, "--help"]) == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"--architecture {kinds} Kind of model" in words
    assert "--model.no-tie-embeddings One matrix for embedding and output layer" in words
    assert "with no-, one for each" in words
