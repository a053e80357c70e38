"""Are the weights the least, by enumeration and by HiGHS's integer programs?"""

from __future__ import annotations

from itertools import product

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import WorkFailed
from unrolled.neurons import Inseparable, TruthTable, separate
from unrolled.neurons import minimal as module
from unrolled.receipts import check


def by_highs(table: TruthTable) -> int:
    """The least sum of |w| by an integer program of all rows: w = p - q, threshold t."""
    n = table.inputs
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    for _ in range(2 * n):
        model.addVar(0.0, 500.0)
    model.addVar(-500.0, 500.0)
    for i in range(2 * n + 1):
        model.changeColIntegrality(i, highspy.HighsVarType.kInteger)
        model.changeColCost(i, float(i < 2 * n))
    index = np.arange(2 * n + 1, dtype=np.int32)
    for row, bit in enumerate(table.bits):
        x = np.array(table.point(row), dtype=float)
        values = np.concatenate([x, -x, [-1.0]])
        if bit == "1":
            model.addRow(0.0, highspy.kHighsInf, 2 * n + 1, index, values)
        elif bit == "0":
            model.addRow(-highspy.kHighsInf, -1.0, 2 * n + 1, index, values)
    model.run()
    assert model.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return round(model.getInfo().objective_function_value)


def table_of(weights, least):
    total = lambda *x: sum(w * v for w, v in zip(weights, x, strict=True))  # noqa: E731
    return TruthTable.from_function(lambda *x: total(*x) >= least, len(weights))


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_the_sum_is_the_least_of_all_weights_up_to_four(inputs):
    best: dict[str, int] = {}
    for weights in product(range(-4, 5), repeat=inputs):
        for least in range(-13, 14):
            bits = table_of(weights, least).bits if inputs < 3 else quick(weights, least)
            best[bits] = min(best.get(bits, 99), sum(map(abs, weights)))
    for bits, total in best.items():
        answer = separate(TruthTable(bits), minimal=True)
        assert sum(map(abs, answer.weights)) == total
        assert f"smaller sum of |w| than {total} does" in answer.receipt().claim


def quick(weights, least):
    return "".join("1" if value >= least else "0" for value in check.sums(weights, 0))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-9, 9), min_size=4, max_size=7), st.integers(-9, 9), st.integers(0, 99))
def test_the_sum_is_what_highs_finds_with_and_without_rows_that_do_not_matter(weights, least, seed):
    bits = np.array(list(quick(weights, least)))
    rng = np.random.default_rng(seed)
    bits[rng.random(len(bits)) < (seed % 3) / 3] = "*"
    table = TruthTable("".join(bits))
    answer = separate(table, minimal=True)
    assert not isinstance(answer, Inseparable)
    assert sum(map(abs, answer.weights)) == by_highs(table)
    answer.receipt()


@pytest.mark.parametrize(
    ("weights", "least", "nodes"),
    [
        ((13, 10, 8, 6, 4, 4, 2, 1), 32, 3),
        ((15, 11, 9, 7, 5, 4, 2, 1), 36, 5),
        ((17, 15, 11, 9, 7, 5, 4, 2, 1), 36, 5),
    ],
)
def test_where_the_linear_program_is_fractional_a_tree_proves_the_minimum(weights, least, nodes):
    """Found among the 175,428 classes of self-dual threshold functions of 9 inputs."""
    table = table_of(weights, least)
    answer = separate(table, minimal=True)
    assert sum(map(abs, answer.weights)) == sum(weights) == by_highs(table)
    assert len(answer.tree) == nodes
    assert answer.receipt().claim.endswith(f"smaller sum of |w| than {sum(weights)} does.")
    fewer = separate(table)
    assert sum(map(abs, fewer.weights)) > sum(weights)


def test_negated_inputs_turn_the_tree_around():
    plain = (13, 10, 8, 6, 4, 4, 2, 1)
    signs = (1, -1, -1, 1, -1, 1, 1, -1)
    weights = tuple(w * s for w, s in zip(plain, signs, strict=True))
    least = 32 + sum(w for w in weights if w < 0)
    answer = separate(table_of(weights, least), minimal=True)
    assert sum(map(abs, answer.weights)) == 48
    answer.receipt()


def test_rows_that_do_not_matter_can_make_three_inputs_fractional():
    answer = separate(TruthTable("1**0111*"), minimal=True)
    assert len(answer.tree) > 1
    assert sum(map(abs, answer.weights)) == by_highs(answer.table)
    answer.receipt()


def test_a_fractional_optimum_that_is_cut_off_is_not_taken_for_whole_weights():
    bits = "*0*****0*0*0**0*******00****0000**1**0********00********0***0**0"
    answer = separate(TruthTable(bits), minimal=True)
    assert sum(map(abs, answer.weights)) == by_highs(answer.table) == 3
    answer.receipt()


def test_a_proof_too_large_for_a_receipt_is_an_error_that_says_what_is_known(monkeypatch):
    monkeypatch.setattr(module.check, "MAX_MULTIPLIERS", 20)
    with pytest.raises(WorkFailed, match=r"outgrew a receipt after \d leaves; .* ask without"):
        separate(table_of((15, 11, 9, 7, 5, 4, 2, 1), 36), minimal=True)


def test_progress_counts_the_leaves():
    seen: list[int] = []
    separate(table_of((15, 11, 9, 7, 5, 4, 2, 1), 36), minimal=True, progress=seen.append)
    assert seen == [1, 2, 3]
