"""Is a second derivative through a hand-written backward pass refused, however it is asked for?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from unrolled.graphs import Graph
from unrolled.graphs.kernels import graph_attention
from unrolled.models.cross_entropy import summed_cross_entropy
from unrolled.models.fused_attention import fused_attention
from unrolled.models.fused_elements import fused_gate, fused_norm
from unrolled.models.half_attention import half_attention
from unrolled.models.spans import spans

GENERATOR = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)
TARGETS = torch.randint(4, (6,), generator=GENERATOR)
HIDDEN = torch.randn(6, 3, generator=GENERATOR, dtype=torch.float64)
GRAPH = Graph.causal(6)
PRODUCT = torch.randn(1, 4, 12, generator=GENERATOR, dtype=torch.float64)
WEIGHTS = torch.randn(12, generator=GENERATOR)
CAUSAL = spans(4, None, None, causal=True)
QUERIES = torch.randn(1, 2, 4, 8, generator=GENERATOR, dtype=torch.float64)


def attended(product: Tensor) -> Tensor:
    """One head."""
    assert CAUSAL is not None
    return fused_attention(product, None, CAUSAL, heads=1, kv_heads=1, size=4)


Function = Callable[[Tensor], Tensor]
FUNCTIONS: dict[str, tuple[Function, Tensor]] = {
    "loss": (lambda x: summed_cross_entropy(x, WEIGHT, TARGETS), HIDDEN),
    "sparse attention": (lambda x: graph_attention(x, x, x, GRAPH, kernel="sparse").sum(), HIDDEN),
    "dense attention": (lambda x: graph_attention(x, x, x, GRAPH, kernel="dense").sum(), HIDDEN),
    "attention": (lambda x: half_attention(x, x, x, None).double().sum(), QUERIES),
    "compiled attention": (lambda x: attended(x.float()).double().sum(), PRODUCT),
    "compiled gate": (lambda x: fused_gate(x.float()).double().sum(), PRODUCT),
    "compiled norm": (
        lambda x: fused_norm(x.float(), WEIGHTS, 1e-5).double()[..., :2].sum(),
        PRODUCT,
    ),
}


def gradient(f: Function, x: Tensor) -> Tensor:
    """With a constant 1 from above, which `once_differentiable` lets through."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(f(x), x, create_graph=True)
    return slope


def varying(f: Function, x: Tensor) -> Tensor:
    """The gradient from above depends on x too."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(f(x) ** 2, x, create_graph=True)
    return slope


def shifted(f: Function, x: Tensor) -> Tensor:
    """Only what stands before f varies: half of the second derivative would be lost."""
    shift = torch.zeros_like(x).requires_grad_()
    (slope,) = torch.autograd.grad(f((x + shift).tanh()), shift, create_graph=True)
    return slope


def dual(f: Function, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        return f(forward_ad.make_dual(x, x))


WAYS: dict[str, Callable[[Function, Tensor], object]] = {
    "create_graph": gradient,
    "create_graph, varying above": varying,
    "create_graph, varying below": shifted,
    "gradgradcheck": lambda f, x: torch.autograd.gradgradcheck(f, (x.clone().requires_grad_(),)),
    "functional.hessian": torch.autograd.functional.hessian,
    "functional.hvp": lambda f, x: torch.autograd.functional.hvp(f, x, x),
    "func.hessian": lambda f, x: torch.func.hessian(f)(x),
    "func.jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "func.grad of grad": lambda f, x: torch.func.grad(lambda y: torch.func.grad(f)(y).sum())(x),
    "func.jacrev of grad": lambda f, x: torch.func.jacrev(torch.func.grad(f))(x),
    "func.vmap": lambda f, x: torch.func.vmap(f)(x[None]),
    "forward mode": dual,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_second_derivative_is_refused_rather_than_wrong(name: str, way: str) -> None:
    f, x = FUNCTIONS[name]
    with pytest.raises(RuntimeError, match=r"has no second derivative, .*: (differentiate|leave) "):
        WAYS[way](f, x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_derivatives_are_there_as_often_as_they_are_asked_for(name: str) -> None:
    f, x = FUNCTIONS[name]
    x = x.clone().requires_grad_()
    value = f(x)
    first, second = (torch.autograd.grad(value, x, retain_graph=True)[0] for _ in range(2))
    assert first.abs().sum() > 0
    torch.testing.assert_close(first, second)
    # Sparse and dense attention write in place, what is compiled reads addresses.
    together = not name.startswith(("sparse", "dense", "compiled"))
    rows = torch.autograd.functional.jacobian(lambda y: f(y)[None], x.detach(), vectorize=together)
    torch.testing.assert_close(rows[0], first)
