"""A run that stops anywhere goes on to the very weights it would have had, bit for bit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled.data import ByteTokenizer, pair_batches, text_batches
from unrolled.errors import BadInput, WorkFailed
from unrolled.models import ModelConfig, build
from unrolled.training import Trainer, TrainingConfig
from unrolled.training import checkpoint as room
from unrolled.training.checkpoint import Checkpoints, read_state, take
from unrolled.training.log import RunLog, read_metrics

TOKENIZER = ByteTokenizer()
MODEL = ModelConfig(
    vocab_size=TOKENIZER.vocab_size,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    max_positions=32,
    dropout=0.2,
)
WORDS = "the cat sat on a mat and saw the rat that ate the malt in the house jack built".split()  # noqa: SIM905
PAIRS = [(" ".join(WORDS[i : i + 3]), " ".join(WORDS[i : i + 2])) for i in range(len(WORDS) - 3)]
DOCUMENTS = [" ".join(WORDS[i:]) for i in range(12)]
CASES = [
    (architecture, optimizer, window)
    for architecture in ("decoder", "encoder", "encoder-decoder", "lstm")
    for optimizer, window in (("adamw", None), ("muon", 120))
]


LOGS: list[RunLog] = []


@pytest.fixture(autouse=True)
def _close_logs() -> Iterator[None]:
    yield
    while LOGS:
        LOGS.pop().__exit__(None, None, None)


def stream(architecture: str, window: int | None) -> Any:
    options = {"tokens_per_batch": 128, "seed": 3, "window": window}
    if architecture == "encoder-decoder":
        return pair_batches(
            lambda: PAIRS, TOKENIZER, layout="encoder-decoder", max_positions=32, **options
        )
    return text_batches(lambda: DOCUMENTS, TOKENIZER, length=32, **options)


def trainer(
    run: Path, architecture: str, optimizer: str, window: int | None, **options: Any
) -> Any:
    """A trainer on a run's folder, gone back to its last checkpoint if it has one."""
    run.mkdir(exist_ok=True)
    values = {"max_steps": 24, "warmup_steps": 4, "log_every": 3, "evaluate_every": 8}
    config = TrainingConfig(
        **{**values, "save_every": 5, "accumulate": 2, "optimizer": optimizer, **options}
    )
    model = build(architecture, MODEL, seed=0)
    log, checkpoints = RunLog(run), Checkpoints(run)
    LOGS.append(log)
    batches = stream(architecture, window)
    validate = partial(dict, validation_loss=1.0)
    made = Trainer(model, batches, config, log, seed=7, validate=validate, checkpoints=checkpoints)
    if latest := checkpoints.latest():
        made.resume(latest)
    return made


class StopAfter(Exception):
    pass


def stop_after(made: Any, step: int) -> None:
    """Let a trainer fail hard once it has done that many steps, as if it had been killed."""
    take_step = made._take_step

    def fragile() -> None:
        if made.step == step:
            raise StopAfter
        take_step()

    made._take_step = fragile


def weights(made: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made.model.parameters()])


def untimed(run: Path) -> list[dict[str, float]]:
    timings = ("seconds", "tokens_per_second")
    return [{k: v for k, v in row.items() if k not in timings} for row in read_metrics(run)]


@pytest.mark.parametrize(("architecture", "optimizer", "window"), CASES)
def test_a_run_that_dies_twice_ends_with_the_bits_and_the_metrics_of_one_that_does_not(
    tmp_path: Path, architecture: str, optimizer: str, window: int | None
) -> None:
    whole = trainer(tmp_path / "whole", architecture, optimizer, window)
    whole.fit()
    for step in (8, 19):
        part = trainer(tmp_path / "part", architecture, optimizer, window)
        stop_after(part, step)
        with pytest.raises(StopAfter):
            part.fit()
        part.checkpoints.wait()
        part.log.file.close()
    part = trainer(tmp_path / "part", architecture, optimizer, window)
    assert part.step == 15
    part.fit()
    assert weights(part).equal(weights(whole))
    assert untimed(tmp_path / "part") == untimed(tmp_path / "whole")


def test_what_is_restored_matters(tmp_path: Path) -> None:
    """The test above is not vacuous: leave any one part of the state out, and the bits differ."""
    whole = trainer(tmp_path / "whole", "decoder", "adamw", None)
    whole.fit()
    first = trainer(tmp_path / "part", "decoder", "adamw", None)
    stop_after(first, 17)
    with pytest.raises(StopAfter):
        first.fit()
    first.checkpoints.wait()

    def forget_generator(made: Any) -> None:
        torch.manual_seed(99)

    def forget_data(made: Any) -> None:
        made.batches.load_state_dict({"epoch": 0, "window": 0, "batch": 0, "windows": 1})

    def forget_moments(made: Any) -> None:
        made.optimizer = type(made.optimizer)(made.model, made.config)

    def forget_step(made: Any) -> None:
        made.step -= 1

    for forget in (None, forget_generator, forget_data, forget_moments, forget_step):
        made = trainer(tmp_path / "part", "decoder", "adamw", None)
        assert made.step == 15
        made.checkpoints = None
        if forget is not None:
            forget(made)
        made.fit()
        assert weights(made).equal(weights(whole)) == (forget is None)


def test_an_interrupted_run_goes_on_without_a_trace_of_the_interruption(tmp_path: Path) -> None:
    import os
    import signal

    whole = trainer(tmp_path / "whole", "lstm", "adamw", None)
    whole.fit()
    part = trainer(tmp_path / "part", "lstm", "adamw", None)
    take_step = part._take_step

    def interrupted() -> None:
        take_step()
        if part.step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    part._take_step = interrupted
    assert part.fit() == "interrupted"
    assert read_metrics(tmp_path / "part")[-1]["step"] == 7
    part = trainer(tmp_path / "part", "lstm", "adamw", None)
    assert part.step == 7
    part.fit()
    assert weights(part).equal(weights(whole))
    assert untimed(tmp_path / "part") == untimed(tmp_path / "whole")


def test_a_finished_run_goes_on_when_it_is_given_more_steps(tmp_path: Path) -> None:
    trainer(tmp_path, "decoder", "adamw", None, max_steps=10).fit()
    longer = trainer(tmp_path, "decoder", "adamw", None, max_steps=14)
    assert longer.step == 10
    assert longer.fit() == "finished"
    assert longer.step == 14


def snapshot(step: int, score: float | None = None) -> Any:
    model = build("decoder", MODEL)
    from unrolled.training.optimizer import Optimizer

    made = take(model, Optimizer(model, TrainingConfig()), step, {})
    return replace(made, score=score)


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, score in ((10, 3.0), (20, 1.0), (30, None), (40, 2.0), (50, 2.5), (60, 1.5)):
        checkpoints.save(snapshot(step, score))
    checkpoints.wait()
    assert checkpoints.steps() == [20, 50, 60]
    assert checkpoints.latest() == tmp_path / "checkpoints/step-00000060"
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        "step-00000020",
        "step-00000050",
        "step-00000060",
    }


def test_a_full_disk_is_one_clear_line_and_the_last_good_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(snapshot(10))
    checkpoints.wait()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "save_file", full)
    checkpoints.save(snapshot(20))
    with pytest.raises(WorkFailed, match=r"No space left on device; that of step 10 stays"):
        checkpoints.wait()
    checkpoints.wait()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_size_that_is_announced_is_that_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr(room, "LARGE", 0)
    made = trainer(tmp_path, "decoder", optimizer, None)
    said: list[int] = []
    monkeypatch.setattr(room, "gigabytes", lambda size: said.append(size) or f"{size} B")
    line = made.checkpoints.announce(made.model, made.config)
    each, kept, _ = said
    assert line.startswith(f"checkpoints: up to {each} B each, {kept} B in all; ")
    assert kept == 3 * each
    made.fit()
    latest = made.checkpoints.latest()
    size = sum(path.stat().st_size for path in latest.iterdir())
    # Names and shapes in the files' heads, the random generators' states: not of the model's size.
    assert 0 < size - each < 20_000 + 5_056


def test_a_disk_that_cannot_hold_the_checkpoints_is_refused_and_small_ones_are_not_spoken_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    model, config = build("decoder", MODEL), TrainingConfig()
    assert Checkpoints(tmp_path / "run").announce(model, config) == ""
    weights = 4 * sum(p.numel() for p in model.parameters())
    for room_left, fits in ((13 * weights, True), (13 * weights - 1, False)):
        left = SimpleNamespace(free=room_left)
        monkeypatch.setattr(room.shutil, "disk_usage", lambda _, left=left: left)
        if fits:
            Checkpoints(tmp_path / "run").announce(model, config)
        else:
            with pytest.raises(BadInput, match=r"the checkpoints need up to .* GB and .* has"):
                Checkpoints(tmp_path / "run").announce(model, config)


def test_training_waits_for_the_copy_and_not_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, write = threading.Event(), room.save_file

    def slow(*arguments: Any) -> None:
        assert disk.wait(60)
        write(*arguments)

    monkeypatch.setattr(room, "save_file", slow)
    checkpoints = Checkpoints(tmp_path)
    model = build("decoder", MODEL)
    from unrolled.training.optimizer import Optimizer

    before = model.stack.embedding.weight.detach().clone()  # type: ignore[union-attr]
    checkpoints.save(take(model, Optimizer(model, TrainingConfig()), 10, {}))
    with torch.no_grad():
        model.stack.embedding.weight.zero_()  # type: ignore[union-attr]
    assert checkpoints.steps() == []
    disk.set()
    checkpoints.wait()
    saved = room.load_file(checkpoints.path(10) / "model.safetensors")
    assert saved["stack.embedding.weight"].equal(before)


def later(state: bytes) -> bytes:
    return json.dumps({**json.loads(state), "format": 99}).encode()


def damage() -> Iterator[tuple[str, Any, str]]:
    for name in ("model.safetensors", "optimizer.safetensors"):
        yield name, lambda data: data[: len(data) // 2], "is not a whole"
    yield "state.json", lambda data: data[: len(data) // 2], "can't be read"
    yield "state.json", later, "format"
    yield "state.json", lambda data: b"[" + data + b"]", "format"


@pytest.mark.parametrize(("name", "change", "message"), list(damage()))
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, name: str, change: Any, message: str
) -> None:
    trainer(tmp_path, "decoder", "adamw", None, max_steps=5).fit()
    latest = Checkpoints(tmp_path).latest()
    assert latest is not None
    assert read_state(latest)["step"] == 5
    (latest / name).write_bytes(change((latest / name).read_bytes()))
    with pytest.raises(BadInput, match=message):
        trainer(tmp_path, "decoder", "adamw", None)


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, "decoder", "adamw", None, max_steps=5).fit()
    with pytest.raises(BadInput, match="another optimizer"):
        trainer(tmp_path, "decoder", "muon", None)
