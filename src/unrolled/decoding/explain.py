"""What happened at each step of a beam search, and what does its answer mean? For people to read.

A line a candidate that was kept, one for the best that was not, and a sentence each on why the
search stopped and on how good its answer is among all sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from unrolled.decoding.decoded import Decoded
from unrolled.decoding.prefix_tree import Exact


class Line(NamedTuple):
    """A candidate of a step."""

    step: int
    rank: int | None
    """Its place in the beam; None for the best rejected."""
    parent: int | None
    """The rank of what it continues, in the step before."""
    token: str
    log_prob: float | None
    total: float
    score: float
    """Of the prefix as it stands; compared with others once it is completed."""
    status: str
    """live, completed, cut (live at max_length), rejected, or the answer."""


def explain(decoded: Decoded, text: Callable[[int], str] = str) -> list[Line]:
    """The steps of a search, best candidates first; `text` spells a token."""
    answer = decoded.places()
    lines = []
    for t, step in enumerate(decoded.trace, 1):
        for rank, kept in enumerate(step.kept):
            score = decoded.objective.score(kept.total, t)
            status = "live" if t < decoded.max_length else "cut"
            if kept.token == decoded.end_token:
                status = "completed"
            if (t, rank) in answer and len(decoded.hypotheses[0].tokens) == t:
                status = "the answer"
            parent = kept.parent if t > 1 else None
            line = (rank, parent, text(kept.token), kept.log_prob, kept.total, score, status)
            lines.append(Line(t, *line))
        if step.rejected is not None:
            score = decoded.objective.score(step.rejected, t)
            lines.append(Line(t, None, None, "", None, step.rejected, score, "rejected"))
    return lines


def verdict(found: Decoded | Exact) -> str:
    """How good the answer is among all sequences of at most max_length tokens."""
    longest = f"sequence of at most {found.max_length} tokens"
    if isinstance(found, Decoded) and not found.below_zero:
        return "of other sequences nothing is known, as a rule may add to a score"
    if found.optimal:
        return f"no {longest} scores better"
    if found.gap == float("inf"):
        return f"no {longest} scores above {found.upper_bound:.6g}"
    return f"no {longest} scores above {found.upper_bound:.6g}, a gap of {found.gap:.6g}"
