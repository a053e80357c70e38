"""Are the two notebooks what they must be? The solved one passes everything, the student's
nothing.
"""

from __future__ import annotations

from pathlib import Path

from unrolled.course.export import NAME
from unrolled.course.grade import POINTS, grade
from unrolled.course.notebook import Built, build_notebooks
from unrolled.course.session import Server
from unrolled.errors import WorkFailed


def build_checked(output: Path, level: str) -> Built:
    """Build both versions and grade both.

    Raises `WorkFailed` if a test fails on the solution or passes on the student's version, or if
    that one can't be imported.
    """
    built = build_notebooks(output)
    with Server(level) as server:
        solved = grade((built.solution / NAME).read_text("utf-8"), "solution", server)
        empty = grade((built.student / NAME).read_text("utf-8"), "student", server)
    wrong = [f"{o.test.part}, {o.test.name}: {o.output}" for o in solved.outcomes if not o.passed]
    if wrong:
        raise WorkFailed(f"the solution gets {solved.score:g} of {POINTS:g}: {wrong[0]}")
    if any("can't be imported" in o.output for o in empty.outcomes):
        raise WorkFailed(f"the student's version: {empty.outcomes[0].output}")
    if free := [f"{o.test.part}, {o.test.name}" for o in empty.outcomes if o.passed]:
        raise WorkFailed(f"the student's version passes {free[0]} as it stands")
    return built
