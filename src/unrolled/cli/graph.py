"""`unrolled graph`: what does message passing compute, and is attention a case of it?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro
from rich.table import Table

from unrolled.cli.command import Command
from unrolled.cli.output import print_json, progress, show
from unrolled.errors import BadInput

if TYPE_CHECKING:
    from unrolled.graphs import Graph

Pattern = Literal["complete", "causal", "window", "bigbird", "expander"]


@dataclass(frozen=True)
class Example(Command):
    """Work the update of the four-node graph of the set, line by line."""

    name: ClassVar[str] = "graph example"
    example: ClassVar[str] = "unrolled graph example"

    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw the graph with the weights on its edges here (.png or .svg)."""
    json: bool = False
    """Print {"h1", "lines"} as JSON, h1 as exact fractions."""

    def run(self) -> int:
        """Print the steps."""
        from unrolled.graphs import Graph, exercise

        answer = exercise.worked()
        if self.plot is not None:
            import torch

            from unrolled.graphs.draw import draw

            graph = Graph.from_edges([(node - 1, 0) for node in exercise.WEIGHTS], 4)
            weights = torch.tensor([float(w) for w in exercise.WEIGHTS.values()])
            draw(graph, self.plot, weights, ("1", "2", "3", "4"))
        if self.json:
            print_json({"h1": [str(x) for x in answer.result], "lines": list(answer.lines)})
            return 0
        print("\n".join(answer.lines))
        written(self.plot, "picture")
        return 0


@dataclass(frozen=True)
class Edges(Command):
    """Count the edges of the fully connected graph of a sentence, and list them."""

    name: ClassVar[str] = "graph edges"
    example: ClassVar[str] = 'unrolled graph edges --tokens "I eat red apples"'

    tokens: str = "I eat red apples"
    """The sentence; tokens are separated by spaces."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw the graph with the weights of an attention with drawn weights here (.png or .svg)."""
    json: bool = False
    """Print {"tokens", "between_different", "with_self_loops", "causal"} as JSON."""

    def run(self) -> int:
        """Print both counts and which one attention uses."""
        from unrolled.graphs import Graph, GraphAttention

        tokens = self.tokens.split()
        n = len(tokens)
        if not 1 <= n <= 2000:
            raise BadInput(f"a sentence of 1 to 2,000 tokens is expected, not {n}")
        if self.plot is not None:
            import torch

            from unrolled.graphs.draw import draw

            torch.manual_seed(0)
            graph = Graph.complete(n)
            weights = GraphAttention(16, 1).weights(torch.randn(n, 16), graph)[:, 0]
            draw(graph, self.plot, weights, tokens)
        counts = {
            "between_different": Graph.complete(n, self_loops=False).num_edges,
            "with_self_loops": Graph.complete(n).num_edges,
            "causal": Graph.causal(n).num_edges,
        }
        if self.json:
            print_json({"tokens": tokens, **counts})
            return 0
        print(f"{n} tokens: {' '.join(tokens)}")
        print(f"directed edges between different tokens   {counts['between_different']:>6,}")
        print(f"with each token's edge to itself          {counts['with_self_loops']:>6,}")
        print(f"causal, each to itself and what follows   {counts['causal']:>6,}")
        print("\nAttention uses the edges to itself: an encoder's sum runs over all")
        print(f"{counts['with_self_loops']:,} pairs, a decoder's over {counts['causal']:,}.")
        written(self.plot, "picture")
        return 0


@dataclass(frozen=True)
class Equivalent(Command):
    """Run attention as it is and as message passing, and compare in float64.

    With RUN every attention of that trained model, on text held out from its training; without, a
    torch.nn.MultiheadAttention with drawn weights, on the graph asked for.
    """

    name: ClassVar[str] = "graph equivalent"
    example: ClassVar[str] = "unrolled graph equivalent --pattern causal --nodes 8"

    run_folder: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = None
    """Folder of a trained run, whose masks say who hears whom."""
    pattern: Pattern = "complete"
    """Who hears whom."""
    nodes: int = 6
    """Number of nodes."""
    hidden_size: int = 8
    """Width of the drawn layer."""
    num_heads: int = 2
    """Its heads."""
    seed: int = 0
    """Of the weights and of h."""
    receipt: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the receipt of the drawn layer here; `unrolled check` verifies it (small graphs)."""
    json: bool = False
    """Print {"nodes", "edges", "scaled", "self_loops", "difference", "kernel_difference"}, or of a
    run {"layers"}, as JSON."""

    def run(self) -> int:
        """Print the largest difference, and what is in the layer."""
        if self.run_folder is not None:
            if self != Equivalent(self.run_folder, json=self.json):
                raise BadInput(
                    "a run has its own layers and masks: --pattern, --nodes, --hidden-size, "
                    "--num-heads, --seed and --receipt are for a drawn layer, without RUN"
                )
            return self.of_run(self.run_folder)
        import torch

        from unrolled.graphs import GraphAttention, equivalent

        torch.manual_seed(self.seed)
        layer = GraphAttention(self.hidden_size, self.num_heads).double().to_torch()
        answer = equivalent(layer, build(self.pattern, self.nodes), seed=self.seed)
        if self.receipt is not None:
            answer.receipt().save(self.receipt)
        facts = {
            "nodes": answer.graph.num_nodes,
            "edges": answer.graph.num_edges,
            "scaled": answer.scaled,
            "self_loops": answer.graph.num_self_loops,
            "difference": answer.difference,
            "kernel_difference": answer.kernel_difference,
        }
        if self.json:
            print_json(facts)
            return 0
        same = "the same" if answer.difference <= 1e-13 else "NOT the same"
        print(f"graph        {answer.graph.num_nodes} nodes, {answer.graph.num_edges} edges")
        print(f"self-loops   {answer.self_loops} hears itself")
        print("scores       q·k / √d, the scaling is in")
        print(f"difference   {same}: at most 1e-13 expected between layer and message passing")
        written(self.receipt, "receipt")
        return 0 if answer.difference <= 1e-13 else 1

    def of_run(self, folder: Path) -> int:
        """A row an attention."""
        from unrolled.models import load
        from unrolled.models.as_graph import layers_equivalent
        from unrolled.tasks.answering import open_job

        layers = layers_equivalent(load(folder), open_job(folder).validation[0])
        same = all(layer.same for layer in layers)
        if self.json:
            rows = [
                {
                    "name": layer.name,
                    "nodes": layer.graph.num_nodes,
                    "edges": layer.graph.num_edges,
                    "self_loops": layer.graph.num_self_loops,
                    "difference": layer.difference,
                    "scale": layer.scale,
                }
                for layer in layers
            ]
            print_json({"layers": rows})
            return 0 if same else 1
        table = Table(box=None, pad_edge=False)
        for title in ("attention", "nodes", "edges", "to itself", "same"):
            table.add_column(title, justify="left" if title == "attention" else "right")
        for layer in layers:
            graph = layer.graph
            counts = (graph.num_nodes, graph.num_edges, graph.num_self_loops)
            verdict = "yes" if layer.same else f"no: {layer.difference:.1e}"
            table.add_row(layer.name, *(f"{count:,}" for count in counts), verdict)
        show(table)
        print("\nscores q·k / √d; the same: within 1e-13 of values around 1, in float64")
        return 0 if same else 1


@dataclass(frozen=True)
class MeasureReach(Command):
    """Measure edges, hops, softmax dilution and gradients by length for four patterns."""

    name: ClassVar[str] = "graph reach"
    example: ClassVar[str] = "unrolled graph reach --lengths 64 256 1024 --plot reach.svg"

    lengths: tuple[int, ...] = (64, 256, 1024)
    """Lengths of the sequence, in tokens."""
    layers: int = 4
    """Attention layers the gradient goes through."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw all four here (.png or .svg)."""
    json: bool = False
    """Print a JSON list of {"name", "nodes", "edges", "hops", "needle", "gradient"}."""

    def run(self) -> int:
        """Print the table."""
        from unrolled.graphs.reach import reach

        with progress("graphs") as tell:
            answers = reach(self.lengths, layers=self.layers, progress=tell)
        if self.plot is not None:
            from unrolled.graphs.draw import draw_reach

            draw_reach(answers, self.layers, self.plot)
        if self.json:
            print_json([asdict(answer) for answer in answers])
            return 0
        table = Table(box=None, pad_edge=False)
        for title in ("graph", "length", "edges", "hops", "needle", "near", "middle", "far"):
            table.add_column(title, justify="left" if title == "graph" else "right")
        for a in answers:
            points = (a.gradient[0], a.gradient[len(a.gradient) // 2], a.gradient[-1])
            cells = (f"{a.nodes:,}", f"{a.edges:,}", str(a.hops), f"{a.needle:.3f}")
            table.add_row(a.name, *cells, *(f"{g:.1e}" if g else "0" for g in points))
        show(table)
        print("\nneedle: weight of an edge whose score is 3 nats above all others at its node")
        print(
            f"near, middle, far: gradient of the last node after {self.layers} layers, by distance"
        )
        written(self.plot, "picture")
        return 0


PARTS: dict[str, type[Command]] = {
    "example": Example,
    "edges": Edges,
    "equivalent": Equivalent,
    "reach": MeasureReach,
}


class GraphCommand(Command):
    """Attention as message passing on a graph."""

    name: ClassVar[str] = "graph"
    example: ClassVar[str] = "unrolled graph example"

    @classmethod
    def main(cls, arguments: Sequence[str]) -> int:
        """The first word chooses the part."""
        words = list(arguments)
        if not words or words[0] in ("-h", "--help"):
            width = max(map(len, PARTS))
            rows = "\n".join(
                f"  {name:<{width}}  {(part.__doc__ or '').splitlines()[0]}"
                for name, part in PARTS.items()
            )
            print(
                f"usage: unrolled graph PART [options]\n\n{cls.__doc__}\n\n{rows}\n\n"
                "`unrolled graph PART --help` shows its options.\nExample: unrolled graph example",
                file=sys.stdout if words else sys.stderr,
            )
            return 0 if words else 2
        if words[0] not in PARTS:
            raise BadInput(f"the parts are {', '.join(PARTS)}, not {words[0]!r}")
        return PARTS[words[0]].main(words[1:])


def build(pattern: Pattern, n: int) -> Graph:
    """A graph by its name."""
    from unrolled.graphs import Graph

    if not 1 <= n <= 4096:
        raise BadInput(f"--nodes must be 1 to 4,096, not {n}")
    return {
        "complete": lambda: Graph.complete(n),
        "causal": lambda: Graph.causal(n),
        "window": lambda: Graph.sliding_window(n, 4),
        "bigbird": lambda: Graph.bigbird(n, 2, 1, 1),
        "expander": lambda: Graph.expander(n, 4),
    }[pattern]()


def written(path: Path | None, what: str) -> None:
    """Say where a file is."""
    if path is not None:
        print(f"\n{what} written to {path}")
