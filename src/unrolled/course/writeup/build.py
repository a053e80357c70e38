"""How do answers become one PDF, a problem a page, with the list of pages that an upload asks
for?
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.course import set_folder
from unrolled.course.export import write_atomically
from unrolled.course.writeup.facts import Facts, collect
from unrolled.course.writeup.notebook import cells
from unrolled.course.writeup.slides import slides
from unrolled.errors import BadInput, WorkFailed

WRITEUP, SLIDES = "ps3-writeup.pdf", "ps3-report.pptx"
MOST_WORDS = 350
"""Of the paper review, both parts together."""


class Answer(NamedTuple):
    """A problem that is answered by a file."""

    number: str
    title: str
    points: str
    file: str


GNN = "Transformer as a graph network"
EXTRA = "of 5 points for (a) to (e), extra credit in one of the two courses"
ANSWERS = (
    Answer("2.1", "AND and OR", "1 point", "2-1.typ"),
    Answer("2.2", "XOR", "1 point", "2-2.typ"),
    Answer("3.3", "An LSTM for parity", "5 points", "3-3.typ"),
    Answer("3.4", "When to stop in beam search", "5 points", "3-4.typ"),
    Answer("3.5", "Exploding gradients", "5 points", "3-5.typ"),
    *(Answer(f"3.6 ({x})", GNN, EXTRA, f"3-6-{x}.typ") for x in "abcde"),
    Answer("4.7", "Paper review", "2 points", "4-7.typ"),
    Answer("4.8", "Paper review: what I take away", "2 points", "4-8.typ"),
    Answer("report", "Report: English to Pig Latin, tuned", "5 points", "report.typ"),
)
REVIEW = ("4-7.typ", "4-8.typ")


def build_writeup(
    output: Path,
    *,
    answers: Path | None = None,
    notebook: Path | None = None,
    name: str = "",
    collaborators: str = "None",
) -> dict[str, list[int]]:
    """Write the PDF, the report's slides, pages.json and receipts/; answers problem → pages.

    Files in `answers` take the place of the set's own answers of the same name, and its folder
    `report` that of the report's records; `notebook` is typeset after them, with the outputs stored
    in it. Raises `BadInput` for a review that is too long, a file that no problem has, records that
    aren't whole, what is no notebook, and Typst that doesn't compile.
    """
    with prepared(answers, notebook, name, collaborators) as (folder, facts):
        pdf, found = compiled(folder)
        deck = slides(facts["report"], folder / "pictures", name)
        output.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(output / "receipts", ignore_errors=True)  # none of an earlier build
        shutil.copytree(folder / "receipts", output / "receipts")
    write_atomically(output / WRITEUP, pdf)
    write_atomically(output / SLIDES, deck)
    write_atomically(output / "pages.json", json.dumps(found, indent=1) + "\n")
    return found


@contextmanager
def prepared(
    answers: Path | None, notebook: Path | None, name: str, collaborators: str
) -> Iterator[tuple[Path, Facts]]:
    """A folder with all that Typst needs, and the facts in it; raises as `build_writeup` does."""
    with assembled(answers) as folder:
        count = sum(words((folder / "answers" / file).read_text("utf-8")) for file in REVIEW)
        if count > MOST_WORDS:
            raise BadInput(f"the paper review has {count} words; at most {MOST_WORDS} are allowed")
        own = answers / "report" if answers else None
        facts = collect(folder, own if own and own.is_dir() else set_folder() / "report")
        facts |= {"answers": [list(answer) for answer in ANSWERS]}
        facts |= {"name": name, "collaborators": collaborators}
        facts["notebook"] = cells(notebook, folder / "pictures") if notebook else []
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        yield folder, facts


@contextmanager
def assembled(answers: Path | None) -> Iterator[Path]:
    """A folder with the frame, the answers, and what these share."""
    source = set_folder() / "writeup"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        frame = (source / "main.typ").read_text("utf-8")
        # What an answer may use: the frame without its page layout and its body.
        lets = [part for part in re.split(r"^(?=#)", frame, flags=re.M) if part.startswith("#let ")]
        (folder / "shared.typ").write_text("".join(lets), encoding="utf-8")
        (folder / "main.typ").write_text(frame, encoding="utf-8")
        (folder / "answers").mkdir()
        known = {answer.file for answer in ANSWERS}
        for file in known:
            shutil.copy(source / file, folder / "answers" / file)
        if answers is not None and not answers.is_dir():
            raise BadInput(f"{answers}: no such folder")
        for path in sorted(answers.glob("*.typ")) if answers else []:
            if path.name not in known:
                expected = ", ".join(sorted(known))
                raise BadInput(f"{path}: no problem has this name; expected {expected}")
            shutil.copy(path, folder / "answers" / path.name)
        yield folder


def compiled(folder: Path) -> tuple[bytes, dict[str, list[int]]]:
    """The PDF, and the pages of each problem."""
    with typesetting(folder) as (typst, main, root):
        pdf: bytes = typst.compile(main, root=root)
        starts = json.loads(typst.query(main, "<problem>", field="value", root=root))
        last = json.loads(typst.query(main, "<last>", field="value", root=root, one=True))
    return pdf, pages(starts, last)


@contextmanager
def typesetting(folder: Path) -> Iterator[tuple[Any, str, str]]:
    """Typst, the file it begins with, and its root; what doesn't compile is `BadInput`."""
    try:
        import typst
    except ImportError:
        raise WorkFailed('the write-up needs typst: pip install "unrolled[course]"') from None
    try:
        yield typst, str(folder / "main.typ"), str(folder)
    except RuntimeError as error:
        raise BadInput(f"the answers don't compile: {error}") from None


def pages(starts: list[dict[str, Any]], last: int) -> dict[str, list[int]]:
    """Problem → pages, from the page that each begins on: each begins one of its own."""
    ends = [*(start["page"] for start in starts), last + 1]
    spans = zip(starts, pairwise(ends), strict=True)
    return {start["problem"]: list(range(first, after)) for start, (first, after) in spans}


def words(text: str) -> int:
    """Words of a Typst file as a reader counts them: without comments, functions and references."""
    prose = re.sub(r"//.*|^#import.*|#\w+(\([^)]*\))?", " ", text, flags=re.M)
    prose = re.sub(r"^_.*?_$", " ", prose, flags=re.M | re.S)  # the paper's title, in italics
    return len(re.findall(r"[\w'’-]*\w[\w'’.-]*", prose))
