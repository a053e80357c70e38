"""`unrolled recurrence`: does h_t = W^T h_{t-1} vanish, explode or stay?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from unrolled.cli.command import Command
from unrolled.cli.output import print_json
from unrolled.errors import BadInput, WorkFailed
from unrolled.recurrences import Matrix, State, Verdict, power, verdict
from unrolled.recurrences.explain import explain, explain_sparse, explain_state
from unrolled.recurrences.files import from_json, is_sparse, read, read_sparse
from unrolled.recurrences.matrix import vector
from unrolled.recurrences.power import check_steps
from unrolled.recurrences.sparse import sparse_radius
from unrolled.recurrences.verdict import Part, parts


@dataclass(frozen=True)
class Recurrence(Command):
    """Say what h_t = W^T h_{t-1} does as t grows, how fast, and prove it.

    W is a .npy, .csv or .json file, or the matrix itself. Entries are numbers, exact fractions as
    text ("1/3"), or [real part, imaginary part]. Of a large sparse matrix, in a .npz (scipy.sparse)
    or .mtx file, the spectral radius is bounded.
    """

    name: ClassVar[str] = "recurrence"
    example: ClassVar[str] = 'unrolled recurrence "[[0.9, 1], [0, 0.9]]" --h0 "[1, 0]" --steps 100'

    matrix: Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="W", metavar="W")]
    """File, or "[[...], ...]"."""
    h0: Annotated[str, tyro.conf.arg(metavar="LIST")] = ""
    """State at step 0, "[1, 0]", entries as W has them; then h_t is computed too."""
    steps: int = 100
    """Steps t of --h0, up to 10^15."""
    receipt: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the receipt here; `unrolled check` verifies it."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw eigenvalues and growth here (.png or .svg)."""
    json: bool = False
    """Print {"behaviour", "degree", "radius", "rate", "steps_to_halve_or_double", "eigenvalues",
    "transient", "state", "receipt"} as JSON."""

    def run(self) -> int:
        """Print the answer, and what was asked for with it."""
        if is_sparse(self.matrix):
            return self.bound()
        matrix = read(self.matrix)
        start = vector(from_json(self.h0, "--h0"), "--h0") if self.h0 else None
        check_steps(self.steps)
        state = None if start is None else power(matrix, start, self.steps)
        answer = verdict(matrix)
        if self.plot is not None:
            from unrolled.recurrences.draw import draw  # matplotlib is slow to import

            draw(answer, self.plot, h0=start, steps=min(max(self.steps, 1), 1000))
        if self.receipt is not None:
            answer.receipt().save(self.receipt)
        if self.json:
            print_json(self.document(answer, state))
            return 0
        print(explain(answer))
        if state is not None:
            print(f"\n{explain_state(state, self.steps, split(matrix, start))}")
        for path, what in ((self.receipt, "receipt"), (self.plot, "picture")):
            if path is not None:
                print(f"\n{what} written to {path}")
        return 0

    def bound(self) -> int:
        """Print the bounds of a sparse matrix's spectral radius."""
        if self.h0 or self.receipt is not None or self.plot is not None:
            raise BadInput("--h0, --receipt and --plot are for dense matrices: .npy, .csv or .json")
        found = sparse_radius(read_sparse(self.matrix))
        if self.json:
            print_json(asdict(found))
        else:
            print(explain_sparse(found))
        return 0

    def document(self, answer: Verdict, state: State | None) -> dict[str, object]:
        """The answer as JSON."""
        try:
            receipt = answer.receipt().document()
        except WorkFailed:
            receipt = None
        shown = None
        if state is not None:
            h = state.direction.tolist()
            direction = [[x.real, x.imag] if isinstance(x, complex) else x for x in h]
            shown = {"log_norm": state.log_norm if any(h) else None, "direction": direction}
        return {
            "behaviour": answer.behaviour,
            "degree": answer.degree,
            "radius": [answer.spectrum.low, answer.spectrum.high],
            "rate": answer.rate,
            "steps_to_halve_or_double": finite(answer.steps_to_halve_or_double),
            "eigenvalues": [[z.real, z.imag] for z in answer.spectrum.eigenvalues.tolist()],
            "transient": {name: finite(x) for name, x in asdict(answer.transient).items()},
            "state": shown,
            "receipt": receipt,
        }


def finite(x: float | None) -> float | None:
    """JSON has no infinity: null stands for it, and for what isn't there."""
    return x if x is not None and math.isfinite(x) else None


def split(matrix: Matrix, start: list[float | complex] | None) -> Part | None:
    """How h_0 lies to W's directions, where W has a basis of them."""
    try:
        return None if start is None else parts(matrix, start)
    except WorkFailed:
        return None
