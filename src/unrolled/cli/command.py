"""What every command shares: options from its dataclass by `tyro`, `--json`, errors on one line.

Which question does this file answer? "How do words on a command line become a frozen dataclass?"
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import tyro

from unrolled.errors import BadInput

T = TypeVar("T")


@dataclass(frozen=True)
class Command:
    """Base of the commands: subclasses add fields (the options) and `run`."""

    name: ClassVar[str]
    """The words after `unrolled`."""
    example: ClassVar[str]
    """A command line that works as it stands, shown by `--help`."""

    @classmethod
    def main(cls, arguments: Sequence[str]) -> int:
        """Parse `arguments` and run; the default for commands without a parser of their own."""
        return parse(cls, arguments, cls.name, describe(cls)).run()

    def run(self) -> int:
        """Do the work; returns the exit code."""
        raise TypeError(f"{type(self).__name__} defines no run()")


def describe(command: type[Command]) -> str:
    """The class's docstring with its example below: what `--help` shows first."""
    return f"{inspect.getdoc(command)}\n\nExample: {command.example}"


def parse(
    target: type[T],
    arguments: Sequence[str],
    name: str,
    description: str,
    default: T | None = None,
) -> T:
    """Parse words into `target`.

    Raises `BadInput` with tyro's own message, hint included, on one line; `--help` prints to
    standard output and exits 0.
    """
    kwargs: dict[str, Any] = {} if default is None else {"default": default}
    caught = io.StringIO()
    try:
        with contextlib.redirect_stderr(caught):
            parsed: T = tyro.cli(
                target,
                prog=f"unrolled {name}",
                description=description,
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff,),
                **kwargs,
            )
            return parsed
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise BadInput(one_line(caught.getvalue(), name)) from None


def one_line(box: str, name: str) -> str:
    """Tyro's framed message as one line: what is wrong, the nearest option, where help is."""
    rows = [row.strip("│ ") for row in box.splitlines() if not row.startswith(("╭", "╰"))]
    parts = re.split(r"[─-]{10,}", "\n".join(rows))
    if "╭" not in box:
        parts = parts[1:]  # where the frame can't be drawn, its title is a part of its own
    what = " ".join(parts[0].split())
    what = re.sub(r"^Error parsing (model|data|training|sampling|rules): ", "", what)
    close = re.search(r"Perhaps you meant:\s*(--\S+)", "\n".join(parts[1:]))
    hint = f"; did you mean {close[1]}?" if close else ""
    return f"{what}{hint} (`unrolled {name} --help` lists the options)"
