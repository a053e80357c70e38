"""How likely is a text that is there already? Teacher-forced: row by row, token by token.

The scorer is asked just as decoding asks it, so the numbers are those of decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from unrolled.decoding.scorer import Scorer, one_pool

ROWS_TOGETHER = 64
"""Rows that are scored side by side."""
Row = tuple[Sequence[int], Sequence[int]]
"""A source, and the tokens that follow it."""


def forced(scorer: Scorer, rows: Sequence[Row]) -> Iterator[list[float]]:
    """The log-probability of each row's tokens, a list a row, in order."""
    for start in range(0, len(rows), ROWS_TOGETHER):
        yield from _together(scorer, rows[start : start + ROWS_TOGETHER])


@one_pool
@torch.no_grad()
def _together(scorer: Scorer, rows: Sequence[Row]) -> list[list[float]]:
    found: list[list[float]] = [[] for _ in rows]
    live = [i for i, (_, tokens) in enumerate(rows) if tokens]
    if not live:
        return found
    state, log_probs = scorer.start([rows[i][0] for i in live])
    step = 0
    while True:
        tokens = torch.tensor([rows[i][1][step] for i in live], device=log_probs.device)
        values = log_probs.gather(1, tokens[:, None])[:, 0]
        for i, value in zip(live, values.tolist(), strict=True):
            found[i].append(value)
        step += 1
        going = [k for k, i in enumerate(live) if len(rows[i][1]) > step]
        if not going:
            return found
        parents = torch.tensor(going, device=log_probs.device)
        state, log_probs = scorer.step(state, parents, tokens[parents])
        live = [live[k] for k in going]
