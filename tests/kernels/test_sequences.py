"""Attention of whole sequences and its gradient, against the formula in float64."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.test_products import MACHINES, flags, on
from torch import Tensor

pytest.importorskip("numba")

from unrolled.kernels.sequences import TOGETHER
from unrolled.models.fused_attention import fused_attention
from unrolled.models.spans import Spans


def by_the_formula(
    product: Tensor, rotary: tuple[Tensor, Tensor] | None, spans: Spans, sizes: dict[str, int]
) -> Tensor:
    """Position by position of the mask that the spans stand for."""
    time, size = product.shape[1], sizes["size"]
    heads = product.unflatten(-1, (-1, size)).transpose(1, 2)
    q, k, v = heads.split((sizes["heads"], sizes["kv_heads"], sizes["kv_heads"]), dim=1)
    if rotary is not None:
        cos, sin = (t.unsqueeze(-3) for t in rotary)
        one, two = q.chunk(2, -1)
        q = torch.cat((one * cos - two * sin, two * cos + one * sin), -1)
        one, two = k.chunk(2, -1)
        k = torch.cat((one * cos - two * sin, two * cos + one * sin), -1)
    k, v = (t.repeat_interleave(sizes["heads"] // sizes["kv_heads"], 1) for t in (k, v))
    place = torch.arange(time)
    seen = (place >= spans.first[..., None]) & (place < spans.end[..., None])
    scores = q @ k.transpose(-1, -2) / size**0.5
    shares = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
    return (shares @ v).transpose(1, 2).flatten(2)[:, sizes["start"] :]


def drawn_spans(rng: np.random.Generator, rows: int, time: int, kind: str) -> Spans:
    place = np.arange(time)
    first, end = np.zeros((rows, time)), np.zeros((rows, time)) + place + 1
    if kind == "padding":
        end = np.zeros((rows, time)) + rng.integers(1, time + 1, (rows, 1))
    if kind == "any":
        first = np.minimum(np.sort(rng.integers(0, time, (rows, time)), 1), place)
        end = np.maximum(np.sort(rng.integers(1, time + 1, (rows, time)), 1), first + 1)
    return Spans(*(torch.tensor(x, dtype=torch.int32) for x in (first, end)))


def drawn(seed: int, rows: int, time: int, kind: str, *, rope: int, sizes: dict[str, int]) -> Any:
    """`rope`: 0 for no rotation, 1 for one table, 2 for one a row."""
    rng, size = np.random.default_rng(seed), sizes["size"]
    width = (sizes["heads"] + 2 * sizes["kv_heads"]) * size
    product = torch.tensor(rng.standard_normal((rows, time, width)), dtype=torch.float32)
    shape = (time, size // 2) if rope == 1 else (rows, time, size // 2)
    angle = torch.tensor(rng.uniform(0, 6, shape), dtype=torch.float32)
    return product, (angle.cos(), angle.sin()) if rope else None, drawn_spans(rng, rows, time, kind)


def compare(product: Tensor, rotary: Any, spans: Spans, sizes: dict[str, int]) -> None:
    exact, ours = product.double().requires_grad_(), product.clone().requires_grad_()
    doubled = None if rotary is None else tuple(t.double() for t in rotary)
    wanted = by_the_formula(exact, doubled, spans, sizes)
    given = fused_attention(ours, rotary, spans, **sizes)
    above = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    wanted.backward(above.double())
    given.backward(above)
    assert ours.grad is not None
    assert exact.grad is not None
    assert (given - wanted).abs().max() < 3e-6
    assert (ours.grad - exact.grad).abs().max() < 3e-6 * max(1, exact.grad.abs().max().item())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 3),
    time=st.integers(1, 2 * TOGETHER + 20),
    kind=st.sampled_from(["causal", "padding", "any"]),
    rope=st.integers(0, 2),
    group=st.integers(1, 3),
    kv_heads=st.integers(1, 2),
    half=st.integers(1, 36),
    data=st.data(),
)
def test_answers_and_gradients_are_those_of_the_formula(
    seed: int, rows: int, time: int, kind: str, rope: int, group: int, kv_heads: int, half: int,
    data: Any,
) -> None:  # fmt: skip
    start = data.draw(st.integers(0, time - 1))
    sizes = {"heads": group * kv_heads, "kv_heads": kv_heads, "size": 2 * half, "start": start}
    compare(*drawn(seed, rows, time, kind, rope=rope, sizes=sizes), sizes)


def test_a_long_row_and_scores_that_fill_the_softmax_are_right() -> None:
    sizes = {"heads": 2, "kv_heads": 1, "size": 64, "start": 0}
    product, rotary, spans = drawn(0, 1, 700, "causal", rope=1, sizes=sizes)
    compare(product, rotary, spans, sizes)
    # Scores of some hundred: one key has all the weight.
    sharp = product.clone()
    sharp[..., :192] *= 12
    given = fused_attention(sharp, rotary, spans, **sizes)
    doubled = tuple(t.double() for t in rotary)
    wanted = by_the_formula(sharp.double(), doubled, spans, sizes)
    assert (given - wanted).abs().max() < 2e-3
    assert given.isfinite().all()


def test_a_row_has_the_same_bits_in_any_batch_and_with_any_number_of_threads() -> None:
    sizes = {"heads": 4, "kv_heads": 2, "size": 20, "start": 3}
    product, rotary, spans = drawn(1, 5, 75, "any", rope=2, sizes=sizes)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            for row in (slice(None), slice(3, 4)):
                x = product[row].clone().requires_grad_()
                turns = tuple(t[row].contiguous() for t in rotary)
                out = fused_attention(x, turns, Spans(*(t[row] for t in spans)), **sizes)
                out.square().sum().backward()
                assert x.grad is not None
                found.append((out[3 if len(out) > 1 else 0], x.grad[3 if len(out) > 1 else 0]))
    finally:
        torch.set_num_threads(before)
    for out, gradient in found[1:]:
        assert torch.equal(out, found[0][0])
        assert torch.equal(gradient, found[0][1])


@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_hidden(what: float) -> None:
    sizes = {"heads": 1, "kv_heads": 1, "size": 8, "start": 0}
    product, rotary, spans = drawn(2, 1, 30, "causal", rope=1, sizes=sizes)
    product[0, 12, 3] = what
    out = fused_attention(product, rotary, spans, **sizes)
    assert out[0, :8].isfinite().all()
    assert not out[0, 12].isfinite().all()


def test_sizes_that_do_not_fit_are_refused_before_anything_is_read() -> None:
    sizes = {"heads": 2, "kv_heads": 1, "size": 8, "start": 0}
    product, rotary, spans = drawn(3, 2, 10, "causal", rope=1, sizes=sizes)
    for wrong in (
        (product[..., :24], rotary, spans),
        (product[:, :9], rotary, spans),
        (product, (rotary[0][:, :3], rotary[1][:, :3]), spans),
        (product, rotary, Spans(spans.first[:, :9], spans.end[:, :9])),
        (product[:1], rotary, spans),
    ):
        with pytest.raises(ValueError, match="fit"):
            fused_attention(*wrong, **sizes)


RUN = """
import test_elements, test_sequences as t
for kind, rope, size, start in [("causal", 1, 32, 0), ("any", 2, 20, 5), ("padding", 0, 6, 0)]:
    sizes = {"heads": 4, "kv_heads": 2, "size": size, "start": start}
    t.compare(*t.drawn(size, 2, 90, kind, rope=rope, sizes=sizes), sizes)
test_elements.test_the_number_of_threads_changes_no_bit(2)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="sets of x86-64")
@pytest.mark.parametrize("name", ["SSE2", "AVX2", "AVX-512"])
def test_other_sets_of_instructions_answer_within_the_same_bounds(name: str) -> None:
    target, needs, _, _ = MACHINES[name]
    if needs <= flags():
        on(RUN, target)
