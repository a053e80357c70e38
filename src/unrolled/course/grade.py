"""How many of the 11 points does a submission get, and what is it told?

The only place where points are given. A test's seed is an HMAC of the course's key, the student and
the test's name: nobody can prepare for the numbers, and grading again gives the same ones.
"""

from __future__ import annotations

import hashlib
import hmac
import stat
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unrolled import __version__
from unrolled.course import set_folder, tests_of_models, tests_of_parts
from unrolled.course.bench import Bench, Subject, Unloadable, Wrong
from unrolled.course.export import NAME
from unrolled.course.session import Died, Limits, Refused, Server
from unrolled.course.tests_of_parts import Test
from unrolled.errors import BadInput

TESTS: tuple[Test, ...] = (*tests_of_parts.TESTS, *tests_of_models.TESTS)
POINTS = sum(test.points for test in TESTS)
LARGEST = 1 << 19
"""Bytes of a submission beyond which it is refused."""
PUBLIC_KEY = b"public"


@dataclass(frozen=True)
class Outcome:
    """What a test gave."""

    test: Test
    passed: bool
    output: str

    @property
    def score(self) -> float:
        """All of the test's points or none."""
        return self.test.points if self.passed else 0.0


@dataclass(frozen=True)
class Report:
    """What a submission gets."""

    student: str
    key: str
    level: str
    seconds: float
    outcomes: tuple[Outcome, ...]

    @property
    def score(self) -> float:
        """Of `POINTS`."""
        return sum(outcome.score for outcome in self.outcomes)

    def results(self) -> dict[str, Any]:
        """The report as Gradescope's results.json."""
        tests = [
            {
                "name": f"{o.test.part}: {o.test.name}",
                "score": o.score,
                "max_score": o.test.points,
                "status": "passed" if o.passed else "failed",
                "output": o.output,
                "visibility": "visible",
            }
            for o in self.outcomes
        ]
        return {
            "score": self.score,
            "execution_time": round(self.seconds, 3),
            "output": f"Tested by Unrolled {__version__}, isolated by: {self.level}.",
            "stdout_visibility": "hidden",
            "visibility": "visible",
            "tests": tests,
            "extra_data": {"student": self.student, "key": self.key, "isolation": self.level},
        }


def grade(
    source: str, student: str, server: Server, *, secret: bytes = PUBLIC_KEY, slot: int = 0,
    limits: Limits | None = None,
) -> Report:  # fmt: skip
    """Run all tests on a submission's text.

    Whatever the submission does costs it points at most; `slot` tells apart the submissions that
    are graded at the same time.
    """
    start = time.monotonic()
    subject = Subject(server, source, slot, limits or server.limits)
    outcomes: list[Outcome] = []
    lost: set[str] = set()
    try:
        for test in TESTS:
            passed, output = attempt(test, subject, secret, student, False)
            if not passed and lost & set(test.built_on):
                again, _ = attempt(test, subject, secret, student, True)
                if again:
                    passed = True
                    output = "Passed with other parts in place of yours, which lost points above."
            if not passed:
                lost.add(test.part)
            outcomes.append(Outcome(test, passed, output))
    except Unloadable as error:
        outcomes += [Outcome(test, False, str(error)) for test in TESTS[len(outcomes) :]]
    finally:
        subject.end()
    seconds = time.monotonic() - start
    return Report(student, key_of(source, student, secret), server.level, seconds, tuple(outcomes))


def attempt(
    test: Test, subject: Subject, secret: bytes, student: str, standing_in: bool
) -> tuple[bool, str]:
    """Whether the test passes, and what the student reads. Raises `Unloadable`."""
    try:
        test.run(Bench(subject, seed_of(secret, student, test), standing_in))
    except Died as error:
        subject.end()
        told = str(error)
    except (Wrong, Refused) as error:
        told = str(error)
    else:
        return True, "Passed."
    return False, f"{told}\nHint: {test.hint}" if test.public else f"Hint: {test.hint}"


def seed_of(secret: bytes, student: str, test: Test) -> int:
    """63 bits that nobody without the course's key can know."""
    message = f"{student}\0{test.part}\0{test.name}".encode(errors="surrogateescape")
    return int.from_bytes(hmac.digest(secret, message, "sha256")[:8], "big") >> 1


def key_of(source: str, student: str, secret: bytes) -> str:
    """What a result depends on, in 64 digits: submission, tests, version and seeds."""
    parts = [source, student, __version__, hashlib.sha256(secret).hexdigest(), tests_hash()]
    text = "\0".join(hashlib.sha256(p.encode(errors="surrogateescape")).hexdigest() for p in parts)
    return hashlib.sha256(text.encode()).hexdigest()


def tests_hash() -> str:
    """Of all files that a result could depend on."""
    files = sorted([*Path(__file__).parent.glob("*.py"), *(set_folder() / "gtgpt").glob("*.py")])
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def read_submission(path: Path) -> str:
    """The text of a submission: the file, a folder with it, or a .zip with it; nothing is unpacked.

    Raises `BadInput` if there is none, or a link in its place, or a name that leaves its folder.
    """
    if path.is_symlink():
        raise BadInput(f"{path}: a symbolic link; hand in the file itself")
    if path.is_dir():
        return read_submission(path / NAME)
    try:
        if path.suffix == ".zip":
            raw = zipped(path)
        else:
            if not path.is_file():
                raise BadInput(f"{path}: no such file")
            with path.open("rb") as file:
                raw = file.read(LARGEST + 1)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise BadInput(f"{path}: can't be read: {error}") from None
    if len(raw) > LARGEST:
        raise BadInput(f"{path}: larger than {LARGEST >> 10} KiB; hand in the exported file alone")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not text in UTF-8") from None


def zipped(path: Path) -> bytes:
    """The submission's bytes in a .zip, which may hold no link and no way out of its folder."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = PurePosixPath(info.filename.replace("\\", "/"))
            if stat.S_ISLNK(info.external_attr >> 16) or name.is_absolute() or ".." in name.parts:
                raise BadInput(f"{path}: {info.filename!r} leads out of the archive")
        found = [i for i in archive.infolist() if PurePosixPath(i.filename).name == NAME]
        if len(found) != 1:
            raise BadInput(f"{path}: expected one {NAME} in it, found {len(found)}")
        with archive.open(found[0]) as file:
            return file.read(LARGEST + 1)
