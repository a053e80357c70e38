"""Translation learned from pairs: aligned Bible versions, or a user's own."""

from __future__ import annotations

from functools import cache, partial
from itertools import chain, islice
from pathlib import Path

from unrolled.data.config import DataConfig
from unrolled.data.corpus import PairCorpus
from unrolled.errors import BadInput
from unrolled.models import Architecture, ModelConfig
from unrolled.tasks.opening import corpus_of, tokenizer_for
from unrolled.tasks.pairs import SCORED, PairData, PairJob
from unrolled.tasks.task import Task
from unrolled.training.config import RunConfig, TrainingConfig

OWN = "pairs.tsv"
"""The file that is looked for where none is named."""


class Pairs(Task):
    """Translates between the two sides of a pair corpus."""

    name = "pairs"
    summary = "translation between the two columns of your own file (BLEU, chrF)"
    architectures = ("encoder-decoder", "decoder")
    corpus = ""

    def defaults(self, architecture: Architecture) -> RunConfig:
        """Byte-level BPE over both sides, dropout against a corpus that is seen many times."""
        return RunConfig(
            task=self.name,
            architecture=architecture,
            seed=0,
            model=ModelConfig(
                hidden_size=192, num_layers=3, num_heads=6, max_positions=256, dropout=0.1
            ),
            data=DataConfig(
                corpus=self.corpus or OWN,
                tokenizer="bpe",
                vocab_size=4096,
                tokens_per_batch=4096,
            ),
            training=TrainingConfig(
                max_steps=2000, optimizer="muon", learning_rate=1e-2, evaluate_every=250
            ),
        )

    def open(self, config: RunConfig, folder: Path | None = None) -> PairJob:
        """Open the pairs; those held out are the corpus's own choice."""
        self.check(config.architecture)
        read = cache(partial(self._read, config.data, folder))
        tokenizer = tokenizer_for(config.data, folder, lambda: chain.from_iterable(read().train()))
        return PairJob(config, tokenizer, read)

    def _read(self, data: DataConfig, folder: Path | None) -> PairData:
        if data.corpus == OWN and not Path(OWN).exists():
            raise BadInput("name the file with your pairs: --data.corpus FILE.tsv")
        corpus = corpus_of(data, folder)
        if not isinstance(corpus, PairCorpus):
            raise BadInput(
                f"{data.corpus} holds text, not pairs: "
                f"`unrolled train text --data.corpus {data.corpus}` trains on it"
            )
        held_out = list(islice(corpus.pairs("validation"), SCORED))
        return PairData(partial(corpus.pairs, "train"), held_out, corpus.report, corpus.fingerprint)


class Verses(Pairs):
    """Wycliffe's Middle English into modern English, verse by verse."""

    name = "verses"
    summary = "Wycliffe's Bible into modern English, verse by verse (BLEU, chrF)"
    corpus = "verses:wycliffe-web"
