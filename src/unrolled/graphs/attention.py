"""Is attention a graph network? `GraphAttention`: the same weights on any directed graph.

h_i' = W_o Σ_{j ∈ N(i)} softmax_j(q_i·k_j / √d) v_j for each head, with q = W_q h, k = W_k h and
v = W_v h (Vaswani et al. 2017, section 3.2.2; as a graph network: Joshi 2020; Shi et al. 2021,
equation 3). On `Graph.complete` it is an encoder's attention, on `Graph.causal` a decoder's.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrolled.errors import BadInput
from unrolled.graphs.graph import Graph
from unrolled.graphs.kernels import graph_attention
from unrolled.graphs.passing import check_features, softmax


class GraphAttention(nn.Module):
    """Multi-head attention along the edges of a graph.

    Scores are scaled by 1/√(hidden_size / num_heads). Who hears itself is the graph's choice: no
    self-loop is added.

    Args:
        hidden_size: width of h, in and out.
        num_heads: must divide hidden_size.
        bias: whether the four products have biases.
        edge_size: width of edge features; each head adds a learned product of them to the score of
            their edge (Ying et al. 2021, equation 6). 0: none.

    Raises:
        BadInput: sizes that are no positive whole numbers, heads that don't divide the width.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, *, bias: bool = True, edge_size: int = 0
    ) -> None:
        super().__init__()
        for name, value in (("hidden_size", hidden_size), ("num_heads", num_heads)):
            if not isinstance(value, int) or value < 1:
                raise BadInput(f"{name} must be a whole number, at least 1, not {value!r}")
        if hidden_size % num_heads:
            raise BadInput(
                f"num_heads must divide hidden_size: {hidden_size} / {num_heads} is not whole"
            )
        self.hidden_size, self.num_heads = hidden_size, num_heads
        self.head_size = hidden_size // num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=bias)
        self.out = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.edges = nn.Linear(edge_size, num_heads, bias=False) if edge_size else None

    def forward(
        self,
        h: Float[Tensor, "nodes hidden"],
        graph: Graph,
        edge_features: Float[Tensor, "edges width"] | None = None,
    ) -> Float[Tensor, "nodes hidden"]:
        """What each node hears. An isolated node hears 0, so gets the bias of the last product.

        Edge features are in the graph's order of edges.

        Raises:
            BadInput: features of another shape, or NaN; edge features where none are expected, or
                none where they are.
        """
        q, k, v = self.heads(h, graph)
        mixed = graph_attention(q, k, v, graph, self.edge_bias(edge_features, graph))
        out: Tensor = self.out(mixed.transpose(0, 1).flatten(1))
        return out

    def heads(self, h: Tensor, graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [heads, nodes, head]."""
        check_features(h, graph)
        if h.shape[1:] != (self.hidden_size,):
            raise BadInput(
                f"features must be [{graph.num_nodes}, {self.hidden_size}], not {list(h.shape)}"
            )
        parts = self.qkv(h).view(len(h), 3, self.num_heads, self.head_size)
        q, k, v = parts.permute(1, 2, 0, 3).contiguous().unbind(0)
        return q, k, v

    def edge_bias(self, features: Tensor | None, graph: Graph) -> Tensor | None:
        """What edge features add to the scores [heads, edges]."""
        if self.edges is None:
            if features is not None:
                raise BadInput("this attention was made without edge_size and takes no features")
            return None
        expected = [graph.num_edges, self.edges.in_features]
        if features is None or list(features.shape) != expected or bool(features.isnan().any()):
            came = "none" if features is None else f"{list(features.shape)}, maybe with NaN"
            raise BadInput(f"edge features must be real numbers {expected}, not {came}")
        bias: Tensor = self.edges(features).T.contiguous()
        return bias

    def weights(
        self, h: Float[Tensor, "nodes hidden"], graph: Graph, edge_features: Tensor | None = None
    ) -> Float[Tensor, "edges heads"]:
        """The softmax weight of each edge, in the graph's order; they sum to 1 at each target."""
        q, k, _ = self.heads(h, graph)
        scores = (q[:, graph.target] * k[:, graph.source]).sum(-1) / self.head_size**0.5
        bias = self.edge_bias(edge_features, graph)
        return softmax((scores if bias is None else scores + bias).T, graph)

    @classmethod
    def from_torch(cls, attention: nn.MultiheadAttention) -> GraphAttention:
        """The weights of a `torch.nn.MultiheadAttention` whose keys are as wide as its queries."""
        if attention.in_proj_weight is None or attention.bias_k is not None:
            raise BadInput("only attention of one width and without bias_k can be taken over")
        if attention.add_zero_attn:
            raise BadInput("add_zero_attn adds a node that no graph here has")
        bias = attention.in_proj_bias is not None
        new = cls(attention.embed_dim, attention.num_heads, bias=bias)
        new.to(attention.in_proj_weight.device, attention.in_proj_weight.dtype)
        with torch.no_grad():
            new.qkv.weight.copy_(attention.in_proj_weight)
            new.out.weight.copy_(attention.out_proj.weight)
            if bias:
                new.qkv.bias.copy_(attention.in_proj_bias)
                new.out.bias.copy_(attention.out_proj.bias)
        return new

    def to_torch(self) -> nn.MultiheadAttention:
        """A `torch.nn.MultiheadAttention` (batch first) with the same weights."""
        if self.edges is not None:
            raise BadInput("torch.nn.MultiheadAttention takes no edge features")
        weight = self.qkv.weight
        bias = self.qkv.bias is not None
        other = nn.MultiheadAttention(
            self.hidden_size, self.num_heads, bias=bias, batch_first=True
        ).to(weight.device, weight.dtype)
        with torch.no_grad():
            other.in_proj_weight.copy_(weight)
            other.out_proj.weight.copy_(self.out.weight)
            if bias:
                other.in_proj_bias.copy_(self.qkv.bias)
                other.out_proj.bias.copy_(self.out.bias)
        return other

    @classmethod
    def from_unrolled(cls, attention: Any) -> GraphAttention:
        """The weights of `unrolled.models`' self-attention, without its rotation of positions.

        Keys and values that several query heads share are written out for each.
        """
        heads, shared, size = attention.num_heads, attention.kv_heads, attention.head_size
        bias = attention.qkv.bias is not None
        new = cls(heads * size, heads, bias=bias)
        new.to(attention.qkv.weight.device, attention.qkv.weight.dtype)
        with torch.no_grad():
            for name in ("weight", "bias") if bias else ("weight",):
                stacked = getattr(attention.qkv, name).unflatten(0, (-1, size))
                q, k, v = stacked.split((heads, shared, shared))
                k, v = (part.repeat_interleave(heads // shared, dim=0) for part in (k, v))
                getattr(new.qkv, name).copy_(torch.cat((q, k, v)).flatten(0, 1))
                getattr(new.out, name).copy_(getattr(attention.out, name))
        return new

    def to_unrolled(self, attention: Any) -> None:
        """Copy the weights into `unrolled.models`' self-attention of the same sizes."""
        sizes = (self.num_heads, self.num_heads, self.head_size, self.qkv.bias is not None)
        theirs = (attention.num_heads, attention.kv_heads, attention.head_size)
        if sizes != (*theirs, attention.qkv.bias is not None) or self.edges is not None:
            raise BadInput(
                f"heads, key heads, head size and bias must be {sizes}, and no edge features; "
                f"the other has {theirs}, bias {attention.qkv.bias is not None}"
            )
        attention.qkv.load_state_dict(self.qkv.state_dict())
        attention.out.load_state_dict(self.out.state_dict())
