"""How fast is attention on a graph, and how does a sliding-window Transformer grow with length?

    python benchmarks/graphs.py [--rounds 7] [--compile] [--parts speed memory density length]

One thread, interleaved, medians. Peers: PyTorch Geometric's TransformerConv, and the same layer by
index_select and index_add; `--compile` adds the latter and ours under torch.compile (which needs a
compiler). `--parts length` draws docs/images/graphs-length.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from timing import interleaved, peak_megabytes
from unrolled.graphs import Graph, GraphAttention, graph_attention
from unrolled.graphs.kernels import prefers_dense

IMAGES = Path(__file__).parents[1] / "docs/images"
HIDDEN, HEADS = 64, 4


def random_graph(nodes: int, edges: int) -> Graph:
    generator = torch.Generator().manual_seed(0)
    return Graph(torch.randint(nodes, (2, edges), generator=generator), nodes)


class Naive(nn.Module):
    """The sums as they are written: a tensor of edges by features for each of q, k and v."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, h: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        q, k, v = self.qkv(h).view(len(h), 3, HEADS, -1).unbind(1)
        scores = (q[target] * k[source]).sum(-1) / q.shape[-1] ** 0.5
        where = target[:, None].expand_as(scores)
        largest = scores.new_zeros(len(h), HEADS)
        largest = largest.scatter_reduce(0, where, scores, "amax", include_self=False)
        power = (scores - largest.detach()[target]).exp()
        total = torch.zeros_like(largest).index_add(0, target, power)
        weights = power / total[target]
        heard = torch.zeros_like(v).index_add(0, target, weights[..., None] * v[source])
        return self.out(heard.flatten(1))


def layers(graph: Graph, compiled: bool) -> dict[str, Callable[[Tensor], Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch_geometric.nn import TransformerConv

    conv = TransformerConv(HIDDEN, HIDDEN // HEADS, heads=HEADS, root_weight=False)
    naive, ours = Naive(), GraphAttention(HIDDEN, HEADS)
    made: dict[str, Callable[[Tensor], Tensor]] = {
        "TransformerConv": lambda h: conv(h, graph.edge_index),
        "index_add": lambda h: naive(h, graph.edge_index),
        "GraphAttention": lambda h: ours(h, graph),
    }
    if compiled:
        fast, own = torch.compile(naive), torch.compile(ours)
        made["index_add, compiled"] = lambda h: fast(h, graph.edge_index)
        made["GraphAttention, compiled"] = lambda h: own(h, graph)
    return made


def run(layer: Callable[[Tensor], Tensor], h: Tensor, backward: bool) -> Callable[[], float]:
    def work() -> float:
        if not backward:
            with torch.no_grad():
                layer(h)
        else:
            layer(h.requires_grad_()).sum().backward()
        return 1.0

    return work


def speed(rounds: int, compiled: bool) -> None:
    graph = random_graph(10_000, 200_000)
    h = torch.randn(graph.num_nodes, HIDDEN)
    made = layers(graph, compiled)
    print(f"\n10,000 nodes, 200,000 edges, d = {HIDDEN}, {HEADS} heads (graph sorted before)")
    for backward in (False, True):
        work = {name: run(layer, h.clone(), backward) for name, layer in made.items()}
        rates = interleaved(work, rounds=rounds, warm_up=2)
        base = statistics.median(rates["TransformerConv"])
        print("  forward + backward" if backward else "  forward")
        for name, values in rates.items():
            rate = statistics.median(values)
            print(f"    {name:<26} {1e3 / rate:8.1f} ms   {rate / base:6.1f} x TransformerConv")


def in_process(*arguments: str) -> dict[str, float]:
    """Run a part of this script by itself: the peak of memory is a process's."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def one_memory(name: str) -> None:
    graph = random_graph(50_000, 1_000_000)
    h = torch.randn(graph.num_nodes, HIDDEN)
    layer = layers(graph, False)[name]
    _ = graph.csr, graph.transposed, graph.rows
    # Sorting the edges took more than a small peak would show: Linux begins to count anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = megabytes("VmRSS")
    run(layer, h, True)()
    print(json.dumps({"peak": megabytes("VmHWM") - before}))


def megabytes(field: str) -> float:
    """Memory that this process has now (VmRSS), or had at most since that was reset (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def memory() -> None:
    print("\n50,000 nodes, 1,000,000 edges: peak of forward + backward above the inputs")
    names = ("TransformerConv", "index_add", "GraphAttention")
    peaks = {name: in_process("--one-memory", name)["peak"] for name in names}
    for name, peak in peaks.items():
        print(f"    {name:<18} {peak:8.0f} MB   {peak / peaks['TransformerConv']:.2f} x")


def attend(heads: list[Tensor], graph: Graph, kernel: str, backward: bool) -> float:
    with torch.set_grad_enabled(backward):
        out = graph_attention(*heads, graph, kernel=kernel)
    if backward:
        out.sum().backward()
    return 1.0


def density(least: int) -> None:
    print("\nsparse against dense, ms, 4 heads; the one that is picked, by the better of the two")
    small = ((100, 16), (150, 16), (150, 64), (300, 16), (300, 64))
    for nodes, size in (*small, (1000, 16), (1000, 64), (2000, 32)):
        # Calls of a millisecond need more of them for a median that means something.
        rounds = max(least, min(61, 9_000 // nodes))
        for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0):
            generator = torch.Generator().manual_seed(0)
            graph = Graph.from_dense(torch.rand(nodes, nodes, generator=generator) < share)
            heads = [torch.randn(4, nodes, size).requires_grad_() for _ in range(3)]
            cells = []
            for backward in (False, True):
                work = {}
                for kernel in ("sparse", "dense"):
                    work[kernel] = partial(attend, heads, graph, kernel, backward)
                rates = interleaved(work, rounds=rounds)
                took = {name: 1e3 / statistics.median(values) for name, values in rates.items()}
                picked = "dense" if prefers_dense(graph, size, backward) else "sparse"
                ratio = took[picked] / min(took.values())
                cells.append(f"{took['sparse']:8.2f} {took['dense']:8.2f} {picked:>6} {ratio:5.2f}")
            print(f"    n {nodes:5} d {size:3} {100 * share:4.0f} %  " + "   ".join(cells))


def one_length(attention: str, length: int) -> None:
    from unrolled.models import ModelConfig, build
    from unrolled.models.batch import Batch

    config = ModelConfig(
        vocab_size=256,
        hidden_size=128,
        num_layers=2,
        num_heads=4,
        max_positions=length,
        attention=attention,
    )
    model = build("decoder", config)
    tokens = torch.randint(256, (1, length))
    batch = Batch(tokens, tokens)
    times = []
    for _ in range(3):
        before = time.perf_counter()
        model.loss(batch).backward()
        times.append(time.perf_counter() - before)
    print(json.dumps({"seconds": min(times), "peak": peak_megabytes()}))


def length() -> None:
    print("\na decoder of 2 layers, width 128, 4 heads; a step's forward + backward, one sequence")
    points: dict[str, list[tuple[int, float, float]]] = {"window:128": [], "full": []}
    for time_steps in (1024, 2048, 4096, 8192, 16384):
        for attention, rows in points.items():
            got = in_process("--one-length", attention, str(time_steps))
            rows.append((time_steps, got["seconds"], got["peak"]))
            print(
                f"    {attention:<11} {time_steps:6} tokens {got['seconds']:8.2f} s "
                f"{got['peak']:8.0f} MB",
                flush=True,
            )
    plot(points)


def plot(points: dict[str, list[tuple[int, float, float]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for (name, rows), colour in zip(points.items(), ("#2f6db0", "#d9772b"), strict=True):
        for place, axis in enumerate(axes, 1):
            values = [row[place] for row in rows]
            axis.plot([row[0] for row in rows], values, "o-", color=colour, label=name)
    axes[0].set(xlabel="tokens", ylabel="seconds a step", xscale="log", yscale="log")
    axes[1].set(xlabel="tokens", ylabel="peak of the process, MB")
    axes[0].legend(frameon=False)
    figure.savefig(IMAGES / "graphs-length.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    parts = ("speed", "memory", "density", "length")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--one-memory", metavar="LAYER")
    parser.add_argument("--one-length", nargs=2, metavar=("ATTENTION", "TOKENS"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.one_memory:
        return one_memory(options.one_memory)
    if options.one_length:
        return one_length(options.one_length[0], int(options.one_length[1]))
    if "speed" in options.parts:
        speed(options.rounds, options.compile)
    if "memory" in options.parts:
        memory()
    if "density" in options.parts:
        density(options.rounds)
    if "length" in options.parts:
        length()
    return None


if __name__ == "__main__":
    main()
