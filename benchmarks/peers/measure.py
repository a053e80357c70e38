"""The parts of the benchmark: each asks every worker in turns, and returns its numbers."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from peers.asking import Died, Entrant, Worker
from peers.contender import REFERENCE
from peers.texts import Texts

NEW = 32
"""Tokens of each continuation."""
HOPELESS = 4
"""Whoever needs more than so many times the fastest's time in the warm-up isn't timed again."""
WORKLOADS: dict[str, Callable[[Texts], dict[str, Any]]] = {
    "greedy": lambda texts: {"prompts": texts.short[:2], "beam_size": 1, "new_tokens": NEW},
    "beam": lambda texts: {"prompts": texts.short[:2], "beam_size": 4, "new_tokens": NEW},
    "rows": lambda texts: {"prompts": texts.prompts[:16], "beam_size": 1, "new_tokens": NEW},
    "batch": lambda texts: {"prompts": texts.prompts[:16], "beam_size": 4, "new_tokens": NEW},
    "first": lambda texts: {"prompts": [texts.long], "beam_size": 1, "new_tokens": 1},
}
"""What is timed. `greedy` and `beam` take a prompt at a time, the others all at once."""
CHOSEN_BY = {
    "greedy": "greedy",
    "beam": "beam",
    "rows": "first",
    "batch": "first",
    "first": "first",
    "load": "greedy",
    "quality": "greedy",
}
"""Which part's rates choose the number of threads of a part: many rows are bound as a prompt is."""
Found = dict[str, Any]


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def workers(entrants: Sequence[Entrant], models: Path) -> Iterator[dict[str, Worker]]:
    """All of them started; who can't be is named and left out."""
    found: dict[str, Worker] = {}
    try:
        for entrant in entrants:
            try:
                found[entrant.name] = Worker(entrant, models)
                found[entrant.name].ask("peak")  # and stopped until its turn
            except Died as error:
                say(f"  {entrant.name}: left out, {error}")
        yield found
    finally:
        for worker in found.values():
            worker.close()


def timed(worker: Worker, work: Found, together: bool) -> tuple[float, list[list[int]]]:
    """Tokens a second, and the tokens."""
    turns = [work["prompts"]] if together else [[prompt] for prompt in work["prompts"]]
    seconds, tokens = 0.0, []
    for prompts in turns:
        answer = worker.ask("generate", **(work | {"prompts": prompts}))
        seconds += answer["seconds"]
        tokens += answer["tokens"]
    wrong = [len(row) for row in tokens if len(row) != work["new_tokens"]]
    if wrong:
        raise Died(f"continuations of {wrong} tokens, not of {work['new_tokens']}")
    return sum(map(len, tokens)) / seconds, tokens


def threads(entrants: Sequence[Entrant], models: Path, texts: Texts) -> Found:
    """Tokens/s of each entrant on one thread and on two, alone in memory: to choose by."""
    found: Found = {}
    for entrant in entrants:
        for count in (1, 2):
            with workers([replace(entrant, threads=count)], models) as all_:
                for worker in all_.values():
                    for part in sorted(set(CHOSEN_BY.values())):
                        tries = attempts(worker, WORKLOADS[part](texts), part, 2)
                        rates = found.setdefault(entrant.name, {}).setdefault(part, {})
                        rates[str(count)] = tries[-1] if tries else 0.0
        say(f"  {entrant.name}: {found.get(entrant.name)}")
    return found


def attempts(worker: Worker, work: Found, part: str, number: int) -> list[float]:
    """Rates of some tries; none where it can't be done."""
    together = part not in ("greedy", "beam")
    try:
        return [timed(worker, work, together)[0] for _ in range(number)]
    except Died as error:
        say(f"  {worker.entrant.name}: can't do {part}, {error}")
        return []


def speed(part: str, entrants: Sequence[Entrant], models: Path, texts: Texts, rounds: int) -> Found:
    """Rates in turns, after a round of warm-up, with the tokens that came out."""
    work, together = WORKLOADS[part](texts), part not in ("greedy", "beam")
    found: Found = {}
    with workers(entrants, models) as all_:
        for turn in range(rounds + 1):
            best = max((one["warm_up"] for one in found.values()), default=0.0)
            for name, worker in list(all_.items()):
                if turn and found[name]["warm_up"] * HOPELESS < best and found[name]["rates"]:
                    continue
                try:
                    rate, tokens = timed(worker, work, together)
                except Died as error:
                    say(f"  {name}: left out, {error}")
                    found.pop(name, None)
                    all_.pop(name).close()
                    continue
                if turn:
                    found[name]["rates"].append(rate)
                else:
                    found[name] = {"warm_up": rate, "rates": [], "tokens": tokens}
                    found[name]["threads"] = worker.entrant.threads
            say(f"  round {turn} of {rounds}")
    for name, one in found.items():
        say(f"  {name:<38} {median(one['rates']):8.1f} tokens/s")
    return found


def load(entrants: Sequence[Entrant], models: Path, texts: Texts, rounds: int) -> Found:
    """Seconds from the process's start, and from the library's import, to a first token; memory.

    The files are in the system's cache from the round before. The peak is of a process that has
    loaded, and written 32 tokens of one prompt greedily and by beams of 4.
    """
    found: Found = {}
    for turn in range(rounds + 1):
        for entrant in entrants:
            try:
                one = load_once(entrant, models, texts)
            except Died as error:
                say(f"  {entrant.name}: left out, {error}")
                continue
            if turn:
                for key, value in one.items():
                    found.setdefault(entrant.name, {}).setdefault(key, []).append(value)
    return found


def load_once(entrant: Entrant, models: Path, texts: Texts) -> dict[str, float]:
    """One fresh process."""
    worker = Worker(entrant, models)
    try:
        prompt = [texts.short[0]]
        first = worker.ask("generate", prompts=prompt, beam_size=1, new_tokens=1)
        whole = time.perf_counter() - worker.started
        for size in (1, 4):
            worker.ask("generate", prompts=prompt, beam_size=size, new_tokens=NEW)
        return {
            "process": whole,
            "load": worker.load_seconds + first["seconds"],
            "megabytes": worker.ask("peak")["megabytes"],
        }
    finally:
        worker.close()


def quality(entrants: Sequence[Entrant], models: Path, texts: Texts) -> Found:
    """Errors of log-probabilities against float32, and which greedy continuations change."""
    first = 16
    found: Found = {}
    truth: np.ndarray | None = None
    right: list[list[int]] = []
    entrants = sorted(entrants, key=lambda one: (one.peer.name, one.weights) != REFERENCE)
    if not entrants or (entrants[0].peer.name, entrants[0].weights) != REFERENCE:
        raise SystemExit(
            f"quality is measured against {' in '.join(REFERENCE)}, which must take part"
        )
    for entrant in entrants:
        with workers([entrant], models) as all_, tempfile.TemporaryDirectory() as folder:
            for worker in all_.values():
                path = Path(folder) / "rows.npy"
                try:
                    worker.ask("log_probs", texts=texts.scored, first=first, to=str(path))
                    work = {"prompts": texts.prompts, "beam_size": 1, "new_tokens": NEW}
                    tokens = timed(worker, work, together=False)[1]
                except Died as error:
                    say(f"  {entrant.name}: left out, {error}")
                    continue
                rows = np.load(path)
                if entrant is entrants[0]:
                    truth, right = rows, tokens
                if truth is None:
                    raise SystemExit(
                        f"{entrants[0].name}, which the others are measured by, failed"
                    )
                error = np.abs(rows - truth)
                real = [token for text in texts.scored for token in text[first:]]
                nats = [float(r[np.arange(len(real)), real].mean()) for r in (truth, rows)]
                found[entrant.name] = {
                    "largest": float(error.max()),
                    "mean": float(error.mean()),
                    "loss": nats[0] - nats[1],
                    "changed": sum(a != b for a, b in zip(tokens, right, strict=True)),
                }
                say(f"  {entrant.name:<38} {found[entrant.name]}")
    return found
