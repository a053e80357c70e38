"""`unrolled scaling sweep`: which runs does a grid of sizes and budgets ask for? Train them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from unrolled.cli.command import Command
from unrolled.cli.output import print_json
from unrolled.errors import BadInput
from unrolled.scaling import sweep
from unrolled.scaling.sweep import RUNS
from unrolled.tasks.sweeping import Recipe, grid, train_sized


@dataclass(frozen=True)
class Sweep(Command):
    """Train decoders of several sizes on several budgets of compute; a row each in OUT/runs.csv.

    Each size gets the tokens D = C / 6 N of each budget C. Stopped, it goes on where it was when
    the same command is given again; with more sizes or budgets it trains those that are missing.
    """

    name: ClassVar[str] = "scaling sweep"
    example: ClassVar[str] = (
        "unrolled scaling sweep runs/sweep --sizes 16x2 32x3 64x4 --flops 2.5e11 5e11 1e12"
    )

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder of the sweep."""
    sizes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="HxL ...")] = (
        *("16x2", "32x1", "32x3", "48x3", "64x4", "96x4", "128x4"),
    )
    """Widths and numbers of layers."""
    flops: Annotated[tuple[float, ...], tyro.conf.arg(metavar="C ...")] = (
        *(2.5e11, 5e11, 1e12, 2e12, 4e12),
    )
    """Budgets of compute, in FLOPs, 6 N D with N the embedding included."""
    min_tokens: float = 1.5e5
    """Pairs of size and budget that call for fewer tokens are left out."""
    max_tokens: float = 1.2e7
    """Those that call for more, too."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    jobs: int = 1
    """Runs trained at once."""
    backend: str = "loky"
    """What joblib hands the runs out by: loky (processes), threading, ray or dask."""
    json: bool = False
    """Print {"table", "runs"} as JSON."""

    def run(self) -> int:
        """Train what is missing, and say what to do with the table."""
        if self.jobs < 1:
            raise BadInput(f"--jobs is 1 or more, not {self.jobs}")
        limits = {"min_tokens": self.min_tokens, "max_tokens": self.max_tokens}
        runs = grid([size(word) for word in self.sizes], self.flops, self.recipe, **limits)

        def tell(done: int, total: int) -> None:
            print(f"{done} of {total} runs are trained", file=sys.stderr)

        rows = sweep(
            runs, train_sized, self.out, jobs=self.jobs, backend=self.backend, progress=tell
        )
        table = self.out / RUNS
        if self.json:
            print_json({"table": str(table), "runs": rows})
            return 0
        print(f"{table}: {len(rows)} runs\n\nnext: unrolled scaling fit {table}")
        return 0


def size(word: str) -> tuple[int, int]:
    """Width and layers of "64x4"."""
    width, _, layers = word.partition("x")
    if not (width.isdigit() and layers.isdigit() and int(width) and int(layers)):
        raise BadInput(f"a size is width x layers, as 64x4, not {word!r}")
    return int(width), int(layers)
