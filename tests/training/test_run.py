"""What a run leaves on disk, and what it refuses to overwrite."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from unrolled.data import SymbolTokenizer
from unrolled.data.config import DataConfig
from unrolled.errors import BadInput, WorkFailed
from unrolled.models import ModelConfig
from unrolled.training import RunConfig, TrainingConfig
from unrolled.training.draw import compare_losses, draw_loss
from unrolled.training.log import RunLog, in_words, read_metrics
from unrolled.training.parallel import restarted
from unrolled.training.run import create, differences, load_config, made_by_this_launch

CONFIG = RunConfig(
    "sort", "decoder", 3, ModelConfig(num_layers=1), DataConfig(holdout=4), TrainingConfig()
)


def make(folder: Path, *, overwrite: bool = False) -> None:
    command = ["unrolled", "train", "a b"]
    data = {"corpus": "123"}
    create(folder, CONFIG, SymbolTokenizer("012"), command, data=data, overwrite=overwrite)


def test_a_run_says_what_made_it(tmp_path: Path) -> None:
    make(tmp_path / "run")
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert environment["command"] == "unrolled train 'a b'"
    assert environment["packages"]["torch"].startswith("2.")
    assert environment["format"] == 1
    assert load_config(tmp_path / "run") == CONFIG


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(BadInput, match=str(tmp_path)):
            make(tmp_path, overwrite=overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_overwriting_replaces_a_run_and_keeps_what_is_not_the_runs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make(run)
    with pytest.raises(BadInput, match="--overwrite"):
        make(run)
    (run / "model.safetensors").write_text("old")
    (run / "packed").mkdir()
    (run / "packed/int8.safetensors").write_text("old")
    (run / "notes.txt").write_text("mine")
    make(run, overwrite=True)
    assert not (run / "model.safetensors").exists()
    assert not (run / "packed").exists()
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "sed"),
        ({"seed": "1"}, "seed"),
        ({"seed": None}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -1}, "seed"),
        ({"architecture": "rnn"}, "architecture"),
        ({"model": {"num_layers": 1, "depth": 2}}, "depth"),
        ({"model": {"num_layers": "1"}}, "num_layers"),
        ({"model": {"num_layers": 0}}, "num_layers"),
        ({"training": {"max_steps": 1.5}}, "max_steps"),
        ({"training": {"final_fraction": 1.5}}, "final_fraction"),
        ({"format": 2}, "update unrolled"),
        ({"format": "1"}, "format"),
    ],
)
def test_a_config_that_is_not_one_is_refused_by_its_field(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    content = {**CONFIG.to_json(), **change}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=message):
        load_config(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\x00", '{"format": 1}'])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadInput, match=r"config\.json"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "sgd"),
        ("parallel", "tp"),
        ("schedule", "flat"),
        ("precision", "fp16"),
        ("max_steps", 1.5),
    ],
)
def test_a_training_option_that_is_no_choice_is_refused(field: str, value: object) -> None:
    config = TrainingConfig()
    # Around the annotations, which only the tests enforce.
    object.__setattr__(config, field, value)
    with pytest.raises(BadInput, match=f"training.{field}"):
        config.__post_init__()


def test_compiling_what_is_in_shares_is_refused() -> None:
    with pytest.raises(BadInput, match="not with fsdp"):
        TrainingConfig(compile=True, parallel="fsdp")


def test_no_folder_and_no_config_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no run folder"):
        load_config(tmp_path / "none")
    with pytest.raises(BadInput, match="not a run folder"):
        load_config(tmp_path)


def test_metrics_are_read_back_without_a_line_that_was_cut_short(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(1, {"loss": 2.5})
        log.write(2, {"loss": 2.25})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 3, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]
    assert list((tmp_path / "tensorboard").iterdir())


def test_metrics_of_another_format_are_refused(tmp_path: Path) -> None:
    for content in ("", '{"step": 1}\n', '{"format": 9}\n', "x\ny\n"):
        (tmp_path / "metrics.jsonl").write_text(content)
        with pytest.raises(BadInput, match=r"metrics\.jsonl"):
            read_metrics(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(BadInput, match="can't be read"):
        read_metrics(tmp_path)


def test_the_loss_curve_is_a_picture(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for step in range(1, 5):
            log.write(step, {"loss": 1 / step, "validation_loss": 2 / step})
    draw_loss(tmp_path, tmp_path / "loss.png")
    draw_loss(tmp_path, tmp_path / "loss.svg")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "<!-- held out -->" in (tmp_path / "loss.svg").read_text()


def test_the_losses_of_two_runs_are_one_picture_and_the_same_again(tmp_path: Path) -> None:
    runs = {name: tmp_path / name for name in ("before", "after")}
    for folder in runs.values():
        folder.mkdir()
        with RunLog(folder) as log:
            log.write(1, {"loss": 1.0, "validation_loss": 2.0})
            log.write(2, {"loss": 0.0})  # has no logarithm, and is left out
    for name in ("a.svg", "b.svg"):
        compare_losses(runs, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text()
    assert "<!-- before -->" in drawn
    assert "<!-- after -->" in drawn
    assert (tmp_path / "b.svg").read_text() == drawn


def test_durations_read_as_a_clock() -> None:
    assert [in_words(s) for s in (0, 59.6, 61, 3600, 36_061)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]


def test_changed_data_is_refused_by_name_and_another_machine_is_told(tmp_path: Path) -> None:
    make(tmp_path / "run")
    assert differences(tmp_path / "run", {"corpus": "123"}) == []
    with pytest.raises(BadInput, match="corpus is not what"):
        differences(tmp_path / "run", {"corpus": "124"})
    with pytest.raises(BadInput, match="corpus is not what"):
        differences(tmp_path / "run", {})
    path = tmp_path / "run/environment.json"
    content = json.loads(path.read_text())
    content["processor"] = "Z80"
    content["packages"]["torch"] = "1.0"
    content["processes"] = 4
    path.write_text(json.dumps(content))
    changed = differences(tmp_path / "run", {"corpus": "123"})
    assert len(changed) == 3
    assert "Z80" in changed[0]
    assert changed[1] == "processes 4 then, 1 now"
    assert "1.0" in changed[2]


def test_a_place_where_nothing_can_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / ("x" * 300), tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(WorkFailed, match="can't write"):
            make(place)
    with pytest.raises(WorkFailed, match="can't write"):
        RunLog(tmp_path / "file")


def test_a_run_that_can_not_be_taken_away_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "run")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(WorkFailed, match="Permission denied"):
        make(tmp_path / "run", overwrite=True)


class FullDisk:
    """A file on a disk that has filled up."""

    def write(self, text: str = "") -> int:
        raise OSError(28, "No space left on device")

    flush = close = write


def log_to_a_full_disk(folder: Path, *, write: bool) -> None:
    with RunLog(folder) as log:
        log.file.close()
        log.file = FullDisk()  # type: ignore[assignment]
        if write:
            log.write(1, {"loss": 1.0})


@pytest.mark.parametrize(("write", "named"), [(True, r"metrics\.jsonl"), (False, "write")])
def test_a_full_disk_is_told_once_and_in_a_line(tmp_path: Path, write: bool, named: str) -> None:
    with pytest.raises(WorkFailed, match=f"can't .*{named}"):
        log_to_a_full_disk(tmp_path, write=write)


def test_a_picture_that_can_not_be_drawn_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.write(1, {"loss": 1.0})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(WorkFailed, match=r"loss\.png"):
        draw_loss(tmp_path, tmp_path / "none" / "loss.png")
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_is_known_again_by_the_launch_that_began_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    make(tmp_path / "alone")
    assert not made_by_this_launch(tmp_path / "alone", CONFIG)
    for name in ("job 7", "none"):  # torchrun's own word for no name
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", name)
        make(tmp_path / name)
        assert made_by_this_launch(tmp_path / name, CONFIG)
        assert not made_by_this_launch(tmp_path / name, replace(CONFIG, seed=4))
        assert not made_by_this_launch(tmp_path / "nowhere", CONFIG)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job 8")
        assert not made_by_this_launch(tmp_path / name, CONFIG)


def test_what_counts_as_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count, found in (
        (None, None, (False, False)),
        ("none", "0", (False, False)),
        ("none", "1", (True, True)),
        ("job 7", "0", (True, False)),
        ("job 7", "1", (True, True)),
    ):
        for key, value in (("RUN_ID", name), ("RESTART_COUNT", count)):
            if value is None:
                monkeypatch.delenv(f"TORCHELASTIC_{key}", raising=False)
            else:
                monkeypatch.setenv(f"TORCHELASTIC_{key}", value)
        assert (restarted(by_name=True), restarted(by_name=False)) == found
