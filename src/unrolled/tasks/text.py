"""Language modelling of any text: the next token (decoder, LSTM), or hidden ones (encoder)."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from unrolled.data import BatchStream, Tokenizer, masked_batches, text_batches
from unrolled.data.config import DataConfig
from unrolled.data.corpus import Split, TextCorpus
from unrolled.decoding import SamplingConfig, Scorer, alternatives, sample
from unrolled.decoding.processors import LogitProcessor, StopStrings
from unrolled.decoding.scorer import device_of
from unrolled.decoding.streaming import TextStream
from unrolled.errors import BadInput
from unrolled.models import Architecture, Encoder, Model, ModelConfig
from unrolled.models.batch import Batch
from unrolled.models.packs import Loaded
from unrolled.tasks.opening import corpus_of, tokenizer_for
from unrolled.tasks.searching import SearchConfig
from unrolled.tasks.searching import search as search_for
from unrolled.tasks.task import Answer, Job, Progress, Scores, Task, silent
from unrolled.training.config import RunConfig, TrainingConfig
from unrolled.training.parallel import spread

VALIDATED = 8
"""Batches whose loss is followed while training."""
LARGEST_EXPONENT = math.log(sys.float_info.max)
SHOWN = 40
"""Tokens of the sample that a run shows."""


class Text(Task):
    """Models the text of a corpus."""

    name = "text"
    summary = "language modelling of a corpus: next token or masked (perplexity, bits per byte)"
    architectures = ("decoder", "encoder", "lstm")

    def defaults(self, architecture: Architecture) -> RunConfig:
        """Byte-level BPE, 4 layers of width 128 (an LSTM: 2), dropout against a small corpus.

        A decoder reads the same tokens at each pass, an encoder others masked: it needs more of it,
        and fewer steps.
        """
        decoder = architecture == "decoder"
        return RunConfig(
            task=self.name,
            architecture=architecture,
            seed=0,
            model=ModelConfig(
                hidden_size=128,
                num_layers=2 if architecture == "lstm" else 4,
                num_heads=4,
                max_positions=256,
                dropout=0.3 if decoder else 0.2,
            ),
            data=DataConfig(
                corpus="pydocs", tokenizer="bpe", vocab_size=2048, tokens_per_batch=4096
            ),
            training=TrainingConfig(
                max_steps=700 if decoder else 1000,
                optimizer="muon",
                learning_rate=1e-2,
                evaluate_every=100,
            ),
        )

    def open(self, config: RunConfig, folder: Path | None = None) -> TextJob:
        """Open the corpus and train its tokenizer, or take the run's."""
        self.check(config.architecture)
        if config.architecture != "lstm" and config.data.row_length > config.model.max_positions:
            raise BadInput(
                f"data.row_length is at most model.max_positions, {config.model.max_positions}, "
                f"not {config.data.row_length}"
            )
        read = cache(partial(self._read, config.data, folder))
        tokenizer = tokenizer_for(config.data, folder, lambda: read().documents("train"))
        job = MaskedJob if config.architecture == "encoder" else TextJob
        return job(config, tokenizer, read)

    def _read(self, data: DataConfig, folder: Path | None) -> TextCorpus:
        corpus = corpus_of(data, folder)
        if not isinstance(corpus, TextCorpus):
            raise BadInput(
                f"{data.corpus} holds pairs, not text: "
                f"`unrolled train pairs --data.corpus {data.corpus}` trains on them"
            )
        return corpus


@dataclass(frozen=True)
class Continuation(Answer):
    """What follows a prompt, up to a stop string."""

    prompt: list[int]
    tokens: list[int]
    """All that were generated, those of the stop string included."""


class TextJob(Job):
    """Predicts the next token."""

    def __init__(
        self, config: RunConfig, tokenizer: Tokenizer, read: Callable[[], TextCorpus]
    ) -> None:
        super().__init__(config, tokenizer)
        self.read = read

    @property
    def corpus(self) -> TextCorpus:
        """The text, opened when it is first needed: generating needs none."""
        return self.read()

    @cached_property
    def validation(self) -> list[Batch]:
        """The first batches of what is held out."""
        return list(islice(self.held_out(), VALIDATED))

    def held_out(self) -> Iterator[Batch]:
        """All of what is held out, once."""
        return self._stream("validation").once()

    def _stream(self, split: Split) -> BatchStream[Any]:
        documents = partial(self.corpus.documents, split)
        return text_batches(documents, self.tokenizer, **self._rows())

    def _rows(self) -> dict[str, Any]:
        """How the rows are made, whatever is predicted in them."""
        config = self.config
        return {
            "length": config.data.row_length or config.model.max_positions,
            "tokens_per_batch": config.data.tokens_per_batch,
            "seed": config.seed,
            "window": config.data.stream_window,
        }

    def batches(self) -> BatchStream[Any]:
        """Rows packed with pieces of documents."""
        return self._stream("train")

    def sample(self, model: Model) -> str:
        """How the model begins a text; the same draws every time."""
        prompt = self.tokenizer.encode_prompt("")
        length = min(SHOWN, self.room(prompt))
        answer = self._continue(model, prompt, length, SamplingConfig(temperature=0.8, top_p=0.95))
        return f"  … {' '.join(answer.text.split())}"

    @torch.no_grad()
    def score(self, model: Loaded, progress: Progress = silent) -> Scores:
        """Perplexity a token, and bits a byte of UTF-8: comparable between tokenizers."""
        done = count(1)

        def measure(batch: Batch) -> tuple[float, int]:
            loss = model.loss(batch.to(device_of(model))).item()
            progress(next(done), 0)
            return loss, batch.num_targets

        found = spread(measure, self.held_out())
        nats, targets = (sum(values) for values in zip(*found, strict=True))
        size = sum(len(text.encode()) for text in self.corpus.documents("validation"))
        return {
            **loss_and_perplexity(nats, targets),
            "bits_per_byte": nats / math.log(2) / size,
            "tokens": targets,
            "bytes": size,
        }

    def generate(
        self,
        model: Loaded,
        prompt: str,
        max_tokens: int,
        config: SamplingConfig,
        seed: int = 0,
        **options: Any,
    ) -> str:
        """The text of `answer`."""
        return self.answer(model, prompt, max_tokens, config, seed, **options).text

    def answer(
        self,
        model: Loaded,
        prompt: str,
        max_tokens: int,
        config: SamplingConfig,
        seed: int = 0,
        *,
        processors: Sequence[LogitProcessor] = (),
        stop_strings: Sequence[str] = (),
        show: Callable[[str], object] | None = None,
        search: SearchConfig | None = None,
        on_rows: Progress | None = None,
    ) -> Continuation:
        """A continuation of the prompt, of at most so many tokens and no more than there is room.

        It ends before the first of the stop strings; `show` is given the text as it comes. With
        `search` it is searched for, not drawn: what is shown then is what all live prefixes share.
        Raises `BadInput` for a prompt the model has no room behind.
        """
        tokens, room = self.prompt(prompt)
        stream = TextStream(stop_strings, show)
        if search is not None and search.on:
            if stop_strings:
                decode, end = self.tokenizer.decode_bytes, self.tokenizer.end_id
                processors = [*processors, StopStrings(tuple(stop_strings), decode, end)]
            limit = min(max_tokens, room)
            return self._search(model, tokens, limit, search, processors, stream, on_rows)
        answer = self._continue(
            model, tokens, min(max_tokens, room), config, seed, processors, stream
        )
        full = len(answer.tokens) == room < max_tokens
        return replace(answer, cut=full and not answer.completed and not stream.stopped)

    def alternatives(
        self, model: Loaded, continuation: Continuation, k: int
    ) -> list[list[tuple[str, float]]]:
        """The k likeliest tokens in the place of each generated one: text and log-probability."""
        scorer = self.scorer(model, len(continuation.tokens) + 1)
        rest = continuation.tokens[:-1]
        found = alternatives(scorer, continuation.prompt, rest, k=k)
        return [[(self.spelling(a.token), a.log_prob) for a in place] for place in found]

    def prompt(self, text: str) -> tuple[list[int], int]:
        """A prompt's tokens, and how many may follow. Raises `BadInput` where none may."""
        tokens = self.tokenizer.encode_prompt(text)
        room = self.room(tokens)
        if room < 1:
            raise BadInput(
                f"the prompt has {len(tokens)} tokens, the model max_positions "
                f"{self.config.model.max_positions}: shorten it"
            )
        return tokens, room

    def room(self, tokens: Sequence[int]) -> int:
        """How many tokens may follow; the last need not be read, and an LSTM has no end."""
        if self.config.architecture == "lstm":
            return sys.maxsize
        return self.config.model.max_positions - len(tokens) + 1

    def _continue(
        self,
        model: Loaded,
        tokens: Sequence[int],
        max_tokens: int,
        config: SamplingConfig,
        seed: int = 0,
        processors: Sequence[LogitProcessor] = (),
        stream: TextStream | None = None,
    ) -> Continuation:
        stream = stream or TextStream()
        (answer,) = sample(
            self.scorer(model, max_tokens),
            [tokens],
            max_length=max_tokens,
            config=config,
            generator=torch.Generator(device_of(model)).manual_seed(seed),
            processors=processors,
            on_token=lambda _, token: stream.feed(self.tokenizer.decode_bytes([token])),
        )
        return Continuation(stream.close(), answer.completed, False, list(tokens), answer.tokens)

    def _search(
        self,
        model: Loaded,
        prompt: list[int],
        limit: int,
        search: SearchConfig,
        processors: Sequence[LogitProcessor],
        stream: TextStream,
        on_rows: Progress | None,
    ) -> Continuation:
        shown = 0

        def tell(_: int, tokens: list[int]) -> None:
            nonlocal shown
            stream.feed(self.tokenizer.decode_bytes(tokens[shown:]))
            shown = len(tokens)

        (found,) = search_for(
            self.scorer(model, limit), [prompt], [limit], search, processors,
            on_prefix=None if search.exact else tell, on_rows=on_rows,
        )  # fmt: skip
        tell(0, found.tokens)
        whole = bool(found.hypotheses) and found.hypotheses[0].completed and not stream.stopped
        return Continuation(stream.close(), whole, False, prompt, found.tokens, found=found)

    def scorer(self, model: Loaded, max_length: int) -> Scorer:
        """The model as a search sees it."""
        return self.reader(model, max_length)

    def fingerprint(self) -> dict[str, str]:
        """Hashes of the corpus's files."""
        return self.corpus.fingerprint()

    def skipped(self) -> list[str]:
        """What of the corpus was left out."""
        return [line for line in [self.corpus.report()] if line]


class MaskedJob(TextJob):
    """Fills in hidden tokens."""

    def _stream(self, split: Split) -> BatchStream[Any]:
        fraction = self.config.data.mask_fraction
        documents = partial(self.corpus.documents, split)
        return masked_batches(documents, self.tokenizer, mask_fraction=fraction, **self._rows())

    def sample(self, model: Model) -> str:
        """A masked model writes no text."""
        return ""

    @torch.no_grad()
    def score(self, model: Loaded, progress: Progress = silent) -> Scores:
        """Perplexity of the hidden tokens, and the share guessed right."""
        assert isinstance(model, Encoder)
        device = next(model.parameters()).device
        done = count(1)

        def measure(cpu: Batch) -> tuple[float, int, int]:
            batch = cpu.to(device)
            nats = model.loss(batch).item()
            logits = model(
                batch.tokens,
                attention_mask=batch.attention_mask,
                documents=batch.documents,
                positions=batch.positions,
            )
            progress(next(done), 0)
            return nats, int((logits.argmax(-1) == batch.targets).sum()), batch.num_targets

        found = spread(measure, self.held_out())
        nats, right, targets = (sum(values) for values in zip(*found, strict=True))
        return {
            **loss_and_perplexity(nats, targets),
            "masked_accuracy": right / targets,
            "tokens": targets,
        }


def loss_and_perplexity(nats: float, targets: int) -> dict[str, float]:
    """Mean loss a target, and its exponential where floating point reaches so far.

    Raises `BadInput` for a loss that is no number.
    """
    loss = nats / targets
    if not math.isfinite(loss):
        raise BadInput(f"the model's loss is {loss}: its weights are damaged")
    perplexity = {"perplexity": math.exp(loss)} if loss < LARGEST_EXPONENT else {}
    return {"loss": loss, **perplexity}
