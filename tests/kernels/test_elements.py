"""The compiled gate and norm and their gradients, against the formulas in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("numba")

from unrolled.models.fused_elements import fused_gate, fused_norm

EPS = 1e-5


def compare(ours: Callable[..., Tensor], exact: Callable[..., Tensor], *inputs: Tensor) -> None:
    mine = [x.clone().requires_grad_() for x in inputs]
    theirs = [x.double().requires_grad_() for x in inputs]
    given, wanted = ours(*mine), exact(*theirs)
    above = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    given.backward(above)
    wanted.backward(above.double())
    assert torch.allclose(given.double(), wanted, rtol=2e-6, atol=2e-6)
    for x, y in zip(mine, theirs, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        bound = 3e-6 * (1 + y.grad.abs().max().item())
        assert (x.grad - y.grad).abs().max() < bound


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 70), st.floats(0.01, 30))
def test_the_gate_is_silu_times_the_rest(seed: int, rows: int, width: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    product = size * torch.randn(rows, 2 * width, generator=generator)

    def exact(both: Tensor) -> Tensor:
        a, b = both.chunk(2, -1)
        return a / (1 + (-a).exp()) * b

    compare(lambda x: fused_gate(x) / size, lambda x: exact(x) / size, product)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(8, 140), st.floats(0.1, 30))
def test_the_norm_is_that_of_the_paper(seed: int, rows: int, width: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator)
    weight = torch.randn(width, generator=generator)

    def exact(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * weight

    # The gradient of x grows with 1 / its size: in units of that.
    compare(lambda x, w: fused_norm(x * size, w, EPS), lambda x, w: exact(x * size, w), x, weight)


def test_a_gate_of_huge_numbers_saturates_and_nan_stays() -> None:
    product = torch.tensor([[1e4, -1e4, float("nan"), 2.0, 3.0, 1.0]])
    assert torch.allclose(fused_gate(product)[0, :2], torch.tensor([2e4, 0.0]), atol=1e-30)
    assert fused_gate(product)[0, 2].isnan()


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(333, 40, generator=generator), torch.randn(40, generator=generator)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
            out = fused_gate(fused_norm(*leaves, EPS))
            out.square().sum().backward()
            found.append([out, *(leaf.grad for leaf in leaves)])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)
