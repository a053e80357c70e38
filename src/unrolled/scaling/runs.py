"""What does a law get fitted to? Runs: parameters, tokens, loss, from a table with a header.

Columns are found by their names, which can be mapped; what no law could be fitted to is refused
with the row it stands in.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import BadInput

Array = NDArray[np.float64]
COLUMNS = ("parameters", "tokens", "loss")
SHIPPED = {
    "shipped": Path(__file__).with_name("shipped.csv"),
    "shipped-curves": Path(__file__).with_name("shipped-curves.csv"),
}
"""Tables that come with the package: a sweep of small decoders (docs/scaling.md)."""
OPTIONAL = ("unique_tokens", "embedding_parameters", "run")


@dataclass(frozen=True)
class Runs:
    """Runs that a law is fitted to; every array has shape (runs,)."""

    parameters: Array
    """N, as counted by whoever made the table."""
    tokens: Array
    """D, seen in training, repetitions included."""
    loss: Array
    """Held-out loss a token, in nats."""
    unique_tokens: Array | None = None
    """Different tokens among D; none: all of them."""
    embedding_parameters: Array | None = None
    """Those of N that stand in the embedding."""
    names: tuple[str, ...] = field(default=())
    """What each run is called; rows of one name are points of one training curve."""

    def __post_init__(self) -> None:
        """Refuse what no law can be fitted to. Raises `BadInput` naming the row."""
        for name in ("parameters", "tokens", "loss", "unique_tokens"):
            values = getattr(self, name)
            if values is None:
                continue
            object.__setattr__(self, name, np.asarray(values, dtype=float))
            for row, value in enumerate(getattr(self, name), 1):
                if not (math.isfinite(value) and value > 0):
                    raise BadInput(f"run {row}: {name} is {value:g}; it has to be above 0")
        if not len(self.parameters) == len(self.tokens) == len(self.loss):
            raise BadInput(
                f"{len(self.parameters)} parameters, {len(self.tokens)} tokens and "
                f"{len(self.loss)} losses: give one of each a run"
            )
        if self.unique_tokens is not None and np.any(self.unique_tokens > self.tokens):
            row = int(np.argmax(self.unique_tokens > self.tokens)) + 1
            raise BadInput(f"run {row} has more unique tokens than tokens")

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def compute(self) -> Array:
        """C = 6 N D, in FLOPs."""
        return 6 * self.parameters * self.tokens

    def column(self, name: str) -> Array:
        """An input of a law by its name."""
        if name == "unique_tokens":
            return self.tokens if self.unique_tokens is None else self.unique_tokens
        values: Array = getattr(self, name)
        return values

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Runs:
        """Some of the runs."""
        index = np.asarray(rows, dtype=np.intp)

        def some(values: Array | None) -> Array | None:
            return None if values is None else values[index]

        names = tuple(self.names[i] for i in index) if self.names else ()
        return Runs(
            self.parameters[index],
            self.tokens[index],
            self.loss[index],
            some(self.unique_tokens),
            some(self.embedding_parameters),
            names,
        )

    def without_embeddings(self) -> Runs:
        """The same runs with N counted as Kaplan et al. 2020 do. Raises `BadInput` if unknown."""
        if self.embedding_parameters is None:
            raise BadInput("the table has no column embedding_parameters to leave out of N")
        rest = self.parameters - self.embedding_parameters
        return Runs(rest, self.tokens, self.loss, self.unique_tokens, None, self.names)


def read_runs(path: str | Path, names: Mapping[str, str] | None = None) -> Runs:
    """Runs from a table of comma-separated values with a header.

    Args:
        path: the table, or "shipped" for the sweep that comes with the package.
        names: for columns that are called otherwise: {"parameters": "n_params"}.

    Raises:
        BadInput: no table, a missing column, another separator, a value that is no positive number.
    """
    path, names = SHIPPED.get(str(path), Path(path)), dict(names or {})
    for name in names:
        if name not in COLUMNS + OPTIONAL:
            raise BadInput(f"{name!r} is none of the columns {', '.join(COLUMNS + OPTIONAL)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path} can't be read as a table: {reason}") from None
    if not rows:
        raise BadInput(f"{path} holds no runs: a header and a row a run are expected")
    check_header(path, table.fieldnames or (), names)
    found = {
        name: numbers(path, rows, names.get(name, name), name == "embedding_parameters")
        for name in (*COLUMNS, *OPTIONAL[:2])
        if names.get(name, name) in rows[0]
    }
    called = names.get("run", "run")
    labels = tuple(row[called] for row in rows) if called in rows[0] else ()
    return Runs(**found, names=labels)


def check_header(path: Path, columns: Sequence[str], names: Mapping[str, str]) -> None:
    """Raise `BadInput` for a header that doubles a column or lacks one, saying what is there."""
    for column in columns:
        if columns.count(column) > 1:
            raise BadInput(
                f"{path} has {columns.count(column)} columns called {column!r}: keep one"
            )
    missing = [n for n in COLUMNS if names.get(n, n) not in columns]
    wanted = [names[n] for n in OPTIONAL if n in names and names[n] not in columns]
    if not missing and not wanted:
        return
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(columns) == 1 and separator in columns[0]:
            raise BadInput(f"{path} separates its columns by {word}: separate them by commas")
    gone = " and ".join([names.get(n, n) for n in missing] + wanted)
    shown = ", ".join(columns[:12])
    raise BadInput(
        f"{path} has no column {gone}; it has {shown}: map a name by --columns, as in "
        "--columns parameters=n_params"
    )


def numbers(path: Path, rows: Sequence[Mapping[str, str | None]], column: str, zero: bool) -> Array:
    """A column's values, all of them positive (or zero, where that makes sense)."""
    values = np.empty(len(rows))
    for i, row in enumerate(rows):
        text = (row[column] or "").strip()
        try:
            values[i] = float(text)
        except ValueError:
            values[i] = math.nan
        if not math.isfinite(values[i]) or values[i] < 0 or (values[i] == 0 and not zero):
            raise BadInput(
                f"{path}, line {i + 2}: {column} is {text or 'empty'!r}; a number above 0 is "
                "expected"
            )
    return values
