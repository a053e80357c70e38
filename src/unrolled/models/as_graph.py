"""Is the attention of a trained model message passing? Every layer's own, on its own hidden states.

A batch goes through the model in float64. What each attention was given, and what came out, is
kept; then the same is computed by `message_passing` on the graph that the layer's mask says: an
edge from j to i where i may look at j. Attention on a source is a graph, too, whose edges all go
from the source's nodes to the target's. Rotary positions turn q and k before they are sent.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.graphs import Graph
from unrolled.graphs.equivalent import heard, largest
from unrolled.models.attention import CrossAttention, SelfAttention, Sight, rotate
from unrolled.models.batch import Batch
from unrolled.models.build import Model


@dataclass(frozen=True)
class LayerEquivalence:
    """One layer both ways."""

    name: str
    graph: Graph
    difference: float
    """Largest difference of what came out."""
    scale: float
    """Largest value that came out."""

    @property
    def same(self) -> bool:
        """Whether no more than rounding lies between them."""
        return self.difference <= 1e-13 * max(1.0, self.scale)


def layers_equivalent(model: Model, batch: Batch) -> list[LayerEquivalence]:
    """Both ways for every attention of the model, in the order they are run, on one row.

    Raises:
        BadInput: a model without attention.
    """
    double: Any = deepcopy(model).double().eval()
    layers = {
        layer: name
        for name, layer in double.named_modules()
        if isinstance(layer, SelfAttention | CrossAttention)
    }
    if not layers:
        raise BadInput(f"{type(model).__name__} has no attention that could be message passing")
    found: list[LayerEquivalence] = []

    def compare(layer: Any, given: tuple[Any, ...], out: Tensor) -> None:
        if isinstance(layer, CrossAttention):
            parts, graph, asked = cross_passed(layer, *given)
        else:
            parts, graph, asked = self_passed(layer, *given)
        got = layer.out(heard(parts, graph)[asked:])
        name = layers[layer]
        found.append(LayerEquivalence(name, graph, largest(got - out[0]), float(out.abs().max())))

    hooks = [layer.register_forward_hook(compare) for layer in layers]
    try:
        with torch.no_grad():
            double.loss(batch.rows(0, len(batch.tokens)))
    finally:
        for hook in hooks:
            hook.remove()
    return found


Parts = Float[Tensor, "nodes 3 heads head"]


def self_passed(
    layer: SelfAttention,
    x: Float[Tensor, "1 time hidden"],
    sight: Sight,
    rotary: Any,
    *rest: Any,
) -> tuple[Parts, Graph, int]:
    """q, k and v of a sequence, its graph, and the first node whose output is asked for."""
    start = rest[2] if len(rest) > 2 else 0
    heads = layer.qkv(x).unflatten(-1, (-1, layer.head_size))
    turning = layer.num_heads + layer.kv_heads
    turned, values = heads.split((turning, layer.kv_heads), dim=2)
    if rotary is not None:
        turned = rotate(turned, *rotary)
    queries, keys = turned.split((layer.num_heads, layer.kv_heads), dim=2)
    time = x.shape[1]
    mask = sight.explicit(time, x.device)
    if sight.graph is not None:
        graph = sight.graph
    elif mask is None:
        graph = Graph.complete(time)
    else:
        graph = Graph.from_dense(mask[0, 0].expand(time, time))
    return stacked(layer, queries[0], keys[0], values[0]), graph, start


def cross_passed(
    layer: CrossAttention,
    x: Float[Tensor, "1 time hidden"],
    keys: Float[Tensor, "1 kv_heads source head"],
    values: Float[Tensor, "1 kv_heads source head"],
    sight: Sight,
) -> tuple[Parts, Graph, int]:
    """The source's nodes come first; they send k and v and ask nothing."""
    source, time = keys.shape[2], x.shape[1]
    queries = layer.query(x)[0].unflatten(-1, (-1, layer.head_size))
    asked = torch.cat((queries.new_zeros(source, *queries.shape[1:]), queries))
    sent = [torch.cat((t[0].transpose(0, 1), t.new_zeros(time, t.shape[1], t.shape[3])))
            for t in (keys, values)]  # fmt: skip
    among = torch.zeros(source + time, source + time, dtype=torch.bool, device=x.device)
    among[source:, :source] = True if sight.mask is None else sight.mask[0, 0]
    return stacked(layer, asked, *sent), Graph.from_dense(among), source


def stacked(layer: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Parts:
    """With the keys and values that several heads share written out for each."""
    keys, values = (
        t.repeat_interleave(layer.num_heads // layer.kv_heads, dim=1) for t in (keys, values)
    )
    return torch.stack((queries, keys, values), 1)
