"""What does a graph network compute? One synchronous step of message passing.

    h_i' = q(h_i, Agg { f(h_j, h_i) : j → i })

All nodes read the same snapshot h and are updated at once (Gilmer et al. 2017, equations 1 and 2;
the problem of the set). Everything is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.graphs.graph import Graph

Message = Callable[[Tensor, Tensor], Any]
Aggregate = str | Callable[[Tensor, Graph], Tensor]


def message_passing(
    graph: Graph,
    h: Tensor,
    *,
    message: Message | None = None,
    aggregate: Aggregate = "sum",
    weights: Tensor | None = None,
    update: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """One step on all nodes.

    Args:
        graph: who hears whom.
        h: what each node knows, real numbers [N, ...].
        message: f(h_source, h_target), both [E, ...], one row an edge in the graph's order; gives
            the messages [E, ...]; h_source itself unless given. For "softmax" it gives a pair,
            scores [E, ...] and messages: each node takes the mean of its messages weighted by the
            softmax of their scores.
        aggregate: sum, mean, max or softmax, or a function of the messages [E, ...] and the graph
            that gives [N, ...]. A node without messages gets 0 from the named ones.
        weights: a factor for each message [E]; a mean still divides by the number of edges.
        update: q(h, aggregated), both [N, ...]; what is aggregated unless given.

    Raises:
        BadInput: h has no row for each node, or holds NaN; weights or messages don't fit the edges;
            an unknown aggregation.
    """
    check_features(h, graph)
    made: Any = h.index_select(0, graph.source)
    if message is not None:
        made = message(made, h.index_select(0, graph.target))
    scores = None
    if aggregate == "softmax":
        if not isinstance(made, tuple) or len(made) != 2:
            raise BadInput("aggregate 'softmax' needs a message that gives (scores, messages)")
        scores, made = made
    for name, value in (("messages", made), ("weights", weights), ("scores", scores)):
        if value is not None and (value.ndim == 0 or len(value) != graph.num_edges):
            raise BadInput(
                f"{name} must have a row for each of the {graph.num_edges} edges, not "
                f"{list(value.shape)}"
            )
    if weights is not None:
        made = made * beside(weights, made)
    if scores is not None:
        made = made * beside(softmax(scores, graph), made)
    heard = aggregated(made, aggregate, graph)
    return heard if update is None else update(h, heard)


def check_features(h: Tensor, graph: Graph) -> None:
    """Refuse features that aren't real numbers, a row for each node."""
    if h.ndim == 0 or len(h) != graph.num_nodes or not h.is_floating_point():
        raise BadInput(
            f"features must be real numbers with a row for each of the {graph.num_nodes} nodes, "
            f"not {h.dtype} {list(h.shape)}"
        )
    if bool(h.isnan().any()):
        node = int(h.isnan().reshape(len(h), -1).any(1).nonzero()[0])
        raise BadInput(f"the features of node {node} hold NaN")


def beside(values: Tensor, messages: Tensor) -> Tensor:
    """Values of edges with axes of size 1 behind them, to be multiplied with messages."""
    return values.reshape(*values.shape, *(1,) * (messages.ndim - values.ndim))


def aggregated(messages: Tensor, aggregate: Aggregate, graph: Graph) -> Tensor:
    """Messages [E, ...] gathered at their targets [N, ...]."""
    if callable(aggregate):
        return aggregate(messages, graph)
    empty = messages.new_zeros(graph.num_nodes, *messages.shape[1:])
    if aggregate == "max":
        where = beside(graph.target, messages).expand_as(messages)
        return empty.scatter_reduce(0, where, messages, "amax", include_self=False)
    if aggregate not in ("sum", "mean", "softmax"):
        raise BadInput(
            f"aggregate must be sum, mean, max, softmax or a function, not {aggregate!r}"
        )
    total = empty.index_add(0, graph.target, messages)
    if aggregate == "mean":
        total = total / beside(graph.in_degree.clamp(min=1), total)
    return total


def softmax(scores: Float[Tensor, " edges *heads"], graph: Graph) -> Float[Tensor, " edges *heads"]:
    """exp(score) by its sum over all edges with the same target (Veličković et al. 2018, eq. 2)."""
    largest = aggregated(scores.detach(), "max", graph)
    power = (scores - largest.index_select(0, graph.target)).exp()
    return power / aggregated(power, "sum", graph).index_select(0, graph.target)
