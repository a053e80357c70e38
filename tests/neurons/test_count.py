"""Are there as many threshold functions as OEIS A000609 says, each class decided rightly?"""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest

from unrolled.errors import BadInput
from unrolled.neurons import Separable, TruthTable, count, separate
from unrolled.neurons.count import enumerate_classes, orbit, regular_self_dual, signs, solve_cones

A000609 = [2, 4, 14, 104, 1_882, 94_572, 15_028_134, 8_378_070_864]
A001532 = [1, 1, 2, 3, 7, 21, 135, 2_470]  # classes of self-dual threshold functions


@pytest.mark.parametrize(("inputs", "functions"), list(enumerate(A000609)))
def test_the_count_is_the_published_one(inputs, functions):
    assert count(inputs) == functions


@pytest.mark.parametrize(("inputs", "classes"), list(enumerate(A001532)))
def test_the_classes_are_as_many_as_published(inputs, classes):
    assert sum(int(batch.threshold.sum()) for batch in enumerate_classes(inputs)) == classes


@pytest.mark.parametrize("inputs", [0, 1, 2, 3])
def test_the_count_is_what_deciding_every_function_gives(inputs):
    tables = (TruthTable(format(f, f"0{2**inputs}b")) for f in range(2**2**inputs))
    assert count(inputs) == sum(isinstance(separate(table), Separable) for table in tables)


def test_the_enumeration_is_all_regular_self_dual_functions_once():
    """Of 5 inputs, against a filter over all self-dual functions."""
    m, rows = 5, 32
    points = signs(m)
    prefixes = points.cumsum(axis=1)
    below = [(x, y) for x in range(rows) for y in range(rows) if (prefixes[x] <= prefixes[y]).all()]
    expected = set()
    for choice in range(2 ** (rows // 2)):
        table = [choice >> x & 1 for x in range(rows // 2)]
        table += [1 - value for value in reversed(table)]
        if all(table[x] <= table[y] for x, y in below):
            expected.add(sum(value << x for x, value in enumerate(table)))
    found = list(regular_self_dual(m))
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_the_orbit_is_the_number_of_different_functions():
    m = 4
    for batch in enumerate_classes(m - 1):
        for weights, size in zip(batch.weights, batch.sizes, strict=True):
            images = set()
            for order in permutations(range(m)):
                for flips in product((1, -1), repeat=m):
                    sums = signs(m)[:, order] * flips @ weights
                    images.add(tuple((sums > 0).tolist()))
            assert size == len(images)
    assert orbit([4, 4, -2, 0]) == math.factorial(4) // 2 * 2**3


def test_every_class_leaves_weights_or_a_refutation_that_hold():
    """The first classes of 9 inputs, among them some that no neuron computes."""
    batch = next(iter(enumerate_classes(8)))
    assert 0 < batch.threshold.sum() < len(batch.threshold)
    points = signs(9)
    for table, good, weights, multiples in zip(
        batch.tables, batch.threshold, batch.weights, batch.multiples, strict=True
    ):
        if good:
            assert ((points @ weights > 0) == table).all()
        else:
            assert multiples[~table].sum() == 0
            assert (multiples >= 0).all()
            assert multiples.sum() > 0
            mixture = multiples @ points
            assert (np.cumsum(mixture) <= 0).all()


def test_cones_solved_together_agree_with_one_by_one():
    rng = np.random.default_rng(0)
    prefixes = rng.choice([1, -1], (300, 6, 5)).cumsum(axis=2)
    threshold, weights, multipliers = solve_cones(prefixes)
    assert 0 < threshold.sum() < 300
    for k in range(300):
        alone = solve_cones(prefixes[k : k + 1])
        assert alone[0][0] == threshold[k]
        rows = np.diff(prefixes[k], axis=1, prepend=0)
        if threshold[k]:
            assert (rows @ weights[k] > 0).all()
            assert (np.diff(weights[k]) <= 0).all()
        else:
            assert (np.cumsum(multipliers[k] @ rows) <= 0).all()
            assert multipliers[k].sum() > 0


def test_nine_inputs_are_refused_with_the_reason():
    with pytest.raises(BadInput, match="0 to 8 inputs, got 9"):
        count(9)


def test_progress_is_told_the_number_of_classes_decided():
    seen: list[int] = []
    count(7, progress=seen.append)
    assert seen[-1] == 2470
