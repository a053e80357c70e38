"""Is it told what moves a fit: its loss's delta and scale, single runs, the largest runs?"""

from __future__ import annotations

import numpy as np
import pytest
from tests.scaling.synthetic import TRUE, synthetic

from unrolled.errors import BadInput
from unrolled.scaling import LAWS, Runs, allocate, fit
from unrolled.scaling.sensitivity import deltas, extrapolate, influences, plain_scheme


def test_averaging_the_loss_stops_early_and_moves_tokens_per_parameter_several_fold():
    """The trap that Besiroglu et al. 2024 found: SciPy's default tolerance on an averaged loss."""
    runs = synthetic(240, 0.005, 0)
    flops = 5.76e23
    ours = fit(LAWS["hoffmann"], runs)
    right = allocate(ours, flops).tokens_per_parameter
    averaged = plain_scheme(runs, reduction="mean", starts=40)
    wrong = allocate(averaged, flops).tokens_per_parameter
    assert max(wrong / right, right / wrong) > 3
    assert averaged.objective > 1.05 * ours.objective
    careful = plain_scheme(runs, reduction="sum", starts=40, ftol=1e-15)
    assert careful.objective >= ours.objective * (1 - 1e-9)
    nearer = allocate(careful, flops).tokens_per_parameter
    assert abs(np.log(nearer / right)) < abs(np.log(wrong / right)) / 2


def test_each_delta_is_fitted_to_its_own_optimum():
    found = fit(LAWS["hoffmann"], synthetic(60, 0.01, 1))
    fits = deltas(found, 1e21, (1e-3, 1e-2))
    assert fits[1e-3].parameters == found.parameters
    assert fits[1e-2].parameters == fit(LAWS["hoffmann"], found.runs, delta=1e-2).parameters


def test_the_run_that_was_spoiled_is_the_most_influential_and_leaving_it_out_is_a_fit_without_it():
    runs = synthetic(30, 0.002, 3)
    loss = runs.loss.copy()
    spoiled = int(runs.compute.argmax())
    loss[spoiled] *= 1.2
    found = fit(LAWS["hoffmann"], Runs(runs.parameters, runs.tokens, loss), delta=0.05)
    first, *_ = influences(found, 1e21)
    assert first.run == spoiled
    rest = fit(LAWS["hoffmann"], found.runs.take(np.delete(np.arange(30), spoiled)), delta=0.05)
    assert first.tokens_per_parameter == pytest.approx(
        allocate(rest, 1e21).tokens_per_parameter, rel=1e-6
    )


def test_extrapolation_is_judged_by_the_largest_runs_which_the_fit_has_not_seen():
    found = fit(LAWS["hoffmann"], synthetic(60, 0.002, 2))
    answer = extrapolate(found, 0.2)
    assert len(answer.left_out) == 12
    assert answer.left_out.compute.min() > answer.fitted.runs.compute.max()
    true = TRUE.law.predict(
        TRUE.parameters, parameters=answer.left_out.parameters, tokens=answer.left_out.tokens
    )
    assert np.abs(answer.predicted / true - 1).max() < 0.01
    np.testing.assert_allclose(answer.errors, answer.predicted / answer.left_out.loss - 1)
    with pytest.raises(BadInput, match="a share of the runs"):
        extrapolate(found, 1.5)
