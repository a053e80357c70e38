"""Which automaton belongs to a regular expression, a complement, an intersection?

`automata-lib` translates; what it returns is compared with what went in, state set by state set,
and an answer that isn't equivalent is an error, not a result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from automata.base.exceptions import AutomatonException, RegexException
from automata.fa.dfa import DFA as LibraryDFA  # noqa: N811
from automata.fa.nfa import NFA

from unrolled.automata.dfa import DFA
from unrolled.errors import BadInput, WorkFailed

A = TypeVar("A", bound=Hashable)
B = TypeVar("B", bound=Hashable)

OPERATORS = "()|*+?&^.{}[]\\"
MAX_STATES = 200_000
MAX_LETTERS = 10_000  # of an expression once its repeats are written out


def from_regex(expression: str, alphabet: Iterable[str] = ()) -> DFA:
    """The minimal automaton of a regular expression.

    Args:
        expression: | * + ? ( ) as usual, {2,3} repeats, . is any symbol, & intersects; every other
            character stands for itself, [a-c] for one of some, "" or () for the empty string.
        alphabet: the symbols; those in the expression unless given, and 0 and 1 if it names no
            other.

    Raises:
        BadInput: the expression is unfinished, or holds a symbol outside the alphabet.

    >>> from_regex("(0|10*1)*").accepts("0110")
    True
    """
    if "\\" in expression:
        raise BadInput(f"a symbol of an expression is none of {OPERATORS}; leave out the backslash")
    plain = re.sub(r"\{[0-9, ]*\}", "", expression)
    if written_out(expression) > MAX_LETTERS:
        raise BadInput(
            f"the expression is longer than {MAX_LETTERS:,} letters once its repeats are written "
            "out; use smaller ones, or a table"
        )
    plain = re.sub(r"\[([^]]*)\]", lambda found: letters_of(found[1]), plain)
    used = {letter for letter in plain if letter not in OPERATORS}
    symbols = sorted(set(alphabet) or (used | {"0", "1"} if used <= {"0", "1"} else used))
    wrong = sorted(used - set(symbols))
    if wrong:
        raise BadInput(f"the expression holds {wrong[0]!r}, the alphabet is {' '.join(symbols)}")
    if any(len(symbol) != 1 or symbol in OPERATORS for symbol in symbols):
        raise BadInput(f"a symbol of an expression is one character, none of {OPERATORS}")
    try:
        found = NFA.from_regex(expression, input_symbols=set(symbols))
    except (AutomatonException, RegexException, ValueError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"the expression {expression!r} is unfinished or not a regular expression: {reason}"
        ) from None
    except RecursionError:
        raise BadInput("the expression is nested too deep") from None
    dfa = numbered(symbols, *subset_moves(found))
    library = LibraryDFA.from_nfa(found, minify=False)
    same(dfa, library, "the automaton of the expression")
    return dfa.minimal()[0]


def letters_of(inside: str) -> str:
    """The letters between [ and ], a-c written out; raises `BadInput` for c-a and for operators."""

    def between(ends: re.Match[str]) -> str:
        low, high = ord(ends[1]), ord(ends[2])
        if not 0 <= high - low < 1000:
            raise BadInput(f"[{inside}]: {ends[0]} is no range; the lower letter comes first")
        return "".join(map(chr, range(low, high + 1)))

    letters = re.sub("(.)-(.)", between, inside.removeprefix("^"))
    if not set(letters).isdisjoint(OPERATORS):
        raise BadInput(f"[{inside}]: a symbol of an expression is none of {OPERATORS}")
    return letters


def written_out(expression: str) -> int:
    """At most how many letters it has once each {2,3} is written out."""
    sizes, last = [0], [0]  # of each open parenthesis: letters so far, and those of its last part
    for part in re.findall(r"\{[^}]*\}?|\[[^]]*\]|.", expression, re.DOTALL):
        if part == "(":
            sizes.append(0)
            last.append(0)
        elif part == ")" and len(sizes) > 1:
            inner = sizes.pop()
            last.pop()
            last[-1] = inner
            sizes[-1] += inner
        elif part[0] == "{":
            times = max([1, *(int(n[:9]) for n in re.findall("[0-9]+", part))])
            sizes[-1] += (times - 1) * last[-1]
            last[-1] *= times
        elif part not in "*+?|&":
            last[-1] = 1
            sizes[-1] += 1
    return sum(sizes)


def subset_moves(
    nfa: NFA,
) -> tuple[
    frozenset[Hashable],
    Callable[[frozenset[Hashable], str], frozenset[Hashable]],
    Callable[[frozenset[Hashable]], bool],
]:
    """Start, step and acceptance of the sets of states that a string can lead to."""
    empty = ""

    def closure(states: Iterable[Hashable]) -> frozenset[Hashable]:
        found, waiting = set(states), list(states)
        while waiting:
            for q in nfa.transitions.get(waiting.pop(), {}).get(empty, ()):
                if q not in found:
                    found.add(q)
                    waiting.append(q)
        return frozenset(found)

    def step(states: frozenset[Hashable], symbol: str) -> frozenset[Hashable]:
        return closure([q for p in states for q in nfa.transitions.get(p, {}).get(symbol, ())])

    def accepts(states: frozenset[Hashable]) -> bool:
        return not states.isdisjoint(nfa.final_states)

    return closure([nfa.initial_state]), step, accepts


def numbered(
    alphabet: list[str], start: A, step: Callable[[A, str], A], accepts: Callable[[A], bool]
) -> DFA:
    """The automaton of what can be reached, states numbered in breadth-first order."""
    names: dict[A, str] = {start: "0"}
    order, moves, accepting = [start], {}, set()
    for state in order:  # grows while it is read
        row = {}
        for symbol in alphabet:
            target = step(state, symbol)
            if target not in names:
                if len(names) == MAX_STATES:
                    raise WorkFailed(f"the automaton has more than {MAX_STATES:,} states")
                names[target] = str(len(names))
                order.append(target)
            row[symbol] = names[target]
        moves[names[state]] = row
        if accepts(state):
            accepting.add(names[state])
    return DFA(tuple(alphabet), moves, "0", frozenset(accepting))


def difference(a: DFA, b: DFA) -> tuple[str, ...] | None:
    """The shortest string that one of two automata accepts and the other doesn't; None if none.

    Raises:
        BadInput: the alphabets differ.
    """
    if set(a.alphabet) != set(b.alphabet):
        raise BadInput("two automata over different alphabets can't be compared")
    start = (a.start, b.start)
    came: dict[tuple[str, str], tuple[tuple[str, str], str] | None] = {start: None}
    order = [start]
    for p, q in order:  # grows while it is read
        if (p in a.accepting) != (q in b.accepting):
            word: list[str] = []
            before = came[p, q]
            while before is not None:
                word.append(before[1])
                before = came[before[0]]
            return tuple(reversed(word))
        for symbol in a.alphabet:
            pair = a.transitions[p][symbol], b.transitions[q][symbol]
            if pair not in came:
                came[pair] = (p, q), symbol
                order.append(pair)
    return None


def complement(dfa: DFA) -> DFA:
    """The strings over the same alphabet that the automaton doesn't accept, minimal."""
    own = DFA(dfa.alphabet, dfa.transitions, dfa.start, frozenset(dfa.states) - dfa.accepting)
    same(own, to_library(dfa).complement(minify=False), "the complement")
    return own.minimal()[0]


def intersection(a: DFA, b: DFA) -> DFA:
    """The strings that both accept, minimal.

    Raises:
        BadInput: the alphabets differ.
    """
    difference(a, b)  # refuses different alphabets
    both = numbered(
        list(a.alphabet),
        (a.start, b.start),
        lambda pair, symbol: (a.transitions[pair[0]][symbol], b.transitions[pair[1]][symbol]),
        lambda pair: pair[0] in a.accepting and pair[1] in b.accepting,
    )
    same(both, to_library(a).intersection(to_library(b), minify=False), "the intersection")
    return both.minimal()[0]


def to_library(dfa: DFA) -> LibraryDFA:
    """The automaton as `automata-lib` has it."""
    return LibraryDFA(
        states=set(dfa.states),
        input_symbols=set(dfa.alphabet),
        transitions={state: dict(row) for state, row in dfa.transitions.items()},
        initial_state=dfa.start,
        final_states=set(dfa.accepting),
    )


def from_library(found: LibraryDFA) -> DFA:
    """An automaton of `automata-lib`, made complete."""
    dead = object()

    def step(state: Any, symbol: str) -> Any:
        return found.transitions.get(state, {}).get(symbol, dead)

    start: Any = found.initial_state
    return numbered(sorted(found.input_symbols), start, step, lambda q: q in found.final_states)


def same(ours: DFA, library: LibraryDFA, what: str) -> None:
    """Refuse to go on where the library and this room disagree about a language."""
    word = difference(ours, from_library(library))
    if word is not None:
        raise WorkFailed(f"{what} is not what automata-lib returns: they part on {''.join(word)!r}")
