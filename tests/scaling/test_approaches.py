"""Do the three approaches agree where they should, and say why where they can't be followed?"""

from __future__ import annotations

import numpy as np
import pytest
from tests.scaling.synthetic import TRUE, isoflop_grid, synthetic

from unrolled.scaling import LAWS, Runs, fit, side_by_side

TRUTH = TRUE.parameters["beta"] / (TRUE.parameters["alpha"] + TRUE.parameters["beta"])


def curves():
    """Forty sizes along their whole training."""
    N = np.repeat(np.geomspace(1e7, 1e10, 40), 60)
    D = np.tile(np.geomspace(1e8, 1e12, 60), 40)
    loss = TRUE.law.predict(TRUE.parameters, parameters=N, tokens=D)
    return Runs(N, D, loss, None, None, tuple(f"{n:.0f}" for n in N))


def test_all_three_find_the_exponent_of_the_law_that_made_the_runs():
    found = fit(LAWS["hoffmann"], isoflop_grid(0.001), bootstraps=200)
    answers = side_by_side(found, curves())
    assert [a.name for a in answers] == ["training curves", "isoFLOP parabolas", "parametric fit"]
    for answer in answers:
        assert answer.exponent == pytest.approx(TRUTH, abs=0.03), answer.name
        assert answer.interval[0] < answer.exponent < answer.interval[1]
        assert answer.parameters(1e20) == pytest.approx(best(1e20), rel=0.15), answer.name


def best(flops):
    p = TRUE.parameters
    G = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    return G * (flops / 6) ** TRUTH


def test_an_approach_that_the_runs_do_not_allow_gives_its_reason():
    found = fit(LAWS["hoffmann"], synthetic(40, 0.01, 0), bootstraps=50)
    first, second, third = side_by_side(found)
    assert first.startswith("training curves: training curves of at least three sizes")
    assert second.startswith("isoFLOP parabolas: two budgets with a best size")
    assert third.name == "parametric fit"
