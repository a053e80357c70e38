"""Finite automata and regular expressions compiled to the gates of an LSTM, with a proof."""

from unrolled.automata.compiled import Compiled
from unrolled.automata.compiler import compile
from unrolled.automata.dfa import DFA, named
from unrolled.automata.extract import extract
from unrolled.automata.fewest import fewest
from unrolled.automata.language import complement, difference, from_regex, intersection
from unrolled.automata.learn import learn
from unrolled.automata.lstm import LSTM, Matrix
from unrolled.automata.parity import parity

__all__ = [
    "DFA",
    "LSTM",
    "Compiled",
    "Matrix",
    "compile",
    "complement",
    "difference",
    "extract",
    "fewest",
    "from_regex",
    "intersection",
    "learn",
    "named",
    "parity",
]
