"""Which weights make an LSTM follow a given automaton?

One unit for each state of the minimal automaton but one, the resting state, whose code is all
zeros. f = 0 and C̃ = 1, so that C = i and h = i * o: a unit is on when both gates are. For the unit
of state q the letters are numbered so that those that lead from p to q are an interval, lo(p) to
hi(p), for every p (`orders.py`). The input gate tests number >= lo(p), the output gate number <=
hi(p); p is seen in h. Pre-activations are odd, so none is 0. Where no order serves all p, q gets
several units that share the p among them. Soft gates multiply all that by a sharpness; h is then
near tanh(1) or 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from unrolled.automata.compiled import Compiled
from unrolled.automata.dfa import DFA
from unrolled.automata.encoding import Alphabet, Encoding, encode
from unrolled.automata.lstm import LSTM, Matrix
from unrolled.automata.orders import split
from unrolled.errors import BadInput
from unrolled.receipts.check import Refuted

ON = math.tanh(1)
MAX_STATES = 200_000
UNDO = 2689 / 2048  # 1 / tanh(1) to 4e-5, and short enough that products of it are exact in float32


@dataclass(frozen=True)
class Unit:
    """A unit that is on in state `target` when it was entered from one of these sources."""

    target: str
    position: tuple[int, ...]  # of each letter
    ends: Mapping[str, tuple[int, int]]  # lo and hi of each source


@dataclass(frozen=True)
class Plan:
    """The units; `of[state]` are the numbers of those that are on, one by one, in a state."""

    dfa: DFA
    resting: str
    units: tuple[Unit, ...]
    of: Mapping[str, Sequence[int]]


def compile(
    dfa: DFA,
    gates: Literal["hard", "soft"] = "hard",
    alphabet: Alphabet = "auto",
    sharpness: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Compiled:
    """An LSTM that accepts exactly the automaton's language, on strings of any length.

    Args:
        dfa: the automaton; it is minimised first, the receipt is about it as it stands.
        gates: hard, or the real σ and tanh.
        alphabet: "bit" (two letters as 0 and 1), "one-hot", "auto" (bit if it can be), or a vector
            for each symbol.
        sharpness: what soft gates multiply the weights by; as much as is needed unless given.
        progress: called with how many states of how many have their units.

    Raises:
        BadInput: an encoding that can't be used; a sharpness at which the proof fails (the message
            names the state, and one at which it holds).
    """
    if len(dfa.states) > MAX_STATES:
        raise BadInput(f"an automaton of {len(dfa.states):,} states; at most {MAX_STATES:,}")
    encoding = encode(dfa, alphabet)
    small, classes = dfa.minimal()
    plan = make_plan(small, progress)
    if gates == "hard":
        if sharpness is not None:
            raise BadInput("hard gates have no sharpness; leave it out or ask for soft gates")
        return hard(dfa, plan, classes, encoding)
    answer = soft(dfa, plan, classes, encoding, sharpness)
    if sharpness is not None:
        try:
            answer.receipt()
        except Refuted as reason:
            works = soft(dfa, plan, classes, encoding, None)
            works.receipt()
            raise BadInput(
                f"sharpness {sharpness} proves nothing: {reason}; sharpness {works.sharpness} works"
            ) from None
    return answer


def make_plan(dfa: DFA, progress: Callable[[int, int], object] | None = None) -> Plan:
    """The units of a minimal automaton; the state that would need most of them is at rest."""
    sources: dict[str, dict[str, int]] = {state: {} for state in dfa.states}
    for p, row in dfa.transitions.items():
        for a, q in enumerate(row[symbol] for symbol in dfa.alphabet):
            sources[q][p] = sources[q].get(p, 0) | 1 << a
    size = len(dfa.alphabet)

    @cache
    def groups(masks: frozenset[int]) -> list[tuple[list[int], list[int]]]:
        return split(masks, size)

    found = {}
    for k, (q, masks) in enumerate(sources.items(), 1):
        found[q] = groups(frozenset(masks.values()))
        if progress is not None and (k == len(sources) or k % (1 + len(sources) // 100) == 0):
            progress(k, len(sources))
    # The start if it needs no fewer than others: then h0 = C0 = 0.
    resting = max(dfa.states, key=lambda q: (len(found[q]), q == dfa.start))
    units: list[Unit] = []
    of: dict[str, Sequence[int]] = {resting: ()}
    for q in dfa.states:
        if q == resting:
            continue
        # A state that nothing leads to is the start; it needs a code all the same.
        of[q] = range(len(units), len(units) + max(1, len(found[q])))
        for members, order in found[q] or [([], list(range(size)))]:
            place = {letter: k for k, letter in enumerate(order)}
            ends = {
                p: interval(mask, place) for p, mask in sources[q].items() if mask in set(members)
            }
            units.append(Unit(q, tuple(place[a] for a in range(size)), ends))
    return Plan(dfa, resting, tuple(units), of)


def interval(mask: int, place: Mapping[int, int]) -> tuple[int, int]:
    """The first and the last place of the letters in a mask."""
    places = [k for letter, k in place.items() if mask >> letter & 1]
    return min(places), max(places)


def weights(plan: Plan, encoding: Encoding) -> tuple[Any, Any, Any, Any]:
    """Entries of W_i and W_o on h, of both on x, and the two biases, all in whole numbers."""
    size = len(plan.dfa.alphabet)
    on_h: tuple[list[Any], list[Any]] = [], []
    on_x: tuple[list[Any], list[Any]] = [], []
    biases: tuple[list[int], list[int]] = [], []
    for u, unit in enumerate(plan.units):
        leads = plan.resting in unit.ends
        common = Counter(hi for _, hi in unit.ends.values()).most_common(1)
        # What the unit does when h is 0. lo = size is beyond every letter: it stays off.
        lo, hi = unit.ends[plan.resting] if leads else (size, common[0][0] if common else 0)
        for p in plan.dfa.states if leads else unit.ends:
            own_lo, own_hi = unit.ends.get(p, (size, hi))
            for v in plan.of[p]:
                on_h[0].append((u, v, 2 * (lo - own_lo) * encoding.scale))
                on_h[1].append((u, v, 2 * (own_hi - hi) * encoding.scale))
        row, offset = encoding.affine([2 * k for k in unit.position])
        on_x[0].extend((u, j, w) for j, w in enumerate(row))
        on_x[1].extend((u, j, -w) for j, w in enumerate(row))
        biases[0].append((1 - 2 * lo) * encoding.scale + offset)
        biases[1].append((1 + 2 * hi) * encoding.scale - offset)
    return on_h, on_x, biases[0], biases[1]


def build(plan: Plan, encoding: Encoding, gates: Literal["hard", "soft"], sharpness: int) -> LSTM:
    """The LSTM of a plan."""
    on_h, on_x, b_i, b_o = weights(plan, encoding)
    hidden = len(plan.units)
    shape = hidden, hidden + encoding.inputs.shape[1]
    scale = sharpness * (UNDO if gates == "soft" else 1)
    matrices = [
        Matrix.of(
            shape,
            [(u, v, w * scale) for u, v, w in on_h[k] if w]
            + [(u, hidden + j, w * sharpness) for u, j, w in on_x[k] if w],
        )
        for k in range(2)
    ]
    first = plan.of[plan.dfa.start][:1]
    h0, C0 = np.zeros(hidden), np.zeros(hidden)
    h0[list(first)], C0[list(first)] = (ON if gates == "soft" else 1), 1
    nothing, same = Matrix.of(shape), np.full(hidden, float(sharpness))
    own_i, own_o = np.array(b_i, dtype=np.float64), np.array(b_o, dtype=np.float64)
    return LSTM(
        gates,
        nothing,
        -same,
        matrices[0],
        own_i * sharpness,
        nothing,
        same,
        matrices[1],
        own_o * sharpness,
        h0,
        C0,
    )


def readout(plan: Plan, on: float) -> tuple[np.ndarray, float]:
    """Weights and bias with which an accepting state gives 1 and another -1, in h of 0 and `on`."""
    rest_accepts = plan.resting in plan.dfa.accepting
    sign = -2 if rest_accepts else 2
    differs = [(unit.target in plan.dfa.accepting) != rest_accepts for unit in plan.units]
    return np.array(differs, dtype=np.float64) * sign * on, 1.0 if rest_accepts else -1.0


def boxes(plan: Plan, classes: Mapping[str, str], low: float, high: float) -> dict[str, Any]:
    """The boxes of the states as they were given: one unit is on, with h in [low, high]."""
    result: dict[str, Any] = {}
    for state, block in classes.items():
        codes = [[[u, low, high]] for u in plan.of[block]] or [[]]
        result[state] = [{"h": code, "C": []} for code in codes]
    return result


def described(plan: Plan) -> str:
    """The construction in words."""
    if len(plan.dfa.states) == 1:
        return "one state, which takes no unit"
    copies = len(plan.units) - (len(plan.dfa.states) - 1)
    words = f"intervals of letters: a unit for each of {len(plan.dfa.states)} states but one"
    return words + (f", and {copies} more where no order of the letters serves" if copies else "")


def hard(dfa: DFA, plan: Plan, classes: Mapping[str, str], encoding: Encoding) -> Compiled:
    """In hard gates: h is 0 or 1, and so is C, which is forgotten."""
    weight, bias = readout(plan, 1)
    evidence = {"rest": {"h": [0, 0], "C": [0, 1]}, "boxes": boxes(plan, classes, 1, 1)}
    lstm = build(plan, encoding, "hard", 1)
    return Compiled(dfa, lstm, encoding.inputs, weight, bias, evidence, described(plan))


def soft(
    dfa: DFA,
    plan: Plan,
    classes: Mapping[str, str],
    encoding: Encoding,
    sharpness: int | None,
) -> Compiled:
    """In soft gates: boxes small enough that all of h's errors move no pre-activation by more than
    a quarter of what it is, and a sharpness at which gates so far from 0 lead back into them.
    """
    weight, bias = readout(plan, UNDO)
    on_h = weights(plan, encoding)[0]
    largest = 1.0
    worst = float(np.abs(weight).sum())
    for entries in on_h:
        table = np.array([(u, abs(w)) for u, _, w in entries], dtype=np.float64).reshape(-1, 2)
        sums = np.bincount(table[:, 0].astype(int), table[:, 1], minlength=len(plan.units))
        worst = max(worst, UNDO * float(sums.max(initial=0)) / encoding.scale)
        largest = max(largest, UNDO * float(table[:, 1].max(initial=0)) / encoding.scale)
    off = 2.0 ** -max(6, math.ceil(math.log2(8 * max(worst, 1))))
    wide = 2.0 ** -max(6, math.ceil(math.log2(8 * largest)))
    least = min(off, wide)
    if sharpness is None:
        sharpness = math.ceil(math.log(8 / least) / 0.7)
    if not 1 <= sharpness <= 2**20:
        raise BadInput(f"a sharpness is a whole number from 1 to {2**20:,}, got {sharpness}")
    evidence = {
        "rest": {"h": [-off, off], "C": [-off, 1 + off]},
        "boxes": boxes(plan, classes, ON - wide, ON + wide),
        "margin": least / 4,
    }
    lstm = build(plan, encoding, "soft", sharpness)
    words = described(plan)
    return Compiled(dfa, lstm, encoding.inputs, weight, bias, evidence, words, sharpness)
