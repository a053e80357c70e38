"""The problem set as its two users need it: a student hands it in, an instructor grades it.

What the set is made of (the notebook's source, the support package `gtgpt`) lies in `course/ps3`,
at the top of the repository; the wheel carries the same folder as `unrolled/course/ps3`, so that an
installed `unrolled course` grades without the repository.
"""

from __future__ import annotations

from pathlib import Path

from unrolled.errors import WorkFailed


def set_folder() -> Path:
    """The folder of the problem set's sources: inside the installed package, or in the
    repository.
    """
    here = Path(__file__).resolve()
    for folder in (here.parent / "ps3", here.parents[3] / "course/ps3"):
        if (folder / "gtgpt").is_dir():
            return folder
    raise WorkFailed("course/ps3 is missing: install unrolled again, or run from its repository")
