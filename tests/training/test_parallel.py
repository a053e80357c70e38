"""One, two or four processes: the same parameters, and checkpoints that each can go on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.torchrun import run
from tests.training.shared_runs import SAVED, STEPS, train
from tests.training.test_checkpoint import MODEL, stream

from unrolled.errors import BadInput, WorkFailed
from unrolled.models import build
from unrolled.models.batch import Batch
from unrolled.models.store import load_file
from unrolled.training import loop, parallel
from unrolled.training.checkpoint import Checkpoints
from unrolled.training.log import read_metrics

Case = dict[str, Any]
CLIPPED = {"clip_norm": 0.1}
CASES: dict[str, Case] = {
    f"{architecture}-{kind}": {"architecture": architecture, "parallel": kind, **CLIPPED}
    for architecture in ("decoder", "encoder", "encoder-decoder", "lstm")
    for kind in ("ddp", "fsdp")
}
ROWS: dict[str, Case] = {  # batches of 7 rows, of 1 and of 2: less than there are processes
    f"rows-{kind}": {"parallel": kind, "data": "rows", "accumulate": accumulate, "clip_norm": 0.0}
    for kind, accumulate in (("ddp", 3), ("fsdp", 1))
}
MUON: dict[str, Case] = {
    f"muon-{kind}": {"optimizer": "muon", "parallel": kind} for kind in ("ddp", "fsdp")
}
PROBED: dict[str, Case] = {"probed": {"probe": True, "probe_every": 2, **CLIPPED}}
RESUMED = ("decoder-ddp", "decoder-fsdp")
BY_PROCESSES = {
    2: {**CASES, **ROWS, **MUON, **PROBED},
    4: {**ROWS, **{name: CASES[name] for name in RESUMED}},
}


def weights(folder: Path) -> torch.Tensor:
    found = load_file(folder / "model.safetensors")
    return torch.cat([found[name].flatten() for name in sorted(found)])


def cut_back(whole: Path, part: Path) -> Path:
    """A copy of a run that has not got further than its first checkpoint."""
    shutil.copytree(whole, part)
    shutil.rmtree(Checkpoints(part).path(STEPS))
    (part / "model.safetensors").unlink()
    return part


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """FOLDER/1-name, 2-name, 4-name: whole runs; from-2-in-4-name: begun by two, ended by four."""
    home = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, case in {**CASES, **ROWS, **MUON, **PROBED}.items():
        train(home / f"1-{name}", **case)
    for processes, cases in BY_PROCESSES.items():
        jobs = [{"folder": str(home / f"{processes}-{name}"), **cases[name]} for name in cases]
        for name in RESUMED:
            for before in (1, 2):
                if before < processes:
                    part = home / f"from-{before}-in-{processes}-{name}"
                    cut_back(home / f"{before}-{name}", part)
                    jobs.append({"folder": str(part), **CASES[name]})
        (home / "jobs.json").write_text(json.dumps(jobs))
        run(processes, Path(__file__).with_name("shared_runs.py"), home / "jobs.json")
    yield home
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("processes", "name"), [(n, name) for n, cases in BY_PROCESSES.items() for name in cases]
)
def test_the_parameters_are_those_of_one_process(home: Path, processes: int, name: str) -> None:
    one, many = weights(home / f"1-{name}"), weights(home / f"{processes}-{name}")
    torch.testing.assert_close(many, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("processes", "name"), [(n, name) for n, cases in BY_PROCESSES.items() for name in cases]
)
def test_so_are_the_loss_and_the_norm_of_the_gradient(
    home: Path, processes: int, name: str
) -> None:
    """AdamW does not mind gradients that are all N times too large: the norm tells."""
    one, many = (read_metrics(home / f"{n}-{name}") for n in (1, processes))
    for key in ("loss", "gradient_norm", "learning_rate"):
        values = [[row[key] for row in rows if key in row] for rows in (one, many)]
        assert values[0]
        assert values[1] == pytest.approx(values[0], rel=1e-4)


def test_that_test_would_see_a_process_whose_rows_are_lost(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "share", lambda batch: batch.rows(0, 2))
    train(tmp_path, **CASES["decoder-ddp"])
    assert (weights(tmp_path) - weights(home / "1-decoder-ddp")).abs().max() > 1e-3


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (1, 4), (2, 4), (2, 1), (4, 1)])
def test_a_run_goes_on_with_another_number_of_processes(
    home: Path, before: int, after: int, name: str
) -> None:
    part = home / f"from-{before}-in-{after}-{name}"
    if after == 1:
        train(cut_back(home / f"{before}-{name}", part), **CASES[name])
    assert Checkpoints(part).steps() == [SAVED, STEPS]
    torch.testing.assert_close(weights(part), weights(home / f"1-{name}"), rtol=0, atol=1e-5)


def test_a_checkpoint_of_shares_holds_what_one_process_would_save(home: Path) -> None:
    for file in ("model.safetensors", "optimizer.safetensors"):
        one, many = (
            load_file(Checkpoints(home / f"{n}-decoder-fsdp").path(STEPS) / file) for n in (1, 2)
        )
        extra = {"generator.1.cpu"} if file == "optimizer.safetensors" else set()
        assert many.keys() - one.keys() == extra
        for name in one.keys() - {"generator.cpu"}:
            torch.testing.assert_close(many[name], one[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_shares_of_a_batch_make_it_up_and_none_is_empty(
    rows: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = torch.arange(rows * 3).reshape(rows, 3)
    batch = Batch(tokens, tokens)
    monkeypatch.setattr(parallel, "size", lambda: processes)
    shares = []
    for number in range(processes):
        monkeypatch.setattr(parallel, "rank", lambda number=number: number)
        shares.append(parallel.share(batch))
    assert all(len(share.tokens) for share in shares)
    assert sum(share.num_targets for share in shares) == batch.num_targets
    targets = torch.cat([s.targets[s.targets >= 0].flatten() for s in shares])
    assert sorted(targets.tolist()) == list(range(rows * 3))


def test_alone_there_is_nothing_to_wait_for() -> None:
    with parallel.joined():
        assert parallel.size() == 1
        assert parallel.first(lambda: 3) == 3
        assert parallel.spread(str, range(3)) == ["0", "1", "2"]
        assert (parallel.summed(0.1), parallel.most(0.2)) == (0.1, 0.2)
        parallel.agree("options", object())


def test_an_error_of_ones_own_is_not_taken_for_a_lost_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(parallel, "meeting_place", lambda: None)
    for error in (WorkFailed("a connection"), BadInput("gloo"), RuntimeError("shapes differ")):
        with pytest.raises(type(error), match=str(error)), parallel.joined():
            raise error
    with pytest.raises(WorkFailed, match="process 1 lost the others"), parallel.joined():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer")


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "encoder-decoder", "lstm"])
@pytest.mark.parametrize("classes", [0, 2])
def test_a_row_without_targets_gives_every_parameter_a_gradient_of_zero(
    architecture: str, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a sum over the processes would wait for it for ever."""
    if classes and architecture not in ("encoder", "lstm"):
        return
    model = build(architecture, replace(MODEL, num_classes=classes), seed=0)
    batch = next(stream(architecture, None)).rows(0, 99)
    if classes:
        batch = Batch(batch.tokens, torch.zeros(1, dtype=torch.long))
    monkeypatch.setattr(parallel, "size", lambda: 2)
    monkeypatch.setattr(parallel, "rank", lambda: 1)
    loss = model.loss(parallel.share(batch))
    loss.backward()
    assert loss.item() == 0.0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_two_processes_write_the_gradient_norms_of_one(home: Path) -> None:
    rows = [
        [row for row in read_metrics(home / f"{n}-probed") if any("probe/" in key for key in row)]
        for n in (1, 2)
    ]
    assert [row["step"] for row in rows[0]] == [2, 4, 6, 8]
    for one, two in zip(*rows, strict=True):
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert two[key] == pytest.approx(value, rel=1e-4), key


def test_a_reducer_is_gone_before_the_group_is_left() -> None:
    """It would be the last to hold the group, and may then wait for good: see `part`."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    wrapped = parallel.replicate(torch.nn.Linear(2, 1))
    assert {"reducer", "logger"} <= vars(wrapped).keys()
    parallel.part()
    assert not torch.distributed.is_initialized()
    assert not {"reducer", "logger"} & vars(wrapped).keys()
