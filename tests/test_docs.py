"""Do the examples in docs/*.md run as they stand, and print what they say?

A page's ```python blocks run in order in one namespace; a comment after or below a print is what it
prints. Its ```console blocks run in the same empty folder: each line that starts with "$ unrolled"
is run, and what it prints is compared with the lines below it.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from unrolled.cli import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """(line, language, text) of the page's fenced blocks that can be run."""
    text = page.read_text("utf-8")
    found = re.finditer(r"^```(python|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in found]


def run_command(line: str) -> str:
    """What `unrolled ...` prints, standard output and standard error as they come."""
    words = shlex.split(line)
    assert words[0] == "unrolled", f"only the command `unrolled` can be run here: {line}"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main(words[1:])
    return printed.getvalue()


def run_python(text: str, line: int, page: Path, names: dict[str, object]) -> str:
    """What the code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)
    return printed.getvalue()


def expected_prints(text: str) -> list[str]:
    """The comments after and below the code's prints."""
    found = re.finditer(r"^ *print\(.*?(?:  # (.*))?\n((?:# .*\n)*)", text, re.MULTILINE)
    comments = [f"{m[1] or ''} {m[2].replace('# ', '')}" for m in found]
    return [plain(comment) for comment in comments if plain(comment)]


def plain(text: str) -> str:
    """One space wherever there is any, so that long lines can be broken."""
    return " ".join(text.split())


def console(text: str) -> list[tuple[str, str]]:
    """The commands of a block, each with what is printed below it."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    assert parts[0] == "", "a console block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_run_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    for line, language, text in blocks(page):
        if language == "python":
            printed = plain(run_python(text, line, page, names))
            for expected in expected_prints(text):
                assert expected in printed, f"{page.name}, line {line}"
            continue
        for command, expected in console(text):
            assert run_command(command) == expected, f"{page.name}: {command}"


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md"], ids=lambda page: page.stem)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_runner_notices_a_wrong_output():
    assert console("$ a\nb\n\n$ c\nd\n") == [("a", "b\n\n"), ("c", "d\n")]
    assert expected_prints("a = 1  # one\nprint(a)  # 1\nprint(2)\n# 2\n# 3\nprint(4)\n") == [
        "1",
        "2 3",
    ]
    assert run_command('unrolled neuron ""').startswith("unrolled neuron: the expression is empty")
