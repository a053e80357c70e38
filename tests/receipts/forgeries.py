"""Who attacks the checker, and how is it known that a forgery is one?

`ATTACKS` holds, for each kind, receipts that hold, and an oracle: a slow, plain decision of whether
what a document says is true, that shares nothing with the checker. `mutate` makes forgeries of any
kind. A further kind joins the attack by a line in `ATTACKS`.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st
from tests.decoding.tiny import OBJECTIVES
from tests.receipts.truths.automata import automata, automaton_holds, compiled
from tests.receipts.truths.beams import map_holds, mapped, searched, trace_holds
from tests.receipts.truths.common import Document
from tests.receipts.truths.graphs import attention_holds, graph_questions, graph_receipt
from tests.receipts.truths.matches import evaluated, matches_hold, sentences
from tests.receipts.truths.neurons import (
    inseparable_holds,
    network_holds,
    separable_holds,
    separated,
    tables,
)
from tests.receipts.truths.recurrences import (
    enclosed,
    exact_holds,
    on_the_circle,
    spectrum_holds,
    square,
    triangular,
)
from tests.receipts.truths.scaling import scaling_holds, scaling_receipt

from unrolled.neurons import Inseparable, Separable, TruthTable, network
from unrolled.scaling import LAWS


class Attack(NamedTuple):
    """One kind's questions, the receipt that answers one, and an independent decision of whether a
    document holds. `answer` gives None for a question that has no receipt of this kind.
    """

    questions: st.SearchStrategy[Any]
    answer: Callable[[Any], Document | None]
    holds: Callable[[Document], bool]


# --- forgeries of any kind -----------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document, outermost first."""
    yield path
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def look(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def strange(value: Any, rng: random.Random) -> Any:
    """Another value in its place: near, of another type, or absurd."""
    anything = [
        True,
        False,
        None,
        0,
        1,
        -1,
        2,
        10**9,
        10**30,
        1.0,
        0.5,
        -0.0,
        "",
        "1",
        "1/2",
        [],
        {},
    ]
    anything += ["-1", "01", "٣", "*", [0], {"0": 1}, [[[[]]]], 2**62, -(2**62) - 1, "2/4", "1/0"]
    near: list[Any] = []
    if isinstance(value, bool):
        near = [not value, int(value)]
    elif isinstance(value, int):
        near = [value + 1, value - 1, -value, 2 * value, float(value), str(value), value + 2**31]
    elif isinstance(value, str) and value:
        at = rng.randrange(len(value))
        near = [
            value[:at] + rng.choice("01*23/-. ") + value[at + 1 :],
            value[:-1],
            value + value[-1],
        ]
        near += [value[::-1], re.sub(r"\d+", lambda m: str(int(m[0]) + 1), value), value.upper()]
    elif isinstance(value, list) and value:
        near = [value[::-1], value[:-1], value + value[-1:], [*value, 0], value[1:]]
    elif isinstance(value, dict) and value:
        key = rng.choice(list(value))
        less = {k: v for k, v in value.items() if k != key}
        renamed = str(strange(key, rng))
        near = [less, {**value, key + "0": value[key]}, {**less, renamed: value[key]}]
    return copy.deepcopy(rng.choice(near if near and rng.random() < 0.75 else anything))


def mutate(document: Document, other: Document, rng: random.Random) -> Document:
    """A document changed in one to three places, with parts of another receipt among them."""
    forged: Any = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 3))):
        paths = [path for path in places(forged) if path]
        if not paths:
            break
        path = rng.choice(paths)
        parent, key = look(forged, path[:-1]), path[-1]
        way = rng.randrange(5)
        if way == 0:  # a part of the other receipt: its table, its evidence, its claim
            theirs = [p for p in places(other) if p and p[-1] == key] or [("claim",)]
            parent[key] = copy.deepcopy(look(other, rng.choice(theirs)))
        elif way == 1:  # exchange with another part of the same receipt
            second = rng.choice(paths)
            if second[: len(path)] != path and path[: len(second)] != second:
                there = look(forged, second[:-1])
                parent[key], there[second[-1]] = there[second[-1]], parent[key]
        else:
            parent[key] = strange(parent[key], rng)
        forged = json.loads(json.dumps(forged))  # no part is the same object as another
    return forged


ATTACKS: dict[str, Attack] = {
    "graph.attention": Attack(graph_questions(), graph_receipt, attention_holds),
    "recurrence.exact": Attack(triangular(), on_the_circle, exact_holds),
    "recurrence.spectrum": Attack(
        st.tuples(square(), st.booleans()), lambda q: enclosed(*q), spectrum_holds
    ),
    "automaton.lstm": Attack(automata(), compiled, automaton_holds),
    "beam.map": Attack(
        st.tuples(
            st.integers(0, 10**6),
            st.integers(1, 3),
            st.integers(1, 5),
            st.sampled_from(OBJECTIVES),
            st.sampled_from([1, 3, 8, 1000]),
        ),
        mapped,
        map_holds,
    ),
    "beam.stop": Attack(
        st.tuples(
            st.integers(0, 10**6),
            st.integers(1, 4),
            st.integers(1, 6),
            st.sampled_from(OBJECTIVES),
            st.booleans(),
        ),
        searched,
        trace_holds,
    ),
    "evaluation.exact_match": Attack(
        st.tuples(
            st.booleans(),
            st.lists(st.tuples(sentences(), st.integers(0, 3)), min_size=1, max_size=4),
        ),
        evaluated,
        matches_hold,
    ),
    "neuron.separable": Attack(
        st.tuples(tables(), st.booleans()), lambda q: separated(q, Separable), separable_holds
    ),
    "neuron.inseparable": Attack(
        st.tuples(tables(), st.just(False)), lambda q: separated(q, Inseparable), inseparable_holds
    ),
    "neuron.network": Attack(
        tables(), lambda bits: network(TruthTable(bits)).receipt().document(), network_holds
    ),
    "scaling.fit": Attack(
        st.tuples(st.sampled_from(sorted(LAWS)), st.integers(0, 5)), scaling_receipt, scaling_holds
    ),
}
