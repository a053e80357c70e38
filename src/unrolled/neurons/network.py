"""Where one threshold neuron can't, which network of them can?

Two layers: hidden neurons that see the inputs, and one on top that sees the hidden ones. Deciding
the least number of hidden neurons is hard already for two (Blum and Rivest 1992), so this is a
search, and it says when it has proved that fewer can't do.

Two hidden neurons are an "and" or an "or" of two neurons, so `pair` splits the false (or the true)
rows in two, each kept apart from all true (false) rows by a neuron of its own. Beyond that, `peel`
takes off one neuron that accepts all true rows and rejects as many false ones as it can (or the
reverse) and goes on with the rows that are left; and `alternate` puts all neurons across one
direction, which gives parity its n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import WorkFailed
from unrolled.neurons.fewest import odd_cycle
from unrolled.neurons.separate import Inseparable, Separable, separate
from unrolled.neurons.truth_table import TruthTable
from unrolled.receipts import Receipt, check

Neuron = tuple[tuple[int, ...], int]  # weights, bias: true where weights.x + bias >= 0

PEELING_INPUTS = 10  # beyond, only `alternate` is tried
DECISIONS = 20_000  # calls of `separate` the search may spend
PAIR_DECISIONS = 400  # of these, on one search for two neurons
PAIR_ROWS = 64  # below the top, the search for two neurons is for this few rows


@dataclass(frozen=True)
class Network:
    """Hidden neurons and one on top that compute the table.

    `fewest` proves that fewer hidden neurons can't, None where that isn't known: {} up to one,
    the refutation of one neuron for two, two odd cycles for three (`fewest.py`).
    """

    table: TruthTable
    hidden: tuple[Neuron, ...]
    output: Neuron
    fewest: dict[str, Any] | None

    def receipt(self) -> Receipt:
        """The receipt, kind `neuron.network`, already checked."""
        answer = {
            "hidden": [{"weights": list(w), "bias": b} for w, b in self.hidden],
            "output": {"weights": list(self.output[0]), "bias": self.output[1]},
        }
        evidence = {} if self.fewest is None else {"fewest": self.fewest}
        return Receipt.prove("neuron.network", self.table.given(), answer, evidence)


def network(table: TruthTable, single: Separable | Inseparable | None = None) -> Network:
    """A two-layer network of threshold neurons for the table, with as few hidden ones as found.

    Args:
        table: the function.
        single: what `separate` says of it, if that is known already.

    Raises:
        WorkFailed: what was found is too large for its receipt to be checked.

    >>> len(network(TruthTable.parse("x1 xor x2")).hidden)
    2
    """
    single = single or separate(table)
    if isinstance(single, Separable):
        if not any(single.weights):
            return Network(table, (), ((), single.bias), {})
        return Network(table, ((single.weights, single.bias),), ((1,), -1), {})
    layers = [Search(table).best()] if table.inputs <= PEELING_INPUTS else []
    layers = [layer for layer in layers if max(map(abs, layer[1][0])) <= check.MAX_WEIGHT]
    if not layers or len(layers[0][0]) > 2:
        layers.append(alternate(table))
    hidden, output = min(layers, key=lambda layer: len(layer[0]))
    if (len(hidden) + 1) << table.inputs > check.MAX_EVALUATIONS:
        raise WorkFailed(
            f"found only a network of {len(hidden):,} hidden neurons, too many to check on "
            f"{len(table.bits):,} rows; try a function of fewer inputs"
        )
    return Network(table, hidden, output, fewest(table, single, len(hidden)))


def fewest(table: TruthTable, single: Inseparable, size: int) -> dict[str, Any] | None:
    """What proves that `size` hidden neurons are the fewest, if there is a proof."""
    if size == 2:
        return dict(single.receipt().evidence)
    if size == 3:
        cycles = {"and": odd_cycle(table, "0"), "or": odd_cycle(table, "1")}
        return cycles if all(cycles.values()) else None
    return None


Layers = tuple[tuple[Neuron, ...], Neuron]


class Search:
    """The search for few hidden neurons, with a budget of decisions for the whole of it."""

    def __init__(self, table: TruthTable) -> None:
        self.table = table
        self.left = DECISIONS

    def best(self) -> Layers:
        """The smallest network found."""
        return self.explore(self.table.bits, depth=0)

    def decide(self, bits: str) -> Neuron | None:
        """The neuron of a table, if there is one."""
        self.left -= 1
        answer = separate(TruthTable(bits))
        return (answer.weights, answer.bias) if isinstance(answer, Separable) else None

    def explore(self, bits: str, depth: int) -> Layers:
        """A network for a table: one neuron, two, or one taken off and a network for the rest."""
        single = self.decide(bits)
        if single is not None:
            return (single,), ((1,), -1)
        for kind in ("0", "1"):
            hopeful = bits.count(kind) <= PAIR_ROWS or depth == 0
            if hopeful and not odd_cycle(TruthTable(bits), kind) and (two := self.pair(bits, kind)):
                return two, ((1, 1), -2 if kind == "0" else -1)
        found = []
        for kind in ("0", "1"):
            neuron, rest = self.peel(bits, kind)
            found.append((rest.count(kind), kind, neuron, rest))
        found.sort(key=lambda item: item[0])
        # Both ways near the top, the greedier one further down or once the budget is spent.
        ways = found if depth < 3 and self.left > 0 else found[:1]
        layers = [join(n, kind, self.explore(rest, depth + 1)) for _, kind, n, rest in ways]
        return min(layers, key=lambda layer: len(layer[0]))

    def peel(self, bits: str, kind: str) -> tuple[Neuron, str]:
        """A neuron right on all rows of the other symbol and on a maximal set of rows of `kind`,
        and the table without the rows of `kind` it is right on.
        """
        rows = [row for row, bit in enumerate(bits) if bit == kind]
        kept = bits.replace(kind, "*")
        neuron = self.extend(kept, rows, kind)
        assert neuron is not None
        computed = evaluate(neuron, len(bits))
        right = [row for row in rows if computed[row] == (kind == "1")]
        return neuron, put(bits, right, "*")

    def extend(self, kept: str, rows: Sequence[int], kind: str) -> Neuron | None:
        """Add rows one after another, halving what can't be added whole; a row always can."""
        neuron: Neuron | None = None
        waiting = [list(rows)]
        while waiting:
            some = waiting.pop()
            if neuron is not None:
                computed = evaluate(neuron, len(kept))
                some = [row for row in some if computed[row] != (kind == "1")]
            if not some or (neuron is not None and self.left <= 0):
                continue
            wider = put(kept, some, kind)
            found = self.decide(wider)
            if found is not None:
                neuron, kept = found, wider
            elif len(some) > 1:
                half = len(some) // 2
                waiting += [some[half:], some[:half]]
        return neuron

    def pair(self, bits: str, kind: str) -> tuple[Neuron, Neuron] | None:
        """Two neurons right on all rows of the other symbol, one of them right on each row of
        `kind`; None if there are none or the budget ends.

        A row of `kind` that the first neuron isn't right on falls to the second. If the second
        can't take them all, its refutation names a few it can't take together; one of them, not
        yet promised to the second, goes to the first or is promised to the second.
        """
        rows = [row for row, bit in enumerate(bits) if bit == kind]
        kept = bits.replace(kind, "*")
        stack: list[tuple[frozenset[int], frozenset[int]]] = [(frozenset(), frozenset())]
        enough = self.left - PAIR_DECISIONS
        while stack and self.left > max(enough, 0):
            mine, promised = stack.pop()
            first = self.decide(put(kept, mine, kind)) if mine else self.extend(kept, rows, kind)
            if first is None:
                continue
            computed = evaluate(first, len(bits))
            others = {row for row in rows if computed[row] != (kind == "1")} | promised
            self.left -= 1
            second = separate(TruthTable(put(kept, others, kind)))
            if isinstance(second, Separable):
                return first, (second.weights, second.bias)
            clash = sorted((second.false if kind == "0" else second.true).keys() - promised)
            if clash:
                stack.append((mine, promised | {clash[0]}))
                stack.append((mine | {clash[0]}, promised))
        return None


def join(neuron: Neuron, kind: str, rest: Layers) -> Layers:
    """The neuron "and" the rest if it took off false rows, "or" the rest if it took off true ones.

    Its weight on top is just enough to overrule whatever the rest says.
    """
    hidden, (weights, bias) = rest
    if kind == "0":
        most = bias + sum(weight for weight in weights if weight > 0)  # of the sum on top
        return (neuron, *hidden), ((most + 1, *weights), bias - most - 1)
    least = bias + sum(weight for weight in weights if weight < 0)
    return (neuron, *hidden), ((-least, *weights), bias)


def put(bits: str, rows: Sequence[int] | frozenset[int] | set[int], symbol: str) -> str:
    """The table with these rows replaced."""
    result = list(bits)
    for row in rows:
        result[row] = symbol
    return "".join(result)


def evaluate(neuron: Neuron, rows: int) -> npt.NDArray[np.bool_]:
    """The neuron's output on all rows."""
    return np.array(check.sums(neuron[0], neuron[1])[:rows], dtype=object) >= 0


def alternate(table: TruthTable) -> Layers:
    """Neurons across one direction, one wherever the table changes along it.

    The binary code itself is a direction in which any table is a function of w.x; the others tried
    are all of -1, 0, 1 for few inputs, and the correlations with the inputs, ties broken.
    """
    best: list[tuple[int, bool]] | None = None
    best_direction: tuple[int, ...] = ()
    for direction in directions(table):
        found = changes(table, direction, len(best) if best else 2**62)
        if found is not None and (best is None or len(found) < len(best)):
            best, best_direction = found, direction
    assert best is not None
    hidden = tuple((best_direction, -start) for start, _ in best)
    starts_true = not best[0][1]
    return hidden, (tuple(1 if up else -1 for _, up in best), 0 if starts_true else -1)


def directions(table: TruthTable) -> list[tuple[int, ...]]:
    """The directions worth trying, the one that always works last."""
    n = table.inputs
    code = tuple(1 << i for i in reversed(range(n)))
    points = np.arange(1 << n)[:, None] >> np.arange(n - 1, -1, -1) & 1
    values = (table.codes == ord("1")).astype(np.int64) - (table.codes == ord("0"))
    chow = (values @ (2 * points - 1)).tolist()
    small = list(product((1, -1, 0), repeat=n)) if n <= 7 else [(1,) * n]
    signs = tuple(1 if c >= 0 else -1 for c in chow)
    mixed = tuple((c << n) + part for c, part in zip(chow, code, strict=True))
    return [*small, signs, mixed, code]


def changes(
    table: TruthTable, direction: tuple[int, ...], limit: int
) -> list[tuple[int, bool]] | None:
    """The values of w.x from which the table is of another symbol than before, and whether it is
    true from there; None if rows with the same w.x differ, or there are `limit` or more.
    """
    care = table.codes != ord("*")
    sums = np.array(check.sums(direction, 0))[care]
    values = (table.codes == ord("1"))[care]
    order = np.lexsort((values, sums))
    sums, values = sums[order], values[order]
    turns = np.flatnonzero(values[1:] != values[:-1]) + 1
    if len(turns) >= limit or (sums[turns] == sums[turns - 1]).any():
        return None
    return [(int(sums[turn]), bool(values[turn])) for turn in turns]
