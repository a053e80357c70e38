"""How does a notebook become the file that is handed in? Without running it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from unrolled.course.definitions import Export, export
from unrolled.errors import BadInput

NAME = "my_llm_implementation.py"
LARGEST = 1 << 28


def code_cells(path: Path) -> list[str]:
    """The text of a notebook's code cells, in the order of the file.

    Raises `BadInput` if the file is missing or no notebook of version 4.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    if path.stat().st_size > LARGEST:
        raise BadInput(f"{path}: larger than {LARGEST >> 20} MiB; clear its outputs and save it")
    try:
        notebook = json.loads(path.read_text("utf-8-sig"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        sources = [cell["source"] for cell in cells]
        return [source if isinstance(source, str) else "".join(source) for source in sources]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path}: not a Jupyter notebook (.ipynb, version 4)") from None


def export_notebook(path: Path, output: Path) -> Export:
    """Write the definitions of the notebook to `output`, by a temporary name, and answer them."""
    try:
        exported = export(code_cells(path))
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None
    write_atomically(output, exported.text)
    return exported


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    part.replace(path)
