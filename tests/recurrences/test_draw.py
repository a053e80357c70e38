"""Are the curves that are drawn the ones that the mathematics says?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from unrolled.recurrences import draw as module
from unrolled.recurrences import verdict
from unrolled.recurrences.draw import draw


def block(n, value):
    return value * np.eye(n) + np.eye(n, k=1)


def curves(monkeypatch, path, W, **options):
    kept = []
    monkeypatch.setattr(module, "Figure", lambda **o: kept.append(Figure(**o)) or kept[-1])
    draw(verdict(W), path, **options)
    assert path.stat().st_size > 1000
    return {line.get_label(): line.get_xydata() for line in kept[0].axes[1].lines}


SHEAR = np.array([[1, 2, 0], [0, 1, -1], [0, 0, 1]])  # of determinant 1


@pytest.mark.parametrize(
    ("W", "degree", "rho"),
    [
        (block(2, 0.9), 1, 0.9),
        (np.linalg.inv(SHEAR) @ block(3, 0.75) @ SHEAR, 2, 0.75),
        (block(2, 1.25), 1, 1.25),
        (block(3, 1.0), 2, 1.0),
        (np.diag([0.9, 0.5, 0.5]) + np.diag([0, 1.0], 1), 0, 0.9),
        (np.kron(block(2, 1.0), 0.5 * np.array([[0.6, -0.8], [0.8, 0.6]])) @ np.eye(4), 1, 0.5),
        (block(66, 0.5), 65, 0.5),
    ],
)
def test_the_asymptote_is_t_to_the_degree_times_rho_to_the_t(monkeypatch, tmp_path, W, degree, rho):
    answer = verdict(W)
    assert answer.growth_degree == degree
    steps = 300 if len(W) < 4 else 60
    found = curves(monkeypatch, tmp_path / "w.svg", W, steps=steps)
    norms, line = found.values()
    t = np.arange(1, steps + 1)
    expected = degree * np.log10(t / steps) + (t - steps) * math.log10(rho)
    np.testing.assert_allclose(np.log10(line[1:, 1] / line[-1, 1]), expected, atol=1e-6)
    assert line[-1, 1] == pytest.approx(norms[-1, 1])
    (label,) = (name for name in found if "|" not in name)
    assert (f"t^{{{degree}}}" in label) == (degree > 0)
    if degree in (1, 2) and len(W) < 4:  # and that is where the norms go
        ratio = norms[200, 1] / line[200, 1]
        assert ratio == pytest.approx(1, abs=0.02)


def test_the_long_run_of_a_state_is_that_of_its_own_part(monkeypatch, tmp_path):
    found = curves(monkeypatch, tmp_path / "w.png", np.diag([2.0, 0.5]), h0=[0, 1.0], steps=20)
    norms, line = found.values()
    np.testing.assert_allclose(norms, line)
    assert norms[-1, 1] == pytest.approx(2.0**-20)
