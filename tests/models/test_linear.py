"""Few rows, the other way round, are the same product."""

from __future__ import annotations

import pytest
import torch

from unrolled.models.linear import LARGE, Linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [(1,), (2, 1), (3,), (2, 4), (9,), (0, 4)])
@pytest.mark.parametrize("outputs", [3, LARGE // 48])
def test_few_rows_give_what_exact_sums_give(
    rows: tuple[int, ...], outputs: int, bias: bool
) -> None:
    layer = Linear(64, outputs, bias=bias)
    x = torch.randn(*rows, 64, generator=torch.Generator().manual_seed(1))
    expected = x.double() @ layer.weight.double().T
    expected = expected if layer.bias is None else expected + layer.bias.double()
    with torch.no_grad():
        found = layer(x)
    assert found.shape == (*rows, outputs)
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(x).detach(), found, rtol=1e-5, atol=1e-5)


def test_gradients_flow_as_ever() -> None:
    layer = Linear(64, LARGE // 64)
    x = torch.randn(4, 64, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(4, -1).detach())
