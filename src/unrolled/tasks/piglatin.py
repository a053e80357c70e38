"""English to Pig Latin: real sentences, a rule to find, whole sentences to get right.

A sentence is 3–10 consecutive words of running English, in lower case, with nothing but spaces
between them in the corpus. Held-out sentences come from other parts of the corpus than those that
are trained on, and none of them occurs there, not even inside a longer sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from unrolled.data.config import DataConfig
from unrolled.data.corpus import TextCorpus
from unrolled.errors import BadInput
from unrolled.models import Architecture, ModelConfig
from unrolled.tasks.opening import corpus_of, tokenizer_for
from unrolled.tasks.pairs import SCORED, Pair, PairData, PairJob
from unrolled.tasks.piglatin_rule import LETTERS, translate
from unrolled.tasks.task import Task
from unrolled.training.config import RunConfig, TrainingConfig

ALPHABET = " -" + "".join(sorted(LETTERS))
SHORTEST, LONGEST = 3, 10
CUTS = 10
"""How often a stretch of words is cut into sentences, each time at other places."""
# A word is letters with nothing but punctuation before the next white space: no part of an
# identifier, a call, a contraction or a number. Between words stands white space, no blank line.
WORD = r"[A-Za-z]+(?=[.,;:!?)]*(?:\s|$))"
START = r"(?:(?<!\S)|(?<=\s\()|(?<=\A\())"
STRETCH = re.compile(rf"{START}{WORD}(?:(?:[ \t]+|[ \t]*\n[ \t]*){WORD})+")


class PigLatin(Task):
    """Translates English to Pig Latin."""

    name = "piglatin"
    summary = "English to Pig Latin, on sentences of the corpus (exact match, BLEU)"
    architectures = ("decoder", "encoder-decoder")

    def defaults(self, architecture: Architecture) -> RunConfig:
        """Small and fast: 4 layers of width 64, letters for tokens, Muon.

        A decoder's last thousand steps are for the one sentence in a hundred that it has wrong.
        """
        return RunConfig(
            task=self.name,
            architecture=architecture,
            seed=0,
            model=ModelConfig(hidden_size=64, num_layers=4, num_heads=4, max_positions=256),
            data=DataConfig(corpus="pydocs", tokenizer="symbols", tokens_per_batch=4096, holdout=5),
            training=TrainingConfig(
                max_steps=4000 if architecture == "decoder" else 3000,
                optimizer="muon",
                learning_rate=1e-2,
                evaluate_every=200,
            ),
        )

    def open(self, config: RunConfig, folder: Path | None = None) -> PigLatinJob:
        """Find the sentences of the corpus and put their translations beside them."""
        self.check(config.architecture)
        read = cache(partial(self._read, config.data, folder))
        tokenizer = tokenizer_for(
            config.data, folder, lambda: chain.from_iterable(read().train()), ALPHABET
        )
        return PigLatinJob(config, tokenizer, read)

    def _read(self, data: DataConfig, folder: Path | None) -> PairData:
        corpus = corpus_of(data, folder)
        if not isinstance(corpus, TextCorpus):
            raise BadInput(
                f"piglatin makes its own translations of a text, and {data.corpus} holds "
                f"pairs: `unrolled train pairs --data.corpus {data.corpus}` trains on those"
            )
        apart = dict.fromkeys(sentences(corpus.documents("validation"), cuts=1))
        for sentence in inner_sentences(corpus.documents("train")):
            apart.pop(sentence, None)
        held_out = list(islice(apart, SCORED))

        def train() -> Iterator[Pair]:
            for sentence in sentences(corpus.documents("train"), cuts=CUTS):
                yield sentence, translate(sentence)

        if not held_out or next(train(), None) is None:
            raise BadInput(
                f"{data.corpus} has too few sentences of {SHORTEST} to {LONGEST} English words "
                "to train on some and hold others out"
            )
        pairs = [(sentence, translate(sentence)) for sentence in held_out]
        return PairData(train, pairs, corpus.report, corpus.fingerprint)


class PigLatinJob(PairJob):
    """Translates what a person types: capitals are fine."""

    def _source(self, sentence: str) -> list[int]:
        words = sentence.lower().split()
        for word in words:
            if not LETTERS.issuperset(word):
                sign = next(c for c in word if c not in LETTERS)
                raise BadInput(
                    f"{sign!r} in {word!r} is no letter from a to z: Pig Latin is made of words"
                )
        return super()._source(" ".join(words))

    def _question(self) -> dict[str, Any]:
        """The sources alone: whoever checks works out the translations by the rule."""
        return {"sources": [source for source, _ in self.data.held_out], "task": "piglatin"}


def stretches(document: str) -> Iterator[list[str]]:
    """The words of each stretch, in lower case."""
    return (stretch.group().lower().split() for stretch in STRETCH.finditer(document))


def inner_sentences(documents: Iterable[str]) -> Iterator[str]:
    """Every run of words that a sentence of the documents could be or hold."""
    for words in chain.from_iterable(map(stretches, documents)):
        for start in range(len(words)):
            for stop in range(start + SHORTEST, min(start + LONGEST, len(words)) + 1):
                yield " ".join(words[start:stop])


def sentences(documents: Iterable[str], *, cuts: int) -> Iterator[str]:
    """Sentences of the documents, every stretch of words cut `cuts` times; always the same ones."""
    for document in documents:
        generator = random.Random(0)
        for words in stretches(document):
            for _ in range(cuts if len(words) > SHORTEST else 1):
                yield from _cut(words, generator)


def _cut(words: list[str], generator: random.Random) -> Iterator[str]:
    """Consecutive sentences of random lengths; a rest that is too short is left."""
    start = 0
    while len(words) - start >= SHORTEST:
        length = generator.randint(SHORTEST, LONGEST)
        yield " ".join(words[start : start + length])
        start += length
