"""Do thousands of tables at once get the answers they get one by one?"""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.errors import BadInput
from unrolled.neurons import Inseparable, Separable, TruthTable, separate
from unrolled.neurons.batch import separate_batch


def all_tables(inputs):
    rows = 2**inputs
    return np.arange(2**rows)[:, None] >> np.arange(rows - 1, -1, -1) & 1 == 1


@pytest.mark.parametrize(("inputs", "functions"), [(1, 4), (2, 14), (3, 104), (4, 1882)])
def test_all_functions_of_few_inputs(inputs, functions):
    batch = separate_batch(all_tables(inputs))
    assert batch.separable.sum() == functions


@pytest.mark.parametrize("inputs", [3, 5, 6, 7, 8])
def test_answers_are_those_of_separate_and_leave_receipts(inputs):
    rng = np.random.default_rng(inputs)
    tables = []
    for _ in range(60):
        sums = np.zeros(1, dtype=np.int64)
        for weight in rng.integers(-9, 10, inputs):
            sums = np.concatenate([sums, sums + weight])
        table = sums >= rng.integers(-5, 6)
        tie = sums == sums[rng.integers(2**inputs)]
        table[tie] = rng.random(tie.sum()) < rng.choice([0.0, 0.5, 1.0])
        tables.append(table)
    kinds = set()
    for table, answer in zip(tables, separate_batch(tables).answers(), strict=True):
        alone = separate(TruthTable.from_values(table))
        assert type(alone) is type(answer)
        assert answer.table == alone.table
        assert answer.receipt().kind == alone.receipt().kind
        kinds.add(type(answer))
        if isinstance(answer, Separable) and isinstance(alone, Separable):
            assert sum(map(abs, answer.weights)) == sum(map(abs, alone.weights))
    assert kinds == {Separable, Inseparable}


def test_functions_refuted_only_by_rows_that_differ_in_many_inputs():
    """Of 8 inputs, from pairs of different sums: regular, and yet no threshold function."""
    from unrolled.neurons.count import enumerate_classes

    nine = next(iter(enumerate_classes(8)))
    halves = nine.tables[~nine.threshold][:50, 256:]
    assert len(halves) == 50
    batch = separate_batch(halves)
    assert not batch.separable.any()
    for answer in batch.answers():
        answer.receipt()


@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 1), (2, 512)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(BadInput, match=r"shape \(batch, 2\^n\) with n in 1..8"):
        separate_batch(np.zeros(shape, dtype=bool))
