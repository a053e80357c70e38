"""How is the report told on slides? Five of them, from the same facts as its page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import WorkFailed

Facts = dict[str, Any]
SIZE = (13.333, 7.5)
"""Of a slide, in inches: 16 to 9."""
MARGIN = 0.7
TOP = 1.5
"""Where the body begins, below the title."""
TITLE_ONLY = 5
"""Of the default template's layouts."""


def slides(report: Facts, pictures: Path, name: str = "") -> bytes:
    """The .pptx: what was done, what changed and why, scores, losses, examples.

    Args:
        report: what `unrolled.course.writeup.report.report` found.
        pictures: the folder with losses.png.
        name: whose report it is; "" for none.

    Raises:
        WorkFailed: python-pptx is not installed.
    """
    deck = Deck("English to Pig Latin: what tuning gained", name)
    runs, first, last = report["runs"], report["runs"][0], report["runs"][-1]
    slide = deck.slide(deck.title)
    deck.text(
        slide,
        [
            name,
            f"Exact match: {first['exact']} before, {last['exact']} after tuning.",
            f"BLEU: {first['bleu']} before, {last['bleu']} after.",
            f"Whole sentences, {first['of']} of them held out; one run of training each.",
            "The same in all runs: " + ", ".join(" ".join(pair) for pair in report["common"]) + ".",
        ],
        size=22,
    )
    slide = deck.slide("What was changed, and why")
    changes = [[], *report["changes"]]
    said = [", ".join(f"{key} {old} → {new}" for key, old, new in changed) for changed in changes]
    rows = [[run["name"], text, run["why"]] for run, text in zip(runs, said, strict=True)]
    deck.table(slide, ["run", "change", "why"], rows, (1.5, 3.6, 6.8), size=13)
    slide = deck.slide("Before and after")
    columns = {"exact match": "exact", "95 % of it": "interval", "BLEU": "bleu", "loss": "loss"}
    rows = [[run["name"], *(run[key] for key in columns.values())] for run in runs]
    deck.table(slide, ["run", *columns], rows, (2.6, 2.2, 3.2, 1.8, 1.8), size=18)
    deck.text(
        slide,
        [
            *(
                f"{run['name']}: {step['mended']} sentences right that the run before got wrong, "
                f"{step['broken']} the other way round ({step['p']}): {step['told']}."
                for run, step in zip(runs[1:], report["steps"], strict=True)
            ),
            "Loss: of held-out sentences, nats a target token. One seed each.",
        ],
        size=16,
        top=4.9,
    )
    deck.picture(deck.slide("Loss while training, and held out (dots)"), pictures / "losses.png")
    if report["examples"]:
        slide = deck.slide("Sentences that tuning mended")
        rows = [[e["source"], e["first"], e["last"]] for e in report["examples"]]
        deck.table(slide, ["sentence", first["name"], last["name"]], rows, (3.9, 4.0, 4.0), size=16)
    return deck.content()


class Deck:
    """A presentation that is being written; raises `WorkFailed` without python-pptx."""

    def __init__(self, title: str, author: str) -> None:
        try:
            import pptx
        except ImportError:
            raise WorkFailed(
                'the slides need python-pptx: pip install "unrolled[course]"'
            ) from None
        from pptx.util import Inches, Pt

        self.inches, self.points = Inches, Pt
        self.title = title
        self.file = pptx.Presentation()
        self.file.slide_width, self.file.slide_height = map(Inches, SIZE)
        about = self.file.core_properties
        about.title, about.author, about.last_modified_by = title, author, author

    def slide(self, title: str) -> Any:
        """A new slide with its title."""
        slide = self.file.slides.add_slide(self.file.slide_layouts[TITLE_ONLY])
        shape = slide.shapes.title
        shape.left, shape.top, shape.width, shape.height = self.box(0.4, 0.9)
        shape.text_frame.text = title
        self.style(shape.text_frame, 32, bold=True)
        return slide

    def box(self, top: float, height: float) -> list[Any]:
        """Left, top, width and height of what reaches from margin to margin."""
        return [self.inches(x) for x in (MARGIN, top, SIZE[0] - 2 * MARGIN, height)]

    def style(self, frame: Any, size: float, *, bold: bool = False) -> None:
        """Left, wrapped, and of one size."""
        frame.word_wrap = True
        for paragraph in frame.paragraphs:
            paragraph.alignment = 1  # left
            paragraph.space_after = self.points(size / 3)
            for run in paragraph.runs:
                run.font.size, run.font.bold = self.points(size), bold

    def text(self, slide: Any, lines: Sequence[str], *, size: float, top: float = TOP) -> None:
        """Paragraphs from margin to margin; an empty one is left out."""
        frame = slide.shapes.add_textbox(*self.box(top, SIZE[1] - top - MARGIN)).text_frame
        frame.text = "\n".join(filter(None, lines))
        self.style(frame, size)

    def table(
        self,
        slide: Any,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        *,
        size: float,
    ) -> None:
        """A table of text, its columns of such widths in inches."""
        shape = slide.shapes.add_table(len(rows) + 1, len(head), *self.box(TOP, 0.5))
        for column, width in zip(shape.table.columns, widths, strict=True):
            column.width = self.inches(width)
        for y, row in enumerate([head, *rows]):
            for x, text in enumerate(row):
                frame = shape.table.cell(y, x).text_frame
                frame.text = text
                self.style(frame, size, bold=y == 0)

    def picture(self, slide: Any, path: Path) -> None:
        """A picture in the middle, as large as there is room."""
        room = self.inches(SIZE[1] - TOP - 0.3)
        shape = slide.shapes.add_picture(str(path), 0, self.inches(TOP), height=room)
        shape.left = (self.file.slide_width - shape.width) // 2

    def content(self) -> bytes:
        """The file."""
        made = io.BytesIO()
        self.file.save(made)
        return made.getvalue()
