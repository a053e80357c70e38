"""Does one threshold neuron compute this truth table, and why (not)?

A neuron with weights w and bias b is true where w.x + b >= 0. `separate` decides for every table of
up to 20 inputs, in exact arithmetic throughout, and what it returns leaves a receipt.

Why no neuron computes a table: some true rows and equally many false rows have the same sum of
inputs (a failure of asummability; Elgot 1961, Chow 1961). Four rows, x + y = u + v, are enough for
complete tables of at most 8 inputs (Winder 1962, Muroga, Tsuboi and Baugh 1970); otherwise the
linear program of `program.py` finds the rows, by Farkas' lemma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations, product
from typing import Any

import numpy as np

from unrolled.neurons.minimal import prove_minimal
from unrolled.neurons.neuron import ThresholdNeuron
from unrolled.neurons.program import Multiples, NeuronProgram, integer_neuron
from unrolled.neurons.truth_table import TruthTable
from unrolled.receipts import Receipt

FOUR_POINTS_SUFFICE = 8  # inputs of a complete table


@dataclass(frozen=True)
class Separable:
    """A neuron that computes the table: true where weights.x + bias >= 0.

    `tree` proves that no integer weights have a smaller sum of absolute values (`minimal.py`); None
    where that wasn't asked.
    """

    table: TruthTable
    weights: tuple[int, ...]
    bias: int
    tree: tuple[dict[str, Any], ...] | None = None

    def neuron(self) -> ThresholdNeuron:
        """The neuron, to run on arrays and tensors."""
        return ThresholdNeuron(self.weights, self.bias)

    def receipt(self) -> Receipt:
        """The receipt, kind `neuron.separable`, already checked."""
        answer = {"weights": list(self.weights), "bias": self.bias}
        evidence = {} if self.tree is None else {"minimal": list(self.tree)}
        return Receipt.prove("neuron.separable", self.table.given(), answer, evidence)


@dataclass(frozen=True)
class Inseparable:
    """Multiples of true rows and of false rows with equal totals and equal sums of inputs."""

    table: TruthTable
    true: Multiples
    false: Multiples

    def receipt(self) -> Receipt:
        """The receipt, kind `neuron.inseparable`, already checked."""
        evidence = {
            "true": {str(row): times for row, times in sorted(self.true.items())},
            "false": {str(row): times for row, times in sorted(self.false.items())},
        }
        return Receipt.prove("neuron.inseparable", self.table.given(), {}, evidence)


def separate(
    table: TruthTable,
    minimal: bool = False,
    progress: Callable[[int], object] = int,
) -> Separable | Inseparable:
    """Decide whether one threshold neuron computes the table.

    Args:
        table: the function; rows marked "*" may come out either way.
        minimal: also find integer weights with the least sum of absolute values, and prove it.
        progress: called during the proof of minimality with the number of leaves so far.

    Raises:
        WorkFailed: `minimal` was asked and the search outgrew what a receipt may hold.

    >>> separate(TruthTable.from_bits("0001"))
    Separable(table=TruthTable(bits='0001', names=('x1', 'x2')), weights=(1, 1), bias=-2, tree=None)
    """
    ones, zeros = table.mask("1"), table.mask("0")
    if not ones or not zeros:
        leaf: dict[str, Any] = {"true": {}, "false": {}}
        proof = (leaf,) if minimal else None
        return Separable(table, (0,) * table.inputs, 0 if ones else -1, proof)
    points = four_points(ones, zeros, table.inputs, range(1, 3))
    if points is not None:
        return refutation(table, *points)
    program = NeuronProgram(table)
    contradiction = program.solve()
    if contradiction is not None:
        points = four_points(ones, zeros, table.inputs, range(3, longest(table.inputs) + 1))
        return refutation(table, *(points or contradiction))
    if minimal:
        weights, tree = prove_minimal(table, program, progress)
        whole, bias = integer_neuron(weights, 1, table)
        return verified(Separable(table, tuple(whole), bias, tree))
    whole, bias = integer_neuron(*program.weights(), table)
    return verified(Separable(table, tuple(whole), bias))


def longest(inputs: int) -> int:
    """In how many inputs the rows of a pair may differ for the search of four points to look."""
    if inputs <= FOUR_POINTS_SUFFICE:
        return inputs
    return 4 if inputs <= 12 else 2


def four_points(
    ones: int, zeros: int, inputs: int, sizes: range
) -> tuple[Multiples, Multiples] | None:
    """Two true rows and two false rows with the same sum of inputs, if there are any.

    If false row r becomes true by a step (some inputs up, some down) and true row s becomes false
    by the same step, then (r + step) + s = r + (s + step). Sets of rows are integers, bit r for row
    r, so each step is tried on all rows at once.

    Args:
        ones: the true rows.
        zeros: the false rows.
        inputs: how many inputs the table has.
        sizes: in how many inputs a step may change.
    """
    for size in sizes:
        for step, start in steps(inputs, size):
            rising = zeros & ones >> step & start
            if rising and (falling := ones & zeros >> step & start):
                r, s = lowest(rising), lowest(falling)
                return {r + step: 1, s: 1}, {r: 1, s + step: 1}
    return None


def lowest(rows: int) -> int:
    """The first row of a set."""
    return (rows & -rows).bit_length() - 1


def steps(inputs: int, size: int) -> Iterator[tuple[int, int]]:
    """Each way to change `size` inputs, up to direction: what it adds to a row's number, and the
    set of rows it applies to.
    """
    if inputs <= FOUR_POINTS_SUFFICE:
        yield from all_steps(inputs, size)
    else:
        yield from generate_steps(inputs, size)


def generate_steps(inputs: int, size: int) -> Iterator[tuple[int, int]]:
    """The steps, made one by one: for many inputs each is a set of many rows."""
    off = rows_without(inputs)
    everything = (1 << (1 << inputs)) - 1
    for changed in combinations(range(inputs), size):
        for signs in product((1, -1), repeat=size - 1):
            step, start = 0, everything
            for i, sign in zip(changed, (1, *signs), strict=True):
                step += sign << (inputs - 1 - i)
                start &= off[i] if sign > 0 else everything ^ off[i]
            yield step, start


@cache
def all_steps(inputs: int, size: int) -> tuple[tuple[int, int], ...]:
    """The steps, kept."""
    return tuple(generate_steps(inputs, size))


@lru_cache(maxsize=2)
def rows_without(inputs: int) -> tuple[int, ...]:
    """For each input, the set of rows in which it is 0."""
    result = []
    for i in range(inputs):
        half = 1 << (inputs - 1 - i)
        rows, width = (1 << half) - 1, 2 * half
        while width < 1 << inputs:
            rows |= rows << width
            width *= 2
        result.append(rows)
    return tuple(result)


def refutation(table: TruthTable, true: Multiples, false: Multiples) -> Inseparable:
    """The refutation, once whole numbers have confirmed it."""
    right = (
        all(table.bits[row] == "1" and times > 0 for row, times in true.items())
        and all(table.bits[row] == "0" and times > 0 for row, times in false.items())
        and sum(true.values()) == sum(false.values()) > 0
        and all(
            sum(times for row, times in true.items() if row >> bit & 1)
            == sum(times for row, times in false.items() if row >> bit & 1)
            for bit in range(table.inputs)
        )
    )
    if not right:
        raise AssertionError(f"a refutation that proves nothing: {table.bits} {true} {false}")
    return Inseparable(table, true, false)


def verified(answer: Separable) -> Separable:
    """The neuron, once whole numbers have confirmed it on every row."""
    table = answer.table
    big = sum(map(abs, (*answer.weights, answer.bias))) >= 2**62
    sums = np.array([answer.bias], dtype=object if big else np.int64)
    for weight in reversed(answer.weights):
        sums = np.concatenate([sums, sums + weight])
    codes = table.codes
    if (sums[codes == ord("1")] < 0).any() or (sums[codes == ord("0")] >= 0).any():
        raise AssertionError(f"a neuron that isn't one for {table.bits[:64]}: {answer.weights}")
    return answer
