"""Do the laws predict what their papers state, and are their derivatives the derivatives?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import BadInput
from unrolled.scaling import LAWS, PUBLISHED, Runs, allocate, find_law
from unrolled.scaling.law import Inputs
from unrolled.scaling.published import PF_DAY, Published

INPUTS = {"parameters": 1e8, "tokens": 1e10, "unique_tokens": 2e9, "compute": 1e19}


def asked(law, rng):
    scale = np.exp(rng.uniform(-1, 1, 6))
    return {name: INPUTS[name] * scale for name in law.inputs}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
@settings(max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.5, 2))
def test_the_jacobian_is_what_finite_differences_say(name, seed, stretch):
    law, constants = PUBLISHED[name].law, dict(PUBLISHED[name].parameters)
    constants = {key: value * stretch**0.2 for key, value in constants.items()}
    inputs = asked(law, np.random.default_rng(seed))
    jacobian = law.jacobian(constants, **inputs)
    assert jacobian.shape == (6, len(law.parameters))
    for j, key in enumerate(law.parameters):
        step = 1e-5 * constants[key]
        above = law.predict({**constants, key: constants[key] + step}, **inputs)
        below = law.predict({**constants, key: constants[key] - step}, **inputs)
        slope = (above - below) / (2 * step)
        np.testing.assert_allclose(jacobian[:, j], slope, rtol=1e-6, atol=1e-9 / constants[key])


@pytest.mark.parametrize("name", sorted(LAWS))
def test_the_curvature_is_what_finite_differences_of_the_slopes_say(name):
    law, rng = PUBLISHED[name].law, np.random.default_rng(1)
    columns = tuple(asked(law, rng).values())
    inputs = Inputs(columns, tuple(float(np.log(c).mean()) for c in columns))
    theta = np.array([PUBLISHED[name].parameters[key] for key in law.parameters])
    phi, weights = law.to_working(theta, inputs)[None], rng.standard_normal((1, 6))
    curvature = law.curvature(phi, inputs, weights)[0]
    for j in range(len(theta)):
        move = 1e-4 * np.eye(len(theta))[j]
        both = law.slopes(phi + move, inputs) - law.slopes(phi - move, inputs)
        np.testing.assert_allclose(curvature[j], (both[0] @ weights[0]) / 2e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_working_coordinates_lead_back_to_the_parameters(name):
    law = PUBLISHED[name].law
    theta = np.array([PUBLISHED[name].parameters[key] for key in law.parameters])
    inputs = Inputs((np.ones(1),) * len(law.inputs), (15.0, 20.0, 19.0)[: len(law.inputs)])
    again = law.from_working(law.to_working(theta, inputs), inputs)
    np.testing.assert_allclose(again, theta, rtol=1e-12)


def test_kaplan_2020_doubling_the_parameters_lowers_the_loss_to_95_percent():
    law = PUBLISHED["kaplan-n"]
    one, two = law.law.predict(law.parameters, parameters=np.array([1e9, 2e9]))
    assert round(two / one, 2) == 0.95  # section 1.2


def test_kaplan_2020_the_loss_at_the_data_of_efficient_training_goes_as_compute_to_minus_0_03():
    law = PUBLISHED["kaplan-d"]  # section 6.3, with the D ~ C^0.27 of section 1 and table 6
    one, ten = law.law.predict(law.parameters, tokens=4e10 * np.array([1, 10**0.27]))
    assert round(float(np.log10(ten / one)), 2) == -0.03


def test_kaplan_2020_the_laws_meet_near_1_7_nats_at_ten_thousand_petaflop_days():
    law = PUBLISHED["kaplan-c"]  # equation 6.8
    assert round(float(law.law.predict(law.parameters, compute=1e4 * PF_DAY)[0]), 1) == 1.7


@pytest.mark.parametrize("N", [1e7, 1e8, 1e9])
def test_kaplan_2020_overfitting_costs_2_percent_at_5000_tokens_times_size_to_the_0_74(N):
    law = PUBLISHED["kaplan-nd"]  # equation 4.4, from the 0.02 of section 4.2
    finite, endless = law.law.predict(
        law.parameters, parameters=N, tokens=np.array([5e3 * N**0.74, 1e30])
    )
    assert round(finite / endless - 1, 2) == 0.02


def test_hoffmann_2022_would_give_gophers_compute_to_40_billion_parameters():
    assert round(allocate(PUBLISHED["hoffmann"], 5.76e23).parameters / 1e9) == 40  # figure 4


def test_hoffmann_2022_exponents_of_the_third_approach_are_0_46_and_0_54():
    p = PUBLISHED["hoffmann"].parameters
    a = p["beta"] / (p["alpha"] + p["beta"])
    assert (round(a, 2), round(1 - a, 2)) == (0.46, 0.54)  # table 2


def test_besiroglu_2024_exponents_are_0_513_and_0_487():
    p = PUBLISHED["besiroglu"].parameters
    a = p["beta"] / (p["alpha"] + p["beta"])
    assert (round(a, 3), round(1 - a, 3)) == (0.513, 0.487)


def test_besiroglu_2024_agree_with_20_tokens_a_parameter_at_chinchillas_compute():
    ratio = allocate(PUBLISHED["besiroglu"], 5.76e23).tokens_per_parameter
    assert 15 < ratio < 25


def test_muennighoff_2023_give_gophers_compute_to_70_billion_parameters_and_1_37_trillion_tokens():
    """Appendix B: before repetition, the law is Hoffmann's with their constants for C4."""
    p = PUBLISHED["muennighoff"].parameters
    single = Published(
        LAWS["hoffmann"], {k: p[k] for k in LAWS["hoffmann"].parameters}, "appendix B", ""
    )
    answer = allocate(single, 5.76e23)
    assert round(answer.parameters / 1e9, 1) == 70.0
    assert round(answer.tokens / 1e12, 2) == 1.37


def test_muennighoff_2023_one_token_warrants_0_051_parameters():
    p, law = PUBLISHED["muennighoff"].parameters, PUBLISHED["muennighoff"].law
    # Equation 17: with alpha = beta the best N goes as (A / B)^(1 / alpha) D.
    assert round((p["A"] / p["B"]) ** (1 / p["alpha"]), 3) == 0.051 == law.ratio


def test_muennighoff_2023_repeating_for_ever_is_worth_a_bounded_number_of_fresh_tokens():
    repeated, plain = PUBLISHED["muennighoff"], LAWS["hoffmann"]
    p = repeated.parameters
    first = {name: p[name] for name in plain.parameters}
    for_ever = repeated.law.predict(p, parameters=1e6, tokens=1e14, unique_tokens=1e9)
    fresh = plain.predict(first, parameters=1e6, tokens=1e9 * (1 + 15.387756))
    np.testing.assert_allclose(for_ever, fresh, rtol=1e-12)  # section 3.1
    assert round(1 / p["R_N"], 2) == 0.19  # what a repeated parameter loses, appendix A
    once = repeated.law.predict(p, parameters=1e6, tokens=1e9, unique_tokens=1e9)
    np.testing.assert_allclose(once, plain.predict(first, parameters=1e6, tokens=1e9), rtol=1e-12)


@pytest.mark.parametrize(("constants", "exponent"), [("hoffmann", 0.74), ("besiroglu", 0.78)])
def test_pearce_2024_without_embeddings_the_exponent_over_kaplans_range_is_near_kaplans(
    constants, exponent
):
    """Kaplan's 20 sizes from 768 to 1.5 billion and the budgets of the paper's own script."""
    law = PUBLISHED["pearce-song"].law
    N, C = np.logspace(2.9, 9.2, 20), np.logspace(12.95, 20.7, 100)
    losses = [
        law.predict(PUBLISHED[constants].parameters, parameters=N, tokens=c / 6 / N) for c in C
    ]
    best = N[np.argmin(losses, axis=1)]
    assert round(float(np.polyfit(np.log(C), np.log(best), 1)[0]), 2) == exponent


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_constant_has_a_source_and_an_estimator(name):
    published = PUBLISHED[name]
    assert set(published.parameters) == set(published.law.parameters)
    assert published.source
    assert published.estimator
    assert len(published.law.units) == len(published.law.parameters)


@pytest.mark.parametrize("name", ["kaplan-n", "kaplan-d", "kaplan-c", "kaplan-nd", "hoffmann"])
def test_counting_in_thousands_changes_the_scales_by_their_units_and_nothing_else(name):
    """Dimensional sanity: Xc has X's unit; A has that of N^alpha, B that of D^beta."""
    law, p = PUBLISHED[name].law, dict(PUBLISHED[name].parameters)
    inputs = asked(law, np.random.default_rng(2))
    scaled = {
        key: value / 1000 if unit in ("parameters", "tokens", "FLOPs") else value
        for (key, value), unit in zip(p.items(), law.units, strict=True)
    }
    if name == "hoffmann":
        scaled["A"], scaled["B"] = p["A"] / 1000 ** p["alpha"], p["B"] / 1000 ** p["beta"]
    thousands = {key: value / 1000 for key, value in inputs.items()}
    np.testing.assert_allclose(
        law.predict(scaled, **thousands), law.predict(p, **inputs), rtol=1e-12
    )


def test_unknown_laws_constants_and_inputs_are_refused():
    law, p = PUBLISHED["hoffmann"].law, PUBLISHED["hoffmann"].parameters
    with pytest.raises(BadInput, match="unknown law 'chinchilla': there are hoffmann"):
        find_law("chinchilla")
    with pytest.raises(BadInput, match="has the parameters E, A, B, alpha, beta"):
        law.predict({"E": 1.0}, parameters=1e6, tokens=1e6)
    with pytest.raises(BadInput, match="is a function of parameters, tokens"):
        law.predict(p, parameters=1e6)
    with pytest.raises(BadInput, match="have to be positive"):
        law.predict(p, parameters=0.0, tokens=1e6)


def test_runs_without_embeddings_are_counted_as_kaplan_does():
    three = np.array([3e4, 5e4, 9e4])
    runs = Runs(three, three * 20, three / 1e4, None, np.array([1e4, 1e4, 2e4]))
    assert runs.without_embeddings().parameters.tolist() == [2e4, 4e4, 7e4]
    with pytest.raises(BadInput, match="no column embedding_parameters"):
        Runs(three, three, three).without_embeddings()
