"""How fast are exact answers about threshold neurons, next to solvers that could give them?

    python benchmarks/neurons.py [--count 8] [--rounds 7]

One run, interleaved: every round times each contestant on the same tables of four inputs, and the
medians over rounds are compared. The peers decide feasibility of the 16 inequalities of a neuron
(w.x + b >= 0 on true rows, <= -1 on false ones) and prove nothing; ours includes an exact
verification of every answer. Peers that aren't installed are left out: scipy, z3-solver.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import highspy
import numpy as np

from timing import interleaved
from unrolled.neurons import Separable, TruthTable, count, separate
from unrolled.neurons.batch import separate_batch
from unrolled.neurons.count import enumerate_classes
from unrolled.receipts import check

FUNCTIONS = 65_536
POINTS = np.arange(16)[:, None] >> np.arange(3, -1, -1) & 1
ROWS = np.hstack([POINTS, np.ones((16, 1), dtype=np.int64)])

Decide = Callable[[np.ndarray], list[bool]]


def inequalities(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A, c with A (w, b) <= c exactly for the neurons that compute the table."""
    signs = np.where(table, -1, 1)
    return signs[:, None] * ROWS, np.where(table, 0, -1)


def by_linprog() -> Decide:
    from scipy.optimize import linprog

    def decide(tables: np.ndarray) -> list[bool]:
        answers = []
        for table in tables:
            matrix, bounds = inequalities(table)
            found = linprog(np.zeros(5), matrix, bounds, bounds=(None, None), method="highs")
            answers.append(found.status == 0)
        return answers

    return decide


def by_highs() -> Decide:
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    index = np.arange(5, dtype=np.int32)
    for _ in range(5):
        model.addVar(-highspy.kHighsInf, highspy.kHighsInf)
    for row in ROWS:
        model.addRow(-highspy.kHighsInf, 0.0, 5, index, row.astype(float))

    def decide(tables: np.ndarray) -> list[bool]:
        answers = []
        for table in tables:
            for row, true in enumerate(table.tolist()):
                low, high = (0.0, highspy.kHighsInf) if true else (-highspy.kHighsInf, -1.0)
                model.changeRowBounds(row, low, high)
            model.run()
            answers.append(model.getModelStatus() == highspy.HighsModelStatus.kOptimal)
        return answers

    return decide


def by_z3() -> Decide:
    import z3

    variables = [z3.Real(f"v{i}") for i in range(5)]
    sums = [z3.Sum([v for v, x in zip(variables, row, strict=True) if x]) for row in ROWS.tolist()]

    def decide(tables: np.ndarray) -> list[bool]:
        answers = []
        for table in tables:
            solver = z3.SolverFor("QF_LRA")
            for total, true in zip(sums, table.tolist(), strict=True):
                solver.add(total >= 0 if true else total <= -1)
            answers.append(solver.check() == z3.sat)
        return answers

    return decide


def by_batch(tables: np.ndarray) -> list[bool]:
    return [bool(value) for value in separate_batch(tables).separable]


def by_separate(tables: np.ndarray) -> list[bool]:
    return [isinstance(separate(TruthTable.from_values(t)), Separable) for t in tables]


def by_receipts(tables: np.ndarray) -> list[bool]:
    """Every answer made into a receipt, which the checker has checked."""
    kinds = [receipt.kind for receipt in separate_batch(tables).receipts()]
    return [kind == "neuron.separable" for kind in kinds]


def all_tables() -> np.ndarray:
    return (np.arange(FUNCTIONS)[:, None] >> np.arange(15, -1, -1) & 1) == 1


def four_inputs(rounds: int) -> None:
    """All contestants on the same functions; ours on all 65,536, the peers on samples of them."""
    everything = all_tables()
    contestants: dict[str, tuple[Decide, int]] = {
        "separate_batch": (by_batch, FUNCTIONS),
        "  with a checked receipt each": (by_receipts, FUNCTIONS),
        "separate, one by one": (by_separate, 4_096),
        "HiGHS direct": (by_highs(), 256),
    }
    for name, make in (("linprog", by_linprog), ("z3", by_z3)):
        try:
            contestants[name] = (make(), 256)
        except ImportError as missing:
            print(f"{name} left out: {missing}")
    known = separate_batch(everything).separable
    wrong = dict.fromkeys(contestants, 0)
    rng = np.random.default_rng(0)

    def job(name: str, functions: np.ndarray) -> Callable[[], float]:
        decide, size = contestants[name]

        def work() -> float:
            chosen = rng.permutation(functions)[:size]
            answers = decide(everything[chosen])
            wrong[name] += int((np.array(answers) != known[chosen]).sum())
            return len(chosen)

        return work

    # 3% of the functions are threshold functions, so those are timed by themselves as well.
    microseconds = {}
    for functions in (np.arange(FUNCTIONS), np.flatnonzero(known)):
        rates = interleaved({name: job(name, functions) for name in contestants}, rounds=rounds)
        for name, values in rates.items():
            microseconds.setdefault(name, []).append(1e6 / statistics.median(values))
    print(f"\nfour inputs: microseconds a function, median of {rounds} rounds")
    print(f"  {'':<30} all functions   threshold functions only   wrong answers")
    for name, (of_all, of_threshold) in microseconds.items():
        print(f"  {name:<30} {of_all:13.2f}   {of_threshold:24.2f}   {wrong[name]:13}")
    medians = {name: values[0] / 1e6 for name, values in microseconds.items()}
    whole = medians["  with a checked receipt each"] * FUNCTIONS
    print(f"  all {FUNCTIONS:,} decided, each receipt made and checked: {whole:.2f} s")
    for peer in ("linprog", "z3"):
        if peer in medians:
            for ours in list(medians)[:3]:
                print(f"  {ours.strip():<30} is {medians[peer] / medians[ours]:9,.0f} x {peer}")
    print(f"  the checker alone: {checker_alone(everything):.2f} s for all 65,536 certificates")


def checker_alone(tables: np.ndarray) -> float:
    """Seconds that receipts/check.py takes over all certificates of four inputs."""
    documents = [answer.receipt().document() for answer in separate_batch(tables).answers()]
    started = time.perf_counter()
    for document in documents:
        check.check(document)
    return time.perf_counter() - started


def sums_of(weights: list[int]) -> np.ndarray:
    sums = np.zeros(1, dtype=np.int64)
    for weight in reversed(weights):
        sums = np.concatenate([sums, sums + weight])
    return sums


def families(inputs: int, rng: np.random.Generator) -> dict[str, TruthTable]:
    """Functions of many inputs, of the kinds that are hard in different ways."""
    rows = np.arange(2**inputs)
    found = {}
    for size in (3, 100, 10_000):
        weights = rng.integers(1, size + 1, inputs).tolist()
        sums = sums_of(weights)
        table = sums >= np.median(sums)
        found[f"weights up to {size}"] = TruthTable.from_values(table)
        table = table.copy()
        table[np.flatnonzero(sums == sums[table].min())[0]] = False
        found[f"weights up to {size}, a row changed"] = TruthTable.from_values(table)
    found["a binary number above a bound"] = TruthTable.from_values(rows >= int(0.618 * len(rows)))
    weights = rng.integers(-100, 101, inputs).tolist()
    symbols = np.where(sums_of(weights) >= 0, "1", "0")
    symbols[rng.random(len(rows)) < 0.9] = "*"
    found["nine of ten rows don't matter"] = TruthTable("".join(symbols))
    # No glance refutes these: regular functions of 9 inputs that no neuron computes, voting.
    nine = next(iter(enumerate_classes(8)))
    core = nine.tables[np.flatnonzero(~nine.threshold)[0]]
    votes, rest = np.bitwise_count(rows & (1 << inputs - 9) - 1), (inputs - 9) // 2
    table = np.where(votes == rest, core[rows >> inputs - 9], votes > rest)
    found["regular, and no neuron"] = TruthTable.from_values(table)
    few = np.full(len(rows), "*")
    few[rng.choice(len(rows), 3 * inputs, replace=False)] = rng.choice(["0", "1"], 3 * inputs)
    found["a few rows at random"] = TruthTable("".join(few))
    return found


def many_inputs(rounds: int) -> None:
    """Seconds to an answer and its checked receipt, the slowest family; memory of that one."""
    print(f"\nmany inputs: seconds to answer and checked receipt, median of {rounds} rounds")
    for inputs, target in ((12, 0.1), (16, 1.0), (20, 10.0)):
        times: dict[str, list[float]] = {}
        for seed in range(rounds):
            for name, table in families(inputs, np.random.default_rng(seed)).items():
                started = time.perf_counter()
                separate(table).receipt().to_json()
                times.setdefault(name, []).append(time.perf_counter() - started)
        medians = {name: statistics.median(values) for name, values in times.items()}
        slowest = max(medians, key=lambda name: medians[name])
        worst = max(max(values) for values in times.values())
        table = families(inputs, np.random.default_rng(0))[slowest]
        tracemalloc.start()
        separate(table).receipt().to_json()
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(
            f"  {inputs} inputs: {medians[slowest]:.4f} ({slowest}); worst of all {worst:.4f}; "
            f"target {target}; peak {peak:.0f} MB"
        )


def counts(largest: int) -> None:
    """Seconds to count, each class verified."""
    published = [2, 4, 14, 104, 1882, 94572, 15028134, 8378070864, 17561539552946]
    print("\ncounting threshold functions")
    for inputs in range(6, largest + 1):
        started = time.perf_counter()
        found = count(inputs)
        seconds = time.perf_counter() - started
        right = "as published" if found == published[inputs] else "WRONG"
        print(f"  count({inputs}) = {found:,} {right}, {seconds:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8, help="count up to this many inputs")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    four_inputs(options.rounds)
    many_inputs(options.rounds)
    counts(options.count)


if __name__ == "__main__":
    main()
