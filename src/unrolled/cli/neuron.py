"""`unrolled neuron`: does one threshold neuron compute this Boolean function?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from unrolled.cli.command import Command
from unrolled.cli.output import print_json
from unrolled.neurons.explain import explain
from unrolled.neurons.network import Network, network
from unrolled.neurons.separate import Inseparable, Separable, separate
from unrolled.neurons.truth_table import TruthTable, looks_like_bits


@dataclass(frozen=True)
class Neuron(Command):
    """Find a threshold neuron for a Boolean function, or prove that there is none.

    The function is an expression of and, or, not, xor (&, |, ~, ^), parentheses, majority(...),
    parity(...) and at_least(k, ...), or its truth table written out, "0110", "*" for don't care.
    """

    name: ClassVar[str] = "neuron"
    example: ClassVar[str] = 'unrolled neuron "x1 xor x2" --network'

    function: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FUNCTION")]
    """Expression or truth table, in quotes."""
    minimal: bool = False
    """Also find whole weights with the least sum of |w|, and prove it."""
    network: bool = False
    """Where one neuron can't, find a two-layer network that can."""
    variables: Annotated[str, tyro.conf.arg(metavar="NAMES")] = ""
    """Order of the inputs, as in "a,b,c"; may name inputs the expression doesn't use."""
    receipt: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the receipt here; `unrolled check` verifies it."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw a function of two or three inputs here (.png or .svg)."""
    json: bool = False
    """Print {"variables", "separable", "receipt"} as JSON."""

    def run(self) -> int:
        """Print the answer and its proof."""
        table = self.table()
        with leaves_shown() as progress:
            answer = separate(table, minimal=self.minimal, progress=progress)
            layers = network(table, answer) if self.network else None
        found: Separable | Inseparable | Network = layers or answer
        receipt = found.receipt()
        if self.plot is not None:
            from unrolled.neurons.draw import draw  # matplotlib is slow to import

            draw(answer, self.plot, self.function if len(self.function) <= 40 else "")
        if self.receipt is not None:
            receipt.save(self.receipt)
        if self.json:
            separable = isinstance(answer, Separable)
            names = list(table.names)
            print_json({"variables": names, "separable": separable, "receipt": receipt.document()})
            return 0
        print(explain(answer))
        if layers is not None:
            print(f"\n{explain(layers)}")
        for path, what in ((self.receipt, "receipt"), (self.plot, "picture")):
            if path is not None:
                print(f"\n{what} written to {path}")
        return 0

    def table(self) -> TruthTable:
        """The function asked for."""
        names = tuple(name.strip() for name in self.variables.split(",") if name.strip())
        if looks_like_bits(self.function):
            return TruthTable(self.function, names)
        return TruthTable.parse(self.function, names)


@contextmanager
def leaves_shown() -> Iterator[Callable[[int], object]]:
    """A count of the search's leaves on standard error, if that is a terminal."""
    from rich.console import Console

    with Console(stderr=True).status("deciding") as status:
        yield lambda leaves: status.update(f"proving the minimum: {leaves:,} leaves")
