"""Is training attention in bfloat16 the attention that it stands for? Against exact autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unrolled.models import ModelConfig, build
from unrolled.models.attention import Sight, attend, bidirectional, causal
from unrolled.models.batch import IGNORED, Batch
from unrolled.training.precision import autocast

CPU = torch.device("cpu")


def by_the_formula(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(QKᵀ/√d) V, every head of the queries with the keys' head that serves it."""
    each = queries.shape[1] // keys.shape[1]
    heads = []
    for h in range(queries.shape[1]):
        scores = queries[:, h] @ keys[:, h // each].mT / math.sqrt(queries.shape[3])
        if mask is not None:
            scores = scores.masked_fill(~mask[:, 0], -torch.inf)
        heads.append(scores.softmax(-1) @ values[:, h // each])
    return torch.cat(heads, dim=-1)


DOCUMENTS = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 2, 2, 2, 2], [0] * 7])
REAL = torch.tensor([[True] * 7, [True] * 5 + [False] * 2, [True] * 2 + [False] * 5])


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(
    "sight",
    [
        Sight(),
        causal(7, 0, None),
        causal(7, 0, None, DOCUMENTS),
        bidirectional(REAL),
        causal(7, 0, None).tail(3, 7, CPU),
        causal(7, 0, None, DOCUMENTS).tail(5, 7, CPU),
    ],
    ids=["all", "causal", "documents", "padding", "tail", "tail of documents"],
)
def test_values_and_gradients_are_those_of_the_formula(sight: Sight, kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = sight.explicit(7, CPU)
    time = 7 if mask is None else mask.shape[2]
    # Numbers that bfloat16 holds exactly, so that only the arithmetic differs.
    shapes = [(3, 4, time, 8), (3, kv_heads, 7, 8), (3, kv_heads, 7, 8), (3, time, 32)]
    *inputs, above = (torch.randn(s, generator=generator).bfloat16().double() for s in shapes)
    exact = [x.clone().requires_grad_() for x in inputs]
    by_the_formula(*exact, mask).backward(above)  # type: ignore[arg-type]
    ours = [x.float().requires_grad_() for x in inputs]
    with autocast("bfloat16", CPU):
        mixed = attend(*ours, sight)  # type: ignore[arg-type]
    assert mixed.dtype == torch.bfloat16
    mixed.backward(above.bfloat16())
    wanted = by_the_formula(*inputs, mask)  # type: ignore[arg-type]
    # bfloat16 has 8 bits: one rounding of scores of size 3 and of probabilities each.
    assert (mixed - wanted).abs().max() < 0.03
    for x, y in zip(ours, exact, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        assert (x.grad - y.grad).abs().max() < 0.02 * y.grad.abs().max() + 0.01


def test_a_query_that_sees_nothing_makes_no_nan_for_the_others() -> None:
    q, k, v = torch.randn(3, 1, 2, 4, 8, generator=torch.Generator().manual_seed(1)).unbind()
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[:, :, 2] = False
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    with autocast("bfloat16", CPU):
        attend(*leaves, Sight(mask))[:, [0, 1, 3]].sum().backward()  # type: ignore[arg-type]
    assert all(bool(x.grad.isfinite().all()) for x in leaves if x.grad is not None)


@pytest.mark.parametrize("positions", ["rope", "learned", "sinusoidal"])
@pytest.mark.parametrize("packed", [False, True])
def test_leaving_out_the_context_in_the_last_layer_changes_no_loss_and_no_gradient(
    positions: str, packed: bool
) -> None:
    config = ModelConfig(
        vocab_size=11, hidden_size=16, num_layers=2, num_heads=4, num_kv_heads=2, max_positions=16,
        positions=positions,  # type: ignore[arg-type]
    )  # fmt: skip
    model = build("decoder", config).double()
    generator = torch.Generator().manual_seed(2)
    tokens, targets = torch.randint(11, (2, 3, 7), generator=generator).unbind()
    targets[:, :4] = IGNORED
    targets[1, 4] = IGNORED
    beside = {}
    if packed:
        beside = {"documents": DOCUMENTS, "positions": torch.arange(7).repeat(3, 1)}
    batch = Batch(tokens, targets, **beside)
    model.loss(batch).backward()
    short = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    logits = model(tokens, **beside)
    full = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    full.backward()
    assert abs(model.loss(batch).item() - full.item()) < 1e-12
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert (parameter.grad - short[name]).abs().max() < 1e-12, name
