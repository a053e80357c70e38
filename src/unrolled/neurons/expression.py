"""Which truth table does an expression such as "x1 and (not x2 or x3)" stand for?

A recursive-descent parser for the grammar below, loosest binding first (the precedence of Python's
`|`, `^`, `&`, `~`, for the words as well as the signs):

    or      = xor  { ("or"  | "|") xor }
    xor     = and  { ("xor" | "^") and }
    and     = not  { ("and" | "&") not }
    not     = ("not" | "~") not | atom
    atom    = "(" or ")" | "0" | "1" | "true" | "false" | variable | call
    call    = ("majority" | "parity") "(" or { "," or } ")"
            | "at_least" "(" number "," or { "," or } ")"

Values are NumPy arrays over all rows at once; nothing is ever handed to `eval`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unrolled.errors import BadInput

Rows = npt.NDArray[np.bool_]

MAX_NESTING = 60  # each level costs a few frames of Python's stack
BINARY = {"or": (0, np.logical_or), "xor": (1, np.logical_xor), "and": (2, np.logical_and)}
SIGNS = {"|": "or", "^": "xor", "&": "and", "~": "not"}
CALLS = ("majority", "parity", "at_least")
WORDS = ("or", "xor", "and", "not", "true", "false", *CALLS)
TOKEN = re.compile(r"\s*(?:(?P<word>[^\W\d]\w*)|(?P<number>[0-9]+)|(?P<sign>[|^&~(),]))")


class Token(NamedTuple):
    """A word, number or sign, and the column it starts in (from 1)."""

    text: str
    column: int


def tokenize(text: str) -> list[Token]:
    """Split the expression; the last token is empty and marks its end.

    Raises:
        BadInput: the expression is empty or holds a character that means nothing here.
    """
    if not text.strip():
        raise BadInput('the expression is empty; write one such as "x1 and not x2"')
    tokens, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            column = len(text) - len(text[position:].lstrip()) + 1
            raise BadInput(
                f"unexpected {text[column - 1]!r} at column {column}; an expression is made of "
                "variables, and, or, not, xor (&, |, ~, ^) and parentheses"
            )
        word = match[match.lastgroup or 0]
        known = word.lower() if word.lower() in WORDS else SIGNS.get(word, word)
        tokens.append(Token(known, match.end() - len(word) + 1))
        position = match.end()
    return [*tokens, Token("", end + 1)]


def is_variable(token: Token) -> bool:
    """Whether the token is a name that the grammar keeps for nothing else."""
    return token.text.isidentifier() and token.text not in WORDS


def variables(text: str) -> list[str]:
    """The variables of an expression: x2 before x10 if all are one stem and a number, otherwise
    in the order they first appear.
    """
    names = list(dict.fromkeys(token.text for token in tokenize(text) if is_variable(token)))
    parts = [re.fullmatch(r"(.*?\D)(\d+)", name) for name in names]
    numbered = [
        (part[1], int(part[2]), name) for part, name in zip(parts, names, strict=True) if part
    ]
    if len(numbered) == len(names) and len({stem for stem, _, _ in numbered}) == 1:
        return [name for _, _, name in sorted(numbered)]
    return names


def evaluate(text: str, names: Sequence[str]) -> Rows:
    """The value of the expression on all 2^n rows, row r giving the names the bits of r.

    Raises:
        BadInput: what stands where it can't, with its column; a variable not among `names`.
    """
    return Parser(tokenize(text), names).expression()


class Parser:
    """One pass over the tokens; each method reads what its rule of the grammar says."""

    def __init__(self, tokens: list[Token], names: Sequence[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.nesting = 0
        self.rows = np.arange(1 << len(names))
        self.shifts = {name: len(names) - 1 - i for i, name in enumerate(names)}

    @property
    def token(self) -> Token:
        """The token at hand."""
        return self.tokens[self.position]

    def expression(self) -> Rows:
        """The whole text."""
        value = self.binary()
        if self.token.text:
            raise self.unexpected()
        return value

    def binary(self, loosest: int = 0) -> Rows:
        """The rules or, xor, and, from the one that binds as `loosest` on (precedence climbing)."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise BadInput(f"nested more than {MAX_NESTING} deep at column {self.token.column}")
        value = self.negation()
        while self.token.text in BINARY:
            binding, join = BINARY[self.token.text]
            if binding < loosest:
                break
            self.position += 1
            value = join(value, self.binary(binding + 1))
        self.nesting -= 1
        return value

    def negation(self) -> Rows:
        """The rule not; a loop, so that a long row of "not" is no deep recursion."""
        odd = False
        while self.accept("not"):
            odd = not odd
        return self.atom() ^ odd

    def atom(self) -> Rows:
        """What operators stand between."""
        token = self.token
        if self.accept("("):
            return self.group(token)
        if token.text in ("0", "false", "1", "true"):
            self.position += 1
            return np.full(len(self.rows), token.text in ("1", "true"))
        if token.text in CALLS:
            self.position += 1
            return self.call(token.text)
        if not is_variable(token):
            raise self.unexpected()
        self.position += 1
        if self.token.text == "(":
            raise BadInput(
                f"unknown function {token.text!r} at column {token.column}; "
                "there are majority(...), parity(...) and at_least(k, ...)"
            )
        if token.text not in self.shifts:
            known = ", ".join(self.shifts) or "none"
            raise BadInput(
                f"unknown variable {token.text!r} at column {token.column}; "
                f"the variables are {known}"
            )
        return (self.rows >> self.shifts[token.text] & 1).astype(np.bool_)

    def group(self, opening: Token) -> Rows:
        """The rest of a parenthesis."""
        value = self.binary()
        if not self.accept(")"):
            raise self.unexpected(f"the '(' at column {opening.column} isn't closed")
        return value

    def call(self, name: str) -> Rows:
        """The arguments of a named function, and its value."""
        self.expect("(")
        least = None
        if name == "at_least":
            number = self.token
            if not number.text.isdecimal():
                raise self.unexpected(
                    "at_least takes a number first, as in at_least(2, x1, x2, x3)"
                )
            least = int(number.text[:9])
            self.position += 1
            self.expect(",")
        values = [self.binary()]
        while self.accept(","):
            values.append(self.binary())
        self.expect(")")
        ones = np.sum(values, axis=0, dtype=np.int64)
        if name == "parity":
            return np.asarray(ones % 2 == 1)
        return np.asarray(ones >= (len(values) // 2 + 1 if least is None else least))

    def accept(self, text: str) -> bool:
        """Step over the token if it is this one."""
        found = self.token.text == text
        self.position += found
        return found

    def expect(self, text: str) -> None:
        """Step over the token, which must be this one."""
        if not self.accept(text):
            raise self.unexpected(f"expected {text!r}")

    def unexpected(self, hint: str = "") -> BadInput:
        """The error for the token at hand."""
        token = self.token
        what = f"unexpected {token.text!r}" if token.text else "unexpected end of the expression"
        return BadInput(f"{what} at column {token.column}" + (f"; {hint}" if hint else ""))
