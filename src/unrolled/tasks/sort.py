"""Sort six digits of {0, 1, 2}: the smallest task in which every output depends on every input."""

from __future__ import annotations

from hashlib import blake2b
from itertools import chain, product
from pathlib import Path

from unrolled.data.config import DataConfig
from unrolled.errors import BadInput
from unrolled.models import Architecture, ModelConfig
from unrolled.tasks.opening import tokenizer_for
from unrolled.tasks.pairs import Pair, PairData, PairJob
from unrolled.tasks.task import Task
from unrolled.training.config import RunConfig, TrainingConfig

DIGITS, LENGTH = "012", 6
BUILT_IN = "sort"


class Sort(Task):
    """Sorts digits; a quarter of all 729 sequences is held out."""

    name = "sort"
    summary = "sort six digits of {0, 1, 2} (exact match)"
    architectures = ("encoder-decoder", "decoder")

    def defaults(self, architecture: Architecture) -> RunConfig:
        """Two layers of width 48."""
        return RunConfig(
            task=self.name,
            architecture=architecture,
            seed=0,
            model=ModelConfig(hidden_size=48, num_layers=2, num_heads=4, max_positions=16),
            data=DataConfig(corpus=BUILT_IN, tokenizer="symbols", tokens_per_batch=1024, holdout=4),
            training=TrainingConfig(
                max_steps=600, learning_rate=3e-3, warmup_steps=50, evaluate_every=100
            ),
        )

    def open(self, config: RunConfig, folder: Path | None = None) -> PairJob:
        """Divide all sequences by their hash."""
        self.check(config.architecture)
        if config.data.corpus != BUILT_IN:
            raise BadInput("the task sort makes its own sequences: leave --data.corpus out")
        train, held_out = divide(config.data.holdout)
        tokenizer = tokenizer_for(config.data, folder, lambda: chain.from_iterable(train), DIGITS)
        return SortJob(config, tokenizer, lambda: PairData(lambda: train, held_out))


class SortJob(PairJob):
    """Sorts what a person types, spaces between the digits or not."""

    bleu_words = "char"

    def _source(self, sentence: str) -> list[int]:
        digits = "".join(sentence.split())
        if len(digits) != LENGTH or not set(digits) <= set(DIGITS):
            raise BadInput(f"sort takes {LENGTH} digits of {', '.join(DIGITS)}, not {sentence!r}")
        return super()._source(digits)


def divide(holdout: int) -> tuple[list[Pair], list[Pair]]:
    """All sequences with their sorted ones: those to train on, and one in `holdout` held out."""
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for digits in product(DIGITS, repeat=LENGTH):
        source = "".join(digits)
        number = int.from_bytes(blake2b(source.encode(), digest_size=8).digest(), "big")
        sides[number % holdout == 0].append((source, "".join(sorted(digits))))
    return sides
