"""How near are the products with packed weights to what the machine allows? Beside PyTorch's own.

    python benchmarks/products.py [ROUNDS]    milliseconds for all linear layers of a step

The layers of SmolLM2-135M: 30 times q, k and v together 960 × 576, out 576 × 576, gate and up
together 3072 × 576, down 576 × 1536; and the head 49152 × 576; random weights. For 1, 4, 16 and 64
rows, on one and on two threads. Ours has no barrier between layers, since each thread has its own
activations; a whole step has one.

Limits, written down before optimising. A step has 134.5 M weights, and reads at least 538 MB in
float32, 269 in bfloat16, 135 in int8, 84 in int4 (20 bytes for 32); measured in the same run is how
fast a loop that only reads gets through as many bytes. Products: by the instructions counted in
src/unrolled/kernels/products.py, AVX2 at 3.2 GHz and one core allow 4 rows in 10.5 ms in float32
and bfloat16, 5.9 in int8, 8.2 in int4; 16 rows take four times as long, 64 rows sixteen times. The
larger of both is the limit.
"""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from timing import peak_megabytes
from unrolled.kernels import FORMATS, Packed, pack
from unrolled.kernels.formats import aligned, groups, quantised
from unrolled.kernels.products import multiply, quantise
from unrolled.training.run import processor

SHAPES = [(30, 960, 576), (30, 576, 576), (30, 3072, 576), (30, 576, 1536), (1, 49152, 576)]
"""So many matrices, their outputs and inputs."""
MOST_INPUTS, MOST_OUTPUTS = 1536, 49152
ROWS = (1, 4, 16, 64)
Arguments = tuple[object, ...]
Step = Callable[[Tensor], object]
"""Does all layers, on as many of the columns of the activations [rows, 1536] as each takes."""


@njit(nogil=True)
def _share(stacks, widths, x, xq, steps, out, part, parts):  # type: ignore[no-untyped-def]
    """One thread's outputs of every layer."""
    for i in range(len(widths)):
        stack, some = stacks[i], x[:, : widths[i]]
        for layer in range(len(stack.values)):
            packed = Packed(stack.values[layer], stack.scales[layer], stack.groups[layer])
            outputs = max(len(packed.scales), len(packed.values))  # float formats have no scales
            first, last = outputs * part // parts, outputs * (part + 1) // parts
            quantise(packed, some, xq, steps)
            multiply(packed, some, xq, steps, out, first, last)


@njit(nogil=True)
def _read(words, part, parts):  # type: ignore[no-untyped-def]
    """In four streams, which is the fastest: one gets but half of what memory gives."""
    words = words[len(words) * part // parts : len(words) * (part + 1) // parts]
    quarter, total = len(words) // 4, np.uint64(0)
    a, b, c, d = (
        words[:quarter],
        words[quarter : 2 * quarter],
        words[2 * quarter : 3 * quarter],
        words[3 * quarter :],
    )
    for i in range(quarter):
        total ^= a[i] ^ b[i] ^ c[i] ^ d[i]
    return total


class Threads:
    """Runs a function of (…, part, parts) on `count` threads, of which this is one."""

    def __init__(self, count: int) -> None:
        self.count, self.others = count, ThreadPoolExecutor(1)

    def __call__(self, function: Callable[..., object], own: Callable[[], Arguments]) -> None:
        waiting = [
            self.others.submit(function, *own(), part, self.count) for part in range(1, self.count)
        ]
        function(*own(), 0, self.count)
        for other in waiting:
            other.result()


def unrolled(weights: list[np.ndarray], format: str, threads: Threads) -> tuple[Step, int]:
    """Our products in a format, and the bytes of its matrices."""
    stacks = []
    for weight in weights:
        packed = [pack(one, format) for one in weight]
        stacks.append(Packed(*(aligned(np.stack(arrays)) for arrays in zip(*packed, strict=True))))
    widths = tuple(weight.shape[2] for weight in weights)

    def step(x: Tensor) -> None:
        rows = len(x)

        out = np.empty((rows, MOST_OUTPUTS), np.float32)

        def own() -> Arguments:
            xq = aligned(np.empty((rows, quantised(MOST_INPUTS)), np.int16))
            steps = np.empty((rows, groups(MOST_INPUTS)), np.float32)
            return tuple(stacks), widths, x.numpy(), xq, steps, out

        threads(_share, own)

    return step, sum(stack.nbytes for stack in stacks)


def each(calls: list[tuple[int, Callable[[Tensor], Tensor]]]) -> Step:
    """A step from (inputs, product) of every layer."""

    def step(x: Tensor) -> None:
        some = {inputs: x[:, :inputs].contiguous() for inputs, _ in calls}
        for inputs, call in calls:
            call(some[inputs])

    return step


def linear(dtype: torch.dtype) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    """`F.linear`, activations cast as they come."""

    def layer(weight: Tensor) -> Callable[[Tensor], Tensor]:
        cast = weight.to(dtype)
        return lambda x: F.linear(x.to(dtype), cast)

    return layer


def dynamic(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """PyTorch's dynamic quantisation: 8-bit weights, activations rounded to 8 bits as they come."""
    scales = weight.abs().amax(dim=1).double() / 127
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    q = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    prepacked = torch.ops.quantized.linear_prepack(q, None)
    return lambda x: torch.ops.quantized.linear_dynamic(x, prepacked)


def int8pack(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """PyTorch's weight-only 8 bits, with activations in bfloat16."""
    scales = weight.abs().amax(dim=1) / 127
    q = (weight / scales[:, None]).round().to(torch.int8)
    cast = scales.bfloat16()
    return lambda x: torch.ops.aten._weight_int8pack_mm(x.bfloat16(), q, cast)


def int4pack(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """PyTorch's weight-only 4 bits in groups of 32, with activations in bfloat16."""
    q = torch.randint(0, 16, weight.shape, dtype=torch.int32)
    prepacked = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q, 1)
    pairs = torch.ones(weight.shape[1] // 32, len(weight), 2, dtype=torch.bfloat16)
    return lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), prepacked, 32, pairs)


PEERS = {
    "F.linear float32": linear(torch.float32),
    "F.linear bfloat16": linear(torch.bfloat16),
    "quantized.linear_dynamic (int8)": dynamic,
    "_weight_int8pack_mm, bfloat16 x": int8pack,
    "_weight_int4pack_mm_for_cpu, bfloat16 x": int4pack,
}


def products(rounds: int) -> None:
    """The table: medians of so many rounds in which all take turns."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape, np.float32) / 24 for shape in SHAPES]
    threads = Threads(1)
    steps: dict[str, Step] = {}
    for format in FORMATS:
        steps[f"unrolled {format}"], size = unrolled(weights, format, threads)
        words = np.ones(size // 8, np.uint64)
        steps[f"reading {size / 1e6:.0f} MB, for {format}"] = reading(words, threads)
    for name, layer in PEERS.items():
        try:
            calls = [(w.shape[1], layer(torch.from_numpy(w))) for stack in weights for w in stack]
            each(calls)(torch.ones(1, MOST_INPUTS))
            steps[name] = each(calls)
        except RuntimeError as error:
            print(f"{name} does not run here: {str(error).splitlines()[0]}")
    times = {
        (count, rows): measured(steps, rows, count, threads, max(3, rounds * 4 // (rows + 3)))
        for count in (1, 2)
        for rows in ROWS
    }
    print("\n| ms | " + " | ".join(f"{rows} rows, {count} t." for count, rows in times) + " |")
    print("|---" * (len(times) + 1) + "|")
    for name in steps:
        print(f"| {name} | " + " | ".join(f"{table[name]:.1f}" for table in times.values()) + " |")
    print("\n| | 1 row / reading, 1 and 2 threads | 4 rows / 1 row |\n|---|---|---|")
    for format in FORMATS:
        name = f"unrolled {format}"
        bound = next(n for n in steps if n.endswith(f"for {format}"))
        near = [f"{times[c, 1][name] / times[c, 1][bound]:.2f}" for c in (1, 2)]
        more = [f"{times[c, 4][name] / times[c, 1][name]:.2f}" for c in (1, 2)]
        print(f"| {format} | {', '.join(near)} | {', '.join(more)} |")


def reading(words: np.ndarray, threads: Threads) -> Step:
    """Reads so many bytes, whatever the activations."""
    return lambda _: threads(_read, lambda: (words,))


@torch.no_grad()
def measured(
    steps: dict[str, Step], rows: int, count: int, threads: Threads, rounds: int
) -> dict[str, float]:
    """Median milliseconds of each, in turns."""
    torch.set_num_threads(count)
    threads.count = count
    x = torch.randn(rows, MOST_INPUTS)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step(x)
            if turn:
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(values) for name, values in taken.items()}


def main() -> None:
    """Print the table."""
    warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")  # a peer, while it lasts
    print(f"{processor()}, torch {torch.__version__}, Python {platform.python_version()}")
    products(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
    print(f"\npeak memory of this process {peak_megabytes():,.0f} MB")


if __name__ == "__main__":
    main()
