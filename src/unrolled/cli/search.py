"""How does a search show itself? Its n best, its steps as a table, its receipts and pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from unrolled.cli.output import show
from unrolled.decoding.explain import explain
from unrolled.tasks.searching import Found
from unrolled.tasks.task import Answer, Job


def steps_table(found: Found, spell: Callable[[int], str]) -> Table:
    """A line a candidate, a section a step."""
    table = Table(box=None, pad_edge=False)
    for name in ("step", "rank", "of"):
        table.add_column(name, justify="right")
    table.add_column("token")
    for name in ("log p", "sum", "score"):
        table.add_column(name, justify="right")
    table.add_column("")
    before = 0
    for line in explain(found.beam, spell):
        step = str(line.step) if line.step != before else ""
        before = line.step
        table.add_row(
            step,
            "" if line.rank is None else str(line.rank),
            "" if line.parent is None else str(line.parent),
            repr(line.token) if line.rank is not None else "",
            "" if line.log_prob is None else f"{line.log_prob:.4f}",
            f"{line.total:.4f}",
            f"{line.score:.4f}",
            line.status,
            style="bold" if line.status == "the answer" else "",
        )
    return table


def show_steps(found: Found, spell: Callable[[int], str]) -> None:
    """The table, then why the search stopped and how good its answer is."""
    show(steps_table(found, spell))
    exact = found.exact
    print(f"stopped after step {found.beam.steps}: {found.beam.reason}")
    if exact is not None:
        print(f"exact search scored {exact.rows:,} prefixes more: {found.reason}")
    print(found.verdict)


def told(
    answer: Answer, job: Job, spell: Callable[[Sequence[int]], str], *, trace: bool
) -> dict[str, Any]:
    """What a search found, as JSON takes it; nothing where there was none."""
    if answer.found is None:
        return {}
    steps = {"trace": answer.found.trace(job.spelling)} if trace else {}
    return answer.found.told(spell) | steps


def warn_of_none(what: str, found: Found) -> None:
    """One line on standard error where nothing was completed."""
    print(f"{what}: {found.reason}; shown is the best prefix", file=sys.stderr)
