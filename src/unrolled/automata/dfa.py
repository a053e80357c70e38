"""What is a finite automaton, and how does a user write one down?

A complete deterministic automaton: from every state each symbol leads to one state. It comes from a
transition table (Python, JSON, CSV) or by name; regular expressions are in `language.py`. Minimised
by Hopcroft's algorithm (1971), which here keeps the map from states to classes, so that a receipt
can speak about the automaton as it was given.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Int, Integer

from unrolled.errors import BadInput, printable

MAX_BYTES = 256 * 2**20  # of a table


@dataclass(frozen=True)
class DFA:
    """A complete deterministic finite automaton.

    Args:
        alphabet: the symbols, different texts.
        transitions: {state: {symbol: next state}}, a row for each state.
        start: the state before the first symbol.
        accepting: the states whose strings are accepted.

    Raises:
        BadInput: no symbol, no state, a transition that is missing, or a name that isn't defined.

    >>> DFA("01", {"a": {"0": "a", "1": "b"}, "b": {"0": "b", "1": "a"}}, "a", {"b"}).accepts("01")
    True
    """

    alphabet: Sequence[str]
    transitions: Mapping[str, Mapping[str, str]]
    start: str
    accepting: Set[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphabet", tuple(self.alphabet))
        object.__setattr__(self, "accepting", frozenset(self.accepting))
        if not self.alphabet or not self.transitions:
            raise BadInput("an automaton has at least one symbol and one state")
        if "" in self.alphabet:
            raise BadInput("a symbol is a text of at least one character")
        if not all(is_text(name) for name in (*self.alphabet, *self.transitions)):
            raise BadInput("a name holds half a surrogate pair, which is not text; choose another")
        if len(set(self.alphabet)) < len(self.alphabet):
            raise BadInput("the alphabet names a symbol twice; name each once")
        known = set(self.alphabet)
        for state, row in self.transitions.items():
            if row.keys() != known:
                missing = [symbol for symbol in self.alphabet if symbol not in row]
                if missing:
                    raise BadInput(
                        f"state {state!r} has no transition on {missing[0]!r}; "
                        "give one for each symbol (a state that is never left can take them)"
                    )
                extra = next(symbol for symbol in row if symbol not in known)
                raise BadInput(
                    f"state {state!r} has a transition on {extra!r}, which isn't in the alphabet "
                    f"{letters_of(self)}"
                )
            for symbol, target in row.items():
                if target not in self.transitions:
                    raise BadInput(
                        f"state {state!r} leads on {symbol!r} to {target!r}, which has no row"
                    )
        for state in (self.start, *sorted(self.accepting)):
            if state not in self.transitions:
                raise BadInput(f"{state!r} is named as start or accepting and has no row")

    @classmethod
    def from_table(
        cls,
        table: npt.ArrayLike,
        accepting: Sequence[int],
        alphabet: Sequence[str],
        start: int = 0,
    ) -> DFA:
        """States 0, 1, … by number: table[p, a] is where symbol number a leads from p."""
        rows = np.asarray(table).tolist()
        names = [str(number) for number in range(len(rows))]
        if any(not 0 <= q < len(names) for row in rows for q in row):
            raise BadInput(f"a table of {len(names)} states holds numbers 0..{len(names) - 1}")
        moves = {
            name: {a: names[q] for a, q in zip(alphabet, row, strict=True)}
            for name, row in zip(names, rows, strict=True)
        }
        return cls(tuple(alphabet), moves, names[start], frozenset(names[q] for q in accepting))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DFA:
        """Read a .json or .csv file.

        JSON: {"start", "accepting", "transitions": {state: {symbol: state}}}, "alphabet" and
        "states" if wanted. CSV: a header state,accepting,SYMBOL,SYMBOL,…; a row a state, the start
        first; "yes" or "no" under accepting.

        Raises:
            BadInput: the file can't be read, or isn't of that form.
        """
        path = Path(path)
        if path.suffix.lower() not in (".json", ".csv"):
            raise BadInput(f"{path}: a table is a .json or a .csv file")
        try:
            if path.exists() and not path.is_file():
                raise BadInput(f"can't read {path}: not a regular file")
            if path.stat().st_size > MAX_BYTES:
                raise BadInput(f"can't read {path}: more than {MAX_BYTES:,} bytes")
            text = path.read_text("utf-8-sig")
        except OSError as error:
            raise BadInput(f"can't read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadInput(f"can't read {path}: not UTF-8 text") from None
        try:
            if path.suffix.lower() == ".json":
                return cls.from_json(text)
            return cls.from_csv(text)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> DFA:
        """The automaton of a JSON text; see `load`."""
        try:
            found: Any = json.loads(text, object_pairs_hook=once)
        except BadInput:
            raise
        except (ValueError, RecursionError) as error:
            raise BadInput(f"not JSON: {error}") from None
        needed = {"start", "accepting", "transitions"}
        if type(found) is not dict or not needed <= set(found) <= needed | {"alphabet", "states"}:
            raise BadInput(
                'expected {"start", "accepting", "transitions": {state: {symbol: state}}}'
            )
        moves = found["transitions"]
        plain = isinstance(moves, dict) and all(isinstance(row, dict) for row in moves.values())
        if not plain or not all(type(q) is str for row in moves.values() for q in row.values()):
            raise BadInput("transitions: expected {state: {symbol: state}}, all of them texts")
        symbols = found.get(
            "alphabet", list(dict.fromkeys(a for row in moves.values() for a in row))
        )
        for name, names in (("alphabet", symbols), ("accepting", found["accepting"])):
            if not isinstance(names, list) or not all(type(item) is str for item in names):
                raise BadInput(f"{name}: expected a list of texts")
        states = found.get("states", list(moves))
        if not isinstance(states, list) or sorted(map(str, states)) != sorted(moves):
            raise BadInput("states: expected the states that have a row under transitions")
        if type(found["start"]) is not str:
            raise BadInput("start: expected a text")
        return cls(tuple(symbols), moves, found["start"], frozenset(found["accepting"]))

    @classmethod
    def from_csv(cls, text: str) -> DFA:
        """The automaton of a CSV text; see `load`."""
        try:
            read = list(csv.reader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise BadInput(f"not CSV: {error}") from None
        rows = [[cell.strip() for cell in row] for row in read if row]
        if not rows or rows[0][:2] != ["state", "accepting"]:
            raise BadInput("the first line of a table is state,accepting,SYMBOL,SYMBOL,…")
        symbols = rows[0][2:]
        moves, accepting = {}, set()
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(rows[0]) or "" in row:
                raise BadInput(
                    f"line {number} has not one entry for each of the {len(rows[0])} columns"
                )
            if row[0] in moves:
                raise BadInput(f"line {number}: state {row[0]!r} appears twice")
            if row[1] not in ("yes", "no"):
                raise BadInput(f"line {number}: under accepting stands yes or no, got {row[1]!r}")
            moves[row[0]] = dict(zip(symbols, row[2:], strict=True))
            accepting |= {row[0]} if row[1] == "yes" else set()
        if not moves:
            raise BadInput("the table has a header and no state")
        return cls(tuple(symbols), moves, rows[1][0], frozenset(accepting))

    @cached_property
    def states(self) -> tuple[str, ...]:
        """The names of the states, in the order of their rows."""
        return tuple(self.transitions)

    @cached_property
    def table(self) -> Int[np.ndarray, "states symbols"]:
        """The next state's number for each state and symbol."""
        number = {state: k for k, state in enumerate(self.states)}
        rows = [[number[row[a]] for a in self.alphabet] for row in self.transitions.values()]
        return np.array(rows, dtype=np.int64)

    @cached_property
    def final(self) -> Bool[np.ndarray, " states"]:
        """Which states accept."""
        return np.array([state in self.accepting for state in self.states], dtype=np.bool_)

    @cached_property
    def symbol_numbers(self) -> dict[str, int]:
        """{symbol: its place in the alphabet}."""
        return {symbol: k for k, symbol in enumerate(self.alphabet)}

    def encode(self, string: str | Sequence[str]) -> Integer[np.ndarray, " time"]:
        """The symbols' numbers: of a text's characters, or of the items of a sequence.

        Raises:
            BadInput: a symbol outside the alphabet, with its place.
        """
        if isinstance(string, str) and string.isascii() and len(self.alphabet) < 255:
            # Ten million symbols are looked up at once.
            places = np.full(128, 255, dtype=np.uint8)
            for symbol, k in self.symbol_numbers.items():
                if len(symbol) == 1 and symbol.isascii():
                    places[ord(symbol)] = k
            result = places[np.frombuffer(string.encode("ascii"), dtype=np.uint8)]
            if not (result == 255).any():
                return result
        found = [self.symbol_numbers.get(symbol, -1) for symbol in string]
        if -1 not in found:
            return np.array(found, dtype=np.int64)
        at = found.index(-1)
        bad = string[at]
        raise BadInput(
            f"symbol {at + 1} of the string is {bad!r}; the alphabet is {letters_of(self)}"
        )

    def accepts(self, string: str | Sequence[str]) -> bool:
        """Whether the automaton accepts a string; raises as `encode` does."""
        state = self.states.index(self.start)
        rows = self.table.tolist()
        for symbol in self.encode(string).tolist():
            state = rows[state][symbol]
        return bool(self.final[state])

    def given(self) -> dict[str, Any]:
        """The question as a receipt writes it down."""
        return {
            "alphabet": list(self.alphabet),
            "states": list(self.states),
            "start": self.start,
            "accepting": [state for state in self.states if state in self.accepting],
            "transitions": {state: dict(row) for state, row in self.transitions.items()},
        }

    def minimal(self) -> tuple[DFA, dict[str, str]]:
        """The smallest automaton of the same language, and {reachable state: its state there}.

        Its states are named after the first of the states each stands for; the start comes first.
        """
        reached = reachable(self)
        number = {p: k for k, p in enumerate(reached)}
        table = np.array([[number[q] for q in self.table[p].tolist()] for p in reached])
        classes = hopcroft(table, self.final[reached])
        first: dict[int, int] = {}
        for k, block in enumerate(classes):
            first.setdefault(block, k)
        name = {block: self.states[reached[k]] for block, k in first.items()}
        moves = {
            name[block]: {
                a: name[classes[q]] for a, q in zip(self.alphabet, table[k].tolist(), strict=True)
            }
            for block, k in first.items()
        }
        accepting = frozenset(state for state in moves if state in self.accepting)
        small = DFA(self.alphabet, moves, self.start, accepting)
        return small, {self.states[p]: name[classes[k]] for k, p in enumerate(reached)}


def letters_of(dfa: DFA) -> str:
    """The alphabet as a terminal may see it."""
    return printable(" ".join(dfa.alphabet))


def is_text(name: str) -> bool:
    """Whether it has no half of a surrogate pair, which JSON can spell and UTF-8 can't."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; raises `BadInput` if it names a key twice."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadInput(f"{max(names, key=names.count)!r} stands twice in one object; name it once")
    return result


def reachable(dfa: DFA) -> list[int]:
    """The numbers of the states that some string leads to, in breadth-first order."""
    rows = dfa.table.tolist()
    order = [dfa.states.index(dfa.start)]
    seen = set(order)
    for p in order:  # grows while it is read
        for q in rows[p]:
            if q not in seen:
                seen.add(q)
                order.append(q)
    return order


def hopcroft(
    table: Int[np.ndarray, "states symbols"], final: Bool[np.ndarray, " states"]
) -> list[int]:
    """A number for each state, equal where no string tells two states apart (Hopcroft 1971)."""
    size, symbols = table.shape
    before: list[list[list[int]]] = [[[] for _ in range(size)] for _ in range(symbols)]
    for p, row in enumerate(table.tolist()):
        for a, q in enumerate(row):
            before[a][q].append(p)
    groups = [set(np.flatnonzero(final).tolist()), set(np.flatnonzero(~final).tolist())]
    blocks = [group for group in groups if group]
    of = [0] * size
    for number, group in enumerate(blocks):
        for p in group:
            of[p] = number
    waiting = {(number, a) for number in range(len(blocks)) for a in range(symbols)}
    while waiting:
        splitter, a = waiting.pop()
        hits: dict[int, list[int]] = {}
        for q in blocks[splitter]:
            for p in before[a][q]:
                hits.setdefault(of[p], []).append(p)
        for number, inside in hits.items():
            if len(inside) == len(blocks[number]):
                continue
            new = len(blocks)
            blocks[number].difference_update(inside)
            blocks.append(set(inside))
            for p in inside:
                of[p] = new
            for b in range(symbols):
                smaller = new if len(inside) <= len(blocks[number]) else number
                waiting.add((new, b) if (number, b) in waiting else (smaller, b))
    return of


def named(name: str) -> DFA:
    """Parity, mod-K, contains-STRING or balanced-K.

    `parity`: an odd number of 1s. `mod-3`: the number of 1s is a multiple of 3. `contains-0110`: it
    occurs somewhere (over 0, 1 and the string's own characters). `balanced-4`: parentheses that
    match, nested at most 4 deep.

    Raises:
        BadInput: another name.
    """
    if name == "parity":
        return DFA.from_table(np.array([[0, 1], [1, 0]]), [1], "01")
    kind, _, rest = name.partition("-")
    if kind in ("mod", "balanced") and re.fullmatch("[1-9][0-9]{0,5}", rest):
        size = int(rest)
        stay = np.arange(size)
        if kind == "mod":
            return DFA.from_table(np.stack([stay, (stay + 1) % size], axis=1), [0], "01")
        deep = np.arange(size + 2)  # the last is for strings that can't match any more
        table = np.stack(
            [np.minimum(deep + 1, size + 1), np.where(deep > 0, deep - 1, size + 1)], 1
        )
        table[size + 1] = size + 1
        return DFA.from_table(table, [0], "()")
    if kind == "contains" and rest:
        return containing(rest)
    raise BadInput(
        f"unknown automaton {name!r}; known are parity, mod-K, contains-STRING and balanced-K, "
        "or give --regex or --table"
    )


def containing(word: str) -> DFA:
    """The strings in which the word occurs (Knuth, Morris and Pratt 1977)."""
    alphabet = sorted({"0", "1", *word} if set(word) <= {"0", "1"} else set(word))
    rows: list[list[int]] = []
    back = 0
    for k in range(len(word)):
        row = list(rows[back]) if k else [0] * len(alphabet)
        after = row[alphabet.index(word[k])]
        row[alphabet.index(word[k])] = k + 1
        rows.append(row)
        back = after if k else 0
    rows.append([len(word)] * len(alphabet))
    return DFA.from_table(np.array(rows), [len(word)], alphabet)
