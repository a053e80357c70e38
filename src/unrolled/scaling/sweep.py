"""How is a grid of runs trained, a row of a table each, without losing any when it is stopped?

The grid is Hoffmann et al. 2022, section 3.2: for each budget of compute, models of several sizes,
each on as many tokens as the budget pays for. What trains one run is a function of the caller's:
this file knows runs by their name and their row alone. Work is handed out by joblib, whose backends
also reach the machines of a Ray or Dask cluster.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from unrolled.errors import BadInput, WorkFailed
from unrolled.scaling.fit import silent

FORMAT = 1
"""The number in the column `format` of a table this version writes."""
OWN = ("loky", "threading")
"""Backends of joblib itself, on this machine."""
RUNS, CURVES = "runs.csv", "curves.csv"
Row = Mapping[str, int | float | str]


@runtime_checkable
class Planned(Protocol):
    """One run to be trained."""

    @property
    def name(self) -> str:
        """What tells it from the others of its sweep; also the name of its folder."""

    @property
    def recipe(self) -> str:
        """All that the runs of a sweep have in common: only such runs may stand in one table."""


R = TypeVar("R", bound=Planned)
Trained = tuple[Row, Sequence[Row]]
"""The row of a run, and the rows of its curve: tokens and loss on the way."""


def sweep(
    runs: Sequence[R],
    train: Callable[[R, Path], Trained],
    folder: Path,
    *,
    jobs: int = 1,
    backend: str = "loky",
    progress: Callable[[int, int], None] = silent,
) -> list[dict[str, str]]:
    """Train the runs that the folder's table has no row of yet; returns the rows of all of them.

    Args:
        runs: what is to be trained; names are unique.
        train: trains one run, in a folder of its own, and returns its rows. With more than one job
            it is sent to other processes, so it has to be a function they can import.
        folder: holds runs.csv, curves.csv and a folder a run.
        jobs: how many runs are trained at once.
        backend: joblib's: loky (processes), threading, ray, dask.
        progress: told how many runs are done, of how many.

    Stopped at any time, it goes on where it was when it is called again: a row is written as soon
    as its run has ended.

    Raises:
        BadInput: a table of another format, no runs, an unknown or missing backend.
        WorkFailed: some runs failed; the rest have their rows.
    """
    if not runs:
        raise BadInput("there is no run to train: widen the sizes, the budgets or the token limits")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise BadInput("two runs of the sweep have the same name: leave out what is there twice")
    folder.mkdir(parents=True, exist_ok=True)
    done = ended(folder / RUNS, runs[0].recipe)
    waiting = [run for run in runs if run.name not in done]
    ready = len(runs) - len(waiting)
    progress(ready, len(runs))
    failed: list[str] = []
    for run, outcome in trained(waiting, train, folder, jobs, backend):
        if isinstance(outcome, str):
            failed.append(f"{run}: {outcome}")
            continue
        row, curve = outcome
        # The curve first: a run that has its row is never trained again.
        append(folder / CURVES, [{"format": FORMAT, "run": run, **point} for point in curve])
        append(folder / RUNS, [{"format": FORMAT, "run": run, **row, "recipe": runs[0].recipe}])
        ready += 1
        progress(ready, len(runs))
    if failed:
        raise WorkFailed(f"{len(failed)} of {len(runs)} runs failed; the first: {failed[0]}")
    wanted = set(names)
    return [row for row in read_rows(folder / RUNS) if row["run"] in wanted]


def ended(table: Path, recipe: str) -> set[str]:
    """The names of the runs that have a row. Raises `BadInput` for rows of another recipe."""
    rows = read_rows(table)
    for row in rows:
        if row.get("recipe") != recipe:
            raise BadInput(
                f"{table} holds runs made otherwise ({row.get('recipe')}; now {recipe}), which no "
                "law should be fitted to together: choose another folder"
            )
    return {row["run"] for row in rows}


def trained(
    runs: Sequence[R],
    train: Callable[[R, Path], Trained],
    folder: Path,
    jobs: int,
    backend: str,
) -> Iterator[tuple[str, Trained | str]]:
    """Each run's name with its rows, or with the reason why it failed, as they end."""
    if jobs == 1 and backend == "loky":
        for run in runs:
            yield attempt(train, run, folder)
        return
    try:
        import joblib
    except ImportError:
        raise BadInput(
            "more than one run at a time needs joblib: pip install 'unrolled[scaling]'"
        ) from None
    with cluster(backend, jobs):
        if backend in OWN:
            parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
            yield from parallel(joblib.delayed(attempt)(train, run, folder) for run in runs)
            return
        # A cluster's backend gives its answers all at once, so it is asked for a few at a time:
        # rows are then never far behind the runs. Neighbours in a grid cost about the same.
        parallel = joblib.Parallel(n_jobs=jobs, batch_size=1)
        for begin in range(0, len(runs), jobs):
            wave = runs[begin : begin + jobs]
            yield from parallel(joblib.delayed(attempt)(train, run, folder) for run in wave)


def attempt(train: Callable[[R, Path], Trained], run: R, folder: Path) -> tuple[str, Trained | str]:
    """Train one run; a failure is an answer, so that it doesn't take the others with it."""
    try:
        return run.name, train(run, folder / run.name)
    except (WorkFailed, BadInput, OSError, RuntimeError) as error:
        return run.name, f"{type(error).__name__}: {' '.join(str(error).split())}"


def cluster(backend: str, jobs: int) -> Any:
    """The context in which joblib hands out work. Raises `BadInput` for a backend there isn't."""
    import joblib

    if backend in OWN:
        # One thread a worker: small models lose more than they gain by a second one.
        inner = {"inner_max_num_threads": 1} if backend == "loky" else {}
        return joblib.parallel_config(backend=backend, n_jobs=jobs, **inner)
    try:
        if backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        elif backend == "dask":
            import distributed

            # Without an address it is a cluster of this machine's own. The client made last counts.
            address = os.environ.get("DASK_SCHEDULER_ADDRESS")
            distributed.Client(address) if address else distributed.Client(n_workers=jobs)
        else:
            raise BadInput(f"the backend is loky, threading, ray or dask, not {backend!r}")
    except ImportError as error:
        what = "distributed" if backend == "dask" else "'unrolled[cluster]'"
        raise BadInput(f"the backend {backend} needs {error.name}: pip install {what}") from None
    return joblib.parallel_config(backend=backend, n_jobs=jobs)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that `sweep` wrote; none where there is no table yet.

    A last line that was cut short when the machine stopped is left out, and its run trained again.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    if rows and (rows[0].keys() < {"format", "run"} or rows[0].get("format") != str(FORMAT)):
        raise BadInput(
            f"{path} is no table of a sweep in format {FORMAT}: choose another folder for this one"
        )
    return rows


def append(path: Path, rows: Sequence[Row]) -> None:
    """Write rows at the end of a table, on the disk before it returns."""
    if not rows:
        return
    fresh = not path.exists() or not path.stat().st_size
    if not fresh:
        mend(path)
        with path.open(encoding="utf-8") as table:
            columns = next(csv.reader(table))
        if columns != list(rows[0]):
            raise BadInput(
                f"{path} has other columns than this sweep writes: choose another folder"
            )
    with path.open("a", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows(rows)
        table.flush()
        os.fsync(table.fileno())


def mend(path: Path) -> None:
    """Cut off a last line that isn't whole."""
    with path.open("r+b") as table:
        data = table.read()
        table.truncate(data.rfind(b"\n") + 1)
