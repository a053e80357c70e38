"""Translation in general: pairs in, translations out, scored by exact match, BLEU and chrF.

BLEU: Papineni et al. 2002, chrF: Popović 2015, both by `sacrebleu` (Post 2018) with its defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, islice
from typing import Any, Literal

from unrolled.data import BatchStream, Tokenizer, pair_batches
from unrolled.decoding import EncoderDecoderScorer, Scorer, sample
from unrolled.decoding.decoded import named
from unrolled.decoding.processors import LogitProcessor
from unrolled.decoding.sampling import ROWS_TOGETHER, Sampled
from unrolled.errors import BadInput
from unrolled.models import Model
from unrolled.models.batch import Batch
from unrolled.models.packs import Loaded
from unrolled.receipts import Receipt
from unrolled.tasks.searching import Found, SearchConfig
from unrolled.tasks.searching import search as search_for
from unrolled.tasks.task import Answer, Job, Progress, Scores, silent
from unrolled.training.config import RunConfig
from unrolled.training.parallel import spread

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
    def validation(self) -> list[Batch]:
        """The first held-out pairs."""
        return list(self._stream(lambda: self.data.held_out[:VALIDATED]).once())

    @property
    def _layout(self) -> Literal["encoder-decoder", "decoder"]:
        encodes = self.config.architecture == "encoder-decoder"
        return "encoder-decoder" if encodes else "decoder"

    @property
    def _shares_positions(self) -> bool:
        """Whether an encoder's source and its target count through the same positions."""
        return self.config.model.memory == "prefix" and self.config.model.positions == "rope"

    def _stream(self, pairs: Callable[[], Iterable[Pair]]) -> BatchStream[Any]:
        config = self.config
        halved = self._layout == "encoder-decoder" and self._shares_positions
        return pair_batches(
            pairs,
            self.tokenizer,
            layout=self._layout,
            tokens_per_batch=config.data.tokens_per_batch,
            max_positions=config.model.max_positions // (2 if halved else 1),
            seed=config.seed,
            window=config.data.stream_window,
        )

    def batches(self) -> BatchStream[Any]:
        """Pairs of like lengths side by side."""
        return self._stream(self.data.train)

    def sample(self, model: Model) -> str:
        """Two held-out sentences and what the model makes of them."""
        fitting = (source for source, _ in self.data.held_out if self.room(self._source(source)))
        sources = list(islice(fitting, SHOWN))
        lines = zip(sources, self.translate(model, sources), strict=True)
        return "\n".join(f"  {source} → {target}" for source, target in lines)

    def score(self, model: Loaded, progress: Progress = silent) -> Scores:
        """Exact match of whole sentences, BLEU and chrF (both 0…100), and how many sentences.

        A sentence that the model is too short for counts as wrong; "too_long" says how many were.
        """
        return self.scores_of(self.predictions(model, progress))

    def predictions(self, model: Loaded, progress: Progress = silent) -> list[str]:
        """A translation of each held-out sentence; "" for one that the model is too short for."""
        sources = [self._source(source) for source, _ in self.data.held_out]
        fitting = [i for i, source in enumerate(sources) if self.room(source)]
        answers = self._answers(model, [sources[i] for i in fitting], progress, shared=True)
        found = {i: answer.text for i, answer in zip(fitting, answers, strict=True)}
        return [found.get(i, "") for i in range(len(sources))]

    def scores_of(self, predictions: Sequence[str]) -> Scores:
        """The scores of such predictions."""
        import sacrebleu  # only what scores waits for it

        references = [target for _, target in self.data.held_out]
        matches = sum(a == r for a, r in zip(predictions, references, strict=True))
        bleu = sacrebleu.corpus_bleu(predictions, [references], tokenize=self.bleu_words)
        scores = {
            "exact_match": matches / len(references),
            "bleu": bleu.score,
            "chrf": sacrebleu.corpus_chrf(predictions, [references]).score,
            "sentences": len(references),
        }
        too_long = sum(not self.room(self._source(source)) for source, _ in self.data.held_out)
        return {**scores, "too_long": too_long} if too_long else scores

    def receipt(self, predictions: Sequence[str], weights: str = "float32") -> Receipt:
        """How many of the predictions match, with all that is needed to count again.

        `weights` is the format of the weights that the model had.
        """
        right = sum(a == r for a, (_, r) in zip(predictions, self.data.held_out, strict=True))
        return Receipt.prove(
            "evaluation.exact_match",
            {**self._question(), **named(weights)},
            {"matches": right, "of": len(predictions)},
            {"predictions": list(predictions)},
        )

    def _question(self) -> dict[str, Any]:
        """What was asked, and what would have been right."""
        return {
            "sources": [source for source, _ in self.data.held_out],
            "references": [target for _, target in self.data.held_out],
        }

    def translate(self, model: Loaded, sentences: Sequence[str]) -> list[str]:
        """The texts of `answers`."""
        return [answer.text for answer in self.answers(model, sentences)]

    def answers(
        self, model: Loaded, sentences: Sequence[str], processors: Sequence[LogitProcessor] = ()
    ) -> list[Answer]:
        """The likeliest translation token by token (greedy), a sentence each.

        Raises `BadInput` for a sentence the tokenizer can't make or the model can't hold.
        """
        return self._answers(model, self.sources(sentences), silent, processors)

    def sources(self, sentences: Sequence[str]) -> list[list[int]]:
        """The sentences as the model reads them; raises `BadInput` as `translate` does."""
        sources = [self._source(sentence) for sentence in sentences]
        for number, source in enumerate(sources, 1):
            self._check_room(source, f"sentence {number} has {len(source)} tokens, which")
        return sources

    def translate_many(
        self,
        model: Loaded,
        sentences: Sequence[str],
        progress: Progress,
        processors: Sequence[LogitProcessor] = (),
        search: SearchConfig | None = None,
    ) -> list[Answer]:
        """The same; under torchrun all processes must call it, and each does a part of the work.

        With `search`, the best that it finds.
        """
        sources = [self.encode(sentence) for sentence in sentences]
        if search is None or not search.on:
            return self._answers(model, sources, progress, processors, shared=True)
        rooms = [self.room(source) for source in sources]
        scorer = self.scorer(model, max(rooms, default=1))
        chunks = like_lengths(sources, 1 if search.exact else max(1, ROWS_TOGETHER // search.width))
        done = count(1)

        def decode(chunk: list[int]) -> list[Found]:
            return search_for(
                scorer,
                [sources[i] for i in chunk],
                [rooms[i] for i in chunk],
                search,
                processors,
                on_finished=lambda _: progress(next(done), len(sources)),
            )

        found = dict(zip(chain(*chunks), chain(*spread(decode, chunks)), strict=True))
        return [self._answer_of(found[i]) for i in range(len(sources))]

    def _answer_of(self, found: Found) -> Answer:
        best = found.hypotheses[0].completed if found.hypotheses else False
        cut = bool(found.hypotheses) and not best
        return Answer(self.tokenizer.decode(found.tokens), best, cut, found=found)

    def encode(self, sentence: str) -> list[int]:
        """The tokens of a sentence; raises `BadInput` for one that can't be translated."""
        source = self._source(sentence)
        self._check_room(source, f"a sentence of {len(source)} tokens")
        return source

    def _check_room(self, source: Sequence[int], what: str) -> None:
        if not self.room(source):
            raise BadInput(
                f"{what} leaves a model of max_positions {self.config.model.max_positions} no room "
                "to answer: split it"
            )

    def room(self, source: Sequence[int]) -> int:
        """How many tokens the model may answer a source with; 0 if it can't hold the source."""
        left = self.config.model.max_positions - len(source)
        if self._layout == "decoder":
            return max(0, left + 1)  # the last token of an answer need not be read
        if self._shares_positions:
            return max(0, left)
        return self.config.model.max_positions if left >= 0 else 0

    def _answers(
        self,
        model: Loaded,
        sources: Sequence[Sequence[int]],
        progress: Progress = silent,
        processors: Sequence[LogitProcessor] = (),
        *,
        shared: bool = False,
    ) -> list[Answer]:
        """Answers in order. `shared` divides what is decoded side by side, and never more finely.

        So the sums of floating-point numbers, and with them the answers, are those of one process.
        """
        rooms = [self.room(source) for source in sources]
        scorer = self.scorer(model, max(rooms, default=1))
        chunks = like_lengths(sources, ROWS_TOGETHER)
        done = count(1)

        def decode(chunk: list[int]) -> list[Sampled]:
            return sample(
                scorer,
                [sources[i] for i in chunk],
                max_length=[rooms[i] for i in chunk],
                processors=processors,
                on_finished=lambda _: progress(next(done), len(sources)),
            )

        decoded = spread(decode, chunks) if shared else map(decode, chunks)
        written = dict(zip(chain(*chunks), chain(*decoded), strict=True))
        return [
            Answer(self.tokenizer.decode(w.tokens), w.completed, cut=not w.completed)
            for w in (written[i] for i in range(len(sources)))
        ]

    def scorer(self, model: Loaded, max_length: int) -> Scorer:
        """The model as a search sees it."""
        if self._layout == "encoder-decoder":
            begin, end = self.tokenizer.begin_id, self.tokenizer.end_id
            return EncoderDecoderScorer(
                model, begin_token=begin, end_token=end, max_length=max_length
            )
        return self.reader(model, max_length)

    def _source(self, sentence: str) -> list[int]:
        """A sentence as the model reads it."""
        if not sentence.strip():
            raise BadInput("an empty sentence can't be translated")
        encoded = self._layout == "encoder-decoder"
        behind = self.tokenizer.end_id if encoded else self.tokenizer.separator_id
        return [*self.tokenizer.encode(sentence), behind]

    def fingerprint(self) -> dict[str, str]:
        """Hashes of the corpus's files."""
        return self.data.fingerprint()

    def skipped(self) -> list[str]:
        """What of the corpus was left out, and why."""
        return [line for line in [self.data.report()] if line]


def like_lengths(sources: Sequence[Sequence[int]], together: int) -> list[list[int]]:
    """The sources' numbers, those of like lengths together, so many at a time."""
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    return [order[i : i + together] for i in range(0, len(order), together)]
