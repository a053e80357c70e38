"""Muon against singular values in float64, and against PyTorch's."""

import math

import numpy as np
import pytest
import torch

from unrolled.training.muon import Muon, orthogonalised

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SHAPES = [(6, 4), (4, 6), (6, 4), (5, 5), (1, 7)]


def by_singular_values(matrix: np.ndarray, steps: int = 5) -> np.ndarray:
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(steps):
        s = COEFFICIENTS[0] * s + COEFFICIENTS[1] * s**3 + COEFFICIENTS[2] * s**5
    return np.asarray((u * s) @ vt)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stack_is_orthogonalised_as_its_singular_values_say(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    stack = torch.randn(3, *shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    found = orthogonalised(stack, COEFFICIENTS, 5, 1e-7)
    assert found.dtype == dtype
    for one, matrix in zip(found, stack, strict=True):
        np.testing.assert_allclose(
            one.numpy(), by_singular_values(matrix.numpy()), rtol=0, atol=2e-5
        )


def test_a_matrix_of_zeros_stays_one() -> None:
    assert not orthogonalised(torch.zeros(1, 3, 4), COEFFICIENTS, 5, 1e-7).any()


def matrices() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def test_its_steps_are_those_of_momentum_decay_and_singular_values() -> None:
    held = [m.requires_grad_() for m in matrices()]
    expected = [m.detach().numpy().astype(np.float64) for m in held]
    momentum = [np.zeros_like(m) for m in expected]
    optimizer = Muon(held, weight_decay=0.1)
    generator = torch.Generator().manual_seed(2)
    for rate in (0.1, 0.05, 0.02):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for i, m in enumerate(held):
            m.grad = torch.randn(m.shape, generator=generator)
            gradient = m.grad.numpy().astype(np.float64)
            momentum[i] = 0.95 * momentum[i] + 0.05 * gradient
            along = by_singular_values(0.05 * gradient + 0.95 * momentum[i])
            expected[i] *= 1 - rate * 0.1
            expected[i] -= rate * 0.2 * math.sqrt(max(m.shape)) * along
        optimizer.step()
    for m, wanted in zip(held, expected, strict=True):
        np.testing.assert_allclose(m.detach().numpy(), wanted, rtol=0, atol=5e-5)


def test_pytorchs_steps_differ_by_the_rounding_of_bfloat16_alone() -> None:
    ours, theirs = ([m.requires_grad_() for m in matrices()] for _ in range(2))
    both = (
        Muon(ours, 0.1),
        torch.optim.Muon(theirs, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        for optimizer in both:
            optimizer.step()
    for a, b, start in zip(ours, theirs, matrices(), strict=True):
        assert (a - b).norm() < 0.05 * (a - start).norm()


def test_either_goes_on_with_what_the_other_remembers() -> None:
    held = [m.requires_grad_() for m in matrices()]
    theirs = torch.optim.Muon(held, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for m in held:
        m.grad = torch.ones_like(m)
    theirs.step()
    ours = Muon(held, 0.1)
    ours.load_state_dict(theirs.state_dict())
    assert [*ours.state_dict()["state"][0]] == [*theirs.state_dict()["state"][0]]
    ours.step()
    momentum = ours.state[held[0]]["momentum_buffer"]
    torch.testing.assert_close(momentum, torch.full_like(momentum, 1 - 0.95**2))


def test_a_matrix_without_a_gradient_stays_where_it_is() -> None:
    (moved, kept) = (m.requires_grad_() for m in matrices()[:2])
    before = kept.detach().clone()
    moved.grad = torch.ones_like(moved)
    Muon([moved, kept], 0.1).step()
    torch.testing.assert_close(kept.detach(), before, rtol=0, atol=0)


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="closure"):
        Muon(matrices()[:1], 0.1).step(lambda: 0.0)
