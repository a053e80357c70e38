"""`evaluate`, `translate` and `generate`: what a trained run is good for."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from unrolled.cli.command import Command
from unrolled.cli.output import print_json, progress
from unrolled.cli.train import shown
from unrolled.decoding import SamplingConfig
from unrolled.errors import BadInput
from unrolled.tasks.answering import evaluate, open_run, translate
from unrolled.tasks.task import Job
from unrolled.tasks.text import MaskedJob, TextJob
from unrolled.training.parallel import leads


@dataclass(frozen=True)
class Evaluate(Command):
    """Score a run on what was held out from its training."""

    name: ClassVar[str] = "evaluate"
    example: ClassVar[str] = "unrolled evaluate runs/piglatin"

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    json: bool = False
    """Print the scores as JSON."""

    def run(self) -> int:
        """Print the scores."""
        with progress("scoring on what was held out") as tell:
            scores = dict(evaluate(self.run_folder, tell))
        if not leads():
            return 0
        if self.json:
            print_json(scores)
        else:
            for name, value in scores.items():
                print(f"{name.replace('_', ' '):<22} {shown(name, value)}")
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
    json: bool = False
    """Print a JSON list of {"source", "translation", "completed"}; with --output {"output",
    "sentences"}."""

    def run(self) -> int:
        """Print a translation a line, or write them."""
        if not self.sentences and self.input is None:
            raise BadInput(f"no sentence to translate: `{self.example}`, or --input FILE")
        if self.sentences and self.input is not None:
            raise BadInput("either sentences or --input FILE, not both")
        with progress("sentences translated") as tell:
            job, rows = translate(
                self.run_folder, self.sentences, tell, source=self.input, output=self.output
            )
        if not leads():
            return 0
        for number, (_, answer) in enumerate(rows, 1):
            if answer.cut:
                warn_of_cut(f"the translation of sentence {number}", job)
        if self.output is not None:
            if self.json:
                print_json({"output": str(self.output), "sentences": len(rows)})
            else:
                print(f"{len(rows):,} lines written to {self.output}", file=sys.stderr)
        elif self.json:
            print_json(
                [
                    {"source": source, "translation": a.text, "completed": a.completed}
                    for source, a in rows
                ]
            )
        else:
            sys.stdout.write("".join(f"{answer.text}\n" for _, answer in rows))
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
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(0.8, 0, 0.95))
    seed: int = 0
    """Seed of the draws."""
    json: bool = False
    """Print {"prompt", "continuation", "completed"}: whether it ends as a text of the corpus."""

    def run(self) -> int:
        """Print the prompt and what follows."""
        if self.max_tokens < 1:
            raise BadInput(f"--max-tokens must be at least 1, not {self.max_tokens}")
        if not 0 <= self.seed < 1 << 63:
            raise BadInput(f"--seed is a whole number from 0 to 2^63 - 1, got {self.seed}")
        job, model = open_run(self.run_folder)
        if not isinstance(job, TextJob) or isinstance(job, MaskedJob):
            raise BadInput(
                f"{self.run_folder} is a run of {job.config.task} with architecture "
                f"{job.config.architecture}: it doesn't continue text"
            )
        answer = job.answer(model, self.prompt, self.max_tokens, self.sampling, self.seed)
        if answer.cut:
            warn_of_cut("the continuation", job)
        if self.json:
            told = {"continuation": answer.text, "completed": answer.completed}
            print_json({"prompt": self.prompt, **told})
        else:
            print(self.prompt + answer.text)
        return 0


def warn_of_cut(what: str, job: Job) -> None:
    """One line on standard error for an answer that is not whole."""
    limit = job.config.model.max_positions
    print(f"{what} is cut where the model's positions end (max_positions {limit})", file=sys.stderr)
