"""How does an answer reach a terminal, a pipe or a program? As text, JSON, a table, a bar."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


def writes_unicode() -> bool:
    """Whether standard output can take every character."""
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")


def print_json(answer: object) -> None:
    """The answer as JSON on standard output, nothing else there."""
    escaped = not writes_unicode()
    json.dump(answer, sys.stdout, indent=2, ensure_ascii=escaped, allow_nan=False)
    sys.stdout.write("\n")


def show(table: RenderableType) -> None:
    """Print a table as wide as the terminal, and as plain text where there is none."""
    console = Console(soft_wrap=not sys.stdout.isatty())
    with console.capture() as capture:
        console.print(table)
    # Printed as text: a reader that has gone is then the command line's to deal with, not rich's.
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def note(line: str) -> None:
    """A line on standard error, beside the answer."""
    print(line, file=sys.stderr)


@contextlib.contextmanager
def working() -> Iterator[Callable[..., None]]:
    """A moving line on standard error, where that is a terminal: what is being done, how long.

    What it yields is called with what is begun, and where that is known, how much of how much of it
    is done.
    """
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}{task.fields[part]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", part="")

        def tell(words: str, done: int = 0, total: int = 0) -> None:
            bar.update(task, description=words, part=f" {done / total:4.0%}" if total else "")

        yield tell


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error from the first call on, where that is a terminal.

    What it yields is called with how much is done and of how much (0: not known).
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(label, total=None)

    def tell(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total or None)

    try:
        yield tell
    finally:
        bar.stop()
