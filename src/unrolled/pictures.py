"""How does every room write its pictures? As PNG or SVG, and the same answer as the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from unrolled.errors import BadInput


def picture(path: str | os.PathLike[str]) -> Path:
    """The path of a picture; raises `BadInput` for an ending that is none."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg"):
        raise BadInput(f"a picture is a .png or .svg file, got {path.name!r}")
    return path


def save(figure: Figure, path: Path) -> None:
    """Write a figure; raises `BadInput` for a place that can't be written."""
    # The same answer gives the same bytes: no date, no random ids.
    with mpl.rc_context({"svg.hashsalt": "unrolled"}):
        try:
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
            figure.savefig(path, dpi=150, metadata=metadata)
        except OSError as error:
            raise BadInput(f"can't write {path}: {error.strerror}; choose another place") from None
