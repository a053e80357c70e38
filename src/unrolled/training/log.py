"""What does a run leave to read? metrics.jsonl, TensorBoard events, lines on the terminal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from unrolled.errors import BadInput, WorkFailed
from unrolled.models.store import writing

FORMAT = 1
METRICS = "metrics.jsonl"
EVENTS = "tensorboard"


class RunLog:
    """Writes each measurement to the run folder and shows it; use as a context manager.

    The bar is drawn only on a terminal; the lines come in any case, on standard error.
    """

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import: only where it is used

        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.folder = folder
        with writing(folder):
            self.events = SummaryWriter(str(folder / EVENTS))
            self.file = (folder / METRICS).open("a", encoding="utf-8")
        if self.file.tell() == 0:
            self._append({"format": FORMAT})
        self.bar = Progress(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> RunLog:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()
        try:
            with writing(self.folder):
                self.events.close()
                self.file.close()
        except WorkFailed:
            # A full disk is said once, by whatever met it first.
            if error is None:
                raise

    def advance(self, step: int, max_steps: int, shown: str) -> None:
        """Move the bar."""
        if self.task is None:
            self.task = self.bar.add_task("train", total=max_steps, shown=shown)
        self.bar.update(self.task, completed=step, total=max_steps, shown=shown)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers of a step."""
        self._append({"step": step, **values})
        with writing(self.folder / EVENTS):
            for name, value in values.items():
                self.events.add_scalar(name, value, step)

    def length(self) -> int:
        """Bytes of metrics.jsonl so far."""
        return self.file.tell()

    def cut(self, length: int, step: int) -> None:
        """Forget what was recorded after a checkpoint, of `length` bytes, at `step`.

        TensorBoard's files can't be cut: a marker tells it to hide what comes after `step`.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.file.truncate(length)
        self.file.seek(length)
        if length == 0:
            self._append({"format": FORMAT})
        self.events.close()
        self.events = SummaryWriter(str(self.folder / EVENTS), purge_step=step + 1)

    def say(self, text: str) -> None:
        """A line for the person who watches."""
        self.console.print(text, markup=False)

    def _append(self, row: Mapping[str, Any]) -> None:
        with writing(self.folder / METRICS):
            self.file.write(json.dumps(row) + os.linesep)
            self.file.flush()


class NoLog(RunLog):
    """The log of a process that is not the first: the first one writes for all."""

    def __init__(self) -> None:
        pass

    def __enter__(self) -> NoLog:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, step: int, max_steps: int, shown: str) -> None:
        """Draw nothing."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record nothing."""

    def length(self) -> int:
        """No byte."""
        return 0

    def cut(self, length: int, step: int) -> None:
        """Forget nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.jsonl, in order.

    Raises `BadInput` if there is none, or if a later version wrote it. A last line cut short by a
    killed process is left out.
    """
    path = folder / METRICS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error}") from None
    rows: list[dict[str, float]] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise BadInput(f"{path}, line {number} is no JSON") from None
    if not rows or rows[0].get("format") not in range(1, FORMAT + 1):
        raise BadInput(f"{path} is not of a format this version reads (1 to {FORMAT})")
    return rows[1:]


class Clock:
    """Seconds of training: runs only while it is let run, and can be set forward."""

    def __init__(self) -> None:
        self.before = 0.0
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.before + time.monotonic() - self.start


def in_words(seconds: float) -> str:
    """A duration as 1:02:03 or 2:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
