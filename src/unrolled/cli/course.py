"""`unrolled course`: a student exports and grades; an instructor builds, packs and grades
folders.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.markup import escape
from rich.table import Table

from unrolled.cli.command import Command, describe, parse
from unrolled.cli.output import print_json, progress, show
from unrolled.course.batch import as_csv, grade_folder
from unrolled.course.building import build_checked
from unrolled.course.export import NAME, export_notebook, write_atomically
from unrolled.course.grade import POINTS, PUBLIC_KEY, Report, grade, read_submission
from unrolled.course.isolation import strongest
from unrolled.course.notebook import NOTEBOOK
from unrolled.course.package import build_package
from unrolled.course.session import Limits, Server
from unrolled.course.writeup.execute import EXECUTED, execute
from unrolled.errors import BadInput


@dataclass(frozen=True)
class Build(Command):
    """Make the problem set: the notebooks, the write-up as one PDF, the report's slides.

    The notebooks are a student's version with gaps and the solved one; both are graded: the
    solution must get all points and the student's version none. The write-up has the answers, each
    problem on a page of its own, the report, and the solved notebook, which is run for that (a
    minute or two), listed in pages.json; what it computed is backed by receipts/.
    """

    name: ClassVar[str] = "course build"
    example: ClassVar[str] = "unrolled course build ps3 --output build/ps3"

    set: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SET")] = "ps3"
    """Which problem set: ps3."""
    output: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("build/ps3")
    """Where to: student/, solution/, ps3-writeup.pdf, ps3-report.pptx, pages.json, receipts/."""
    answers: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Your own answers in Typst, named as those in course/ps3/writeup, and in report/ the records
    of your runs; then no notebook is built.
    """
    notebook: Annotated[Path | None, tyro.conf.arg(metavar="NOTEBOOK")] = None
    """A notebook, run and saved, to be typeset with its outputs: yours, or one that an earlier
    build has run (solution/executed.ipynb).
    """
    student: str = ""
    """The name on the write-up."""
    collaborators: str = "None"
    """Who you worked with."""
    no_isolation: bool = False
    """Run the notebook's code without isolation where this machine has none."""
    json: bool = False
    """Print {"writeup", "slides", "student", "solution", "pages"}: paths, and the pages of each
    problem.
    """

    def run(self) -> int:
        """Build and tell where."""
        if self.set != "ps3":
            raise BadInput(f"there is no set {self.set!r}, only ps3")
        from unrolled.course.writeup.build import SLIDES, WRITEUP, build_writeup  # slow to import

        made: dict[str, str] = {}
        notebook = self.notebook
        if self.answers is None:
            built = build_checked(self.output, strongest(self.no_isolation))
            made = {name: str(folder / NOTEBOOK) for name, folder in built._asdict().items()}
            if notebook is None:
                notebook = built.solution / EXECUTED
                with progress("cells of the notebook run") as tell:
                    execute(built.solution / NOTEBOOK, notebook, tell)
        pages = build_writeup(
            self.output,
            answers=self.answers,
            notebook=notebook,
            name=self.student,
            collaborators=self.collaborators,
        )
        made |= {"writeup": str(self.output / WRITEUP), "slides": str(self.output / SLIDES)}
        if self.json:
            print_json({**made, "pages": pages})
        else:
            print("\n".join(f"{name:<9} {path}" for name, path in made.items()))
        return 0


@dataclass(frozen=True)
class Export(Command):
    """Write my_llm_implementation.py from a notebook, without running it."""

    name: ClassVar[str] = "course export"
    example: ClassVar[str] = f"unrolled course export {NOTEBOOK}"

    notebook: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NOTEBOOK")]
    """The notebook, with all of the set's classes and functions."""
    output: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path(NAME)
    """The file to write."""
    json: bool = False
    """Print {"output", "notes"}."""

    def run(self) -> int:
        """Export and tell what the student should know."""
        exported = export_notebook(self.notebook, self.output)
        if self.json:
            print_json({"output": str(self.output), "notes": exported.notes})
        else:
            print("\n".join([*exported.notes, f"{self.output} written"]))
        return 0


@dataclass(frozen=True)
class Grade(Command):
    """Grade a submission, or a folder of them, on 11 points.

    A submission is my_llm_implementation.py, a .zip or folder with it. Of a folder, what was graded
    before is not graded again.
    """

    name: ClassVar[str] = "course grade"
    example: ClassVar[str] = "unrolled course grade submissions --jobs 2 --csv grades.csv"

    submission: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE|FOLDER")]
    """What to grade."""
    results: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """One submission: write Gradescope's results.json here. A folder: keep the results in this
    folder (results beside it if not given)."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Of a folder: write a row a student here."""
    jobs: int = 2
    """Of a folder: how many at a time."""
    key: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The course's key, which the tests' numbers depend on; a public one if not given."""
    student: str | None = None
    """Of one submission: whose it is; the file's name if not given."""
    seconds: float = 10.0
    """Longest time of one call."""
    no_isolation: bool = False
    """Grade where the machine can't keep the submission from your files."""
    json: bool = False
    """Print what results.json has; of a folder, a list."""

    def run(self) -> int:
        """Grade and print."""
        if self.jobs < 1 or not self.seconds > 0:
            raise BadInput("--jobs and --seconds must be positive")
        if not self.submission.exists():
            raise BadInput(f"{self.submission}: no such file or folder")
        secret = PUBLIC_KEY if self.key is None else self.key.read_bytes()
        limits = Limits(call=self.seconds, load=2 * self.seconds, total=12 * self.seconds)
        level = strongest(self.no_isolation)
        if self.submission.is_dir() and not (self.submission / NAME).exists():
            return self.run_folder(level, secret, limits)
        source = read_submission(self.submission)
        with Server(level, limits) as server:
            student = self.student or self.submission.stem
            report = grade(source, student, server, secret=secret)
        if self.results is not None:
            import json

            write_atomically(self.results, json.dumps(report.results(), indent=1))
        if self.json:
            print_json(report.results())
        else:
            tell(report)
        return 0

    def run_folder(self, level: str, secret: bytes, limits: Limits) -> int:
        """Grade many."""
        kept = self.results or self.submission.with_name(f"{self.submission.name}-results")
        with progress("submissions graded") as bar:
            found = grade_folder(
                self.submission, kept, level, jobs=self.jobs, secret=secret, limits=limits, tell=bar
            )
        if self.csv is not None:
            write_atomically(self.csv, as_csv(found))
        if self.json:
            print_json(found)
            return 0
        scores = [result["score"] for result in found]
        print(f"{len(found)} graded, isolated by {level}; results in {kept}")
        print(
            f"mean {sum(scores) / len(scores):.2f} of {POINTS:g}, {scores.count(POINTS)} with all"
        )
        if self.csv is not None:
            print(f"{self.csv} written")
        return 0


@dataclass(frozen=True)
class Package(Command):
    """Pack the autograder for Gradescope: setup.sh, run_autograder, source/."""

    name: ClassVar[str] = "course package"
    example: ClassVar[str] = "unrolled course package --output autograder.zip"

    output: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("autograder.zip")
    """The archive to write."""
    key: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The course's key; made, and written beside the archive, if not given."""
    json: bool = False
    """Print {"output", "key"}, the paths."""

    def run(self) -> int:
        """Pack."""
        secret = build_package(self.output, self.key.read_bytes() if self.key else None)
        key = self.key or self.output.with_suffix(".key")
        if self.key is None:
            key.touch(mode=0o600)
            key.write_bytes(secret)
        if self.json:
            print_json({"output": str(self.output), "key": str(key)})
        else:
            print(f"{self.output} written; grade with the same numbers by --key {key}")
        return 0


def tell(report: Report) -> None:
    """The report for a person."""
    table = Table("points", "test", "", box=None, pad_edge=False)
    for o in report.outcomes:
        points = f"{o.score:g} of {o.test.points:g}"
        table.add_row(points, f"{o.test.part}: {o.test.name}", "" if o.passed else escape(o.output))
    show(table)
    print(f"\n{report.score:g} of {POINTS:g} points in {report.seconds:.1f} s ({report.level})")


PARTS: dict[str, type[Command]] = {
    "build": Build, "export": Export, "grade": Grade, "package": Package,
}  # fmt: skip


@dataclass(frozen=True)
class Course(Command):
    """The problem set: build its notebooks, export and grade what students hand in."""

    name: ClassVar[str] = "course"
    example: ClassVar[str] = "unrolled course grade my_llm_implementation.py"

    @classmethod
    def main(cls, arguments: Sequence[str]) -> int:
        """Hand over to the command that the first word names."""
        first = arguments[0] if arguments else "--help"
        if first in ("-h", "--help"):
            rows = (
                f"  {name:<8} {(part.__doc__ or '').splitlines()[0]}"
                for name, part in PARTS.items()
            )
            print("\n".join([describe(cls), "", *rows, ""]))
            print("`unrolled course COMMAND --help` shows a command's options, with an example.")
            return 0
        if first not in PARTS:
            close = difflib.get_close_matches(first, PARTS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(PARTS)}"
            raise BadInput(f"unknown command {first!r}; {hint}")
        part = PARTS[first]
        return parse(part, arguments[1:], part.name, describe(part)).run()
