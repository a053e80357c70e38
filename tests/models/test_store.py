"""Weights come back as they went, or are refused for a reason that a person can act on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.test_values import draw, tiny

from unrolled.errors import BadInput, WorkFailed
from unrolled.models import build, load, save
from unrolled.models.store import write_atomically, write_json


def make_run(folder: Path, architecture: Any = "decoder", **options: Any) -> Any:
    from dataclasses import asdict

    model = build(architecture, tiny(**options), seed=1)
    content = {"format": 1, "architecture": architecture, "model": asdict(model.config)}
    write_json(folder / "config.json", content)
    save(model, folder / "model.safetensors")
    return model


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("architecture", ["decoder", "encoder", "encoder-decoder", "lstm"])
def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path, architecture: str, tie: bool) -> None:
    model = make_run(tmp_path, architecture, tie_embeddings=tie)
    state = torch.get_rng_state()
    again = load(tmp_path)
    assert state.equal(torch.get_rng_state()), "weights were drawn, to be thrown away"
    assert not again.training
    for (name, a), (other, b) in zip(
        model.named_parameters(), again.named_parameters(), strict=True
    ):
        assert name == other
        assert a.equal(b)


def test_a_loaded_decoder_is_called_on_tokens(tmp_path: Path) -> None:
    model = make_run(tmp_path)
    with torch.no_grad():
        logits = load(str(tmp_path))(draw(2, 5))
        assert logits.shape == (2, 5, 29)
        assert logits.equal(model.eval()(draw(2, 5)))


def test_weights_cut_short_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"model\.safetensors is not a whole"):
            load(tmp_path)


def test_foreign_weights_are_refused_by_the_first_name_that_differs(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "zeta": torch.zeros(1)}, path)
    with pytest.raises(BadInput, match="adds 'zeta'"):
        load(tmp_path)
    del weights["head.linear.weight" if "head.linear.weight" in weights else "stack.norm.weight"]
    save_file(weights, path)
    with pytest.raises(BadInput, match="lacks"):
        load(tmp_path)


def test_weights_of_other_shapes_than_the_config_says_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["intermediate_size"] = 40
    write_json(tmp_path / "config.json", config)
    with pytest.raises(BadInput, match=r"mlp\.up\.weight is \["):
        load(tmp_path)


def test_missing_weights_are_told(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="unrolled resume"):
        load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "rnn"},
        {"architecture": ["rnn"]},
        {"model": 3},
        {"model": {"depth": 1}},
        {"model": None},
    ],
)
def test_a_config_without_a_model_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    make_run(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    write_json(tmp_path / "config.json", {**config, **change})
    with pytest.raises(BadInput, match=r"config\.json"):
        load(tmp_path)


def test_a_config_nested_beyond_reading_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(BadInput, match=r"config\.json can't be read"):
        load(tmp_path)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fill_the_disk(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(WorkFailed, match="No space left"):
        write_atomically(path, fill_the_disk)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_killed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def be_interrupted(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, be_interrupted)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_saved_file_may_be_read_by_whom_any_new_file_may(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "plain").touch()
    modes = {(tmp_path / n).stat().st_mode for n in ("plain", "model.safetensors", "config.json")}
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(2, 0, dtype=torch.long), "empty"),
        (torch.zeros(0, 2, dtype=torch.long), "empty"),
        (torch.full((1, 2), 29), "token 29 is outside"),
        (torch.full((1, 2), -1), "token -1 is outside"),
        (torch.zeros(1, 41, dtype=torch.long), "max_positions 40"),
    ],
)
def test_tokens_that_no_model_takes_are_refused(tokens: torch.Tensor, message: str) -> None:
    for architecture in ("decoder", "encoder", "lstm"):
        if architecture == "lstm" and "max_positions" in message:
            continue
        with pytest.raises(BadInput, match=message):
            build(architecture, tiny())(tokens)


def test_a_cache_that_is_full_says_so() -> None:
    model = build("decoder", tiny())
    cache = model.make_cache(1, 3)
    model(draw(1, 3), cache=cache)
    with pytest.raises(BadInput, match="holds 3 positions"):
        model(draw(1, 1), cache=cache)
