"""Why can't two hidden neurons compute this table?

Two hidden neurons compute A and B, or A or B. In "A and B" each false row is rejected by A or by B,
which accept all true rows. If a + b = u + v for false rows a, b and true rows u, v, no such neuron
rejects both a and b (`receipts/check.py`, `check_fewest`). Join all such pairs: an odd cycle among
the false rows rules out "and", one among the true rows "or".
"""

from __future__ import annotations

from collections import deque

import numpy as np

from unrolled.neurons.truth_table import TruthTable

MAX_ROWS = 1024  # of the table; all pairs of rows are formed


def odd_cycle(table: TruthTable, symbol: str) -> list[list[int]] | None:
    """[a, u, v] around an odd cycle of rows a of `symbol`: a + the next a = u + v, of the other
    symbol; None if there is no such cycle, or the table is too large to look.
    """
    if len(table.bits) > MAX_ROWS:
        return None
    other = "1" if symbol == "0" else "0"
    between = midpoints(table, other)
    rows = np.flatnonzero(table.codes == ord(symbol))
    neighbours: dict[int, list[int]] = {int(a): [] for a in rows}
    for a, b, total in pairs(rows, table.inputs):
        if total in between:
            neighbours[a].append(b)
            neighbours[b].append(a)
    cycle = shortest_odd_cycle(neighbours)
    if cycle is None:
        return None
    ends = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    return [[a, *between[spread(a, table.inputs) + spread(b, table.inputs)]] for a, b in ends]


def spread(row: int, inputs: int) -> int:
    """The row's bits as digits of base 4, so that sums of rows don't carry."""
    return sum((row >> i & 1) << 2 * i for i in range(inputs))


def pairs(rows: np.ndarray, inputs: int) -> list[tuple[int, int, int]]:
    """All pairs of different rows with the sum of their inputs."""
    codes = np.array([spread(int(row), inputs) for row in rows], dtype=np.int64)
    a, b = np.triu_indices(len(rows), 1)
    return list(
        zip(rows[a].tolist(), rows[b].tolist(), (codes[a] + codes[b]).tolist(), strict=True)
    )


def midpoints(table: TruthTable, symbol: str) -> dict[int, tuple[int, int]]:
    """For each sum of two rows of this symbol, two such rows."""
    rows = np.flatnonzero(table.codes == ord(symbol))
    return {total: (u, v) for u, v, total in pairs(rows, table.inputs)}


def shortest_odd_cycle(neighbours: dict[int, list[int]]) -> list[int] | None:
    """A shortest cycle of odd length, by breadth-first search from each vertex."""
    best: list[int] | None = None
    for root in neighbours:
        depth, parent = {root: 0}, {root: root}
        queue = deque([root])
        while queue and (best is None or 2 * depth[queue[0]] + 1 < len(best)):
            a = queue.popleft()
            for b in neighbours[a]:
                if b not in depth:
                    depth[b], parent[b] = depth[a] + 1, a
                    queue.append(b)
                elif depth[b] == depth[a] and (best is None or 2 * depth[a] + 1 < len(best)):
                    best = [*path(parent, a), *path(parent, b)[:0:-1]]
        if best is not None and len(best) == 3:
            break
    return best


def path(parent: dict[int, int], vertex: int) -> list[int]:
    """From the root to a vertex."""
    result = [vertex]
    while parent[result[-1]] != result[-1]:
        result.append(parent[result[-1]])
    return result[::-1]
