"""How is a notebook put on paper? Its cells in their order, with the outputs stored in it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import Any

from unrolled.course.export import LARGEST
from unrolled.errors import BadInput

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONGEST = 60
"""Lines of an output beyond which the middle is left out, and that is said."""
Cell = dict[str, Any]


def cells(path: Path, pictures: Path) -> list[Cell]:
    """{"kind", "text", "outputs"} of each cell; pictures are written into the folder.

    Raises `BadInput` if the file is missing or no notebook of version 4.
    """
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise BadInput(f"{path}: no such file, or one larger than {LARGEST >> 20} MiB")
    try:
        found = json.loads(path.read_text("utf-8-sig"))["cells"]
        return [
            {
                "kind": cell["cell_type"],
                "text": joined(cell["source"]),
                "outputs": [
                    shown
                    for place, output in enumerate(cell.get("outputs", []))
                    if (shown := show(output, pictures, f"notebook-{number}-{place}"))
                ],
            }
            for number, cell in enumerate(found)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"{path}: not a Jupyter notebook (.ipynb, version 4)") from None


def show(output: dict[str, Any], pictures: Path, name: str) -> Cell | None:
    """An output as text, or as the name of a picture; None where there is nothing to show."""
    data = output.get("data", {})
    if "image/png" in data:
        try:
            raw = base64.b64decode(joined(data["image/png"]), validate=False)
        except binascii.Error:
            raw = b""
        if raw.startswith(b"\x89PNG"):
            (pictures / f"{name}.png").write_bytes(raw)
            return {"picture": f"{name}.png"}
    text = joined(output.get("text") or data.get("text/plain") or "")
    text = text or "\n".join(output.get("traceback", []))
    return {"text": printed(text)} if text.strip() else None


def printed(text: str) -> str:
    """What a terminal would show in the end: the last state of a progress bar, no colours."""
    lines = ANSI.sub("", text).replace("\r\n", "\n").rstrip().split("\n")
    rows = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    if len(rows) > LONGEST:
        half = LONGEST // 2
        rows[half:-half] = [f"… {len(rows) - 2 * half} lines left out …"]
    return "\n".join(rows)


def joined(source: str | list[str]) -> str:
    """Text that a notebook may hold as a list of lines."""
    return source if isinstance(source, str) else "".join(source)
