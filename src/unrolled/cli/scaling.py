"""`unrolled scaling`: fit a law to runs, split a budget by it, draw it; `sweep` trains them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from unrolled.cli.command import Command
from unrolled.cli.output import print_json, progress
from unrolled.cli.scaling_text import (
    describe_allocation,
    describe_fit,
    show_approaches,
    show_sensitivity,
)
from unrolled.cli.sweep import Sweep
from unrolled.errors import BadInput
from unrolled.scaling import (
    PUBLISHED,
    Decoder,
    Fit,
    Published,
    Runs,
    allocate,
    find_law,
    read_runs,
)
from unrolled.scaling import fit as fit_law
from unrolled.scaling.allocate import Allocation
from unrolled.scaling.runs import SHIPPED
from unrolled.scaling.sweep import RUNS


@dataclass(frozen=True)
class Fitting(Command):
    """What `fit`, `allocate` and `plot` have in common: runs, a law, and how it is fitted."""

    law: str = "hoffmann"
    """The law: hoffmann, kaplan-n, kaplan-d, kaplan-c, kaplan-nd, muennighoff, pearce-song."""
    delta: float = 1e-3
    """Where the Huber loss of the log residuals turns from a square into an absolute value."""
    bootstraps: int = 1000
    """Bootstrap samples behind the intervals, at least 40; 0: none."""
    seed: int = 0
    """Of the bootstrap."""
    columns: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=COLUMN ...")] = ()
    """Columns that are called otherwise, as in parameters=n_params loss=val_loss."""
    without_embeddings: bool = False
    """Count N without the column embedding_parameters."""

    def runs(self, path: Path) -> Runs:
        """The table's runs, N counted as asked."""
        names = dict(word.partition("=")[::2] for word in self.columns)
        runs = read_runs(path, names)
        return runs.without_embeddings() if self.without_embeddings else runs

    def fitted(self, path: Path) -> Fit:
        """The law fitted to the table."""
        if self.bootstraps < 0:
            raise BadInput(f"--bootstraps is 0 or more, not {self.bootstraps}")
        with progress("bootstrap") as tell:
            return fit_law(
                find_law(self.law),
                self.runs(path),
                delta=self.delta,
                bootstraps=self.bootstraps,
                seed=self.seed,
                progress=tell,
            )


@dataclass(frozen=True)
class FitLaw(Fitting):
    """Fit a law to a table of runs, and say how far to believe it.

    The table has a header and the columns parameters, tokens, loss; `shipped` is the sweep that
    comes with the package.
    """

    name: ClassVar[str] = "scaling fit"
    example: ClassVar[str] = "unrolled scaling fit runs.csv --law hoffmann --receipt fit.json"

    table: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUNS")] = Path(RUNS)
    """The table of runs (.csv)."""
    flops: Annotated[tuple[float, ...], tyro.conf.arg(metavar="C ...")] = ()
    """Budgets whose allocation is stated too, and proved in the receipt."""
    approaches: bool = False
    """Show Hoffmann's three approaches side by side."""
    curves: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Table of points on the way (curves.csv of a sweep), for the first approach."""
    sensitivity: bool = False
    """Show what other deltas, single runs and the largest runs do to the fit."""
    receipt: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the receipt here; `unrolled check` verifies it."""
    json: bool = False
    """Print {"parameters", "intervals", "objective", "starts", ...} as JSON."""

    def run(self) -> int:
        """Print the fit."""
        if (self.approaches or self.sensitivity) and self.law != "hoffmann":
            raise BadInput("--approaches and --sensitivity are for the law hoffmann")
        if self.approaches and not self.bootstraps:
            raise BadInput("--approaches needs bootstrap samples: leave out --bootstraps 0")
        found = self.fitted(self.table)
        answers = [allocate(found, budget) for budget in self.flops]
        receipt = found.receipt(self.flops) if self.receipt is not None else None
        if receipt is not None and self.receipt is not None:
            receipt.save(self.receipt)
        if self.json:
            print_json(self.document(found, answers))
            return 0
        describe_fit(found)
        for answer in answers:
            print()
            describe_allocation(answer)
        if self.approaches:
            show_approaches(found, None if self.curves is None else read_runs(self.curves))
        if self.sensitivity:
            show_sensitivity(found)
        if receipt is not None:
            print(f"\nProved: {receipt.claim}\n\nreceipt written to {self.receipt}")
        return 0

    def document(self, found: Fit, answers: list[Allocation]) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "law": found.law.name,
            "delta": found.delta,
            "runs": len(found.runs),
            "parameters": found.parameters,
            "intervals": found.intervals() if self.bootstraps else {},
            "objective": found.objective,
            "starts": found.starts,
            "reached": found.reached,
            "allocation": [asdict(answer) for answer in answers],
        }


@dataclass(frozen=True)
class Allocate(Fitting):
    """Say how large a model to train on how many tokens for a budget of compute.

    By a fit to a table of runs, or by constants that have been published: hoffmann, besiroglu,
    muennighoff, kaplan-nd, pearce-song.
    """

    name: ClassVar[str] = "scaling allocate"
    example: ClassVar[str] = "unrolled scaling allocate besiroglu 5.76e23"

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUNS|NAME")] = ""
    """A table of runs (.csv), or the name of published constants."""
    budget: Annotated[float, tyro.conf.Positional, tyro.conf.arg(metavar="FLOPS")] = 0.0
    """FLOPs of the whole training."""
    parameters: float | None = None
    """N, where it is given: by what inference may cost."""
    tokens: float | None = None
    """D, where it is given: by what data there is."""
    unique_tokens: float | None = None
    """Different tokens there are, for the law muennighoff."""
    exact: bool = False
    """Count FLOPs exactly (attention, head, embedding), by the three options below."""
    vocab_size: int = 1024
    """Size of the vocabulary."""
    row_length: int = 128
    """Positions of a row."""
    aspect_ratio: float = 32.0
    """Width over number of layers."""
    json: bool = False
    """Print the answer as JSON."""

    def run(self) -> int:
        """Print the answer."""
        if self.vocab_size < 1 or self.row_length < 1 or not self.aspect_ratio > 0:
            raise BadInput("--vocab-size, --row-length and --aspect-ratio have to be positive")
        shape = Decoder(self.vocab_size, self.row_length, self.aspect_ratio)
        answer = allocate(
            self.constants(),
            self.budget,
            parameters=self.parameters,
            tokens=self.tokens,
            unique_tokens=self.unique_tokens,
            cost=shape if self.exact else None,
        )
        if self.json:
            print_json({**asdict(answer), "tokens_per_parameter": answer.tokens_per_parameter})
            return 0
        describe_allocation(answer)
        return 0

    def constants(self) -> Fit | Published:
        """A fit to the table, or what has been published."""
        if self.source in PUBLISHED:
            return PUBLISHED[self.source]
        if not Path(self.source).suffix and self.source not in SHIPPED:
            raise BadInput(
                f"expected a table of runs (.csv) or one of {', '.join(PUBLISHED)}; got "
                f"{self.source!r}"
            )
        return self.fitted(Path(self.source))


@dataclass(frozen=True)
class Plot(Fitting):
    """Draw runs with their fitted law: loss against compute, isoFLOP curves, residuals."""

    name: ClassVar[str] = "scaling plot"
    example: ClassVar[str] = "unrolled scaling plot runs.csv --out scaling.svg --kind loss"

    table: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUNS")] = Path(RUNS)
    """The table of runs (.csv)."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("scaling.svg")
    """The picture (.png or .svg)."""
    kind: Literal["loss", "isoflop", "residuals", "all"] = "all"
    """What to draw."""
    json: bool = False
    """Print {"picture", "parameters"} as JSON."""

    def run(self) -> int:
        """Draw."""
        from unrolled.scaling.draw import draw  # matplotlib is slow to import

        found = self.fitted(self.table)
        draw(found, self.out, self.kind)
        if self.json:
            print_json({"picture": str(self.out), "parameters": found.parameters})
        else:
            print(f"picture written to {self.out}")
        return 0


WAYS: dict[str, type[Command]] = {
    "sweep": Sweep,
    "fit": FitLaw,
    "allocate": Allocate,
    "plot": Plot,
}


@dataclass(frozen=True)
class Scaling(Command):
    """Scaling laws: train a sweep, fit a law to it, split a budget by it, draw it."""

    name: ClassVar[str] = "scaling"
    example: ClassVar[str] = FitLaw.example

    @classmethod
    def main(cls, arguments: Sequence[str]) -> int:
        """The first word says what to do."""
        if not arguments or arguments[0] in ("-h", "--help"):
            rows = [
                f"  {word:<9} {(way.__doc__ or '').splitlines()[0]}" for word, way in WAYS.items()
            ]
            text = "usage: unrolled scaling {sweep,fit,allocate,plot} [options]\n\n" + "\n".join(
                rows
            )
            print(f"{text}\n\nExample: {cls.example}", file=sys.stdout if arguments else sys.stderr)
            return 0 if arguments else 2
        word = arguments[0]
        if word not in WAYS:
            close = difflib.get_close_matches(word, WAYS, n=1)
            raise BadInput(
                f"{word!r} is none of {', '.join(WAYS)}"
                + (f": did you mean {close[0]}?" if close else "")
            )
        return WAYS[word].main(arguments[1:])
