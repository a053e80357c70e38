"""Is a layer's attention one step of message passing? Run both ways in float64 and compared.

With messages (q_i·k_j / √d, v_j), the softmax aggregation and W_o as the update, message passing is
multi-head attention: softmax over N(v_i) of what each neighbour sends (the problem of the set, d).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.errors import BadInput
from unrolled.graphs.attention import GraphAttention
from unrolled.graphs.graph import Graph
from unrolled.graphs.passing import message_passing
from unrolled.receipts import Receipt

Dense = Callable[[Tensor, Tensor], Tensor]
WITHIN = 1e-12
"""How far, of values around 1, float64 may be from the exact answer in a receipt."""


@dataclass(frozen=True)
class Equivalence:
    """What came out of the two ways."""

    graph: Graph
    layer: GraphAttention
    h: Float[Tensor, "nodes hidden"]
    difference: float
    """Largest difference between the layer itself and message passing."""
    kernel_difference: float
    """Largest difference between message passing and the kernels."""
    scaled: bool = True
    """Whether scores are divided by √d; here they always are."""

    @property
    def self_loops(self) -> str:
        """Whether nodes hear themselves, in words."""
        count, n = self.graph.num_self_loops, self.graph.num_nodes
        return "every node" if count == n else "no node" if not count else f"{count} of {n} nodes"

    def receipt(self) -> Receipt:
        """The heads' outputs, before W_o, for an exact check; small graphs only.

        Raises:
            BadInput: more nodes, edges or products than the checker computes.
        """
        ones = torch.ones(len(self.h), 1, dtype=torch.float64)
        weight, bias = self.layer.qkv.weight, self.layer.qkv.bias
        # A last feature of 1 carries the biases.
        h = self.h if bias is None else torch.cat((self.h, ones), dim=1)
        stacked = weight if bias is None else torch.cat((weight, bias[:, None]), dim=1)
        parts = stacked.detach().view(3, self.layer.num_heads, self.layer.head_size, -1)
        heads = [
            {name: parts[place, head].tolist() for place, name in enumerate("QKV")}
            for head in range(self.layer.num_heads)
        ]
        given = {
            "edges": self.graph.edge_index.T.tolist(),
            "h": h.tolist(),
            "heads": heads,
            "scaled": True,
        }
        answer = {"h": passed(self.layer, self.h, self.graph).tolist(), "within": WITHIN}
        from unrolled.receipts.check import Malformed

        try:
            return Receipt.prove("graph.attention", given, answer, {})
        except Malformed as error:
            raise BadInput(f"too large for a receipt ({error}); take fewer nodes") from None


def equivalent(
    model: nn.Module, graph: Graph, *, dense: Dense | None = None, seed: int = 0
) -> Equivalence:
    """Run an attention layer as it is, masked, and as message passing, in float64.

    Args:
        model: `torch.nn.MultiheadAttention`, `GraphAttention`, or a self-attention of
            `unrolled.models`; or a module that contains one of the first two (the first is taken).
        graph: without duplicates, which no attention mask can say.
        dense: how to run a layer of `unrolled.models` densely, in float64: (h, mask) to new h.
        seed: of the random h.

    Raises:
        BadInput: no attention in the model; a graph with duplicates.
    """
    if graph.has_duplicates:
        raise BadInput("an attention mask can't list an edge twice: leave out the duplicates")
    layer, dense = both(model, dense)
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(graph.num_nodes, layer.hidden_size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        mask = graph.dense()
        alone = ~mask.any(1, keepdim=True)
        expected = dense(h, mask | alone)
        mixed = passed(layer, h, graph)
        # No softmax is over nothing: a node that hears nobody gets the bias of W_o alone.
        nothing = layer.out(torch.zeros_like(mixed[:1]))
        expected = torch.where(alone, nothing, expected)
        got = layer.out(mixed)
        kernel = layer(h, graph)
    return Equivalence(graph, layer, h, largest(got - expected), largest(got - kernel))


def largest(difference: Tensor) -> float:
    """The largest absolute value; 0 of nothing."""
    return float(difference.abs().max()) if difference.numel() else 0.0


def both(model: nn.Module, dense: Dense | None) -> tuple[GraphAttention, Dense]:
    """The layer's weights in float64 as a `GraphAttention`, and how to run the layer densely."""
    kinds = (nn.MultiheadAttention, GraphAttention)
    found: Any = next((m for m in model.modules() if isinstance(m, kinds)), None)
    if dense is not None and found is None and hasattr(model, "qkv"):
        return GraphAttention.from_unrolled(deepcopy(model).double()), dense
    if found is None:
        raise BadInput(
            f"{type(model).__name__} has no torch.nn.MultiheadAttention or GraphAttention; for a "
            "layer of unrolled.models say how to run it with `dense`"
        )
    layer = deepcopy(found).double().eval()
    ours = GraphAttention.from_torch(layer) if isinstance(layer, nn.MultiheadAttention) else layer
    theirs = layer if isinstance(layer, nn.MultiheadAttention) else ours.to_torch()
    theirs.batch_first = True

    def run(h: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = theirs(h[None], h[None], h[None], attn_mask=~mask, need_weights=False)[0][0]
        return out

    return ours, run


def passed(
    layer: GraphAttention, h: Float[Tensor, "nodes hidden"], graph: Graph
) -> Float[Tensor, "nodes hidden"]:
    """What each node hears, the heads side by side, by `message_passing` alone."""
    with torch.no_grad():
        return heard(layer.qkv(h).view(len(h), 3, layer.num_heads, layer.head_size), graph)


def heard(
    parts: Float[Tensor, "nodes 3 heads head"], graph: Graph
) -> Float[Tensor, "nodes heads*head"]:
    """The softmax aggregation of messages (q_i·k_j / √d, v_j); `parts` are q, k and v."""

    def message(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        scores = (target[:, 0] * source[:, 1]).sum(-1) / parts.shape[-1] ** 0.5
        return scores, source[:, 2]

    return message_passing(graph, parts, message=message, aggregate="softmax").flatten(1)
