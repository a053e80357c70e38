"""Steps and learning rates against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.models import ModelConfig, build
from unrolled.training import TrainingConfig
from unrolled.training.optimizer import Optimizer, clip, learning_rate, split

CONFIG = ModelConfig(vocab_size=7, hidden_size=8, num_layers=1, num_heads=2, bias=True)


def test_matrices_of_blocks_decay_and_nothing_else_does() -> None:
    for architecture in ("decoder", "encoder", "encoder-decoder", "lstm"):
        model = build(architecture, CONFIG)
        names = {id(p): n for n, p in model.named_parameters()}
        matrices, others = split(model)
        assert sorted(map(id, (*matrices, *others))) == sorted(names)
        assert all(p.ndim == 2 and "embedding" not in names[id(p)] for p in matrices)
        assert all(p.ndim == 1 or "embedding" in names[id(p)] for p in others)


@pytest.mark.parametrize("steps", [1, 3])
def test_adamw_steps_as_its_paper_says(steps: int) -> None:
    """Loshchilov and Hutter 2019, algorithm 2, in float64."""
    config = TrainingConfig(weight_decay=0.1, beta2=0.95)
    model = build("decoder", CONFIG).double()
    matrices, _ = split(model)
    decayed = {id(p) for p in matrices}
    optimizer = Optimizer(model, config)
    generator = torch.Generator().manual_seed(0)
    expected = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    mean = {n: np.zeros_like(v) for n, v in expected.items()}
    square = {n: np.zeros_like(v) for n, v in expected.items()}
    for t in range(1, steps + 1):
        rate = 0.01 * t
        for name, p in model.named_parameters():
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            g = p.grad.numpy()
            mean[name] = 0.9 * mean[name] + 0.1 * g
            square[name] = 0.95 * square[name] + 0.05 * g * g
            m, v = mean[name] / (1 - 0.9**t), square[name] / (1 - 0.95**t)
            decay = 0.1 if id(p) in decayed else 0.0
            expected[name] -= rate * decay * expected[name]
            expected[name] -= rate * m / (np.sqrt(v) + 1e-8)
        optimizer.step(rate)
        assert all(p.grad is None for p in model.parameters())
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.detach().numpy(), expected[name], rtol=1e-10, atol=1e-12)


def test_muon_moves_a_matrix_along_its_orthogonalised_gradient() -> None:
    """A first step is -rate · 0.2 √max(n, m) · UVᵀ (Liu et al. 2025), UΣVᵀ being the gradient.

    Its Newton–Schulz iteration stops at singular values near 1, not at 1: between 0.6 and 1.3.
    """
    config = TrainingConfig(optimizer="muon", weight_decay=0.0)
    model = build("decoder", CONFIG)
    matrix = split(model)[0][0]
    optimizer = Optimizer(model, config)
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    assert matrix.grad is not None
    u, _, vt = torch.linalg.svd(matrix.grad, full_matrices=False)
    before = matrix.detach().clone()
    optimizer.step(0.01)
    moved = (before - matrix.detach()) / (0.01 * 0.2 * math.sqrt(max(matrix.shape)))
    along = torch.linalg.svdvals(u.T @ moved @ vt.T)
    assert along.min() > 0.6
    assert along.max() < 1.3
    assert (u @ (u.T @ moved @ vt.T) @ vt - moved).norm() < 0.05 * moved.norm()


def test_the_rate_rises_over_the_warm_up_and_falls_along_a_line() -> None:
    config = TrainingConfig(max_steps=100, warmup_steps=10, learning_rate=2.0, final_fraction=0.1)
    rates = [learning_rate(config, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[55] == pytest.approx(2.0 * (0.1 + 0.9 * 0.45))
    assert rates[100] == pytest.approx(0.2)


def test_the_rate_peaks_where_the_warm_up_ends_a_little_below_the_stated_one() -> None:
    config = TrainingConfig(max_steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(config, step, step / 100) for step in range(100)]
    assert rates.index(max(rates)) == 9
    assert max(rates) == pytest.approx(0.91)


def test_the_cosine_is_half_way_down_half_way_through() -> None:
    config = TrainingConfig(schedule="cosine", warmup_steps=0, learning_rate=1.0)
    assert learning_rate(config, 50, 0.0) == pytest.approx(1.0)
    assert learning_rate(config, 50, 0.5) == pytest.approx(0.5)
    assert learning_rate(config, 50, 1 / 3) == pytest.approx(0.75)
    assert learning_rate(config, 50, 1.0) == pytest.approx(0.0)


@given(
    step=st.integers(0, 10**6),
    progress=st.floats(-1, 2),
    schedule=st.sampled_from(["linear", "cosine"]),
    final=st.floats(0, 1),
)
def test_no_rate_is_negative_or_above_the_highest(
    step: int, progress: float, schedule: str, final: float
) -> None:
    config = TrainingConfig(schedule=schedule, final_fraction=final)  # type: ignore[arg-type]
    rate = learning_rate(config, step, progress)
    assert 0 <= rate <= config.learning_rate * (1 + 1e-12)


def test_clipping_scales_to_the_limit_and_tells_the_norm_before() -> None:
    p = torch.nn.Parameter(torch.zeros(2))
    p.grad = torch.tensor([3.0, 4.0])
    assert clip([p], 0.0) == pytest.approx(5.0)
    assert p.grad.tolist() == [3.0, 4.0]
    assert clip([p], 1.0) == pytest.approx(5.0)
    assert p.grad.norm().item() == pytest.approx(1.0, rel=1e-5)
