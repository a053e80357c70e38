"""What is a task? Defaults for a run, and the job they lead to: data, scores, samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from unrolled.data import BatchStream, Tokenizer
from unrolled.decoding import DecoderScorer, Scorer
from unrolled.decoding.scorers.packed import PackedScorer
from unrolled.errors import BadInput
from unrolled.models import Architecture, Model, ModelConfig
from unrolled.models.batch import Batch
from unrolled.models.packed import PackedDecoder
from unrolled.models.packs import Loaded
from unrolled.tasks.searching import Found
from unrolled.training.config import RunConfig
from unrolled.training.loop import mean_loss

Scores = Mapping[str, float]
Progress = Callable[[int, int], None]
"""Told how much is done, and of how much (0: not known)."""


def silent(done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote, and why it stopped."""

    text: str
    completed: bool
    """Whether it ends in the end token."""
    cut: bool
    """Whether it ends where the model's positions do, with more to come."""
    found: Found | None = field(default=None, kw_only=True)
    """The search that led to it, if there was one."""


class Job(ABC):
    """A task opened for one run: its tokenizer, its batches, its scores."""

    def __init__(self, config: RunConfig, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.config = replace(config, model=self._fit(config.model, tokenizer))

    @staticmethod
    def _fit(model: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
        """Take the vocabulary's size from the tokenizer; a stated one must be its own."""
        if model.vocab_size not in (0, tokenizer.vocab_size):
            raise BadInput(
                f"model.vocab_size {model.vocab_size} is not the tokenizer's "
                f"{tokenizer.vocab_size}: leave it out; in a run folder, the tokenizer is another "
                "run's"
            )
        return replace(model, vocab_size=tokenizer.vocab_size)

    def spelling(self, token: int) -> str:
        """A token as a person can read it."""
        special = self.tokenizer.decode_bytes([token]) == b""
        return f"<{token}>" if special else self.tokenizer.decode([token])

    @abstractmethod
    def batches(self) -> BatchStream[Any]:
        """Training batches, without end."""

    @property
    @abstractmethod
    def validation(self) -> list[Batch]:
        """Held-out batches whose loss is followed while training."""

    def validate(self, model: Model) -> Scores:
        """Quick numbers for the log of a run: the loss a target, in nats, on held-out data."""
        return {"validation_loss": mean_loss(model, self.validation)}

    @abstractmethod
    def sample(self, model: Model) -> str:
        """A line or a few that show what the model does now."""

    @abstractmethod
    def score(self, model: Loaded, progress: Progress = silent) -> Scores:
        """The task's scores on what was held out."""

    def reader(self, model: Loaded, max_length: int) -> Scorer:
        """A model that reads its source as a prompt, as a search sees it."""
        kind = PackedScorer if isinstance(model, PackedDecoder) else DecoderScorer
        return kind(model, end_token=self.tokenizer.end_id, max_length=max_length)

    def fingerprint(self) -> dict[str, str]:
        """Hashes of the files that the job reads, by name; none where it makes its own data."""
        return {}

    def skipped(self) -> list[str]:
        """Lines on what of the corpus was left out, and why."""
        return []


class Task(ABC):
    """A ready-made job: what to train on by default, and how it is scored."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for the list of tasks."""
    architectures: ClassVar[tuple[Architecture, ...]]
    """Those that can do it, the default first."""

    @abstractmethod
    def defaults(self, architecture: Architecture) -> RunConfig:
        """The run that `unrolled train TASK` makes with no option."""

    @abstractmethod
    def open(self, config: RunConfig, folder: Path | None = None) -> Job:
        """Open the data; `folder` is a trained run's, whose tokenizer is then used."""

    def check(self, architecture: str) -> None:
        """Raise `BadInput` for an architecture that can't do this task."""
        if architecture not in self.architectures:
            raise BadInput(
                f"task {self.name!r} has no architecture {architecture!r}: "
                f"choose {' or '.join(self.architectures)}"
            )
