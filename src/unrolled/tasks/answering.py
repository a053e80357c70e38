"""What is a trained run good for? Its folder opened again: scores, translations of a whole file.

Under torchrun the work is divided between the processes; the answers are those of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unrolled.errors import BadInput
from unrolled.models import load
from unrolled.models.packs import Loaded, Tell, check_format, format_of, load_packed
from unrolled.models.packs import silent as untold
from unrolled.models.store import write_atomically
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.quality import against_float32
from unrolled.tasks.rules import Rules
from unrolled.tasks.running import find_task
from unrolled.tasks.searching import SearchConfig, leave
from unrolled.tasks.task import Answer, Job, Progress, Scores, silent
from unrolled.training.memory import keep_freed_memory
from unrolled.training.parallel import first, joined, leads
from unrolled.training.run import load_config


def open_run(folder: Path, weights: str = "float32", tell: Tell = untold) -> tuple[Job, Loaded]:
    """A trained run's job, and its model with its weights in a format of `kernels.formats`.

    `tell` is told what `load_packed` tells. Raises `BadInput` for a folder that is no run, and for
    an unknown format.
    """
    check_format(weights)
    keep_freed_memory()
    config = load_config(folder)
    kept: list[Loaded] = []
    # One process packs the weights where that is to be done; the others then find them.
    first(lambda: kept.append(load_packed(folder, weights, tell)))
    model = kept[0] if kept else load_packed(folder, weights)
    return find_task(config.task).open(config, folder), model


def open_job(folder: Path) -> Job:
    """A trained run's job alone. Raises `BadInput` for a folder that is no run."""
    config = load_config(folder)
    return find_task(config.task).open(config, folder)


def evaluate(
    folder: Path,
    progress: Progress = silent,
    *,
    receipt: Path | None = None,
    weights: str = "float32",
    tell: Tell = untold,
) -> Scores:
    """A run's scores on what was held out from its training; `receipt`: with every answer there.

    With packed `weights` also what they have lost (`quality.against_float32`); `tell` is told as by
    `open_run`. Raises `BadInput` for a receipt of a run whose answers don't match or fail to.
    """
    with joined():
        job, model = open_run(folder, weights, tell)
        progress = progress if leads() else silent
        answers: list[str] = []
        if isinstance(job, PairJob):
            pairs = job
            answers = pairs.predictions(model, progress)
            scores = pairs.scores_of(answers)
            if receipt is not None:
                first(lambda: pairs.receipt(answers, format_of(model)).save(receipt))
        elif receipt is not None:
            raise BadInput(
                f"{folder} is a run of {job.config.task}: --receipt is for runs that translate, "
                "whose answers match or don't"
            )
        else:
            scores = job.score(model, progress)
        if format_of(model) == "float32":
            return scores
        return {**scores, **against_float32(job, load(folder), model, answers, progress)}


def translate(
    folder: Path,
    sentences: Sequence[str],
    progress: Progress = silent,
    *,
    source: Path | None = None,
    output: Path | None = None,
    rules: Rules | None = None,
    search: SearchConfig | None = None,
    weights: str = "float32",
    tell: Tell = untold,
) -> tuple[Job, list[tuple[str, Answer]]]:
    """The job, and sentences, or the lines of the file `source`, each with its translation.

    A blank line of a file is answered by a blank line. With `output` the translations are written
    there, a line each, whole or not at all. `search` leads to the best that it finds, in n_best
    lines of number, score and text where more than one is asked for, and leaves its receipts and
    pictures. `weights` is the format of the model's; `tell` is told as by `open_run`. Raises
    `BadInput`, before anything is translated, for a run that doesn't translate and a sentence that
    it can't take.
    """
    with joined():
        job, model = open_run(folder, weights, tell)
        if not isinstance(job, PairJob):
            raise BadInput(f"{folder} is a run of {job.config.task}: it doesn't translate")
        if output is not None and not output.parent.is_dir():
            raise BadInput(f"there is no folder {output.parent} to write {output.name} into")
        if source is not None:
            sentences = read_lines(source)
            check_lines(job, source, sentences)
        given = [i for i, sentence in enumerate(sentences) if source is None or sentence.strip()]
        asked = [sentences[i] for i in given]
        processors = (rules or Rules()).processors(job.tokenizer)
        progress = progress if leads() else silent
        made = job.translate_many(model, asked, progress, processors, search)
        answers = [Answer("", completed=True, cut=False)] * len(sentences)
        for i, answer in zip(given, made, strict=True):
            answers[i] = answer
        several = search is not None and search.n_best > 1
        if output is not None:
            text = "".join(
                line for i, a in enumerate(answers, 1) for line in lines_of(job, i, a, several)
            )
            first(lambda: write_atomically(output, lambda path: write_text(path, text)))
        if search is not None and search.on:
            found, config = [answer.found for answer in answers], search
            first(lambda: leave(found, config, job.spelling))
        return job, list(zip(sentences, answers, strict=True))


def lines_of(job: Job, number: int, answer: Answer, several: bool) -> list[str]:
    """An answer as lines: its text, or, of several, each one's number, score and text."""
    best = answer.found.hypotheses if answer.found else []
    if not several or not best:
        return [f"{answer.text}\n"]
    return [f"{number}\t{h.score:.6f}\t{job.tokenizer.decode(h.tokens)}\n" for h in best]


def write_text(path: Path, text: str) -> None:
    """UTF-8 with the lines' ends as they are."""
    path.write_text(text, encoding="utf-8", newline="")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8; a line ends where "wc -l" says it does."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"--input {path}: {error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadInput(f"--input {path} is not UTF-8 in line {line}") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def check_lines(job: PairJob, path: Path, lines: Sequence[str]) -> None:
    """Raise `BadInput` with the number of the first line that the run can't translate."""
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                job.encode(line)
        except BadInput as error:
            raise BadInput(f"{path}, line {number}: {error}") from None
