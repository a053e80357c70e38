"""Is the answer to a budget the minimum it claims to be, by brute force and by exact counts?"""

from __future__ import annotations

import numpy as np
import pytest
from tests.scaling.synthetic import TRUE, synthetic

from unrolled.errors import BadInput
from unrolled.models import ModelConfig
from unrolled.scaling import LAWS, PUBLISHED, Decoder, SixN, allocate, fit
from unrolled.training.plan import flop_per_token, parameter_count


@pytest.mark.parametrize("name", ["hoffmann", "besiroglu", "kaplan-nd", "muennighoff"])
@pytest.mark.parametrize("cost", [SixN(), Decoder(50_000, 2048)])
def test_no_size_on_a_fine_grid_is_better(name, cost):
    published = PUBLISHED[name]
    more = {"unique_tokens": 3e9} if name == "muennighoff" else {}
    answer = allocate(published, 1e20, cost=cost, **more)
    N = answer.parameters * np.geomspace(0.01, 100, 40_001)
    D = 1e20 / cost.per_token(N)
    inputs = {"parameters": N, "tokens": D}
    if more:
        inputs["unique_tokens"] = np.minimum(D, 3e9)
    losses = published.law.predict(published.parameters, **inputs)
    assert answer.loss <= losses.min() * (1 + 1e-12)
    assert answer.parameters == pytest.approx(N[losses.argmin()], rel=1e-3)
    assert cost.per_token(np.array([answer.parameters]))[0] * answer.tokens == pytest.approx(1e20)


def test_without_embeddings_the_whole_model_is_paid_for():
    published = PUBLISHED["pearce-song"]
    answer, whole = allocate(published, 1e18), allocate(PUBLISHED["besiroglu"], 1e18)
    total = answer.parameters + published.law.omega * answer.parameters ** (1 / 3)
    assert total == pytest.approx(whole.parameters, rel=1e-6)
    assert answer.tokens == pytest.approx(whole.tokens, rel=1e-6)


def test_the_search_and_the_closed_form_agree():
    class Searched:
        def per_token(self, parameters):
            return 6 * parameters

    closed, searched = allocate(TRUE, 1e21), allocate(TRUE, 1e21, cost=Searched())
    assert searched.parameters == pytest.approx(closed.parameters, rel=1e-6)


@pytest.mark.parametrize(("hidden", "layers"), [(64, 2), (128, 4), (1024, 32)])
def test_exact_flops_are_those_the_planner_counts(hidden, layers):
    model = ModelConfig(
        vocab_size=1000, hidden_size=hidden, num_layers=layers, activation="gelu", max_positions=128
    )
    norms = hidden * (2 * layers + 1)  # no product has a norm's weights
    shape = Decoder(1000, 128, hidden / layers)
    N = np.array([float(parameter_count(model) - norms)])
    assert shape.width(N)[0] == pytest.approx(hidden, rel=1e-9)
    assert shape.per_token(N)[0] == pytest.approx(flop_per_token(model, 128), rel=1e-9)


def test_a_given_size_or_given_data_leaves_the_other_and_costs_loss():
    best = allocate(TRUE, 1e21)
    small = allocate(TRUE, 1e21, parameters=best.parameters / 4)
    assert small.tokens == pytest.approx(4 * best.tokens)
    assert small.best_loss == best.loss < small.loss
    few = allocate(TRUE, 1e21, tokens=best.tokens / 4)
    assert few.parameters == pytest.approx(4 * best.parameters)
    same = allocate(TRUE, 1e21, parameters=best.parameters)
    assert same.loss == pytest.approx(best.loss, rel=1e-12)


def test_repeating_the_tokens_there_are_changes_the_best_size():
    published = PUBLISHED["muennighoff"]
    plenty = allocate(published, 1e22, unique_tokens=1e15)
    scarce = allocate(published, 1e22, unique_tokens=1e10)
    assert scarce.loss > plenty.loss
    assert scarce.tokens > plenty.tokens, "section 5: more epochs before more parameters"


def test_intervals_on_the_answer_come_with_a_bootstrap_and_warnings_with_distance():
    found = fit(LAWS["hoffmann"], synthetic(60, 0.01, 0), bootstraps=200)
    near = allocate(found, 1e21)
    assert near.warnings == ()
    for name, (low, high) in near.intervals.items():
        assert low < getattr(near, name) < high
    assert allocate(found, 1e21, level=0.5).intervals["tokens"][0] > near.intervals["tokens"][0]
    largest = found.runs.compute.max()
    (far,) = allocate(found, 5000 * largest).warnings
    assert "5,000 times above the largest of the runs" in far
    (below,) = allocate(found, found.runs.compute.min() / 300).warnings
    assert "300 times below the smallest" in below
    assert allocate(found, 99 * largest).warnings == ()


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda: allocate(TRUE, 0.0), "the budget is a positive number"),
        (lambda: allocate(TRUE, 1e20, parameters=-1.0), "the size is a positive number"),
        (lambda: allocate(TRUE, 1e20, parameters=1e8, tokens=1e9), "leaves nothing to choose"),
        (lambda: allocate(PUBLISHED["kaplan-n"], 1e20), "is one of parameters: a budget is split"),
        (lambda: allocate(PUBLISHED["muennighoff"], 1e20), "how many unique tokens there are"),
    ],
)
def test_a_question_without_an_answer_is_refused(ask, reason):
    with pytest.raises(BadInput, match=reason):
        ask()
