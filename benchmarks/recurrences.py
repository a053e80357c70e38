"""How fast are certified spectra made and checked, next to LAPACK and FLINT that could give them?

    python benchmarks/recurrences.py [--rounds 5] [--large] [--probe]

Interleaved, medians. The peers: numpy.linalg.eig proves nothing; python-flint's charpoly and
complex_roots take doubles exactly, its acb_mat.eig isolates eigenvalues in ball arithmetic.
`--large` adds 500 x 500 and the sparse matrix; `--probe` the trainer with and without its probe.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import flint
import numpy as np
import scipy.sparse as sp

from unrolled.receipts import check
from unrolled.recurrences import spectrum
from unrolled.recurrences.chains import by_polynomial
from unrolled.recurrences.matrix import Matrix
from unrolled.recurrences.sparse import sparse_radius


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def show(name: str, times: list[float], note: str = "") -> None:
    low, high = min(times), max(times)
    print(f"  {name:<42} {median(times) * 1e3:10.2f} ms ({low * 1e3:.2f}–{high * 1e3:.2f}) {note}")


def dense(n: int, rounds: int, *, flint_too: bool) -> None:
    """Make and check the certified spectrum of a random n x n matrix."""
    W = np.random.default_rng(0).normal(size=(n, n)) / np.sqrt(n)
    contestants: dict[str, Callable[[], object]] = {
        "numpy.linalg.eig": lambda: np.linalg.eig(W),
        "numpy.linalg.inv (real)": lambda: np.linalg.inv(W),
        "certified spectrum": lambda: spectrum(W),
        "certified spectrum, with its receipt": lambda: spectrum(W).receipt().to_json(),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            taken = seconds(work)
            if turn:
                times[name].append(taken)
    print(f"random {n} x {n}:")
    for name, values in times.items():
        show(name, values)
    budget = 5 * median(times["numpy.linalg.eig"]) + median(times["numpy.linalg.inv (real)"])
    print(f"  aim: 5 x eig + inverse = {budget * 1e3:.1f} ms")
    text = spectrum(W).receipt().to_json()
    show("check the receipt", [seconds(lambda: check.check(check.parse(text)))], f"{len(text):,} B")
    answer = spectrum(W)
    print(f"  rho in [{answer.low!r}, {answer.high!r}]")
    if flint_too:
        show("flint: charpoly, complex_roots", [seconds(lambda: by_polynomial(Matrix.of(W)))])
        balls = flint.acb_mat(n, n, W.ravel().tolist())
        show("flint: acb_mat.eig", [seconds(lambda: balls.eig(multiple=False))])


def thousand() -> None:
    """1,000 random 10 x 10 with receipts made and checked."""
    rng = np.random.default_rng(1)
    matrices = rng.normal(size=(1000, 10, 10)) / 3

    def work() -> None:
        for W in matrices:
            spectrum(W).receipt().check()

    show("1,000 random 10 x 10, receipts checked", [seconds(work)])


def sparse() -> None:
    """A nonnegative 10^5 x 10^5 with 10^6 entries."""
    n, entries = 10**5, 10**6
    rng = np.random.default_rng(2)
    places = rng.integers(0, n, (2, entries))
    A = sp.csr_array((rng.random(entries), tuple(places)), shape=(n, n))
    taken = seconds(lambda: sparse_radius(A))
    found = sparse_radius(A)
    show(
        "sparse, nonnegative, certified", [taken], f"[{found.low}, {found.high}] {found.iterations}"
    )
    A.data -= 0.5
    taken = seconds(lambda: sparse_radius(A, seconds=20))
    found = sparse_radius(A, seconds=20)
    show(
        "sparse, mixed signs (20 s at most)", [taken], f"<= {found.high}, estimate {found.estimate}"
    )


def hostile() -> None:
    """The worst receipt within budget: long entries everywhere, refused at the very end."""
    n = 512
    rng = np.random.default_rng(3)
    big = np.full((n, n), 2.0**62)
    rows = [row.tobytes().hex() for row in (big * 1.9).astype(">i8")]
    W = np.ldexp(1 + rng.random((n, n)), -rng.integers(0, 75, (n, n))).tolist()
    evidence = {"X": rows, "Y": rows, "blocks": [[1.0]] * n, "shift": 127}
    answer = {"radius": [0.0, 0.5], "verdict": "vanishing"}

    def work() -> None:
        try:
            check.check_spectrum({"W": W}, answer, evidence)
        except check.Refuted:
            return
        raise AssertionError("accepted")

    show("refuse the worst discs within budget", [processor_seconds(work)])
    for n in (16, 64, 128, 256):
        small = W[:n]
        square = [row[:n] for row in small]
        bits = next(b for b in range(4096, 31, -1) if check.affordable(n**3 * 65 * b**2, n))
        powers = {"squarings": 64, "bits": bits}

        def refuse(square: list[list[float]] = square, powers: dict[str, int] = powers) -> None:
            try:
                check.check_spectrum({"W": square}, answer, powers)
            except check.Refuted:
                return
            raise AssertionError("accepted")

        size = sum(len(str(x)) + 2 for row in square for x in row)
        show(f"refuse the worst powers, {n} rows", [processor_seconds(refuse)], f"{size:,} B")
    for n in (16, 64, 128, 180):
        length = next(
            b
            for b in range(min(3_000, 60_000 // n), 0, -1)
            if chain_work(n, b + n.bit_length() + 1)
        )
        size, spare = length // 8 + 1, 8 - length % 8
        V = [
            [int.from_bytes(rng.bytes(size), "big") >> spare | 1 for _ in range(n)]
            for _ in range(n)
        ]
        f = [format(1 << (n - k) * length, "x") for k in range(n)] + ["1"]
        evidence = {
            "q": 0,
            "factors": [{"polynomial": f, "roots": None}],
            "chains": [{"vector": [1] * n, "powers": [1]}],
        }
        question = {"W": V}

        def follow(question: Any = question, evidence: Any = evidence) -> None:
            try:
                check.check_exact(question, {"verdict": "bounded", "degree": 0}, evidence)
            except check.Refuted:
                return
            raise AssertionError("accepted")

        show(f"refuse the worst chain, {n} rows of {length} bits", [processor_seconds(follow)])


def chain_work(n: int, length: int) -> bool:
    """Whether the checker takes a chain of as many vectors as rows, with entries so long."""
    work = n**3 * (max(length, 64) * max(length * n // 2, 64) + 2**16)
    return check.affordable(work, n) and check.affordable(2 * (n + 1) ** 3 * length**2, n)


def trainer(rounds: int) -> None:
    """A step of a small decoder, and the probe's share of it."""
    import torch

    from unrolled.models import ModelConfig, build
    from unrolled.models.batch import Batch
    from unrolled.recurrences.probe import UpdateWatch
    from unrolled.training import TrainingConfig
    from unrolled.training.optimizer import Optimizer

    config = ModelConfig(vocab_size=512, hidden_size=64, num_layers=4, num_heads=2)
    model = build("decoder", config, seed=0)
    tokens = torch.randint(0, 512, (16, 128))
    batch = Batch(tokens=tokens, targets=tokens)
    training = TrainingConfig()
    optimizer = Optimizer(model, training)
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * rounds + 2):
        watched = turn % 2 == 1
        start = time.perf_counter()
        (model.loss(batch) / 2048).backward()
        watch = UpdateWatch(model) if watched else None
        optimizer.step(1e-3)
        if watch is not None:
            watch.row()
        if turn > 1:
            times[watched].append(time.perf_counter() - start)
    plain, probed = median(times[False]), median(times[True])
    show("a step of training", times[False])
    show("a step with the probe", times[True])
    share = (probed - plain) / plain / training.probe_every
    print(f"  overhead at the default interval of {training.probe_every} steps: {share:.3%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--probe", action="store_true")
    arguments = parser.parse_args()
    dense(200, arguments.rounds, flint_too=arguments.large)
    thousand()
    if arguments.large:
        dense(500, 3, flint_too=False)
        sparse()
        hostile()
    if arguments.probe:
        trainer(20)


if __name__ == "__main__":
    main()
