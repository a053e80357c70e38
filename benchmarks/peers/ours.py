"""Unrolled itself: a run opened as `unrolled generate` opens it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.contender import Contender, Sources


def convert(sources: Sources, weights: str, to: Path, python: str) -> None:
    """Only a link: weights are packed from the run itself, when it is first opened."""
    to.symlink_to(sources.run.resolve(), target_is_directory=True)


def load(folder: Path, weights: str, threads: int) -> Contender:
    """Open the run in a number format."""
    import torch

    from unrolled.tasks.answering import open_run

    torch.set_num_threads(threads)
    options: dict[str, Any] = {} if weights == "float32" else {"weights": weights}
    return Unrolled(*open_run(folder.resolve(), **options))


class Unrolled:
    """Greedy draws and beam search, the end forbidden."""

    def __init__(self, job: Any, model: Any) -> None:
        self.job, self.model = job, model

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        from unrolled.decoding import beam_search, sample
        from unrolled.decoding.processors import BannedTokens

        scorer = self.job.scorer(self.model, new_tokens)
        rules = [BannedTokens((self.job.tokenizer.end_id,))]
        if beam_size == 1:
            drawn = sample(scorer, prompts, max_length=new_tokens, processors=rules)
            return [one.tokens for one in drawn]
        found = beam_search(
            scorer,
            prompts,
            beam_size=beam_size,
            max_length=new_tokens,
            stop="hf:false",
            objective="length-normalised:1",
            processors=rules,
        )
        return [one.hypotheses[0].tokens for one in found]

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        import torch

        scorer = self.job.scorer(self.model, len(tokens))
        state, row = scorer.start([tokens[:first]])
        rows = [row]
        for token in tokens[first:-1]:
            state, row = scorer.step(state, torch.zeros(1, dtype=torch.long), torch.tensor([token]))
            rows.append(row)
        return torch.cat(rows).numpy()
