"""How do two notebooks, a student's and a solved one, come of the one text source?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from unrolled.course import definitions, set_folder
from unrolled.course.definitions import export
from unrolled.course.export import NAME, code_cells, export_notebook, write_atomically
from unrolled.course.regions import solved_source, student_source
from unrolled.errors import BadInput, WorkFailed

NOTEBOOK = "Transformer_Architectures.ipynb"


class Built(NamedTuple):
    """The folders that were made: each has the notebook, `gtgpt` and the exported file."""

    student: Path
    solution: Path


def build_notebooks(output: Path) -> Built:
    """Write `student/` and `solution/` into the folder, each ready to be opened.

    Raises `WorkFailed` if jupytext is not installed, and `BadInput` if a version can't be made of
    the source. `unrolled.course.building.verify` then grades both.
    """
    source = (set_folder() / "Transformer_Architectures.py").read_text("utf-8")
    built = Built(output / "student", output / "solution")
    versions = (student_source(source), solved_source(source))
    for folder, text in zip(built, versions, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NOTEBOOK, notebook_of(text))
        if export(code_cells(folder / NOTEBOOK)).notes:
            raise BadInput("the notebook's source defines a part twice")
        export_notebook(folder / NOTEBOOK, folder / NAME)
        copy_support(folder / "gtgpt")
    return built


def notebook_of(source: str) -> str:
    """The notebook's JSON of a source in jupytext's percent format, the same for the same
    source.
    """
    try:
        import jupytext
    except ImportError:
        raise WorkFailed('building needs jupytext: pip install "unrolled[course]"') from None
    notebook = jupytext.reads(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = (
            f"cell-{number:02d}"  # drawn at random else, and the diff of a build full of it
        )
    return str(jupytext.writes(notebook, fmt="ipynb"))


def copy_support(target: Path) -> None:
    """`gtgpt` with the export that the notebook's last cell uses."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        set_folder() / "gtgpt", target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    shutil.copy(Path(definitions.__file__), target / "definitions.py")
