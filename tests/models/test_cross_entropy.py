"""The chunked loss against PyTorch's own, in value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unrolled.models.cross_entropy import SMALLEST_CHUNK, summed_cross_entropy


def make(rows: int, vocab: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64) * 3
    weight = torch.randn(vocab, width, generator=generator, dtype=torch.float64)
    return hidden, weight, torch.randint(vocab, (rows,), generator=generator)


@pytest.mark.parametrize("rows", [0, 1, SMALLEST_CHUNK, SMALLEST_CHUNK + 1, 3 * SMALLEST_CHUNK - 1])
def test_value_and_gradients_are_those_of_the_usual_way(rows: int) -> None:
    hidden, weight, targets = make(rows, 13, 5)
    results = []
    for loss in (
        lambda h, w: F.cross_entropy(h @ w.T, targets, reduction="sum"),
        lambda h, w: summed_cross_entropy(h, w, targets),
    ):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        value = loss(h, w)
        (value / 7).backward()
        results.append((value.detach(), h.grad, w.grad))
    for usual, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, usual, rtol=1e-12, atol=1e-12)


def test_its_gradient_is_its_numerical_derivative() -> None:
    hidden, weight, targets = make(6, 4, 3)
    inputs = (hidden.requires_grad_(), weight.requires_grad_(), targets)
    assert torch.autograd.gradcheck(summed_cross_entropy, inputs)


def test_logits_too_large_for_exp_lose_nothing() -> None:
    hidden = torch.tensor([[1000.0], [-1000.0]])
    weight = torch.tensor([[1.0], [-1.0]])
    loss = summed_cross_entropy(hidden, weight, torch.tensor([0, 0]))
    assert loss.tolist() == 2000.0


def test_without_gradients_none_are_made() -> None:
    hidden, weight, targets = make(4, 5, 3)
    assert not summed_cross_entropy(hidden, weight, targets).requires_grad
    frozen = summed_cross_entropy(hidden.requires_grad_(), weight, targets)
    frozen.backward()
    assert hidden.grad is not None


def test_under_autocast_the_sum_stays_float32() -> None:
    hidden, weight, targets = make(300, 50, 16)
    exact = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    h, w = hidden.float().requires_grad_(), weight.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = summed_cross_entropy(h, w, targets)
    loss.backward()
    assert loss.dtype == h.grad.dtype == w.grad.dtype == torch.float32  # type: ignore[union-attr]
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)


def test_an_evaluation_makes_no_gradient_of_weights_that_would_need_one() -> None:
    from torch.profiler import ProfilerActivity, profile

    hidden, weight, targets = make(4, 5, 3)
    weight.requires_grad_()
    products = []
    for recording in (True, False):
        with torch.set_grad_enabled(recording), profile(activities=[ProfilerActivity.CPU]) as seen:
            summed_cross_entropy(hidden, weight, targets)
        products.append(sum(e.count for e in seen.key_averages() if e.key == "aten::mm"))
    assert products == [3, 1]
