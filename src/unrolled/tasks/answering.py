"""What is a trained run good for? Its folder opened again: scores, translations of a whole file.

Under torchrun the work is divided between the processes; the answers are those of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unrolled.errors import BadInput
from unrolled.models import Model, load
from unrolled.models.store import write_atomically
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.rules import Rules
from unrolled.tasks.running import find_task
from unrolled.tasks.task import Answer, Job, Progress, Scores, silent
from unrolled.training.parallel import first, joined, leads
from unrolled.training.run import load_config


def open_run(folder: Path) -> tuple[Job, Model]:
    """A trained run's job and model. Raises `BadInput` for a folder that is none."""
    config = load_config(folder)
    model = load(folder)
    job = find_task(config.task).open(config, folder)
    return job, model


def evaluate(folder: Path, progress: Progress = silent, *, receipt: Path | None = None) -> Scores:
    """A run's scores on what was held out from its training; `receipt`: with every answer there.

    Raises `BadInput` for a receipt of a run whose answers don't match or fail to.
    """
    with joined():
        job, model = open_run(folder)
        progress = progress if leads() else silent
        if receipt is None:
            return job.score(model, progress)
        if not isinstance(job, PairJob):
            raise BadInput(
                f"{folder} is a run of {job.config.task}: --receipt is for runs that translate, "
                "whose answers match or don't"
            )
        predictions = job.predictions(model, progress)
        first(lambda: job.receipt(predictions).save(receipt))
        return job.scores_of(predictions)


def translate(
    folder: Path,
    sentences: Sequence[str],
    progress: Progress = silent,
    *,
    source: Path | None = None,
    output: Path | None = None,
    rules: Rules | None = None,
) -> tuple[Job, list[tuple[str, Answer]]]:
    """The job, and sentences, or the lines of the file `source`, each with its translation.

    A blank line of a file is answered by a blank line. With `output` the translations are written
    there, a line each, whole or not at all. Raises `BadInput`, before anything is translated, for a
    run that doesn't translate and a sentence that it can't take.
    """
    with joined():
        job, model = open_run(folder)
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
        made = job.translate_many(model, asked, progress if leads() else silent, processors)
        answers = [Answer("", completed=True, cut=False)] * len(sentences)
        for i, answer in zip(given, made, strict=True):
            answers[i] = answer
        if output is not None:
            text = "".join(f"{answer.text}\n" for answer in answers)
            first(lambda: write_atomically(output, lambda path: write_text(path, text)))
        return job, list(zip(sentences, answers, strict=True))


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
