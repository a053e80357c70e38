"""Who may know whom: the rooms' imports, read from their source, against the plan of the house."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/unrolled"
MAY_KNOW: dict[str, set[str]] = {
    "receipts": set(),
    "kernels": set(),
    "neurons": {"receipts"},
    "automata": {"receipts", "neurons"},
    "recurrences": {"receipts"},
    "graphs": {"receipts"},
    "scaling": {"receipts"},
    "models": {"graphs", "kernels"},
    "data": {"models"},
    "training": {"models", "data", "recurrences"},
    "decoding": {"receipts"},
    "tasks": {"models", "data", "training", "decoding", "receipts"},
    "course": {
        "receipts",
        "neurons",
        "automata",
        "recurrences",
        "graphs",
        "scaling",
        "decoding",
        "training",
        "tasks",
    },
}
"""`cli` sits on top and may know everyone."""
SHARED = {"errors", "first_order", "pictures"}
"""What every room may use, and what knows no room: checked below."""


def rooms() -> list[str]:
    return sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written out, not relative"
            # `from unrolled import data` names the room behind the import
            names = [""] if node.module != "unrolled" else [f".{a.name}" for a in node.names]
            yield from (f"{node.module}{name}" for name in names)


def known(room: str) -> set[tuple[str, str]]:
    """(room, file) of every import from another room."""
    found = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imported(path):
            first, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if first == "unrolled" and other not in {"", room, "__version__", *SHARED}:
                found.add((other, str(path.relative_to(PACKAGE))))
    return found


@pytest.mark.parametrize("room", rooms())
def test_a_room_knows_only_whom_it_may(room: str) -> None:
    if room == "cli":
        return
    assert {pair for pair in known(room) if pair[0] not in MAY_KNOW[room]} == set()


def test_the_receipts_need_nothing_but_python() -> None:
    for path in (PACKAGE / "receipts").rglob("*.py"):
        tops = {module.partition(".")[0] for module in imported(path)}
        assert tops - {"unrolled"} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_every_room_may_use_knows_no_room(name: str) -> None:
    ours = {module for module in imported(PACKAGE / f"{name}.py") if module.startswith("unrolled")}
    assert {module.split(".")[1] for module in ours} <= SHARED


def test_nobody_looks_into_the_command_line() -> None:
    assert [
        pair for room in rooms() if room != "cli" for pair in known(room) if pair[0] == "cli"
    ] == []


def test_that_test_sees_what_it_should() -> None:
    assert ("training", "tasks/running.py") in known("tasks")
    assert {room for room, _ in known("training")} == {"models", "data", "recurrences"}


def test_no_file_is_too_long_to_be_read() -> None:
    one_file = PACKAGE / "receipts/check.py"  # whole on purpose: it is copied out of the package
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if path != one_file and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
