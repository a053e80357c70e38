"""Which definitions of a notebook does the autograder need? Found in its syntax tree, nothing is
run.

Wanted are the classes and functions of the set's interface. Of several definitions of a name the
last one counts, as it would in a notebook that is run from top to bottom. With them come the
imports, helpers and constants that they use, each before whoever needs it to be defined. Standard
library alone: the build copies this file into `gtgpt`, where the notebook's last cell uses it.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

WANTED = (
    "Embedding",
    "GenericSelfAttention",
    "TransformerBlock",
    "GenericTransformer",
    "Encoder",
    "Decoder",
    "generate",
    "EncoderDecoder",
    "prefix_generate",
)
HEADER = '"""Written from a notebook: the definitions that the autograder tests."""\n\n'
COMPREHENSIONS = ("listcomp", "setcomp", "dictcomp", "genexpr")
MAGIC = re.compile(r"^\s*(?:[%!?]|[\w.]+\?{1,2}\s*$|\w+ = [%!])")


@dataclass
class Definition:
    """A statement that gives names a meaning."""

    names: tuple[str, ...]
    text: str
    cell: int
    now: set[str] = field(default_factory=set)
    """Names that must have a meaning when the statement runs (base classes, defaults, values)."""
    later: set[str] = field(default_factory=set)
    """Names that its functions use when they are called."""


@dataclass(frozen=True)
class Export:
    """The file's text and what its reader should know."""

    text: str
    notes: tuple[str, ...]


def my_llm_implementation(cells: Iterable[str]) -> str:
    """The text of `my_llm_implementation.py`, of a notebook's code cells in their order.

    Raises `ValueError` as `export` does.
    """
    return export(cells).text


def export(cells: Iterable[str]) -> Export:
    """The definitions that are wanted, with all that they use.

    Raises `ValueError` if one is missing, or stands in a cell that is not Python.
    """
    found: dict[str, list[Definition]] = {}
    futures, broken = [], []
    for number, cell in enumerate(cells, 1):
        try:
            tree, source = parse(cell)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            broken.append((number, f"cell {number} is not Python{line}", cell))
            continue
        for node in statements(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                futures.append(ast.unparse(node))
                continue
            for definition in define(node, number, source):
                for name in definition.names:
                    found.setdefault(name, []).append(definition)
    missing = [name for name in WANTED if name not in found]
    reasons = [why for _, why, cell in broken if any(name in cell for name in WANTED)]
    if missing or reasons:
        told = [f"the notebook doesn't define {', '.join(missing)}"] if missing else []
        raise ValueError("; ".join(told + reasons))
    notes = [
        f"{name} is defined in cells {', '.join(str(d.cell) for d in ways)}: the last is taken"
        for name, ways in ((name, found[name]) for name in WANTED)
        if len({d.text for d in ways}) > 1
    ]
    last = {name: definitions[-1] for name, definitions in found.items()}
    ordered = order(last)
    blocks = [d.text for d in ordered if d.text.startswith(("import ", "from "))]
    head = "\n".join(dict.fromkeys(futures + sorted(blocks)))
    body = "\n\n\n".join(d.text for d in ordered if d.text not in blocks)
    return Export(f"{HEADER}{head}\n\n\n{body}\n", tuple(notes))


def parse(cell: str) -> tuple[ast.Module, str]:
    """The cell's syntax tree and the text it is of. Raises `SyntaxError`.

    IPython's own lines (%, !, ?) are left out where Python has no place for them.
    """
    if cell.lstrip().startswith("%%"):
        return ast.Module([], []), ""  # the whole cell belongs to another language or tool
    try:
        return ast.parse(cell), cell
    except SyntaxError:
        lines = [blanked(line) if MAGIC.match(line) else line for line in cell.splitlines()]
        text = "\n".join(lines)
        return ast.parse(text), text


def blanked(line: str) -> str:
    """`pass` as far in as the line began."""
    return line[: len(line) - len(line.lstrip())] + "pass"


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements at the top, those inside `if` and `try` too."""
    waiting = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If | ast.Try) and not is_small_choice(node):
            inner = [*node.body, *node.orelse, *getattr(node, "finalbody", [])]
            waiting += reversed(inner)
        else:
            yield node


def is_small_choice(node: ast.If | ast.Try) -> bool:
    """Whether it only chooses a constant's or an import's meaning, and so stays whole."""
    kinds = (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.Pass)
    handlers = [s for h in getattr(node, "handlers", []) for s in h.body]
    return all(isinstance(inner, kinds) for inner in [*node.body, *node.orelse, *handlers])


def define(node: ast.stmt, cell: int, source: str) -> Iterator[Definition]:
    """The definitions that a statement makes: one an imported name, else one a statement."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            one = ast.Import([alias])
            if isinstance(node, ast.ImportFrom):
                one = ast.ImportFrom(node.module, [alias], node.level)  # type: ignore[assignment]
            name = alias.asname or alias.name.partition(".")[0]
            yield Definition((name,), ast.unparse(one), cell)
        return
    names = tuple(bound(node))
    if names:
        text = as_written(node, source)
        yield Definition(names, text, cell, *uses(text))


def as_written(node: ast.stmt, source: str) -> str:
    """The statement with its comments, if it has its lines to itself."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    text = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    try:
        alone = len(ast.parse(text).body) == 1
    except SyntaxError:
        alone = False
    return text if alone else ast.unparse(node)


def bound(node: ast.stmt) -> list[str]:
    """Names that a statement of the kinds that are kept gives a meaning."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.If | ast.Try):
        names = [
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        ]
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                names += [a.asname or a.name.partition(".")[0] for a in inner.names]
        return names
    return []


def uses(text: str) -> tuple[set[str], set[str]]:
    """Names used at once, and names used only inside functions, when these are called."""
    now: set[str] = set()
    later: set[str] = set()

    def visit(table: symtable.SymbolTable, target: set[str]) -> None:
        at_once = table.get_type() != "function" or table.get_name() in COMPREHENSIONS
        inner = target if at_once else later
        for symbol in table.get_symbols():
            top = table.get_type() == "module" and symbol.is_referenced()
            if top or (symbol.is_global() and symbol.is_referenced()):
                inner.add(symbol.get_name())
        for child in table.get_children():
            visit(child, inner)

    visit(symtable.symtable(text, "<cell>", "exec"), now)
    known = set(dir(builtins))
    return now - known, later - known


def order(last: dict[str, Definition]) -> list[Definition]:
    """Each definition that is wanted or used, after those it needs at once."""
    done: list[Definition] = []
    open_: set[int] = set()
    later: list[str] = list(reversed(WANTED))

    def place(name: str) -> None:
        definition = last.get(name)
        if definition is None or definition in done or id(definition) in open_:
            return
        open_.add(id(definition))
        for need in sorted(definition.now):
            place(need)
        done.append(definition)
        later.extend(sorted(definition.later, reverse=True))

    while later:
        place(later.pop())
    return done
