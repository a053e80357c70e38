"""Translation in general: pairs in, translations out, scored by exact match, BLEU and chrF.

BLEU: Papineni et al. 2002, chrF: Popović 2015, both by `sacrebleu` (Post 2018) with its defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import sacrebleu

from unrolled.data import BatchStream, Tokenizer, pair_batches
from unrolled.decoding import DecoderScorer, EncoderDecoderScorer, Scorer, sample
from unrolled.errors import BadInput
from unrolled.models import EncoderDecoder, Model
from unrolled.models.batch import Batch
from unrolled.tasks.task import Job, Scores
from unrolled.training.config import RunConfig
from unrolled.training.loop import mean_loss

Pair = tuple[str, str]
SCORED = 1_000
"""Held-out sentences that a score is taken on, at most."""
VALIDATED = 200
"""Held-out sentences whose loss is followed while training."""
SHOWN = 2


@dataclass(frozen=True)
class PairData:
    """Pairs to train on, as often as one likes, and those that were held out."""

    train: Callable[[], Iterable[Pair]]
    held_out: list[Pair]
    report: Callable[[], str] = str
    """One line on what of the corpus was left out; "" if nothing was."""
    fingerprint: Callable[[], dict[str, str]] = dict
    """Hashes of the corpus's files, by name."""


class PairJob(Job):
    """Learns targets from sources; the model is a decoder or an encoder–decoder."""

    bleu_words = "13a"
    """What BLEU takes for a word: the name of a tokenizer of sacrebleu."""

    def __init__(
        self, config: RunConfig, tokenizer: Tokenizer, read: Callable[[], PairData]
    ) -> None:
        super().__init__(config, tokenizer)
        self.read = read

    @cached_property
    def data(self) -> PairData:
        """The pairs, read when they are first needed: translating needs none."""
        data = self.read()
        if not data.held_out:
            raise BadInput("no pair is held out to score on: the corpus is too small")
        return data

    @cached_property
    def _validation(self) -> list[Batch]:
        return list(self._stream(lambda: self.data.held_out[:VALIDATED]).once())

    def _stream(self, pairs: Callable[[], Iterable[Pair]]) -> BatchStream[Any]:
        config = self.config
        layout: Literal["encoder-decoder", "decoder"] = "decoder"
        if config.architecture == "encoder-decoder":
            layout = "encoder-decoder"
        limit = config.model.max_positions
        if layout == "encoder-decoder" and config.model.memory == "prefix":
            limit //= 2
        return pair_batches(
            pairs,
            self.tokenizer,
            layout=layout,
            tokens_per_batch=config.data.tokens_per_batch,
            max_positions=limit,
            seed=config.seed,
            window=config.data.stream_window,
        )

    def batches(self) -> BatchStream[Any]:
        """Pairs of like lengths side by side."""
        return self._stream(self.data.train)

    def validate(self, model: Model) -> Scores:
        """Loss a target token, in nats, on held-out pairs."""
        return {"validation_loss": mean_loss(model, self._validation)}

    def sample(self, model: Model) -> str:
        """Two held-out sentences and what the model makes of them."""
        sources = [source for source, _ in self.data.held_out[:SHOWN]]
        lines = zip(sources, self.translate(model, sources), strict=True)
        return "\n".join(f"  {source} → {target}" for source, target in lines)

    def score(self, model: Model) -> Scores:
        """Exact match of whole sentences, BLEU and chrF (both 0…100), and how many sentences."""
        references = [target for _, target in self.data.held_out]
        answers = self.translate(model, [source for source, _ in self.data.held_out])
        matches = sum(a == r for a, r in zip(answers, references, strict=True))
        return {
            "exact_match": matches / len(references),
            "bleu": sacrebleu.corpus_bleu(answers, [references], tokenize=self.bleu_words).score,
            "chrf": sacrebleu.corpus_chrf(answers, [references]).score,
            "sentences": len(references),
        }

    def translate(self, model: Model, sentences: Sequence[str]) -> list[str]:
        """The likeliest translation token by token (greedy), a sentence each.

        Raises `BadInput` for a sentence the tokenizer can't make or the model can't hold.
        """
        sources = [self._source(sentence) for sentence in sentences]
        longest = max(map(len, sources), default=0)
        limit = self.config.model.max_positions
        if isinstance(model, EncoderDecoder):
            room = limit - (longest if model.config.memory == "prefix" else 0)
        else:
            room = limit - longest
        if longest > limit or room < 1:
            raise BadInput(
                f"a sentence of {longest} tokens leaves no room to answer in a model of "
                f"max_positions {limit}: split it"
            )
        scorer = self.scorer(model, room - 1 or 1)
        decoded = sample(scorer, sources, max_length=scorer.max_length)  # type: ignore[attr-defined]
        return [self.tokenizer.decode(answer.tokens) for answer in decoded]

    def scorer(self, model: Model, max_length: int) -> Scorer:
        """The model as a search sees it."""
        end = self.tokenizer.end_id
        if isinstance(model, EncoderDecoder):
            begin = self.tokenizer.begin_id
            return EncoderDecoderScorer(
                model, begin_token=begin, end_token=end, max_length=max_length
            )
        return DecoderScorer(model, end_token=end, max_length=max_length)

    def _source(self, sentence: str) -> list[int]:
        """A sentence as the model reads it."""
        if not sentence.strip():
            raise BadInput("an empty sentence can't be translated")
        ends = self.config.architecture == "encoder-decoder"
        behind = self.tokenizer.end_id if ends else self.tokenizer.separator_id
        return [*self.tokenizer.encode(sentence), behind]

    def fingerprint(self) -> dict[str, str]:
        """Hashes of the corpus's files."""
        return self.data.fingerprint()

    def skipped(self) -> list[str]:
        """What of the corpus was left out, and why."""
        return [line for line in [self.data.report()] if line]
