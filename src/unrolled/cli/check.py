"""`unrolled check`: do these receipts hold?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from unrolled.cli.command import Command
from unrolled.cli.output import note, print_json
from unrolled.errors import BadInput
from unrolled.receipts import check


@dataclass(frozen=True)
class Check(Command):
    """Verify receipts again, without trusting what made them.

    Exits 0 if all hold, 1 if one is refuted, 2 if one can't be read as a receipt. The checker is
    one file of the standard library, receipts/check.py, and also runs alone. --model asks a run's
    model again for every log-probability in the receipt of a search.
    """

    name: ClassVar[str] = "check"
    example: ClassVar[str] = "unrolled check xor.json"

    files: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """One or more receipts."""
    large: bool = False
    """Read files of up to 512 MiB; one made to do harm may then take long."""
    model: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Also re-score answer and trace with this run, and name the first number that differs."""
    weights: Annotated[str | None, tyro.conf.arg(metavar="FORMAT")] = None
    """With --model: the format of its weights, float32, bfloat16, int8 or int4; if not given, the
    one that the receipt names. In another than float32, float32 is asked as well."""
    json: bool = False
    """Print a JSON list of {"file", "status", "text"}."""

    def run(self) -> int:
        """Print a verdict for each file."""
        if not self.files:
            raise BadInput("no file given; try `unrolled check xor.json`")
        if self.weights is not None and self.model is None:
            raise BadInput("--weights is for --model RUN, whose weights they are")
        if self.model is None and not self.json:
            return check.main(["--large", *self.files] if self.large else self.files)
        if self.model is None:
            verdicts = [check.check_file(file, self.large) for file in self.files]
        else:
            from unrolled.tasks.rescoring import rescorer  # without a model, no torch is needed

            asked = rescorer(self.model, large=self.large, weights=self.weights, tell=note)
            verdicts = list(map(asked, self.files))
        if self.json:
            print_json([verdict._asdict() for verdict in verdicts])
        else:
            for verdict in verdicts:
                print(f"{verdict.status}: {verdict.file}: {verdict.text}")
        return max(verdict.exit_code for verdict in verdicts)
