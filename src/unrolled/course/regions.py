"""Which lines of a source are the solution's? Those between two comments, found by the tokenizer.

A comment is a marker only where Python's tokenizer sees a comment, so the same words in a string or
docstring mark nothing.
"""

from __future__ import annotations

import ast
import io
import tokenize
from typing import NamedTuple

from unrolled.errors import BadInput

BEGIN, END = "# <solution>", "# </solution>"
GAP = ("# Your code goes here: replace the next line.", 'raise NotImplementedError("fill this in")')


class Region(NamedTuple):
    """Lines of a marker and of its end, from 0, and how far in they stand."""

    first: int
    last: int
    indent: str


def regions(source: str) -> list[Region]:
    """The marked regions of a source. Raises `BadInput` for a marker without its other half."""
    found: list[Region] = []
    begin: tuple[int, str] | None = None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.string not in (BEGIN, END):
            continue
        line = token.start[0] - 1
        indent = token.line[: token.start[1]]
        if indent.strip() or (token.string == BEGIN) != (begin is None):
            raise BadInput(f"line {line + 1}: {token.string} stands where it can't")
        if begin is None:
            begin = (line, indent)
        else:
            found.append(Region(begin[0], line, begin[1]))
            begin = None
    if begin is not None:
        raise BadInput(f"line {begin[0] + 1}: {BEGIN} is never closed")
    return found


def student_source(source: str) -> str:
    """The source with gaps for its solutions. Raises `BadInput` if a line of a solution
    survives.
    """
    lines = source.splitlines()
    for first, last, indent in reversed(regions(source)):
        lines[first : last + 1] = [indent + line for line in GAP]
    cut = "\n".join(lines) + "\n"
    ast.parse(cut)
    if leaked := surviving(source, cut):
        raise BadInput(f"a line of a solution survives in the student's version: {leaked[0]!r}")
    return cut


def solved_source(source: str) -> str:
    """The source with its solutions and without the markers."""
    marks = {line for region in regions(source) for line in region[:2]}
    kept = [line for number, line in enumerate(source.splitlines()) if number not in marks]
    return "\n".join(kept) + "\n"


def surviving(source: str, cut: str) -> list[str]:
    """Solution lines that the cut version has more often than the text outside the regions."""
    lines = source.splitlines()
    inside = {n for first, last, _ in regions(source) for n in range(first, last + 1)}
    given = [line.strip() for n, line in enumerate(lines) if n not in inside]
    left = [line.strip() for line in cut.splitlines()]
    solution = {lines[n].strip() for n in inside} - {"", *GAP}
    return sorted(line for line in solution if left.count(line) > given.count(line))
