"""How does a notebook get its outputs? Its cells are run in order, in a process of their own.

No Jupyter kernel is needed: a cell's outputs are what it prints, the value of its last expression,
and the traceback of what it raises. As a program this file runs the notebook it is given and writes
it again with its outputs; it knows the standard library alone, and prints how far it is.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

Output = dict[str, Any]
EXECUTED = "executed.ipynb"
"""What a build calls the solved notebook with its outputs."""
Progress = Callable[[int, int], object]


def execute(path: Path, made: Path, tell: Progress | None = None) -> None:
    """Run a notebook in its folder, and write it with its outputs to `made`, whole or not at all.

    `tell` hears after each cell how many of how many are done. Raises `WorkFailed`, with the cell,
    if one raises or ends the process; then `made` is left as it was.
    """
    from unrolled.errors import WorkFailed

    part = made.with_name(f".{made.name}.{os.getpid()}.part").absolute()
    command = [sys.executable, __file__, str(path.absolute()), str(part)]
    done = 0
    try:
        with subprocess.Popen(command, cwd=path.parent, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    report = json.loads(line)
                    if "failed" in report:
                        raise WorkFailed(f"{path}: cell {done + 1} fails: {report['failed']}")
                    done = report["done"]
                    if tell is not None:
                        tell(done, report["total"])
            except BaseException:
                child.kill()
                raise
        if child.returncode or not part.exists():
            raise WorkFailed(f"{path}: cell {done + 1} ended the process ({child.returncode})")
        part.replace(made)
    finally:
        part.unlink(missing_ok=True)


class Streams:
    """What is printed, in the order in which it was, by stream."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []

    def take(self, name: str, text: str) -> None:
        """More text of a stream."""
        if not self.outputs or self.outputs[-1]["name"] != name:
            self.outputs.append({"output_type": "stream", "name": name, "text": ""})
        self.outputs[-1]["text"] += text


class Stream(io.TextIOBase):
    """One of them, as `print` knows it."""

    encoding = "utf-8"

    def __init__(self, streams: Streams, name: str) -> None:
        self.streams, self.name = streams, name

    def write(self, text: str, /) -> int:
        """Keep it."""
        self.streams.take(self.name, text)
        return len(text)

    def writable(self) -> bool:
        """Yes."""
        return True


def outputs_of(source: str, number: int, space: dict[str, Any]) -> tuple[list[Output], str]:
    """A cell's outputs, and in a line what it raised, "" for nothing."""
    streams, value, failed = Streams(), None, ""
    with (
        contextlib.redirect_stdout(Stream(streams, "stdout")),
        contextlib.redirect_stderr(Stream(streams, "stderr")),
    ):
        try:
            tree = ast.parse(source)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, f"cell {number}", "exec"), space)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), space)
            shown = None if value is None else repr(value)
        except BaseException as error:  # the cell's, even if it wants to exit
            shown, failed = None, traceback.format_exception_only(error)[-1].strip()
    found = streams.outputs
    if shown is not None:
        data = {"text/plain": shown}
        found.append(
            {"output_type": "execute_result", "execution_count": number, "metadata": {},
             "data": data}
        )  # fmt: skip
    return found, failed


def main(path: Path, made: Path) -> None:
    """Run the notebook of `path` here; what its cells print isn't printed."""
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # of what doesn't print by Python
        os.dup2(nothing, stream)
    notebook = json.loads(path.read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    sys.path[0] = str(Path.cwd())
    module = types.ModuleType("__main__")
    sys.modules["__main__"], space = module, vars(module)
    space["In"] = [""]  # as in IPython, from 1
    for number, cell in enumerate(cells, 1):
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        space["In"].append(source)
        outputs, failed = outputs_of(source, number, space)
        if failed:
            print(json.dumps({"failed": failed}), file=report, flush=True)
            return
        cell["outputs"], cell["execution_count"] = outputs, number
        print(json.dumps({"done": number, "total": len(cells)}), file=report, flush=True)
    made.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
