"""Are the numbers in a receipt those that the model gives? Teacher-forced, prefix by prefix.

The checker adds up what a receipt says the model said. Here the model is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.candidates import FLOOR, rounded
from unrolled.decoding.processors import LogitProcessor, parse_rules, process
from unrolled.decoding.scorer import Scorer, one_pool
from unrolled.errors import BadInput

TOLERANCE = 1e-3
"""Of one log-probability: the sums of a model's products come in another order in another batch."""
ROWS_TOGETHER = 64
"""Prefixes of a map that are scored side by side."""


@one_pool
@torch.no_grad()
def rescore(
    scorer: Scorer,
    document: Mapping[str, Any],
    *,
    decode: Callable[[Sequence[int]], bytes] = bytes,
    tolerance: float = TOLERANCE,
) -> str:
    """Where the model first says another number than a `beam.stop` or `beam.map` receipt that
    holds; empty if nowhere.

    The receipt's own numbers are expected to have been checked. Its rules are applied again;
    `decode` spells tokens, for stop strings. Raises `BadInput` for another kind, another
    vocabulary, and for rules that can't be applied again.
    """
    given, evidence = document["given"], document["evidence"]
    if document["kind"] not in ("beam.stop", "beam.map"):
        raise BadInput(f"a model can't re-score a receipt of kind {document['kind']!r}")
    rules = parse_rules(given.get("rules", []), decode, given["end_token"])
    ours = (scorer.vocab_size, scorer.end_token)
    if ours != (given["vocab_size"], given["end_token"]):
        raise BadInput(
            f"the receipt is of {given['vocab_size']} tokens that end in {given['end_token']}, the "
            f"model has {ours[0]} that end in {ours[1]}: it is another model's"
        )
    if document["kind"] == "beam.stop":
        return _trace(scorer, given, evidence["steps"], rules, tolerance)
    if rules:
        raise BadInput("rules change probabilities, and a map is of a model's own")
    return _map(scorer, given, evidence, tolerance)


def _differs(place: str, said: float | None, model: float, tolerance: float) -> str:
    """A sentence if the two differ; None stands for impossible."""
    value = -torch.inf if said is None else said
    if value == model or abs(value - model) <= tolerance * max(1.0, abs(model)):
        return ""
    words = "impossible" if said is None else f"{said:.6f}"
    return f"{place}: the receipt says {words}, the model {model:.6f}"


def _trace(
    scorer: Scorer,
    given: Any,
    steps: list[Any],
    rules: Sequence[LogitProcessor],
    tolerance: float,
) -> str:
    below = "keeps_bound" not in given
    prefixes: list[list[int]] = [[]]
    state, log_probs = scorer.start([given["source"]])
    live, totals = {0: 0}, torch.zeros(1, dtype=torch.float64)  # rank in the step before → row
    for t, step in enumerate(steps):
        values = rounded(process(rules, prefixes, log_probs), below_zero=below).cpu()
        left = totals[:, None] + values
        sums = []
        for k, (parent, token, log_prob) in enumerate(step["kept"]):
            row = live[parent]
            place = f"evidence.steps[{t}].kept[{k}]"
            if found := _differs(place, log_prob, float(values[row, token]), tolerance):
                return found
            sums.append(float(totals[row]) + log_prob)
            left[row, token] = -torch.inf
        best = float(left.max())
        place, room = f"evidence.steps[{t}].rejected", tolerance * (t + 1)
        best = best if best >= FLOOR else -torch.inf
        if found := _differs(place, step["rejected"], best, room):
            return found
        going = [k for k, kept in enumerate(step["kept"]) if kept[1] != given["end_token"]]
        if t + 1 == len(steps) or not going:
            return ""
        tokens = torch.tensor([step["kept"][k][1] for k in going])
        rows = [live[step["kept"][k][0]] for k in going]
        prefixes = [[*prefixes[r], step["kept"][k][1]] for r, k in zip(rows, going, strict=True)]
        totals = torch.tensor([sums[k] for k in going], dtype=torch.float64)
        parents = torch.tensor(rows)
        live = {k: row for row, k in enumerate(going)}
        device = log_probs.device
        state, log_probs = scorer.step(state, parents.to(device), tokens.to(device))
    return ""


def _map(scorer: Scorer, given: Any, evidence: Any, tolerance: float) -> str:
    prefixes = [[0, -1, 0.0], *evidence["prefixes"]]
    children: dict[int, list[int]] = {}
    for number, (parent, _, _) in enumerate(prefixes[1:], 1):
        children.setdefault(parent, []).append(number)
    rest = {number: best for number, best, _ in evidence["rejected"]}
    expanded, waiting = [], [0]
    while waiting:  # a prefix before its children, side by side what begins alike
        number = waiting.pop()
        if number in children or number in rest:
            expanded.append(number)
        waiting += reversed(children.get(number, []))
    for start in range(0, len(expanded), ROWS_TOGETHER):
        part = expanded[start : start + ROWS_TOGETHER]
        for number, values in _walk(scorer, given["source"], part, prefixes):
            if found := _node(values, number, children, prefixes, rest, tolerance):
                return found
    return ""


def _walk(
    scorer: Scorer, source: list[int], wanted: list[int], prefixes: list[Any]
) -> Iterator[tuple[int, Tensor]]:
    """Each wanted prefix with what the model says behind it, the shorter ones first."""
    depth = {0: 0}
    for number in wanted:
        path = []
        while number not in depth:
            path.append(number)
            number = prefixes[number][0]
        depth.update({n: depth[number] + k for k, n in enumerate(reversed(path), 1)})
    levels: list[list[int]] = [[] for _ in range(1 + max(depth.values()))]
    for number, level in depth.items():
        levels[level].append(number)
    state, log_probs = scorer.start([source])
    rows: dict[int, int] = {}
    for level, here in enumerate(levels):
        if level:
            parents = torch.tensor([rows[prefixes[n][0]] for n in here], device=log_probs.device)
            tokens = torch.tensor([prefixes[n][1] for n in here], device=log_probs.device)
            state, log_probs = scorer.step(state, parents, tokens)
        rows = {number: row for row, number in enumerate(here)}
        for number in set(here).intersection(wanted):
            yield number, rounded(log_probs[rows[number]]).cpu()


def longest(document: Mapping[str, Any]) -> int:
    """How many tokens a model that re-scores this receipt has to read behind the source."""
    evidence = document["evidence"]
    if document["kind"] != "beam.map":
        return len(evidence["steps"])
    depth = [0]
    for parent, _, _ in evidence["prefixes"]:
        depth.append(depth[parent] + 1)
    return max(depth)


def _node(
    values: Tensor,
    number: int,
    children: Mapping[int, list[int]],
    prefixes: list[Any],
    rest: Mapping[int, float | None],
    tolerance: float,
) -> str:
    for child in children.get(number, []):
        _, token, log_prob = prefixes[child]
        place = f"evidence.prefixes[{child - 1}]"
        if found := _differs(place, log_prob, float(values[token]), tolerance):
            return found
        values[token] = -torch.inf
    if number not in rest:
        return ""
    return _differs(
        f"evidence.rejected, prefix {number}", rest[number], float(values.max()), tolerance
    )
