"""How fast are automata compiled to LSTM gates, proved, and run, next to torch.nn.LSTM?

    python benchmarks/automata.py [--rounds 5] [--states 100000]

One run, interleaved, medians. torch runs the soft gates of the same automaton in float32, on one
thread; that is as much of a same computation as it has, since it has no hard gates.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

# The folder of this script goes last: a library the package uses is called `automata` too.
sys.path.append(sys.path.pop(0))

from timing import interleaved
from unrolled.automata import DFA, Compiled, compile, parity
from unrolled.automata.scan import SparseSteps, TransitionMap
from unrolled.receipts import check


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def random_dfa(states: int, letters: str, seed: int) -> DFA:
    """A random automaton all of whose states are reached: a random cycle under the first letter."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, states, (states, len(letters)))
    order = rng.permutation(states)
    table[order, 0] = np.roll(order, -1)
    return DFA.from_table(table, np.flatnonzero(rng.random(states) < 0.5).tolist(), letters)


def torch_run(answer: Compiled) -> Callable[[torch.Tensor], torch.Tensor]:
    """The soft LSTM in torch, from h0 and C0."""
    layer = answer.lstm.to_torch(torch.float32)
    start = tuple(
        torch.tensor(v, dtype=torch.float32).reshape(1, 1, -1)
        for v in (answer.lstm.h0, answer.lstm.C0)
    )

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return layer(x[None], start)[0]

    return run


def one_unit(rounds: int, bits: int = 10**7) -> None:
    """Parity of one long string; from the text to the verdict, and from symbol numbers."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, bits).astype(np.uint8)
    text = (codes + ord("0")).tobytes().decode()
    x = torch.tensor(codes, dtype=torch.float32)[:, None]
    expected = bool(codes.sum() % 2)
    soft = torch_run(parity("soft"))

    def from_text() -> float:
        assert parity().accepts(text) == expected
        return bits

    def from_codes() -> float:
        answer = parity()
        state = answer.own_states.states[answer.own_states.final(codes)]
        assert bool(len(state[0])) == expected
        return bits

    def all_states() -> float:
        answer = parity()
        states = answer.own_states.along(codes)
        assert bool(len(answer.own_states.states[states[-1]][0])) == expected
        return bits

    def by_torch() -> float:
        assert bool(soft(x)[0, -1, 0] > 0.5) == expected
        return bits

    contenders = {
        "parity, from the text": from_text,
        "parity, from symbol numbers": from_codes,
        "parity, the state after every bit": all_states,
        "torch.nn.LSTM float32": by_torch,
    }
    rates = interleaved(contenders, rounds=rounds)
    base = statistics.median(rates["torch.nn.LSTM float32"])
    print(f"\nparity of {bits:,} bits in one string, one hidden unit")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:<36} {bits / rate:8.3f} s   {rate / base:8.1f} x torch")


def many_states(rounds: int) -> None:
    """1,000 states and 4 symbols: compiling, proving, and the receipt read from its text."""
    print("\n1,000 states x 4 symbols")
    for gates in ("hard", "soft"):
        compiled, proved, read = [], [], []
        for seed in range(rounds if gates == "hard" else max(1, rounds // 2)):
            dfa = random_dfa(1000, "abcd", seed)
            seconds, answer = timed(lambda dfa=dfa, gates=gates: compile(dfa, gates))
            compiled.append(seconds)
            seconds, receipt = timed(answer.receipt)
            proved.append(seconds)
            text = receipt.to_json()
            check.sigmoid_bound.cache_clear()
            seconds, _ = timed(lambda text=text: check.check(check.parse(text)))
            read.append(seconds)
        medians = [statistics.median(values) for values in (compiled, proved, read)]
        print(
            f"  {gates}: {answer.lstm.hidden_size} units, compiled {medians[0]:.3f} s, "
            f"proved {medians[1]:.3f} s, checked from {len(text):,} bytes {medians[2]:.3f} s, "
            f"margin {answer.margin:.2g}"
        )


def large(states: int) -> None:
    """Many states, hard gates, once."""
    dfa = random_dfa(states, "abcd", 0)
    seconds, answer = timed(lambda: compile(dfa))
    print(f"\n{states:,} states x 4 symbols, hard: {answer.lstm.hidden_size:,} units")
    print(f"  compiled {seconds:.1f} s")
    seconds, receipt = timed(answer.receipt)
    print(f"  proved {seconds:.1f} s")
    text = receipt.to_json()
    seconds, _ = timed(lambda: check.check(check.parse(text, large=True)))
    print(f"  checked from {len(text):,} bytes (--large) {seconds:.1f} s")


def large_runs(rounds: int, steps: int = 2_000) -> None:
    """The LSTM of 999 units on one string, a symbol at a time."""
    dfa = random_dfa(1000, "abcd", 1)
    hard, soft = compile(dfa), compile(dfa, "soft")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, steps)
    long = rng.integers(0, 4, 100 * steps)
    x = torch.tensor(soft.inputs[codes[: steps // 10]], dtype=torch.float32)
    by_torch = torch_run(soft)
    sparse = SparseSteps(hard.lstm, hard.inputs)

    def by_steps() -> float:
        state = sparse.start
        for symbol in codes.tolist():
            state = sparse.step(state, symbol)
        return steps

    def by_map() -> float:
        TransitionMap(hard.lstm, hard.inputs).final(long)
        return len(long)

    def torch_steps() -> float:
        by_torch(x)
        return len(x)

    contenders = {
        "hard gates, sparse steps": by_steps,
        f"hard gates, map made on the way ({len(long):,})": by_map,
        "torch.nn.LSTM float32": torch_steps,
    }
    rates = interleaved(contenders, rounds=rounds)
    base = statistics.median(rates["torch.nn.LSTM float32"])
    print(f"\n{hard.lstm.hidden_size} units, one string")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name:<44} {1e6 / rate:9.3f} us a step   {rate / base:8.1f} x torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--states", type=int, default=100_000, help="of the large automaton")
    options = parser.parse_args()
    torch.set_num_threads(1)
    one_unit(options.rounds)
    many_states(options.rounds)
    large_runs(options.rounds)
    large(options.states)


if __name__ == "__main__":
    main()
