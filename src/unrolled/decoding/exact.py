"""Which sequence is the best of all? Branch and bound over prefixes.

Stahlberg and Byrne 2019 (exact inference by depth-first search with the bound log p ≤ 0) and
Meister et al. 2020 (best-first). A prefix whose bound (`objectives.py`) is no better than the best
completed score so far is never expanded. The search begins with beam search's answer, then takes
the open prefixes with the best bound, up to `rows` of one length in a model call, and dives: their
best children are the next call's rows, so the state is used as it stands. What a dive leaves open
waits, and is replayed from the source when its turn comes.

At any moment no sequence scores above the largest of the answer and the bounds of what is open; a
budget or an interruption ends the search with that bound.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.decoding.beam import beam_search
from unrolled.decoding.candidates import FLOOR, check_shape, check_values, rounded
from unrolled.decoding.decoded import Hypothesis
from unrolled.decoding.objectives import Objective, parse_objective
from unrolled.decoding.prefix_tree import Exact, Expansion, Node
from unrolled.decoding.processors import LogitProcessor, process
from unrolled.decoding.scorer import Scorer, one_pool
from unrolled.errors import BadInput

BUDGET = 10_000
"""Rows; a map of at most twice as many prefixes is what a receipt's checker reads."""


@one_pool
@torch.no_grad()
def exact_search(
    scorer: Scorer,
    source: Sequence[int],
    *,
    max_length: int,
    objective: str = "log-probability",
    budget: int = BUDGET,
    beam_size: int = 5,
    rows: int = 64,
    processors: Sequence[LogitProcessor] = (),
    on_progress: Callable[[int, float, float], None] | None = None,
) -> Exact:
    """The best of all sequences of at most max_length tokens, or an honest bound.

    `budget` is in model rows (prefixes scored, replays included), beside beam search's own, which
    gives the first answer; each adds at most two prefixes to the map. Ctrl-C ends the search as the
    budget does. `on_progress(rows used, best score, upper bound)` is called after every dive.
    Raises `BadInput` as `beam_search` does, and for a processor that may add to a score, as nothing
    could be left out then.
    """
    if budget < 1 or rows < 1:
        raise BadInput(f"budget and rows must be at least 1, not {budget} and {rows}")
    for processor in processors:
        if not processor.keeps_bound:
            raise BadInput(
                f"exact search leaves out what can't gain, and {type(processor).__name__} may add "
                "to a score: leave it out, or use beam_search, which then runs to its end"
            )
    (first,) = beam_search(
        scorer,
        [source],
        beam_size=beam_size,
        max_length=max_length,
        objective=objective,
        processors=processors,
    )
    search = _Branch(
        scorer, list(source), max_length, parse_objective(objective), budget, rows, processors
    )
    reason = "no open prefix can score better"
    try:
        search.plant(first.hypotheses[0] if first.hypotheses else None)
        while search.used < budget and (batch := search.take()):
            search.dive(batch)
            if on_progress is not None:
                score = search.best.score if search.best else -math.inf
                on_progress(search.used, score, search.upper_bound())
    except KeyboardInterrupt:
        reason = "interrupted"
    optimal = search.closed()
    if not optimal and reason != "interrupted":
        reason = f"the budget of {budget:,} rows is used up"
    return Exact(
        search.best,
        search.upper_bound(),
        optimal and search.best is not None,
        search.used,
        reason,
        search.tree,
        search.source,
        search.objective,
        scorer.vocab_size,
        scorer.end_token,
        max_length,
        first,
        bool(processors),
        first.weights,
    )


class _Branch:
    """The tree, what is open in it, and the best so far."""

    def __init__(
        self,
        scorer: Scorer,
        source: list[int],
        max_length: int,
        objective: Objective,
        budget: int,
        rows: int,
        processors: Sequence[LogitProcessor] = (),
    ) -> None:
        self.scorer, self.source, self.max_length = scorer, source, max_length
        self.objective, self.budget, self.rows = objective, budget, rows
        self.processors = processors
        self.tree = [Node(0, -1, 0.0, 0.0, 0)]
        self.waiting: dict[int, list[tuple[float, int]]] = {}
        """Expanded prefixes by their length: (-bound of the best child not listed, number)."""
        self.best: Hypothesis | None = None
        self.hoped = -math.inf
        self.used = 0

    def plant(self, first: Hypothesis | None) -> None:
        """Expand the prefixes of the first answer, so that it stands in the tree."""
        # Its score in a batch of one may differ in the last places from beam search's.
        self.hoped = first.score - 1e-3 * (1.0 + abs(first.score)) if first else -math.inf
        path = first.tokens[:-1] if first else []
        state, log_probs = self.scorer.start([self.source])
        number, planted = 0, [0]
        allowed = self._expand([0], log_probs, path[:1])
        for step, token in enumerate(path, 1):
            if self.used >= self.budget:
                break
            number = self._add(number, token, float(rounded(allowed[0, token])))
            state, log_probs = self._step(state, [0], [token], log_probs.device)
            allowed = self._expand([number], log_probs, path[step : step + 1])
            planted.append(number)
        for number in planted:
            self._wait(number)

    def _step(
        self, state: Any, parents: list[int], tokens: list[int], device: torch.device
    ) -> tuple[Any, Tensor]:
        where, last = torch.tensor(parents, device=device), torch.tensor(tokens, device=device)
        return self.scorer.step(state, where, last)

    def _add(self, number: int, token: int, log_prob: float) -> int:
        node = self.tree[number]
        assert node.expansion is not None
        node.expansion.listed[token] = log_prob
        self.tree.append(Node(number, token, log_prob, node.total + log_prob, node.length + 1))
        return len(self.tree) - 1

    def _expand(
        self,
        numbers: list[int],
        log_probs: Float[Tensor, "rows vocab"],
        kept: Sequence[int] = (),
    ) -> Float[Tensor, "rows vocab"]:
        """Read the next tokens of these prefixes; complete them. `kept` tokens always matter.

        Returns the log-probabilities as the processors leave them, where Python can look at them.
        """
        check_shape(log_probs, len(numbers), self.scorer.vocab_size)
        if self.processors:
            prefixes = [self._tokens(number) for number in numbers]
            log_probs = process(self.processors, prefixes, log_probs)
        log_probs = log_probs.cpu()
        check_values(log_probs.max(1, keepdim=True).values)
        self.used += len(numbers)
        end = self.scorer.end_token
        for number, row in zip(numbers, log_probs, strict=True):
            node = self.tree[number]
            values = rounded(row)
            values = values.masked_fill(node.total + values < FLOOR, -torch.inf)
            last = float(values[end])
            mass = float(row.double().exp().sum())
            values[end] = -torch.inf
            reach = self.objective.best_length(node.length + 1, self.max_length)
            matter = torch.zeros_like(values, dtype=torch.bool)
            if reach is not None:
                score = self.best.score if self.best else self.hoped
                matter = values >= self.objective.least(score, reach) - node.total
                matter &= values > -torch.inf
            matter[list(kept)] = True
            chosen = matter.nonzero().flatten()
            order = values[chosen].sort(descending=True, stable=True).indices
            below = float(values.masked_fill(matter, -torch.inf).max())
            node.expansion = Expansion(
                values[chosen][order], chosen[order].to(torch.int32), below, mass
            )
            self._complete(self._add(number, end, last))
        return log_probs

    def _complete(self, number: int) -> None:
        """Keep a completed hypothesis if it is the best."""
        node = self.tree[number]
        if node.total == -math.inf:
            return
        best, objective = self.best, self.objective
        if best is None or (
            objective.compare(node.total, node.length, best.log_prob, len(best.tokens)) > 0
        ):
            score = objective.score(node.total, node.length)
            self.best = Hypothesis(self._tokens(number), node.total, score, True)

    def _tokens(self, number: int) -> list[int]:
        tokens = []
        while number:
            tokens.append(self.tree[number].token)
            number = self.tree[number].parent
        return tokens[::-1]

    def _reach(self, number: int) -> tuple[float, int] | None:
        """(log-probability, length) of the most the unlisted children can become, if anything."""
        node = self.tree[number]
        assert node.expansion is not None
        best = node.expansion.rest()
        length = self.objective.best_length(node.length + 1, self.max_length)
        return None if length is None or best == -math.inf else (node.total + best, length)

    def _better(self, pair: tuple[float, int]) -> bool:
        best = self.best
        return best is None or (self.objective.compare(*pair, best.log_prob, len(best.tokens)) > 0)

    def _wait(self, number: int) -> None:
        """Let an expanded prefix wait with the bound of its best child that isn't listed."""
        pair = self._reach(number)
        if pair is not None and self._better(pair):
            heap = self.waiting.setdefault(self.tree[number].length, [])
            heapq.heappush(heap, (-self.objective.score(*pair), number))

    def _children(self, heap: list[tuple[float, int]]) -> list[int]:
        """List the best children of the prefixes in a heap that can still be better."""
        found: list[int] = []
        while heap and len(found) < min(self.rows, self.budget - self.used):
            _, number = heapq.heappop(heap)
            pair = self._reach(number)
            if pair is None or not self._better(pair):
                continue
            expansion = self.tree[number].expansion
            assert expansion is not None
            token = int(expansion.tokens[expansion.cursor])
            found.append(self._add(number, token, float(expansion.values[expansion.cursor])))
            pair = self._reach(number)
            if pair is not None and self._better(pair):
                heapq.heappush(heap, (-self.objective.score(*pair), number))
        return found

    def take(self) -> list[int]:
        """The open children with the best bound, all of one length; empty if none can be better."""
        while True:
            heaps = [heap for heap in self.waiting.values() if heap]
            if not heaps:
                return []
            if found := self._children(min(heaps, key=lambda heap: heap[0])):
                return found

    def dive(self, batch: list[int]) -> None:
        """Expand these, then the best of their children, until none can be better."""
        state, log_probs = self._replay(batch)
        while True:
            self._expand(batch, log_probs)
            heap: list[tuple[float, int]] = []
            for number in batch:
                pair = self._reach(number)
                if pair is not None and self._better(pair):
                    heap.append((-self.objective.score(*pair), number))
            heapq.heapify(heap)
            rows = {number: row for row, number in enumerate(batch)}
            children = self._children(heap)
            self.waiting.setdefault(self.tree[batch[0]].length, []).extend(heap)
            heapq.heapify(self.waiting[self.tree[batch[0]].length])
            if not children:
                return
            parents = [rows[self.tree[child].parent] for child in children]
            tokens = [self.tree[child].token for child in children]
            batch = children
            state, log_probs = self._step(state, parents, tokens, log_probs.device)

    def _replay(self, batch: list[int]) -> tuple[Any, Tensor]:
        """The state and log-probabilities of prefixes of one length, from the source on."""
        wanted = [self._tokens(number) for number in batch]
        state, log_probs = self.scorer.start([self.source])
        before: dict[tuple[int, ...], int] = {(): 0}
        self.used += 1
        for length in range(1, len(wanted[0]) + 1):
            now = list(dict.fromkeys(tuple(tokens[:length]) for tokens in wanted))
            parents = [before[prefix[:-1]] for prefix in now]
            tokens = [prefix[-1] for prefix in now]
            state, log_probs = self._step(state, parents, tokens, log_probs.device)
            before = {prefix: row for row, prefix in enumerate(now)}
            self.used += len(now) if length < len(wanted[0]) else 0
        return state, log_probs

    def open(self) -> list[tuple[float, int]]:
        """(log-probability, length) of the most that each open part of the tree can become."""
        pairs = []
        for number, node in enumerate(self.tree):
            if node.expansion is not None:
                pair = self._reach(number)
            else:
                length = self.objective.best_length(node.length, self.max_length)
                done = node.token == self.scorer.end_token or length is None
                pair = None if done else (node.total, length or 0)
            if pair is not None:
                pairs.append(pair)
        return pairs

    def closed(self) -> bool:
        """Whether nothing that is open can be better."""
        return not any(self._better(pair) for pair in self.open())

    def upper_bound(self) -> float:
        """No sequence scores above this."""
        best = self.best.score if self.best else -math.inf
        return max([best, *(self.objective.score(*p) for p in self.open() if self._better(p))])
