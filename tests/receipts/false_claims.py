"""Receipts that somebody made by hand to claim more than is true: each a true one, changed.

`FALSE_CLAIMS[kind]` gives for each a name, the true receipt, and (path, value) to put in. None may
be accepted; test_attack.py also asks the independent truth whether each is false, or in `UNPROVED`.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
from tests.receipts.examples import LSTM_PARITY, changed
from tests.receipts.truths.common import Document

from unrolled.automata import DFA, compile, named, parity
from unrolled.recurrences import Matrix, spectrum
from unrolled.recurrences.chains import by_polynomial
from unrolled.recurrences.exact import decide
from unrolled.recurrences.spectrum import by_powers

Lie = tuple[str, Document, list[tuple[str, Any]]]


def plain(document: Any) -> Document:
    return json.loads(json.dumps(document))


# --- automata ------------------------------------------------------------------------------------

SOFT = plain(parity("soft").receipt().document())
MOD = plain(compile(named("mod-3")).receipt().document())
SOFT_MOD = plain(compile(named("mod-3"), "soft").receipt().document())
RARE = plain(
    compile(DFA.from_table([[0, 0, 1], [1, 1, 1]], [1], "abc")).receipt().document()
)  # only c leads out of the start
WIDE = {"h": [-1, 1], "C": [-2, 2]}


def worded(document: Document, old: str, new: str) -> list[tuple[str, Any]]:
    assert old in document["claim"]
    return [("claim", document["claim"].replace(old, new))]


def more_states(document: Document) -> list[tuple[str, Any]]:
    """A further state that the given automaton enters and the LSTM knows nothing of."""
    given = copy.deepcopy(document["given"])
    given["states"].append("new")
    given["transitions"]["new"] = dict.fromkeys(given["alphabet"], "new")
    last = given["states"][-2]
    given["transitions"][last][given["alphabet"][-1]] = "new"
    return [
        ("given", given),
        *worded(
            document, f"of {len(given['states']) - 1} states", f"of {len(given['states'])} states"
        ),
    ]


AUTOMATON: list[Lie] = [
    ("strings of another alphabet", LSTM_PARITY, worded(LSTM_PARITY, "any length", "any alphabet")),
    ("no state too many", LSTM_PARITY, worded(LSTM_PARITY, "of 2 states", "of 3 states")),
    ("soft gates for hard ones", LSTM_PARITY, worded(LSTM_PARITY, "hard", "soft")),
    ("twice the margin in words", SOFT, worded(SOFT, "1/256", "1/128")),
    (
        "no margin in words",
        SOFT,
        worded(
            SOFT,
            SOFT["claim"][SOFT["claim"].index(", in real") : -1],
            "",
        ),
    ),
    (
        "twice the margin",
        SOFT_MOD,
        [("evidence.margin", "1/64"), *worded(SOFT_MOD, "1/256", "1/64")],
    ),
    ("a margin of a half", SOFT, [("evidence.margin", "1/2"), *worded(SOFT, "1/256", "1/2")]),
    (
        "everything is at rest",
        LSTM_PARITY,
        [
            ("evidence.rest", WIDE),
            ("evidence.boxes", {s: [{"h": [], "C": []}] for s in ("even", "odd")}),
            ("given.accepting", []),
        ],
    ),
    (
        "one box for both states",
        LSTM_PARITY,
        [
            (
                "evidence.boxes",
                {s: [{"h": [[0, 0, 1]], "C": [[0, 0, 1]]}] for s in ("even", "odd")},
            ),
            ("given.accepting", ["even", "odd"]),
            ("given.transitions.even.1", "even"),
        ],
    ),
    ("accepting everything", LSTM_PARITY, [("given.accepting", ["even", "odd"])]),
    ("accepting nothing", LSTM_PARITY, [("given.accepting", [])]),
    (
        "a state without a box",
        LSTM_PARITY,
        [("evidence.boxes", {"even": [{"h": [], "C": []}]}), ("given.accepting", ["odd"])],
    ),
    (
        "a box that nothing leads to, and none where it goes",
        RARE,
        [("evidence.boxes.1", []), ("given.accepting", [])],
    ),
    ("a letter that is never looked at", RARE, [("given.transitions.0.c", "0")]),
    ("letters exchanged", RARE, [("given.transitions.0", {"a": "1", "b": "0", "c": "0"})]),
    ("a state the LSTM doesn't know", MOD, more_states(MOD)),
    ("a start that is another state", MOD, [("given.start", "1")]),
    ("a count of three taken for one of two", MOD, [("given.transitions.1.1", "0")]),
    (
        "points for boxes in soft gates",
        SOFT,
        [
            ("evidence.boxes.1", [{"h": [[0, 0.76, 0.76]], "C": [[0, 1, 1]]}]),
            ("evidence.margin", 0),
            *worded(SOFT, "1/256", "0"),
        ],
    ),
    ("gates that are never saturated", SOFT, [(f"answer.b_{g}", [0]) for g in "fiCo"]),
    (
        "weights that are half of what is needed",
        SOFT,
        [("answer.W_i.entries", [[0, 0, 15], [0, 1, 12]])],
    ),
    ("a threshold of exactly 0", LSTM_PARITY, [("answer.b_f", [0])]),
    ("a place given twice", LSTM_PARITY, [("answer.W_f.entries", [[0, 1, 5], [0, 1, -2]])]),
    ("no weights at all", LSTM_PARITY, [("answer.W_i.entries", []), ("answer.W_f.entries", [])]),
    ("a readout that is always 0", LSTM_PARITY, [("answer.readout", {"weights": [0], "bias": 0})]),
    (
        "the same input for both letters",
        LSTM_PARITY,
        [("answer.input_codes", {"0": [1], "1": [1]})],
    ),
    ("a start on the other side", LSTM_PARITY, [("answer.h0", [1]), ("answer.C0", [1])]),
    ("an endless gate", LSTM_PARITY, [("answer.b_f", [1e308])]),
    ("true for one", LSTM_PARITY, [("answer.b_f", [True])]),
]

# --- recurrences ---------------------------------------------------------------------------------

HALF = plain(spectrum([[0.5, 1, 0], [0, 0.25, 1], [0, 0, -0.125]]).receipt().document())
GROWS = plain(spectrum([[1.5, 1], [0, 0.25]]).receipt().document())
TURN = plain(spectrum([[0.6, -0.7], [0.7, 0.6]]).receipt().document())
COMPLEX = plain(spectrum([[[0, 0.5], 1], [0, [0.25, 0.25]]]).receipt().document())
POWER = plain(by_powers(Matrix.of([[0.9, 1], [0, 0.9]])).receipt().document())
CHAIN = plain(by_polynomial(Matrix.of([[0.9, 1], [0, 0.9]])).receipt().document())
CHAINS = plain(by_polynomial(Matrix.of(np.diag([0.5, 0.5, 0.25]))).receipt().document())


def radius(document: Document, low: float, high: float, verdict: str | None = None) -> Any:
    """Another interval, and the claim that goes with it."""
    words = {
        "vanishing": "h_t = W^T h_{t-1} vanishes for every h_0",
        "exploding": "h_t = W^T h_{t-1} explodes for almost every h_0",
        "undecided": "whether h_t = W^T h_{t-1} vanishes or explodes is left open",
    }
    verdict = verdict or ("vanishing" if high < 1 else "exploding" if low > 1 else "undecided")
    n = len(document["given"]["W"])
    claim = f"The spectral radius of this {n} x {n} matrix lies in [{low!r}, {high!r}]: "
    claim += words[verdict] + "."
    return [("answer", {"radius": [low, high], "verdict": verdict}), ("claim", claim)]


SPECTRUM: list[Lie] = [
    *(
        (f"{name}: too low", doc, radius(doc, 0.0, high))
        for name, doc, high in (
            ("discs", HALF, 0.4999),
            ("pairs", TURN, 0.92),
            ("complex", COMPLEX, 0.4999),
            ("powers", POWER, 0.8999),
            ("chains", CHAIN, 0.8999),
            ("two chains", CHAINS, 0.4999),
            ("growing", GROWS, 0.99),
        )
    ),
    *(
        (f"{name}: too high", doc, radius(doc, low, 9.0))
        for name, doc, low in (
            ("discs", HALF, 0.5001),
            ("pairs", TURN, 0.9221),
            ("complex", COMPLEX, 0.5001),
            ("powers", POWER, 0.9001),
            ("chains", CHAIN, 0.9001),
            ("two chains", CHAINS, 0.5001),
            ("vanishing", HALF, 1.001),
        )
    ),
    ("vanishing for exploding", GROWS, radius(GROWS, 0.0, 2.0, "vanishing")),
    ("undecided for vanishing", HALF, radius(HALF, 0.4, 0.6, "undecided")),
    ("exploding for every h_0", GROWS, worded(GROWS, "almost every", "every")),
    ("another size", HALF, worded(HALF, "3 x 3", "4 x 4")),
    ("another W, the same evidence", HALF, [("given.W.2.2", 0.75)]),
    ("another W above the diagonal of a chain", CHAIN, [("given.W.1.0", 0.01)]),
    ("another W, the same power", POWER, [("given.W.0.0", 1.5)]),
    ("an imaginary part more", COMPLEX, [("given.W.0.0", [0, 0.75])]),
    ("no squarings", POWER, [("evidence.squarings", 0), *radius(POWER, 0.0, 0.95)]),
    ("eigenvectors of nothing", HALF, [("evidence.X", ["0" * 48] * 3)]),
    (
        "centres elsewhere",
        HALF,
        [("evidence.blocks", [[0.1], [0.1], [0.1]]), *radius(HALF, 0.0, 0.2)],
    ),
    ("a shift that makes it all small", HALF, [("evidence.shift", 0)]),
    ("a factor left out", CHAINS, [("evidence.factors", CHAINS["evidence"]["factors"][:1])]),
    ("a chain left out", CHAINS, [("evidence.chains", CHAINS["evidence"]["chains"][:1])]),
    ("a power less", CHAIN, [("evidence.chains.0.powers", [1])]),
    (
        "a root elsewhere",
        CHAIN,
        [("evidence.factors.0.roots", [["0", "0"]]), *radius(CHAIN, 0.0, 0.1)],
    ),
    ("a vector of nothing", CHAIN, [("evidence.chains.0.vector", [0, 0])]),
    ("ends exchanged", HALF, radius(HALF, 0.6, 0.4)),
    ("less than nothing", HALF, radius(HALF, -1.0, 0.6)),
]

BOUNDED = plain(decide([["3/5", "-4/5"], ["4/5", "3/5"]]).receipt().document())
LINEAR = plain(decide([[1, 1], [0, 1]]).receipt().document())
MIXED = plain(decide([[1, 1, 0], [0, 1, 0], [0, 0, "1/3"]]).receipt().document())


def grows(document: Document, degree: int) -> Any:
    """Another growth, and the claim that goes with it."""
    what = f"grows like t^{degree}" if degree else "stays bounded and doesn't tend to 0"
    n = len(document["given"]["W"])
    claim = f"The spectral radius of this {n} x {n} matrix is exactly 1, and ||W^t|| {what}."
    return [
        ("answer", {"verdict": "polynomial" if degree else "bounded", "degree": degree}),
        ("claim", claim),
    ]


ONCE = {"q": 0, "factors": [{"polynomial": ["-1", "1"], "roots": None}]}
TWICE = {**ONCE, "factors": ONCE["factors"] * 2}
UNITS = [[1, 0], [0, 1]]


def chains(base: Any, powers: list[list[int]], vectors: list[list[int]] = UNITS) -> Any:
    pairs = zip(powers, vectors, strict=False)
    return {**base, "chains": [{"vector": v, "powers": p} for p, v in pairs]}


IDENTITY = plain(decide([[1, 0], [0, 1]]).receipt().document())

EXACT: list[Lie] = [
    ("bounded for linear", LINEAR, grows(LINEAR, 0)),
    ("bounded, and less evidence", LINEAR, [*grows(LINEAR, 0), ("evidence", chains(ONCE, [[1]]))]),
    (
        "bounded, by short chains",
        LINEAR,
        [*grows(LINEAR, 0), ("evidence", chains(ONCE, [[1], [1]]))],
    ),
    (
        "bounded, by a factor given twice",
        LINEAR,
        [*grows(LINEAR, 0), ("evidence", chains(TWICE, [[1, 1]], [[0, 1]]))],
    ),
    ("quadratic for linear", LINEAR, grows(LINEAR, 2)),
    ("linear for bounded", BOUNDED, grows(BOUNDED, 1)),
    (
        "linear for the identity",
        IDENTITY,
        [*grows(IDENTITY, 1), ("evidence", chains(ONCE, [[2], [2]]))],
    ),
    ("a radius below 1 called 1", BOUNDED, [("given.W", [["1/2", "-4/5"], ["4/5", "1/2"]])]),
    ("binary64's rotation, which explodes", BOUNDED, [("given.W", [[0.6, -0.8], [0.8, 0.6]])]),
    ("all called inside", IDENTITY, [("evidence.factors.0.roots", [["1", "0"]])]),
    ("all called on the circle", MIXED, [(f"evidence.factors.{k}.roots", None) for k in (0, 1)]),
    ("the inside of another matrix", MIXED, [("given.W.2.2", "4/3")]),
    ("what grows left out", MIXED, [*grows(MIXED, 0), ("evidence.chains.0.vector", [1, 0, 1])]),
    ("a degree that is true", BOUNDED, [("answer.degree", False)]),
    ("another size", LINEAR, worded(LINEAR, "2 x 2", "3 x 3")),
]

FALSE_CLAIMS: dict[str, list[Lie]] = {
    "automaton.lstm": AUTOMATON,
    "recurrence.exact": EXACT,
    "recurrence.spectrum": SPECTRUM,
}
# What these say may be true; their evidence doesn't show it.
UNPROVED = {
    "twice the margin",
    "a state without a box",
    "points for boxes in soft gates",
    "binary64's rotation, which explodes",  # by less than the independent truth can tell
    "all called inside",
    "all called on the circle",
    "no squarings",
    "eigenvectors of nothing",
    "a shift that makes it all small",
    "a factor left out",
    "a chain left out",
    "a power less",
    "a vector of nothing",
    "less than nothing",
}


def forged(lie: Lie) -> Document:
    """The false receipt."""
    return changed(lie[1], *lie[2])
