"""Are the backward passes written by hand those of the formulas? Against plain autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unrolled.models import Architecture, ModelConfig, build
from unrolled.models.attention import rotary_table, rotate
from unrolled.models.batch import IGNORED, Batch
from unrolled.models.by_hand import gated, normed, pairs_first, recording, turned_heads
from unrolled.training.precision import autocast

CPU = torch.device("cpu")
TINY = ModelConfig(vocab_size=11, hidden_size=16, num_layers=2, num_heads=4, max_positions=16)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same_slopes(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Values and gradients in float32 against the plain formula's in float64."""
    mine = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    got, wanted = ours(*mine), plain(*exact)
    assert torch.allclose(got.double(), wanted, rtol=1e-5, atol=1e-5)
    above = drawn(*wanted.shape, seed=9)
    got.backward(above)
    wanted.backward(above.double())
    for x, y in zip(mine, exact, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        assert torch.allclose(x.grad.double(), y.grad, rtol=1e-4, atol=1e-5)


SHAPES = [(1, 1, 8), (2, 3, 8), (5, 64), (3, 7, 24)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_swiglu_is_that_of_the_formula(shape: tuple[int, ...]) -> None:
    def plain(inner: Tensor) -> Tensor:
        gate, up = inner.chunk(2, dim=-1)
        return F.silu(gate) * up

    same_slopes(gated, plain, drawn(*shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_norm_is_that_of_the_formula(shape: tuple[int, ...], size: float) -> None:
    def plain(x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, shape[-1:], weight, 1e-5)

    x, weight = size * drawn(*shape), drawn(shape[-1], seed=1)
    mine, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    got, wanted = normed(mine, weight, 1e-5), plain(exact, weight.double())
    above = drawn(*shape, seed=2)
    got.backward(above)
    wanted.backward(above.double())
    assert mine.grad is not None
    assert exact.grad is not None
    assert torch.allclose(got.double(), wanted, rtol=1e-5, atol=1e-6)
    assert (mine.grad - exact.grad).abs().max() < 1e-5 * exact.grad.abs().max()
    same_slopes(lambda w: normed(x, w, 1e-5), lambda w: plain(x.double(), w), weight)


def test_a_norm_of_nothing_but_zeros_is_zero_and_has_a_slope() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    y = normed(x, torch.ones(4), 1e-4)
    y.sum().backward()
    assert (y == 0).all()
    assert torch.allclose(x.grad, torch.full((2, 4), 100.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("rows_differ", [False, True])
def test_turned_heads_are_the_rotated_ones_in_another_order(
    heads: int, kv_heads: int, rows_differ: bool
) -> None:
    rows, time, head = 3, 5, 8
    config = ModelConfig(vocab_size=2, hidden_size=heads * head, num_heads=heads, max_positions=9)
    positions = torch.arange(5)
    if rows_differ:
        positions = torch.stack((positions, positions + 2, positions.flip(0)))
    cos, sin = (table[positions] for table in rotary_table(config))
    order = pairs_first(heads + kv_heads, heads + 2 * kv_heads, head)
    within = pairs_first(1, 1, head)

    def ours(product: Tensor) -> Tensor:
        parts = turned_heads(product[..., order], (cos, sin), heads, kv_heads)
        return torch.cat(parts, dim=1)

    def plain(product: Tensor) -> Tensor:
        each = product.unflatten(-1, (-1, head))
        turned = rotate(each[:, :, : heads + kv_heads], cos.double(), sin.double())[..., within]
        return torch.cat((turned, each[:, :, heads + kv_heads :]), dim=2).transpose(1, 2)

    same_slopes(ours, plain, drawn(rows, time, (heads + 2 * kv_heads) * head))


def no_hand(_: Tensor) -> bool:
    return False


def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("attention", "block"):
        monkeypatch.setattr(f"unrolled.models.{room}.recording", no_hand)


def a_batch(architecture: Architecture, packed: bool) -> Batch:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, 11, (3, 9), generator=generator)
    targets = torch.randint(11, (3, 9), generator=generator)
    targets[:, :4] = IGNORED
    extra: dict[str, Any] = {}
    if packed:
        extra["documents"] = torch.tensor([[1] * 4 + [2] * 5] * 3)
        extra["positions"] = torch.tensor([[*range(4), *range(5)]] * 3)
    if architecture == "encoder-decoder":
        extra["source"] = torch.randint(1, 11, (3, 6), generator=generator)
        extra["source_mask"] = torch.arange(6) < torch.tensor([[6], [4], [2]])
    return Batch(tokens, targets, **extra)


MODELS: list[tuple[Architecture, bool, dict[str, Any]]] = [
    ("decoder", False, {}),
    ("decoder", True, {}),
    ("decoder", False, {"num_kv_heads": 2, "bias": True}),
    ("decoder", False, {"positions": "learned", "norm": "layernorm", "activation": "gelu"}),
    ("encoder", False, {}),
    ("encoder-decoder", False, {}),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("architecture", "packed", "options"), MODELS, ids=str)
def test_a_whole_models_loss_and_gradients_are_those_of_plain_autograd(
    architecture: Architecture,
    packed: bool,
    options: dict[str, Any],
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = ModelConfig(**{**TINY.__dict__, **options})
    batch = a_batch(architecture, packed)

    def slopes(precision: str) -> tuple[float, Tensor]:
        model = build(architecture, config)
        with autocast(precision, CPU):  # type: ignore[arg-type]
            loss = model.loss(batch)
        loss.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return loss.item(), torch.cat(grads)

    value, ours = slopes(precision)
    plainly(monkeypatch)
    wanted, exact = slopes("float32")
    within = 1e-5 if precision == "float32" else 0.05
    assert value == pytest.approx(wanted, rel=within)
    assert (ours - exact).norm() < within * exact.norm()


def test_what_is_written_by_hand_is_for_recorded_training_alone() -> None:
    x = torch.zeros(2)
    assert recording(x)
    assert recording(x.bfloat16())
    assert not recording(x.double())
    with torch.no_grad():
        assert not recording(x)
    seen: list[bool] = []
    torch.func.vmap(lambda y: seen.append(recording(y)) or y)(x)
    assert seen == [False]
