"""Is a receipt true? Scaling laws: the objective and its slopes again by mpmath, by differences."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from mpmath import mp
from tests.receipts.truths.common import Document, plural

from unrolled.errors import WorkFailed
from unrolled.scaling import LAWS, Runs, fit
from unrolled.scaling.chinchilla import Muennighoff, PearceSong

CONSTANTS = {"omega": 1000.0, "ratio": 0.05}
LAW_INPUTS = {
    "kaplan-n": ("parameters",),
    "kaplan-d": ("tokens",),
    "kaplan-c": ("compute",),
    "muennighoff": ("parameters", "tokens", "unique_tokens"),
}


@cache
def scaling_receipt(question: tuple[str, int]) -> Document | None:
    """A fit to a dozen made-up runs, if it has come to rest."""
    name, seed = question
    law = {
        "pearce-song": PearceSong(omega=CONSTANTS["omega"]),
        "muennighoff": Muennighoff(ratio=CONSTANTS["ratio"]),
    }.get(name, LAWS[name])
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(5, 8, 14), 10 ** rng.uniform(7, 10, 14)
    U = D / rng.choice([1, 4, 30], 14)
    loss = (1.8 + 40 / N**0.25 + 90 / D**0.3) * np.exp(0.01 * rng.standard_normal(14))
    try:
        found = fit(law, Runs(N, D, loss, U), delta=(1e-3, 0.1)[seed % 2], least_reached=0.0)
        budgets = (1e15, 1e17) if name == "hoffmann" and seed % 3 else ()
        return json.loads(json.dumps(found.receipt(budgets).document()))
    except WorkFailed:
        return None


def log_loss(law: str, p: dict[str, Any], row: dict[str, Any], given: Document) -> Any:
    """The law as its paper has it."""
    if law in ("kaplan-n", "kaplan-d", "kaplan-c"):
        letter = law[-1].upper()
        return p[f"alpha_{letter}"] * mp.log(p[f"{letter}c"] / row[LAW_INPUTS[law][0]])
    N, D = row["parameters"], row["tokens"]
    if law == "kaplan-nd":
        inner = (p["Nc"] / N) ** (p["alpha_N"] / p["alpha_D"]) + p["Dc"] / D
        return p["alpha_D"] * mp.log(inner)
    if law == "pearce-song":
        N += mp.mpf(given["omega"]) * mp.cbrt(N)
    if law == "muennighoff":
        U = row["unique_tokens"]
        V = min(N, mp.mpf(given["ratio"]) * U)
        N = V + V * p["R_N"] * (1 - mp.exp(-(N / V - 1) / p["R_N"]))
        D = U + U * p["R_D"] * (1 - mp.exp(-(D / U - 1) / p["R_D"]))
    return mp.log(p["E"] + p["A"] / N ** p["alpha"] + p["B"] / D ** p["beta"])


def huber_sum(law: str, p: dict[str, Any], given: Document) -> Any:
    """The objective."""
    delta, total = mp.mpf(given["delta"]), mp.mpf(0)
    names = list(given["runs"])
    for values in zip(*given["runs"].values(), strict=True):
        row = dict(zip(names, map(mp.mpf, values), strict=True))
        r = abs(log_loss(law, p, row, given) - mp.log(row["loss"]))
        total += r**2 / 2 if r <= delta else delta * (r - delta / 2)
    return total


def scaling_holds(document: Document) -> bool:
    given, answer = document["given"], document["answer"]
    law, runs = given["law"], given["runs"]
    assert law in LAWS
    assert set(runs) == {*LAW_INPUTS.get(law, ("parameters", "tokens")), "loss"}
    numbers = [given["delta"], answer["objective"], *answer["parameters"].values(), *given["flops"]]
    numbers += [value for column in runs.values() for value in column]
    assert all(type(value) in (int, float) and value > 0 for value in numbers)
    assert set(answer) == {"parameters", "objective", "allocation"}
    assert set(answer["parameters"]) == set(LAWS[law].parameters)
    count, budgets = len(runs["loss"]), given["flops"]
    claim = (
        f"At these parameters the summed Huber loss (delta {float(given['delta'])!r}) of the log "
        f"residuals of the law {law} on {plural(count, 'run')} is the stated objective to 1 part "
        "in 10^9, and no slope of it is above 10^-6 of the runs' pulls: a stationary point, not "
        "shown to be the least"
    )
    if budgets:
        assert law == "hoffmann"
        claim += (
            f"; for {plural(len(budgets), 'budget')} of 6 N D FLOPs the stated N and D are where "
            "the law at these parameters is least, to 1 part in 10^9"
        )
    assert document["claim"] == claim + "."
    with mp.workdps(40):
        p = {name: mp.mpf(value) for name, value in answer["parameters"].items()}
        value = huber_sum(law, p, given)
        assert abs(value - answer["objective"]) <= mp.mpf("1.001e-9") * value
        slopes, pulls = [], []
        for name in p:
            step = mp.mpf(10) ** -12
            moved = [{**p, name: p[name] * (1 + side * step)} for side in (1, -1)]
            slopes.append(
                (huber_sum(law, moved[0], given) - huber_sum(law, moved[1], given)) / step
            )
            each = []
            for i in range(count):
                one = {**given, "runs": {k: [v[i]] for k, v in runs.items()}}
                each.append(abs(huber_sum(law, moved[0], one) - huber_sum(law, moved[1], one)))
            pulls.append(sum(each) / step)
        # A step of 10^-12 leaves the slopes known to some 10^-9 of what delta lets a run pull.
        for slope, pull in zip(slopes, pulls, strict=True):
            assert abs(slope) <= mp.mpf("1.1e-6") * pull or pull < mp.mpf("2e-8") * max(pulls)
        assert len(answer["allocation"]) == len(budgets)
        for (N, D), C in zip(answer["allocation"], budgets, strict=True):
            assert abs(6 * mp.mpf(N) * D / C - 1) < mp.mpf("1.1e-9")
            rise = p["alpha"] * p["A"] / mp.mpf(N) ** p["alpha"]
            fall = p["beta"] * p["B"] / mp.mpf(D) ** p["beta"]
            assert abs(mp.log(rise / fall)) <= mp.mpf("1.1e-8") * (p["alpha"] + p["beta"] + 1)
    return True
