"""How does a fit, an allocation or a comparison read in a terminal?"""

from __future__ import annotations

import sys
from typing import Literal

from rich.table import Table

from unrolled.cli.output import show
from unrolled.errors import BadInput, WorkFailed
from unrolled.scaling import Fit, Runs, allocate, side_by_side
from unrolled.scaling.allocate import Allocation
from unrolled.scaling.sensitivity import deltas, extrapolate, influences, plain_scheme

REDUCTIONS: tuple[tuple[Literal["sum", "mean"], str], ...] = (
    ("sum", "summed"),
    ("mean", "averaged"),
)
STARTS = 100
"""Of the optimizer that is compared with."""


def describe_fit(found: Fit) -> None:
    """The constants with their intervals, and what is to be known of the fit."""
    print(f"{found.law.formula}\n")
    table = Table("", box=None, pad_edge=False)
    table.add_column("fitted", justify="right")
    ranges = found.intervals() if found.samples is not None else {}
    if ranges:
        table.add_column("95 %", justify="right")
    table.add_column("unit")
    for (name, value), unit in zip(found.parameters.items(), found.law.units, strict=True):
        between = [" .. ".join(f"{end:.4g}" for end in ranges[name])] if ranges else []
        table.add_row(name, f"{value:.4g}", *between, "" if unit == "1" else unit)
    show(table)
    typical = 100 * float(abs(found.residuals).mean())
    print(
        f"\n{len(found.runs)} runs; summed Huber loss {found.objective:.6g} at delta "
        f"{found.delta:g}; residuals of {typical:.2f} % on average\n"
        f"{found.reached} of {found.starts} starts reached this optimum"
    )
    if found.unconverged:
        print(f"{found.unconverged} bootstrap samples had not come to rest")


def describe_allocation(answer: Allocation) -> None:
    """N, D and the loss, with their intervals and warnings."""
    rows = {
        "parameters": answer.parameters,
        "tokens": answer.tokens,
        "tokens_per_parameter": answer.tokens_per_parameter,
        "loss": answer.loss,
    }
    table = Table(f"{answer.flops:.4g} FLOPs", box=None, pad_edge=False)
    table.add_column("", justify="right")
    if answer.intervals:
        table.add_column("95 %", justify="right")
    for name, value in rows.items():
        ends = answer.intervals.get(name)
        between = [] if ends is None else [" .. ".join(f"{end:.4g}" for end in ends)]
        table.add_row(name.replace("_", " "), f"{value:.4g}", *between)
    if answer.loss > answer.best_loss * (1 + 1e-12):
        blank = [""] if answer.intervals else []
        table.add_row("loss of the best split", f"{answer.best_loss:.4g}", *blank)
    show(table)
    for warning in answer.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def show_sensitivity(found: Fit) -> None:
    """Other deltas, the most influential runs, and the largest runs predicted by the others."""
    budget = float(found.runs.compute.max())
    table = Table("delta", box=None, pad_edge=False)
    for title in ("alpha", "beta", f"tokens a parameter at {budget:.3g} FLOPs", "starts"):
        table.add_column(title, justify="right")
    for delta, other in deltas(found, budget).items():
        p = other.parameters
        ratio = allocate(other, budget).tokens_per_parameter
        share = f"{other.reached}/{other.starts}"
        table.add_row(f"{delta:g}", f"{p['alpha']:.3f}", f"{p['beta']:.3f}", f"{ratio:.3g}", share)
    print()
    show(table)
    show_reductions(found, budget)
    print("\nleft out, the most influential runs:")
    for item in influences(found, budget)[:3]:
        name = found.runs.names[item.run] if found.runs.names else f"run {item.run + 1}"
        print(
            f"  {name}: {item.tokens_per_parameter:.3g} tokens a parameter (residual "
            f"{-100 * item.residual:+.2f} %)"
        )
    reach = extrapolate(found)
    errors = ", ".join(f"{100 * error:+.2f} %" for error in reach.errors)
    print(
        f"\nfitted without the {len(reach.left_out)} largest runs, those are predicted by {errors}"
    )


def show_reductions(found: Fit, budget: float) -> None:
    """What an optimizer that stops at a tolerance makes of the sum, and of the mean."""
    best = found.objective
    print(f"\nby L-BFGS-B, numerical gradients, {STARTS} starts, SciPy's default tolerance:")
    for reduction, word in REDUCTIONS:
        try:
            other = plain_scheme(found.runs, reduction=reduction, delta=found.delta, starts=STARTS)
            ratio = allocate(other, budget).tokens_per_parameter
        except (BadInput, WorkFailed) as error:
            print(f"  {word}: {error}")
            continue
        excess = other.objective / best
        print(f"  {word}: {ratio:.3g} tokens a parameter, objective {excess:.4f} times the least")


def show_approaches(found: Fit, curves: Runs | None) -> None:
    """Hoffmann's three; where one can't be followed, why."""
    table = Table("N ~ C^a by", box=None, pad_edge=False)
    for title in ("a", "95 %", "budgets"):
        table.add_column(title, justify="right")
    reasons = []
    for answer in side_by_side(found, curves):
        if isinstance(answer, str):
            reasons.append(answer)
            continue
        low, high = answer.interval
        count = str(len(answer.compute))
        table.add_row(answer.name, f"{answer.exponent:.3f}", f"{low:.3f} .. {high:.3f}", count)
    print()
    show(table)
    for reason in reasons:
        print(f"no {reason}")
