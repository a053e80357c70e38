"""Who may look at whom in a long sequence? `full`, `window:128`, `bigbird:WINDOW,GLOBAL,RANDOM`.

A pattern goes by positions within a document. Causal, a window holds the position itself and those
before it; two-sided, half of it on each side. See `unrolled.graphs.builders` for the papers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from unrolled.errors import BadInput
from unrolled.graphs import Graph


@dataclass(frozen=True)
class Pattern:
    """Sparse attention: every position looks at a bounded number of others."""

    window: int
    num_global: int = 0
    num_random: int = 0

    @classmethod
    def parse(cls, text: str) -> Pattern | None:
        """What `model.attention` says; None for full. Raises `BadInput` for what it can't."""
        if text == "full":
            return None
        number = "([0-9]{1,9})"
        match = re.fullmatch(f"window:{number}", text) or re.fullmatch(
            f"bigbird:{number},{number},{number}", text
        )
        if match is None or int(match[1]) < 1:
            raise BadInput(
                "model.attention must be full, window:W or bigbird:WINDOW,GLOBAL,RANDOM with a "
                f"window of at least 1, such as window:128 or bigbird:64,2,3, not {text!r}"
            )
        return cls(*map(int, match.groups()))

    def graph(self, n: int, causal: bool) -> Graph:
        """The graph of a sequence of n positions, made once."""
        return pattern_graph(self, n, causal)


@lru_cache(maxsize=32)
def pattern_graph(pattern: Pattern, n: int, causal: bool) -> Graph:
    """A window alone where there are neither global tokens nor random edges."""
    if pattern.num_global or pattern.num_random:
        return Graph.bigbird(
            n, pattern.window, pattern.num_global, pattern.num_random, causal=causal
        )
    return Graph.sliding_window(n, pattern.window, causal=causal)
