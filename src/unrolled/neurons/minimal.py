"""Which integer weights with the least sum |w_i| compute this table, and why no others do better?

Branch and bound (Land and Doig 1960) over the linear program of `program.py`. Its optimum bounds
the sum from below; where that isn't whole, a weight w_i = 2.5 splits the search into w_i <= 2 and
w_i >= 3. The tree that is left is the proof: each leaf carries the exact dual of its program, and
`receipts/check.py` (`check_minimal`) states the inequality that a leaf proves. For complete tables
of up to 7 inputs the optimum has always been whole, and the tree is one leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from unrolled.errors import WorkFailed
from unrolled.neurons.program import Multiples, NeuronProgram
from unrolled.neurons.truth_table import TruthTable
from unrolled.receipts import check

Node = dict[str, Any]
Box = tuple[tuple[int | float, int | float], ...]
Multipliers = tuple[dict[int, Fraction], dict[int, Fraction]]


def prove_minimal(
    table: TruthTable, program: NeuronProgram, progress: Callable[[int], object]
) -> tuple[list[int], tuple[Node, ...]]:
    """The weights, and the tree in preorder as the receipt holds it.

    Args:
        table: a separable table.
        program: its program, solved.
        progress: called after each leaf with the number of leaves so far.

    Raises:
        WorkFailed: the tree outgrew what a receipt may hold.
    """
    search = Search(progress)
    root = search.run(program, ((-math.inf, math.inf),) * table.inputs)
    tree: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Split):
            tree.append({"input": node.i + 1, "at_most": node.cut})
            stack += [node.sides[True], node.sides[False]]
        else:
            tree.append(node.proof(search.total))
    return search.best, tuple(tree)


class Search:
    """Depth first; the best whole weights so far cut off what can't improve on them."""

    def __init__(self, progress: Callable[[int], object]) -> None:
        self.best: list[int] = []
        self.total = 0
        self.leaves = 0
        self.budget = check.MAX_MULTIPLIERS
        self.progress = progress

    def run(self, program: NeuronProgram, box: Box) -> Split | Leaf:
        """The tree below a program already solved, whose weights are in the box."""
        # The optimum times its divisor is whole; without some such bound a dive needn't end.
        weights, divisor = program.weights()
        common = math.gcd(*weights, divisor)
        self.best = [weight // common for weight in weights]
        self.total = sum(map(abs, self.best))
        root = self.explore(program, box)
        splits = [root] if isinstance(root, Split) else []
        while splits:
            split = splits[-1]
            # The nearer side first: it finds good weights soon.
            up = split.nearer_up if split.nearer_up not in split.sides else not split.nearer_up
            if up in split.sides:
                splits.pop()
                continue
            split.sides[up] = node = self.side(split, up)
            if isinstance(node, Split):
                splits.append(node)
        return root

    def explore(self, program: NeuronProgram, box: Box) -> Split | Leaf:
        """A leaf if nothing better can be below, else the split on the weight nearest to a half."""
        weights, divisor = program.weights()
        broken = [i for i, weight in enumerate(weights) if weight % divisor]
        bound = Fraction(sum(map(abs, weights)), divisor)
        if not broken and bound < self.total:
            self.best, self.total = [weight // divisor for weight in weights], int(bound)
        if math.ceil(bound) >= self.total:
            true, false = program.evidence(program.linear.multipliers())
            return self.leaf((true, false), divisor, box)
        i = min(broken, key=lambda i: abs(2 * (weights[i] % divisor) - divisor))
        return Split(i, weights[i] // divisor, 2 * (weights[i] % divisor) >= divisor, program, box)

    def side(self, split: Split, up: bool) -> Split | Leaf:
        """One side of a split."""
        i, (low, high) = split.i, split.box[split.i]
        interval = (split.cut + 1, high) if up else (low, split.cut)
        box = (*split.box[:i], interval, *split.box[i + 1 :])
        branch = split.program.copy()
        if up:
            branch.bound(i, at_least=split.cut + 1)
        else:
            branch.bound(i, at_most=split.cut)
        contradiction = branch.solve()
        if contradiction is not None:
            return self.leaf(contradiction, 1, box)
        return self.explore(branch, box)

    def leaf(self, multiples: tuple[Multiples, Multiples], divisor: int, box: Box) -> Leaf:
        """A leaf, within the budget of a receipt."""
        self.leaves += 1
        self.budget -= 2 + len(multiples[0]) + len(multiples[1])  # a leaf and a split
        if self.budget < 0:
            raise WorkFailed(
                f"the proof outgrew a receipt after {self.leaves:,} leaves; the least sum of |w| "
                f"found is {self.total}; ask without --minimal"
            )
        self.progress(self.leaves)
        true, false = (
            {row: Fraction(times, divisor) for row, times in side.items()} for side in multiples
        )
        return Leaf(true, false, box)


class Split:
    """Weight i is at most `cut` on one side, at least cut + 1 on the other (True)."""

    def __init__(self, i: int, cut: int, nearer_up: bool, program: NeuronProgram, box: Box) -> None:
        self.i, self.cut, self.nearer_up = i, cut, nearer_up
        self.program, self.box = program, box
        self.sides: dict[bool, Split | Leaf] = {}


class Leaf:
    """Multipliers of true rows and of false rows that exclude a smaller sum within a box."""

    def __init__(self, true: dict[int, Fraction], false: dict[int, Fraction], box: Box) -> None:
        self.true, self.false, self.box = true, false, box

    def proof(self, total: int) -> Node:
        """The node of the receipt; a contradiction excludes any sum if it is taken often enough."""
        scale = 1
        while check.leaf_bound(*self.times(scale), self.box) <= total - 1:
            scale *= 2
            if scale > 2**64:
                raise AssertionError("a leaf that proves nothing")
        true, false = self.times(scale)
        return {
            "true": {str(row): str(value) for row, value in sorted(true.items())},
            "false": {str(row): str(value) for row, value in sorted(false.items())},
        }

    def times(self, scale: int) -> Multipliers:
        """The multipliers, each `scale` times."""
        true = {row: value * scale for row, value in self.true.items()}
        return true, {row: value * scale for row, value in self.false.items()}
