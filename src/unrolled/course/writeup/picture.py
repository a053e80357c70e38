"""What does the write-up look like? Some of its pages side by side, as the README shows them.

`python -m unrolled.course.writeup.picture FILE` (`make course-picture`) draws them again.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.image import imread, imsave

from unrolled.course.export import write_atomically
from unrolled.course.writeup.build import pages, prepared, typesetting

SHOWN = ("2.2", "3.3", "report")
DOTS = 60
"""An inch."""
GAP = 8
"""Dots between pages, and around them."""
GREY = 0.85


def side_by_side(folder: Path) -> bytes:
    """The first pages of the problems in SHOWN, of a folder that is ready for Typst, as a PNG."""
    with typesetting(folder) as (typst, main, root):
        images = typst.compile(main, root=root, format="png", ppi=float(DOTS))
        starts = json.loads(typst.query(main, "<problem>", field="value", root=root))
    found = pages(starts, len(images))
    drawn = [imread(io.BytesIO(images[found[problem][0] - 1])) for problem in SHOWN]
    high, wide, _ = drawn[0].shape
    whole = np.full((high + 2 * GAP, len(drawn) * (wide + GAP) + GAP, 3), GREY)
    for number, page in enumerate(drawn):
        left = GAP + number * (wide + GAP)
        whole[GAP : GAP + high, left : left + wide] = page[..., :3]
    made = io.BytesIO()
    imsave(made, whole, format="png")
    return made.getvalue()


def main(path: Path) -> None:
    """Draw them into a file."""
    with prepared(None, None, "A. Student", "None") as (folder, _):
        write_atomically(path, side_by_side(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
