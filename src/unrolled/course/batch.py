"""How is a folder of submissions graded? In parallel, each once, and interrupted without loss.

Each submission's result is a file of its own, named after the student and after the hash of all
that it depends on; what is there already is not graded again. The CSV is a view of those files.
"""

from __future__ import annotations

import csv
import io
import json
import queue
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from unrolled.course.export import write_atomically
from unrolled.course.grade import POINTS, PUBLIC_KEY, TESTS, grade, key_of, read_submission
from unrolled.course.session import Limits, Server
from unrolled.errors import BadInput

Tell = Callable[[int, int], None]


def submissions(folder: Path) -> list[tuple[str, Path]]:
    """(student, path) of each: a .py, a .zip or a folder, named after the student.

    Raises `BadInput` if there is none, or two are named alike.
    """
    found = sorted(
        (path.stem if path.suffix in (".py", ".zip") else path.name, path)
        for path in folder.iterdir()
        if not path.name.startswith((".", "__"))
        and (path.is_symlink() or path.is_dir() or path.suffix in (".py", ".zip"))
    )
    if not found:
        raise BadInput(f"{folder}: no submission in it: expected .py or .zip files, or folders")
    names = [name for name, _ in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"{folder}: two submissions of {min(twice)}")
    return found


def grade_folder(
    folder: Path, results: Path, level: str, *, jobs: int = 2, secret: bytes = PUBLIC_KEY,
    limits: Limits | None = None, tell: Tell | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Grade what has no result yet; answers the contents of results.json for all, by student.

    A submission that can't be read gets no points and the reason. Raises `BadInput` as
    `submissions`.
    """
    found = submissions(folder)
    results.mkdir(parents=True, exist_ok=True, mode=0o700)
    done: dict[str, dict[str, Any]] = {}
    open_: list[tuple[str, str, Path]] = []
    for student, path in found:
        try:
            source = read_submission(path)
        except BadInput as error:
            done[student] = unreadable(student, str(error))
            continue
        target = results / f"{safe(student)}-{key_of(source, student, secret)[:16]}.json"
        known = stored(target)
        if known is None:
            open_.append((student, source, target))
        else:
            done[student] = known
    if tell:
        tell(len(done), len(found))
    if open_:
        with Server(level, limits) as server:
            for student, result in graded(open_, server, min(jobs, len(open_)), secret):
                done[student] = result
                if tell:
                    tell(len(done), len(found))
    return [done[student] for student, _ in found]


def graded(
    open_: list[tuple[str, str, Path]], server: Server, jobs: int, secret: bytes
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Grade with so many at a time; each result is on the disk before it is told."""
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)

    def one(student: str, source: str, target: Path) -> tuple[str, dict[str, Any]]:
        slot = slots.get()
        try:
            result = grade(source, student, server, secret=secret, slot=slot).results()
        finally:
            slots.put(slot)
        write_atomically(target, json.dumps(result, indent=1))
        return student, result

    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(one, *task) for task in open_]
        try:
            for finished in as_completed(waiting):
                yield finished.result()
        finally:
            for task in waiting:
                task.cancel()


def safe(student: str) -> str:
    """The name as part of a file's name."""
    return re.sub(r"[^\w.@+-]", "_", student)[:100]


def stored(path: Path) -> dict[str, Any] | None:
    """A result that is there and whole."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "tests" in found else None


def unreadable(student: str, reason: str) -> dict[str, Any]:
    """The result of a submission that there is nothing to grade of."""
    tests = [
        {
            "name": f"{test.part}: {test.name}",
            "score": 0.0,
            "max_score": test.points,
            "status": "failed",
            "output": reason,
            "visibility": "visible",
        }
        for test in TESTS
    ]
    told = {"student": student, "key": "", "isolation": ""}
    return {"score": 0.0, "output": reason, "tests": tests, "extra_data": told}


def as_csv(results: list[dict[str, Any]]) -> str:
    """A row a student: the points of each test, their sum, and the hash of the result."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    names = [f"{test.part}: {test.name}" for test in TESTS]
    rows.writerow(["student", "score", "of", *names, "key"])
    for result in results:
        scores = {test["name"]: test["score"] for test in result["tests"]}
        extra = result["extra_data"]
        # A name that begins like a formula would be one to a spreadsheet.
        student = re.sub(r"^(?=[=+@\-\t\r])", "'", extra["student"])
        rows.writerow([student, result["score"], POINTS, *map(scores.get, names), extra["key"]])
    return text.getvalue()
