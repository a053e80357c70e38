"""Is a fit that isn't one, or that claims more, refused; does a large one cost little?"""

from __future__ import annotations

import copy
import json
import math
import time

import pytest
from tests.receipts.truths.scaling import scaling_receipt

from unrolled.receipts import check


@pytest.fixture
def receipt():
    document = scaling_receipt(("hoffmann", 1))
    assert document is not None
    return copy.deepcopy(document)


def refused(document, kind, reason):
    with pytest.raises(kind, match=reason):
        check.check(check.parse(json.dumps(document)))


def test_parameters_moved_by_a_ten_thousandth_are_not_stationary(receipt):
    for name in receipt["answer"]["parameters"]:
        forged = copy.deepcopy(receipt)
        forged["answer"]["parameters"][name] *= 1.0001
        refused(forged, check.Refuted, "answer.objective|not stationary")


def test_the_objective_of_moved_parameters_does_not_save_them(receipt):
    """An honest objective at a point that is no minimum."""
    forged = copy.deepcopy(receipt)
    forged["answer"]["parameters"]["E"] *= 1.001
    law, extra, delta, runs, _ = check.scaling_question(forged["given"])
    p = [*check.scaling_parameters(forged["answer"]["parameters"], law).values()]
    total = 0.0
    for *inputs, loss in runs:
        r = float(check.log_law(law, p, inputs, extra)[0] - loss.ln())
        d = float(delta)
        total += r * r / 2 if abs(r) <= d else d * (abs(r) - d / 2)
    forged["answer"]["objective"] = total
    refused(forged, check.Refuted, "not stationary in (E|A|B|alpha|beta)")


def test_a_fit_to_other_runs_or_another_delta_or_law_is_refused(receipt):
    forged = copy.deepcopy(receipt)
    forged["given"]["runs"]["loss"][3] *= 1.01
    refused(forged, check.Refuted, "objective|stationary")
    refused({**receipt, "given": {**receipt["given"], "delta": 0.2}}, check.Refuted, "objective")
    forged = copy.deepcopy(receipt)
    forged["given"]["law"] = "pearce-song"
    refused(forged, check.Malformed, "given.omega: missing")
    forged["given"]["law"] = "chinchilla"
    refused(forged, check.Malformed, "given.law: 'chinchilla' is no law")
    forged["given"]["law"] = "kaplan-nd"
    refused(forged, check.Malformed, "allocations are proved for the law hoffmann alone")


def test_an_allocation_off_its_optimum_or_its_budget_is_refused(receipt):
    forged = copy.deepcopy(receipt)
    forged["answer"]["allocation"][0][0] *= 1.001
    refused(forged, check.Refuted, r"allocation\[0\]: the law is least at N = ")
    forged = copy.deepcopy(receipt)
    forged["answer"]["allocation"][1][1] *= 1.001
    refused(forged, check.Refuted, r"allocation\[1\]: 6 N D is not the budget")
    forged["answer"]["allocation"] = []
    refused(forged, check.Malformed, "allocation: expected 2 pairs")


def test_a_claim_of_the_least_of_all_minima_is_refused(receipt):
    receipt["claim"] = receipt["claim"].replace("a stationary point, not shown to be", "this is")
    refused(receipt, check.Refuted, "claim: says")


@pytest.mark.parametrize("bad", [0, -1.0, True, "1", None, 1e31, 1e-31, math.pi * 10**200])
def test_numbers_that_no_run_has_are_malformed(receipt, bad):
    receipt["given"]["runs"]["tokens"][0] = bad
    refused(receipt, check.Malformed, r"given.runs.tokens\[0\]: expected a number")


def test_columns_of_different_lengths_are_malformed(receipt):
    receipt["given"]["runs"]["tokens"].pop()
    refused(receipt, check.Malformed, "one value a run is expected in every column")


def test_exponents_that_leave_all_numbers_are_refused_and_not_computed(receipt):
    receipt["answer"]["parameters"]["alpha"] = 1e29
    receipt["given"]["runs"]["parameters"][0] = 1e-29
    refused(receipt, check.Refuted, "beyond all numbers|objective")


def test_the_largest_table_that_is_read_is_decided_within_seconds(receipt):
    runs = receipt["given"]["runs"]
    for name, column in runs.items():
        runs[name] = (column * 1000)[:2000]
    started = time.process_time()
    refused(receipt, check.Refuted, "objective|stationary")
    assert time.process_time() - started < 5
    runs["loss"].append(1.0)
    refused(receipt, check.Malformed, "at most 2,000 values, got 2,001")
