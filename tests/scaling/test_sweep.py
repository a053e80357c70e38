"""Is every run of a grid trained once, its row kept whatever happens, in whatever order?"""

from __future__ import annotations

import csv
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from unrolled.errors import BadInput, WorkFailed
from unrolled.scaling import read_runs
from unrolled.scaling.sweep import CURVES, RUNS, read_rows, sweep


@dataclass(frozen=True)
class Planned:
    name: str
    recipe: str = "plain"


RUNS_OF_SIX = [Planned(f"run{i}") for i in range(6)]


def train(run, folder):
    """Leaves a mark of how often it was called."""
    folder.mkdir(parents=True, exist_ok=True)
    marks = folder / "marks"
    marks.write_text((marks.read_text() if marks.exists() else "") + "x")
    i = int(run.name[3:])
    row = {"parameters": 10 * (i + 1), "tokens": 100 * (i + 1), "loss": 5.0 - i / 10}
    return row, [{"tokens": t, "loss": 6.0 - t / 100} for t in (10, 20)]


def train_badly(run, folder):
    if run.name == "run2":
        raise WorkFailed("it\ndiverged")
    return train(run, folder)


def interrupted_at(name):
    def work(run, folder):
        if run.name == name:
            raise KeyboardInterrupt
        return train(run, folder)

    return work


def test_every_run_has_a_row_a_curve_and_is_trained_once(tmp_path):
    told = []
    rows = sweep(RUNS_OF_SIX, train, tmp_path, progress=lambda done, of: told.append((done, of)))
    assert [row["run"] for row in rows] == [f"run{i}" for i in range(6)]
    assert told == [(i, 6) for i in range(7)]
    again = sweep(RUNS_OF_SIX, train, tmp_path)
    assert again == rows
    assert all((tmp_path / f"run{i}/marks").read_text() == "x" for i in range(6))
    with (tmp_path / CURVES).open() as table:
        assert len(list(csv.DictReader(table))) == 12
    runs = read_runs(tmp_path / RUNS)
    assert runs.loss.tolist() == [5.0 - i / 10 for i in range(6)]
    assert {row["format"] for row in rows} == {"1"}


def test_interrupted_it_goes_on_where_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sweep(RUNS_OF_SIX, interrupted_at("run3"), tmp_path)
    assert [row["run"] for row in read_rows(tmp_path / RUNS)] == ["run0", "run1", "run2"]
    sweep(RUNS_OF_SIX, train, tmp_path)
    assert all((tmp_path / f"run{i}/marks").read_text() == "x" for i in range(6))


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_row_that_was_cut_short_is_trained_again(tmp_path, cut):
    rows = sweep(RUNS_OF_SIX, train, tmp_path)
    table = tmp_path / RUNS
    table.write_bytes(table.read_bytes()[:-cut])
    assert len(read_rows(table)) == 5
    assert sweep(RUNS_OF_SIX, train, tmp_path) == rows
    assert (tmp_path / "run5/marks").read_text() == "xx"


def test_a_run_that_fails_leaves_the_others_their_rows(tmp_path):
    reason = "1 of 6 runs failed; the first: run2: WorkFailed: it diverged"
    with pytest.raises(WorkFailed, match=reason):
        sweep(RUNS_OF_SIX, train_badly, tmp_path)
    assert len(read_rows(tmp_path / RUNS)) == 5
    assert len(sweep(RUNS_OF_SIX, train, tmp_path)) == 6


def test_more_runs_can_be_added_later(tmp_path):
    sweep(RUNS_OF_SIX[:2], train, tmp_path)
    assert len(sweep(RUNS_OF_SIX, train, tmp_path)) == 6
    assert (tmp_path / "run0/marks").read_text() == "x"


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_two_at_once_give_the_same_rows(tmp_path, backend):
    one = sweep(RUNS_OF_SIX, train, tmp_path / "one")
    two = sweep(RUNS_OF_SIX, train, tmp_path / "two", jobs=2, backend=backend)
    assert sorted(two, key=lambda row: row["run"]) == one


def test_two_at_once_without_joblib_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(BadInput, match=r"needs joblib: pip install 'unrolled\[scaling\]'"):
        sweep(RUNS_OF_SIX, train, tmp_path, jobs=2)
    assert len(sweep(RUNS_OF_SIX, train, tmp_path)) == 6


def test_a_local_ray_gives_the_same_rows(tmp_path):
    if importlib.util.find_spec("ray") is None:
        with pytest.raises(BadInput, match=r"needs ray: pip install 'unrolled\[cluster\]'"):
            sweep(RUNS_OF_SIX, train, tmp_path, jobs=2, backend="ray")
        return
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    try:
        one = sweep(RUNS_OF_SIX, train, tmp_path / "one")
        two = sweep(RUNS_OF_SIX, train, tmp_path / "two", jobs=2, backend="ray")
    finally:
        ray.shutdown()
    assert sorted(two, key=lambda row: row["run"]) == one


def test_runs_of_two_recipes_are_kept_apart(tmp_path):
    sweep(RUNS_OF_SIX[:2], train, tmp_path)
    with pytest.raises(BadInput, match=r"holds runs made otherwise \(plain; now other\)"):
        sweep([Planned("run7", "other")], train, tmp_path)


def test_what_is_no_table_of_a_sweep_is_left_alone(tmp_path):
    table = tmp_path / RUNS
    for text in ("a,b\n1,2\n", "format,run,recipe\n2,run0,plain\n"):
        table.write_text(text)
        with pytest.raises(BadInput, match="no table of a sweep in format 1"):
            sweep(RUNS_OF_SIX, train, tmp_path)
        assert table.read_text() == text
    table.write_text("format,run,recipe\n1,run9,plain\n")
    with pytest.raises(BadInput, match="other columns than this sweep writes"):
        sweep(RUNS_OF_SIX, train, tmp_path)


@pytest.mark.parametrize(
    ("runs", "options", "reason"),
    [
        ([], {}, "no run to train"),
        ([Planned("a"), Planned("a")], {}, "the same name"),
        (RUNS_OF_SIX, {"backend": "slurm"}, "the backend is loky, threading, ray or dask"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(tmp_path, runs, options, reason):
    with pytest.raises(BadInput, match=reason):
        sweep(runs, train, Path(tmp_path), **options)
