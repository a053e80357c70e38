"""Are the numbers in a receipt those that the model gives? Teacher-forced, prefix by prefix.

The checker adds up what a receipt says the model said. Here the model is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.candidates import FLOOR, rounded
from unrolled.decoding.scorer import Scorer
from unrolled.errors import BadInput

TOLERANCE = 1e-3
"""Of one log-probability: the sums of a model's products come in another order in another batch."""


@torch.no_grad()
def rescore(scorer: Scorer, document: Mapping[str, Any], *, tolerance: float = TOLERANCE) -> str:
    """Where the model first says another number than a `beam.stop` or `beam.map` receipt that
    holds; empty if nowhere.

    The receipt's own numbers are expected to have been checked. Raises `BadInput` for another kind,
    another vocabulary, and for a receipt whose numbers were changed by processors.
    """
    given, evidence = document["given"], document["evidence"]
    if document["kind"] not in ("beam.stop", "beam.map"):
        raise BadInput(f"a model can't re-score a receipt of kind {document['kind']!r}")
    if "keeps_bound" in given:
        raise BadInput("processors changed this receipt's numbers: the model alone can't repeat it")
    ours = (scorer.vocab_size, scorer.end_token)
    if ours != (given["vocab_size"], given["end_token"]):
        raise BadInput(
            f"the receipt is of {given['vocab_size']} tokens that end in {given['end_token']}, the "
            f"model has {ours[0]} that end in {ours[1]}: it is another model's"
        )
    if document["kind"] == "beam.stop":
        return _trace(scorer, given, evidence["steps"], tolerance)
    return _map(scorer, given, evidence, tolerance)


def _differs(place: str, said: float | None, model: float, tolerance: float) -> str:
    """A sentence if the two differ; None stands for impossible."""
    value = -torch.inf if said is None else said
    if value == model or abs(value - model) <= tolerance * max(1.0, abs(model)):
        return ""
    words = "impossible" if said is None else f"{said:.6f}"
    return f"{place}: the receipt says {words}, the model {model:.6f}"


def _trace(scorer: Scorer, given: Any, steps: list[Any], tolerance: float) -> str:
    state, log_probs = scorer.start([given["source"]])
    live, totals = {0: 0}, torch.zeros(1, dtype=torch.float64)  # rank in the step before → row
    for t, step in enumerate(steps):
        values = rounded(log_probs).cpu()
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
        parents = torch.tensor([live[step["kept"][k][0]] for k in going])
        tokens = torch.tensor([step["kept"][k][1] for k in going])
        totals = torch.tensor([sums[k] for k in going], dtype=torch.float64)
        live = {k: row for row, k in enumerate(going)}
        device = log_probs.device
        state, log_probs = scorer.step(state, parents.to(device), tokens.to(device))
    return ""


def _map(scorer: Scorer, given: Any, evidence: Any, tolerance: float) -> str:
    prefixes = [[0, -1, 0.0], *evidence["prefixes"]]
    depth: list[int] = [0]
    children: dict[int, list[int]] = {}
    for number, (parent, _, _) in enumerate(prefixes[1:], 1):
        depth.append(depth[parent] + 1)
        children.setdefault(parent, []).append(number)
    rest = {number: best for number, best, _ in evidence["rejected"]}
    expanded = sorted(children.keys() | rest.keys())
    state, log_probs = scorer.start([given["source"]])
    rows: dict[int, int] = {0: 0}
    for level in range(max(depth[n] for n in expanded) + 1):
        if level:
            here = [n for n in expanded if depth[n] == level]
            parents = torch.tensor([rows[prefixes[n][0]] for n in here], device=log_probs.device)
            tokens = torch.tensor([prefixes[n][1] for n in here], device=log_probs.device)
            state, log_probs = scorer.step(state, parents, tokens)
            rows = {n: row for row, n in enumerate(here)}
        for number, row in rows.items():
            values = rounded(log_probs[row]).cpu()
            if found := _node(values, number, children, prefixes, rest, tolerance):
                return found
    return ""


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
