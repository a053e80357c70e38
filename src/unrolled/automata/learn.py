"""Which automaton accepts the strings that a yes-or-no question accepts?

Angluin's L* (1987): states are strings told apart by suffixes. A counterexample gives one more
suffix, found by binary search (Rivest and Schapire 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from unrolled.automata.dfa import DFA
from unrolled.errors import BadInput, WorkFailed

String = tuple[str, ...]
MAX_STRINGS = 2**20  # of one exhaustive comparison


class Teacher:
    """Answers to "is this string accepted?", each asked once, many at a time."""

    def __init__(self, ask: Callable[[list[String]], Sequence[bool]]) -> None:
        self.ask = ask
        self.known: dict[String, bool] = {}

    def __call__(self, strings: Sequence[String]) -> list[bool]:
        """The answers for some strings."""
        new = list(dict.fromkeys(w for w in strings if w not in self.known))
        if new:
            self.known.update(zip(new, map(bool, self.ask(new)), strict=True))
        return [self.known[w] for w in strings]


def learn(
    predicate: Callable[[str], bool], alphabet: Sequence[str], longest: int = 10, most: int = 200
) -> DFA:
    """The smallest automaton that agrees with a Python predicate on all strings up to a length.

    Args:
        predicate: whether a string (the symbols joined) is accepted.
        alphabet: the symbols, few.
        longest: the length up to which all strings are compared; beyond it nothing is known.
        most: states after which the search stops.

    Raises:
        BadInput: more than a million strings to compare.
        WorkFailed: more states than `most`.

    >>> len(learn(lambda s: s.count("1") % 3 == 0, "01", longest=6).states)
    3
    """
    total = sum(len(alphabet) ** n for n in range(longest + 1))
    if total > MAX_STRINGS:
        raise BadInput(f"{total:,} strings of up to {longest} symbols; choose a shorter length")
    teacher = Teacher(lambda strings: [predicate("".join(w)) for w in strings])
    dfa, word = l_star(teacher, alphabet, lambda dfa: part(teacher, dfa, longest), most)
    if word is not None:
        raise WorkFailed(f"more than {most} states are needed; is the predicate regular?")
    return dfa


def l_star(
    teacher: Teacher,
    alphabet: Sequence[str],
    counterexample: Callable[[DFA], String | None],
    most: int,
) -> tuple[DFA, String | None]:
    """The automaton no counterexample is known to; or one of more than `most` states, and a string
    on which it is wrong.
    """
    prefixes: list[String] = [()]
    suffixes: list[String] = [()]
    while True:
        dfa, access = hypothesis(teacher, alphabet, prefixes, suffixes)
        word = counterexample(dfa)
        if word is None or len(dfa.states) > most:
            return dfa, word
        suffixes.append(telling_suffix(teacher, dfa, access, word))


def hypothesis(
    teacher: Teacher, alphabet: Sequence[str], prefixes: list[String], suffixes: list[String]
) -> tuple[DFA, list[String]]:
    """The table closed (prefixes grow), as an automaton whose state k is reached by prefix k."""

    def row(prefix: String) -> tuple[bool, ...]:
        return tuple(teacher([prefix + suffix for suffix in suffixes]))

    number: dict[tuple[bool, ...], int] = {}
    for k, prefix in enumerate(prefixes):
        number.setdefault(row(prefix), k)
    moves = {}
    for k, prefix in enumerate(prefixes):  # grows while it is read
        after = [(*prefix, symbol) for symbol in alphabet]
        teacher([longer + suffix for longer in after for suffix in suffixes])
        targets = {}
        for symbol, longer in zip(alphabet, after, strict=True):
            found = number.setdefault(row(longer), len(prefixes))
            if found == len(prefixes):
                prefixes.append(longer)
            targets[symbol] = str(found)
        moves[str(k)] = targets
    accepting = frozenset(str(k) for k, yes in enumerate(teacher(prefixes)) if yes)
    return DFA(tuple(alphabet), moves, "0", accepting), prefixes


def telling_suffix(teacher: Teacher, dfa: DFA, access: list[String], word: String) -> String:
    """A suffix of a counterexample that tells a string from the prefix it was taken for."""

    def answer(k: int) -> bool:
        state = dfa.start
        for symbol in word[:k]:
            state = dfa.transitions[state][symbol]
        return teacher([access[int(state)] + word[k:]])[0]

    # With none of the word replaced the answer is the teacher's, with all of it the hypothesis's.
    low, high, first = 0, len(word), answer(0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if answer(middle) == first else (low, middle)
    return word[high:]


def strings(alphabet: Sequence[str], longest: int) -> Iterator[list[String]]:
    """All strings of each length from 0 on."""
    for length in range(longest + 1):
        yield list(product(alphabet, repeat=length))


def part(teacher: Teacher, dfa: DFA, longest: int) -> String | None:
    """The first string, by length, on which the automaton and the teacher part, if there is one."""
    for words in strings(dfa.alphabet, longest):
        for word, yes in zip(words, teacher(words), strict=True):
            if dfa.accepts(word) != yes:
                return word
    return None
