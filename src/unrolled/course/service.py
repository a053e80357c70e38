"""The autograder as Gradescope runs it: one submission in, results.json out. NumPy and PyTorch
alone.

`python -m unrolled.course.service BASE`, where BASE has `submission/`, `results/`, `source/key` and
perhaps `submission_metadata.json`, which says who handed in.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from unrolled.course.batch import unreadable
from unrolled.course.export import write_atomically
from unrolled.course.grade import grade, read_submission
from unrolled.course.isolation import strongest
from unrolled.course.session import Server
from unrolled.errors import BadInput, WorkFailed


def student_of(metadata: Path) -> str:
    """The email addresses of who handed in, as the service tells them; "student" if it doesn't."""
    try:
        users = json.loads(metadata.read_text("utf-8"))["users"]
        return ",".join(sorted(str(user["email"]) for user in users)) or "student"
    except (OSError, ValueError, KeyError, TypeError):
        return "student"


def main(base: Path) -> None:
    """Grade the submission in the folder."""
    for name in ("source", "results"):
        (base / name).mkdir(exist_ok=True)
        (base / name).chmod(0o700)
    student = student_of(base / "submission_metadata.json")
    secret = (base / "source/key").read_bytes()
    insist = os.environ.get("UNROLLED_NO_ISOLATION") == "1"
    try:
        source = read_submission(base / "submission")
        with Server(strongest(insist)) as server:
            results = grade(source, student, server, secret=secret).results()
    except (BadInput, WorkFailed) as error:
        results = unreadable(student, str(error))
    write_atomically(base / "results/results.json", json.dumps(results, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
