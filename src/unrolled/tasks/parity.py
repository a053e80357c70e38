"""Is the number of ones odd? Easy for one recurrent unit, hard for attention (Hahn 2020)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from unrolled.data import BatchStream, Tokenizer, line_batches
from unrolled.data.config import DataConfig
from unrolled.decoding.scorer import pad
from unrolled.errors import BadInput
from unrolled.models import Architecture, Encoder, LSTMModel, Model, ModelConfig
from unrolled.models.batch import Batch
from unrolled.models.packs import Loaded
from unrolled.tasks.opening import tokenizer_for
from unrolled.tasks.task import Job, Progress, Scores, Task, silent
from unrolled.training.config import RunConfig, TrainingConfig

BUILT_IN = "parity"
LONGEST = 20
"""Bits of the longest training string."""
LONGER = (40, 80, 160)
"""Upper ends of the ranges of lengths beyond training that the score looks at."""
TRAINED, SCORED, VALIDATED = 50_000, 1_000, 200
Line = tuple[str, int]


class Parity(Task):
    """Classifies bit strings; scored also on strings longer than any in training."""

    name = "parity"
    summary = f"is the number of ones odd, up to {LONGEST} bits and beyond (accuracy by length)"
    architectures = ("lstm", "encoder")

    def defaults(self, architecture: Architecture) -> RunConfig:
        """A small LSTM; an encoder needs more of everything and still learns less."""
        recurrent = architecture == "lstm"
        return RunConfig(
            task=self.name,
            architecture=architecture,
            seed=0,
            model=ModelConfig(
                hidden_size=64,
                num_layers=1 if recurrent else 3,
                num_heads=4,
                max_positions=LONGER[-1],
                num_classes=2,
            ),
            data=DataConfig(corpus=BUILT_IN, tokenizer="symbols", tokens_per_batch=2048),
            # Decay, or a short memory of squared gradients, keeps an LSTM on the plateau at ln 2.
            training=TrainingConfig(
                max_steps=8000, weight_decay=0.0, beta2=0.999, evaluate_every=500
            ),
        )

    def open(self, config: RunConfig, folder: Path | None = None) -> ParityJob:
        """Draw the strings; the same ones for every run."""
        self.check(config.architecture)
        if config.data.corpus != BUILT_IN:
            raise BadInput("the task parity draws its own strings: leave --data.corpus out")
        if config.model.num_classes != 2:
            raise BadInput("the task parity has two classes: leave --model.num-classes out")
        if config.model.max_positions < LONGEST:
            raise BadInput(
                f"the task parity has strings of up to {LONGEST} bits: --model.max-positions is "
                f"at least that, not {config.model.max_positions}"
            )
        return ParityJob(config, tokenizer_for(config.data, folder, lambda: ["01"], "01"))


class ParityJob(Job):
    """Random strings of 1…20 bits to learn from; others of those lengths and longer to score."""

    def __init__(self, config: RunConfig, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        held_out = draw(SCORED, 1, LONGEST, seed=1)
        apart = {text for text, _ in held_out if len(text) > LONGEST // 2}
        self.train = [line for line in draw(TRAINED, 1, LONGEST, seed=0) if line[0] not in apart]
        # Of the short strings nearly all are in training: only those that are not are held out.
        self.held_out = [line for line in held_out if line[0] in apart]

    @cached_property
    def validation(self) -> list[Batch]:
        """The first held-out strings."""
        return list(self._stream(self.held_out[:VALIDATED]).once())

    def _stream(self, lines: Sequence[Line]) -> BatchStream[Any]:
        config = self.config
        return line_batches(
            lambda: lines,
            self.tokenizer,
            tokens_per_batch=config.data.tokens_per_batch,
            max_positions=config.model.max_positions,
            seed=config.seed,
            window=config.data.stream_window,
        )

    def batches(self) -> BatchStream[Any]:
        """Strings of like lengths side by side."""
        return self._stream(self.train)

    def validate(self, model: Model) -> Scores:
        """Loss a string, in nats, and the share answered right."""
        accuracy = self._accuracy(model, self.held_out[:VALIDATED])
        return {**super().validate(model), "accuracy": accuracy}

    def sample(self, model: Model) -> str:
        """One string and the answer."""
        text = self.held_out[0][0]
        return f"  {text} → {'odd' if self.answers(model, [text])[0] else 'even'}"

    def score(self, model: Loaded, progress: Progress = silent) -> Scores:
        """Share answered right on new strings, by length."""
        scores = {f"accuracy_to_{LONGEST}": self._accuracy(model, self.held_out)}
        shortest = LONGEST + 1
        for longest in LONGER:
            longest = min(longest, self.config.model.max_positions)
            if shortest <= longest:
                lines = draw(SCORED, shortest, longest, seed=longest)
                scores[f"accuracy_{shortest}_to_{longest}"] = self._accuracy(model, lines)
            shortest = longest + 1
        return {**scores, "sentences": len(self.held_out)}

    def _accuracy(self, model: Loaded, lines: Sequence[Line]) -> float:
        answers = self.answers(model, [text for text, _ in lines])
        return sum(a == label for a, (_, label) in zip(answers, lines, strict=True)) / len(lines)

    @torch.no_grad()
    def answers(self, model: Loaded, texts: Sequence[str]) -> list[int]:
        """1 where the model holds the number of ones for odd, else 0."""
        assert isinstance(model, Encoder | LSTMModel)
        device = next(model.parameters()).device
        tokens, real = pad([self.tokenizer.encode(t) for t in texts], left=False, device=device)
        classes: list[int] = model(tokens, attention_mask=real).argmax(-1).tolist()
        return classes


def draw(count: int, shortest: int, longest: int, *, seed: int) -> list[Line]:
    """Random bit strings with their parities, lengths uniform; always the same for a seed."""

    def lines() -> Iterator[Line]:
        generator = random.Random(seed)
        for _ in range(count):
            length = generator.randint(shortest, longest)
            bits = generator.getrandbits(length)
            yield f"{bits:0{length}b}", bits.bit_count() % 2

    return list(lines())
