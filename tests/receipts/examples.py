"""Receipts that hold, written out by hand, and small tools to forge them."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path

from unrolled.receipts import check

CHECKER = Path(check.__file__)

AND = {
    "receipt": 1,
    "kind": "neuron.separable",
    "claim": "One threshold neuron computes this truth table of 2 inputs.",
    "given": {"inputs": 2, "table": "0001"},
    "answer": {"weights": [1, 1], "bias": -2},
    "evidence": {},
}
LEAST = {
    **AND,
    "claim": "One threshold neuron computes this truth table of 2 inputs, and none with integer "
    "weights of a smaller sum of |w| than 2 does.",
    "evidence": {"minimal": [{"true": {"3": "2"}, "false": {"1": "1", "2": "1"}}]},
}
XOR = {
    "receipt": 1,
    "kind": "neuron.inseparable",
    "claim": "No threshold neuron computes this truth table of 2 inputs.",
    "given": {"inputs": 2, "table": "0110"},
    "answer": {},
    "evidence": {"true": {"1": 1, "2": 1}, "false": {"0": 1, "3": 1}},
}
NET = {
    "receipt": 1,
    "kind": "neuron.network",
    "claim": "A network of 2 hidden threshold neurons and one on top computes this truth table of "
    "2 inputs, and no network with fewer hidden neurons does.",
    "given": {"inputs": 2, "table": "0110"},
    "answer": {
        "hidden": [{"weights": [1, 1], "bias": -1}, {"weights": [-1, -1], "bias": 1}],
        "output": {"weights": [1, 1], "bias": -2},
    },
    "evidence": {"fewest": XOR["evidence"]},
}
PARITY = {
    "receipt": 1,
    "kind": "neuron.network",
    "claim": "A network of 3 hidden threshold neurons and one on top computes this truth table of "
    "3 inputs, and no network with fewer hidden neurons does.",
    "given": {"inputs": 3, "table": "01101001"},
    "answer": {
        "hidden": [{"weights": [1, 1, 1], "bias": -k} for k in (1, 2, 3)],
        "output": {"weights": [1, -1, 1], "bias": -1},
    },
    "evidence": {
        "fewest": {
            "and": [[0, 1, 2], [3, 7, 1], [5, 4, 1]],
            "or": [[1, 0, 3], [2, 6, 0], [4, 5, 0]],
        }
    },
}
LSTM_PARITY = {
    "receipt": 1,
    "kind": "automaton.lstm",
    "claim": "This LSTM of 1 hidden unit with hard gates accepts exactly those strings, of any "
    "length, that this automaton of 2 states accepts.",
    "given": {
        "alphabet": ["0", "1"],
        "states": ["even", "odd"],
        "start": "even",
        "accepting": ["odd"],
        "transitions": {"even": {"0": "even", "1": "odd"}, "odd": {"0": "odd", "1": "even"}},
    },
    "answer": {
        "gates": "hard",
        "W_f": {"shape": [1, 2], "entries": [[0, 1, -2]]},
        "W_i": {"shape": [1, 2], "entries": [[0, 0, -2], [0, 1, 2]]},
        "W_C": {"shape": [1, 2], "entries": []},
        "W_o": {"shape": [1, 2], "entries": []},
        "b_f": [1],
        "b_i": [-1],
        "b_C": [1],
        "b_o": [1],
        "input_codes": {"0": [0], "1": [1]},
        "h0": [0],
        "C0": [0],
        "readout": {"weights": [2], "bias": -1},
    },
    "evidence": {
        "rest": {"h": [0, 0], "C": [0, 0]},
        "boxes": {
            "even": [{"h": [], "C": []}],
            "odd": [{"h": [[0, 1, 1]], "C": [[0, 1, 1]]}],
        },
    },
}
EXAMPLES = [AND, LEAST, XOR, NET, PARITY, LSTM_PARITY]


def changed(document, *changes):
    """The document with (path, value) put in, the path as in messages: "answer.weights.0"."""
    result = copy.deepcopy(document)
    for path, value in changes:
        *parents, last = path.split(".")
        place = result
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(last) if isinstance(place, list) else last] = value
    return result


def uninstrumented():
    """The checker without the type checks that the test run puts into the package."""
    spec = importlib.util.spec_from_file_location("check_alone", CHECKER)
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_alone"] = module
    spec.loader.exec_module(module)
    return module
