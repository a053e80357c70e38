"""`unrolled automaton`: which LSTM follows this automaton?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from unrolled.automata import DFA, Compiled, compile, from_regex, named, parity
from unrolled.automata.explain import explain, table
from unrolled.cli.command import Command
from unrolled.cli.output import print_json, working
from unrolled.errors import BadInput


@dataclass(frozen=True)
class Automaton(Command):
    """Compile a finite automaton to the gates of an LSTM, with a proof for strings of any length.

    The automaton is a named one (parity, mod-K, contains-STRING, balanced-K), a regular expression,
    or a transition table. `parity` is the problem of the set: one unit, whose C_t is the parity.
    """

    name: ClassVar[str] = "automaton"
    example: ClassVar[str] = "unrolled automaton parity --string 010110"

    which: Annotated[str, tyro.conf.Positional, tyro.conf.arg(name="NAME", metavar="NAME")] = ""
    """Parity, mod-3, contains-0110, balanced-4, ..."""
    regex: Annotated[str | None, tyro.conf.arg(metavar="R")] = None
    """A regular expression: | * + ? ( ) & . {2,3}."""
    alphabet: Annotated[str, tyro.conf.arg(metavar="LETTERS")] = ""
    """The letters of the expression's alphabet; those it holds unless given."""
    table: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A transition table: .json, or .csv with the header state,accepting,SYMBOL,..."""
    gates: Literal["hard", "soft"] = "hard"
    """Hard thresholds, or the real sigmoid and tanh."""
    sharpness: int | None = None
    """What soft gates multiply the weights by; as much as is needed unless given."""
    fewest: bool = False
    """Search for codes of about log2(states) units, in hard gates."""
    string: Annotated[str | None, tyro.conf.arg(metavar="S")] = None
    """Show the gates at each symbol; symbols of several characters are separated by spaces."""
    receipt: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the receipt here; `unrolled check` verifies it."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw the automaton beside the gates over time here (.png or .svg)."""
    export: Annotated[tuple[Literal["torch"], Path] | None, tyro.conf.arg(metavar="torch FILE")] = (
        None
    )
    """Write soft gates for torch.nn.LSTM, as safetensors."""
    json: bool = False
    """Print {"construction", "hidden_size", "accepted", "receipt"} as JSON."""

    def run(self) -> int:
        """Print the weights, the gates on the string, and what is proved."""
        with working() as tell:
            tell("reading the automaton")
            dfa = self.automaton()
            symbols = self.symbols(dfa)
            answer = self.answer(dfa, tell)
            lines = "" if symbols is None else table(answer, symbols)
            what = f"proving {len(dfa.states) * len(dfa.alphabet):,} transitions"
            tell(what)
            receipt = answer.receipt(lambda done, total: tell(what, done, total))
        if self.plot is not None:
            from unrolled.automata.draw import draw  # matplotlib is slow to import

            draw(answer, self.plot, symbols or ())
        if self.export is not None:
            answer.export_torch(self.export[1])
        if self.receipt is not None:
            receipt.save(self.receipt)
        if self.json:
            accepted = None if symbols is None else answer.accepts(symbols)
            found = {"construction": answer.construction, "hidden_size": answer.lstm.hidden_size}
            print_json({**found, "accepted": accepted, "receipt": receipt.document()})
            return 0
        print(explain(answer))
        if lines:
            print(f"\n{lines}")
        print(f"\nProved: {receipt.claim}")
        files = (self.receipt, "receipt"), (self.plot, "picture")
        for path, what in (*files, (self.export and self.export[1], "weights")):
            if path is not None:
                print(f"\n{what} written to {path}")
        return 0

    def answer(self, dfa: DFA, tell: Callable[..., object]) -> Compiled:
        """What was asked for, compiled."""
        if self.fewest:
            from unrolled.automata.fewest import fewest

            if self.gates == "soft" or self.sharpness is not None:
                raise BadInput("--fewest is for hard gates; leave out --gates soft and --sharpness")
            return fewest(dfa, progress=tell)
        if self.which == "parity" and self.sharpness is None:
            return parity(self.gates)
        what = f"compiling {len(dfa.states):,} states"
        return compile(
            dfa,
            self.gates,
            sharpness=self.sharpness,
            progress=lambda done, total: tell(what, done, total),
        )

    def automaton(self) -> DFA:
        """The automaton asked for, in one of the three ways."""
        ways = [self.which or None, self.regex, self.table]
        if sum(way is not None for way in ways) != 1:
            raise BadInput(
                "give one automaton: a name such as parity, or --regex R, or --table FILE"
            )
        if self.alphabet and self.regex is None:
            raise BadInput("--alphabet is for the letters of --regex; leave it out")
        if self.regex is not None:
            return from_regex(self.regex, self.alphabet)
        return DFA.load(self.table) if self.table is not None else named(self.which)

    def symbols(self, dfa: DFA) -> list[str] | None:
        """The string's symbols, all of them in the alphabet."""
        if self.string is None:
            return None
        single = all(len(symbol) == 1 for symbol in dfa.alphabet)
        found = list(self.string) if single else self.string.split()
        dfa.encode(found)
        return found
