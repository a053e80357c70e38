"""`evaluate`, `translate` and `generate`: what a trained run is good for."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.table import Table

from unrolled.cli.command import Command
from unrolled.cli.output import note, print_json, progress, show
from unrolled.cli.search import show_steps, told, warn_of_none
from unrolled.cli.train import shown
from unrolled.decoding import SamplingConfig
from unrolled.decoding.streaming import TextStream
from unrolled.errors import BadInput
from unrolled.tasks.answering import evaluate, lines_of, open_run, translate
from unrolled.tasks.rules import Rules
from unrolled.tasks.searching import SearchConfig, leave
from unrolled.tasks.task import Answer, Job
from unrolled.tasks.text import MaskedJob, TextJob
from unrolled.training.parallel import leads

DRAWS = SamplingConfig(temperature=0.8, top_p=0.95)
"""How `generate` draws if it isn't told otherwise."""


@dataclass(frozen=True)
class Evaluate(Command):
    """Score a run on what was held out from its training."""

    name: ClassVar[str] = "evaluate"
    example: ClassVar[str] = "unrolled evaluate runs/piglatin --weights int8"

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    receipt: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write every held-out sentence with its answer here; `unrolled check` counts again."""
    weights: Annotated[str, tyro.conf.arg(metavar="FORMAT")] = "float32"
    """Format of the model's weights: float32, bfloat16, int8 or int4. What the others lose against
    float32 is shown beside the scores."""
    json: bool = False
    """Print the scores as JSON."""

    def run(self) -> int:
        """Print the scores."""
        with progress("scoring on what was held out") as tell:
            scores = evaluate(
                self.run_folder, tell, receipt=self.receipt, weights=self.weights, tell=note
            )
        if not leads():
            return 0
        if self.json:
            print_json({"weights": self.weights, **scores})
            return 0
        if self.weights != "float32":
            print(f"{'weights':<22} {self.weights}")
        for name, value in scores.items():
            print(f"{name.replace('_', ' '):<22} {shown(name, value)}")
        if self.receipt is not None:
            print(f"receipt written to {self.receipt}")
        return 0


@dataclass(frozen=True)
class Translate(Command):
    """Translate sentences, or a file, with a run of piglatin, sort, verses or pairs.

    Under torchrun a file is divided between the processes and written by one, in order.
    """

    name: ClassVar[str] = "translate"
    example: ClassVar[str] = 'unrolled translate runs/piglatin "the quick brown fox"'

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    sentences: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SENTENCE")]
    """One or more sentences, each in quotes; none with --input."""
    input: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Text file in UTF-8 with a sentence a line; a blank line stays one."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File for the translations, a line each; standard output if not given."""
    weights: Annotated[str, tyro.conf.arg(metavar="FORMAT")] = "float32"
    """Format of the model's weights: float32, bfloat16, int8 or int4. All but float32 are packed,
    kept in RUN/packed; they, and float32 of a large model, are run by compiled kernels where that
    can be."""
    rules: Rules = field(default_factory=Rules)
    search: Annotated[SearchConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=SearchConfig)
    json: bool = False
    """Print a JSON list of {"source", "translation", "completed"}, of a search also its
    "hypotheses", "optimal", "gap" and more; with --output {"output", "sentences"}."""

    def run(self) -> int:
        """Print a translation a line, or write them."""
        if not self.sentences and self.input is None:
            raise BadInput(f"no sentence to translate: `{self.example}`, or --input FILE")
        if self.sentences and self.input is not None:
            raise BadInput("either sentences or --input FILE, not both")
        with progress("sentences translated") as tell:
            job, rows = translate(
                self.run_folder,
                self.sentences,
                tell,
                source=self.input,
                output=self.output,
                rules=self.rules,
                search=self.search,
                weights=self.weights,
                tell=note,
            )
        if not leads():
            return 0
        for number, (_, answer) in enumerate(rows, 1):
            warn_of_what_lacks(f"the translation of sentence {number}", job, answer)
        if self.output is not None:
            if self.json:
                print_json({"output": str(self.output), "sentences": len(rows)})
            else:
                print(f"{len(rows):,} lines written to {self.output}", file=sys.stderr)
        elif self.json:
            print_json(
                [
                    {"source": source, "translation": a.text, "completed": a.completed}
                    | told(a, job, job.tokenizer.decode, trace=self.search.explain)
                    for source, a in rows
                ]
            )
        else:
            for number, (_, answer) in enumerate(rows, 1):
                several = self.search.n_best > 1
                sys.stdout.write("".join(lines_of(job, number, answer, several)))
        if self.search.explain and not self.json:
            for source, answer in rows:
                if answer.found is not None:
                    print(f"\n{source}")
                    show_steps(answer.found, job.spelling)
        return 0


@dataclass(frozen=True)
class Generate(Command):
    """Continue a prompt with a run of the task text."""

    name: ClassVar[str] = "generate"
    example: ClassVar[str] = 'unrolled generate runs/text "The class" --sampling.temperature 0.8'

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """How the text begins."""
    max_tokens: int = 100
    """Length of the continuation, in tokens."""
    weights: Annotated[str, tyro.conf.arg(metavar="FORMAT")] = "float32"
    """Format of the model's weights: float32, bfloat16, int8 or int4. All but float32 are packed,
    kept in RUN/packed; they, and float32 of a large model, are run by compiled kernels where that
    can be."""
    sampling: SamplingConfig = DRAWS
    rules: Rules = field(default_factory=Rules)
    search: Annotated[SearchConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=SearchConfig)
    stop_string: tuple[str, ...] = ()
    """Texts that end the continuation; they are not part of it."""
    alternatives: int = 0
    """Also show so many of the likeliest tokens at each place, with their probabilities."""
    seed: int = 0
    """Seed of the draws."""
    json: bool = False
    """Print {"prompt", "continuation", "completed"}: whether it ends as a text of the corpus.

    "alternatives" are there where they are asked for, and what a search found where there was one.
    """

    def run(self) -> int:
        """Print the prompt and what follows: in a terminal, as it comes."""
        self.check()
        job, model = open_run(self.run_folder, self.weights, note)
        if not isinstance(job, TextJob) or isinstance(job, MaskedJob):
            raise BadInput(
                f"{self.run_folder} is a run of {job.config.task} with architecture "
                f"{job.config.architecture}: it doesn't continue text"
            )
        live = sys.stdout.isatty() and not self.json and self.search.n_best == 1
        stream = Shown(self.prompt) if live else None
        with progress("prefixes scored") as tell:
            answer = job.answer(
                model,
                self.prompt,
                self.max_tokens,
                self.sampling,
                self.seed,
                processors=self.rules.processors(job.tokenizer),
                stop_strings=self.stop_string,
                show=stream,
                search=self.search,
                on_rows=tell,
            )
        leave([answer.found], self.search, job.spelling)
        places = job.alternatives(model, answer, self.alternatives) if self.alternatives else []
        if stream is not None:
            stream.close()
        warn_of_what_lacks("the continuation", job, answer)
        if self.json:
            found = [[{"token": t, "log_prob": p} for t, p in place] for place in places]
            extra = {"alternatives": found} if self.alternatives else {}
            first = {"continuation": answer.text, "completed": answer.completed}
            extra |= told(answer, job, self.spell(job), trace=self.search.explain)
            print_json({"prompt": self.prompt, **first, **extra})
            return 0
        best = answer.found.hypotheses if answer.found else []
        if len(best) > 1:
            spell = self.spell(job)
            for number, h in enumerate(best, 1):
                print(f"{number}. score {h.score:.6f}\n{self.prompt}{spell(h.tokens)}\n")
        elif stream is None:
            print(self.prompt + answer.text)
        if self.search.explain and answer.found is not None:
            print()
            show_steps(answer.found, job.spelling)
        if places:
            print()
            show(alternatives_table([job.spelling(token) for token in answer.tokens], places))
        return 0

    def check(self) -> None:
        """Refuse numbers that make no sense, before the model is read."""
        if self.max_tokens < 1:
            raise BadInput(f"--max-tokens must be at least 1, not {self.max_tokens}")
        if self.alternatives < 0:
            raise BadInput(f"--alternatives must be 0 or more, not {self.alternatives}")
        if not 0 <= self.seed < 1 << 63:
            raise BadInput(f"--seed is a whole number from 0 to 2^63 - 1, got {self.seed}")
        if self.search.on and self.sampling != DRAWS:
            raise BadInput("a search draws nothing: leave out --sampling, or the search's options")

    def spell(self, job: Job) -> Callable[[Sequence[int]], str]:
        """What tokens say, up to the first stop string."""

        def text(tokens: Sequence[int]) -> str:
            stream = TextStream(self.stop_string)
            stream.feed(job.tokenizer.decode_bytes(tokens))
            return stream.close()

        return text


class Shown:
    """A text that appears on standard output as it comes, its beginning with its first piece."""

    def __init__(self, beginning: str) -> None:
        self.waiting = beginning

    def __call__(self, piece: str) -> None:
        """Show what is there at once."""
        sys.stdout.write(self.waiting + piece)
        sys.stdout.flush()
        self.waiting = ""

    def close(self) -> None:
        """End the line."""
        self("\n")


def alternatives_table(
    tokens: Sequence[str], places: Sequence[Sequence[tuple[str, float]]]
) -> Table:
    """A line a place: the token that came, and the likeliest ones with their probabilities."""
    numbers = map(str, range(1, 1 + max(map(len, places))))
    table = Table("token", *numbers, box=None, pad_edge=False)
    for token, place in zip(tokens, places, strict=False):
        table.add_row(repr(token), *(f"{text!r} {math.exp(log):.3f}" for text, log in place))
    return table


def warn_of_what_lacks(what: str, job: Job, answer: Answer) -> None:
    """One line on standard error for an answer that is not whole."""
    if answer.found is not None and not answer.found.hypotheses:
        warn_of_none(what, answer.found)
    if not answer.cut:
        return
    limit = job.config.model.max_positions
    print(f"{what} is cut where the model's positions end (max_positions {limit})", file=sys.stderr)
