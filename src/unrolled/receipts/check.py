"""Does this receipt hold?  Usage: python check.py [--large] FILE...

A receipt is a JSON object with the keys receipt (1), kind, claim, given, answer and evidence. This
file decides whether what a receipt says is true. It imports the standard library alone, needs
nothing else of the project, and computes with whole numbers and exact fractions. Where that can't
be done (the exponential), it rounds outward, and says so.

How to read it: `CHECKS`, at the end, names one function a kind. Each function takes the question
(given), the answer and the evidence, and either returns the one sentence it has proved or raises.
Its docstring is the theorem that makes it sound. The `claim` in the file has to be that sentence to
the letter, so a claim can't say more than was proved.

Two ways to fail. `Malformed`: the file doesn't have the form of a receipt, or is larger than the
budgets below (exit 2). `Refuted`: it has the form, and doesn't prove its claim (exit 1).
"""

from __future__ import annotations

import decimal
import json
import math
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

Number = TypeVar("Number", int, Fraction)
Interval = tuple[int, int]

VERSION = 1
KEYS = {"receipt", "kind", "claim", "given", "answer", "evidence"}

# Budgets: what is larger is refused unread, so that a hostile file costs less than a second. Two
# kinds cost more: an LSTM's steps seconds and a time in proportion to the file, under a minute for
# the largest; a matrix's products seconds, in proportion to its entries (`affordable`).
MAX_BYTES = 16 * 2**20  # of a file
MAX_VALUES = 500_000  # numbers, strings, lists and objects in a file
MAX_DEPTH = 32  # lists within lists
MAX_DIGITS = 1_000  # of one number

MAX_INPUTS = 20  # of a neuron: a table has 2^inputs rows
MAX_WEIGHT = 2**62  # 20 inputs never need a weight above 2^31 (Muroga 1971)
MAX_ROWS = 4_096  # in one refutation: inputs + 2 always suffice (Carathéodory)
MAX_MULTIPLIERS = 50_000  # and nodes, in a proof of minimality
MAX_FRACTION_DIGITS = 60  # above and below the line
MAX_EVALUATIONS = 2**23  # rows times neurons of a network
LEAST_WORK = 2**23  # sums and comparisons of small numbers that any LSTM may cost to check,
WORK_PER_VALUE = 96  # and what more for each value in its receipt
NEW_CELL = 64  # what a soft unit's C' costs that hasn't been computed before, in such sums
KNOWN_CELLS = 2**16  # that are kept
MAX_FEATURES = 64  # of a node, of a head, and nodes and heads
MAX_EDGES = 64 * 64
MAX_PRODUCTS = 2**18  # of decimals, in message passing
MAX_SIZE = 512  # rows of a recurrence's matrix; complex ones count twice
MAX_WORK = 3 * 10**12  # products of bits, for powers of a matrix: a second and a half for 10^12
SMALL_WORK, WORK_PER_ENTRY = 5 * 10**11, 10**9  # what any matrix may cost, and more for each entry
PRIME = 2**61 - 1  # any would do
MAX_EXACT_BITS = 60_000  # of a number, times the rows, where powers of a matrix are exact
LARGER = 32  # times the bytes and the values, where the caller asks for it

MAX_TOKENS = 2**24  # a vocabulary
WEIGHTS = ("bfloat16", "int8", "int4")  # formats other than float32 that a model may be kept in
MAX_LENGTH = 100_000  # of a decoded sequence
MAX_CANDIDATES = 100_000  # in the trace of a search
MAX_PREFIXES = 20_000  # of a map
MAX_CLOSE = 300  # comparisons of scores that binary64 can't tell apart
UNITS = 2**36  # log-probabilities are whole multiples of 2^-36

MAX_LETTERS = 2**20  # of sentences whose translations are worked out here


class Malformed(ValueError):
    """The file isn't a receipt this checker reads."""


class Refuted(ValueError):
    """The file is a receipt and doesn't prove its claim."""


class Verdict(NamedTuple):
    """What was found about one file: its status and the claim, or the reason it isn't accepted."""

    file: str
    status: str  # "holds", "refuted" or "unreadable"
    text: str

    @property
    def exit_code(self) -> int:
        """0 holds, 1 refuted, 2 unreadable."""
        return ("holds", "refuted", "unreadable").index(self.status)


# --- reading -------------------------------------------------------------------------------------


class Flaw(NamedTuple):
    """Stands in the parsed document for something that must not be in it, until `vet` finds it."""

    reason: str


def read(path: str | os.PathLike[str], large: bool = False) -> str:
    """The text of a regular file within budget; directories, pipes and devices aren't opened."""
    most = MAX_BYTES * (LARGER if large else 1)
    try:
        # Without O_NONBLOCK, opening a named pipe waits for a writer that may never come.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise Malformed(f"can't be opened ({getattr(error, 'strerror', None) or error})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Malformed("not a regular file")
        if status.st_size > most:
            raise Malformed(
                f"{status.st_size:,} bytes; a receipt has at most {most:,}{hint(large)}"
            )
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise Malformed(f"can't be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise Malformed(f"a receipt has at most {most:,} bytes{hint(large)}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 text (byte {error.start + 1})") from None


def hint(large: bool) -> str:
    """How to have a larger file read."""
    return "" if large else " (more with --large, if you trust where it comes from)"


def parse(text: str, large: bool = False) -> dict[str, Any]:
    """The receipt in `text`, all six keys there and of the right type, nothing else there."""
    most = MAX_VALUES * (LARGER if large else 1)
    if not text.strip():
        raise Malformed("empty; a receipt is a JSON object")
    if text.count(",") + text.count("[") + text.count("{") > most:
        raise Malformed(f"more than {most:,} values{hint(large)}")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=lambda word: Flaw(f"{word} is not a number"),
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Malformed(f"not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise Malformed(f"nested more than {MAX_DEPTH} deep") from None
    vet(document)
    return envelope(document)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Flaw:
    """A JSON object as a dict, unless it says the same key twice."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [key for key, _ in pairs]
        return Flaw(f"the key {shorten(max(names, key=names.count))} appears more than once")
    return result


def _integer(text: str) -> int | Flaw:
    """A JSON integer of reasonable length; Python itself stops at 4,300 digits."""
    return int(text) if len(text) <= MAX_DIGITS else _too_long(text)


def _float(text: str) -> float | Flaw:
    """The binary64 a JSON number parses to, if there is one."""
    if len(text) > MAX_DIGITS:
        return _too_long(text)
    return value if math.isfinite(value := float(text)) else Flaw(f"{text[:20]} is beyond binary64")


def _too_long(text: str) -> Flaw:
    return Flaw(f"a number of {len(text):,} characters; at most {MAX_DIGITS:,}")


def vet(value: Any, path: str = "", depth: int = 0) -> None:
    """Refuse, with the path of the field, whatever isn't plain JSON within budget."""
    kind = type(value)
    if kind is dict or kind is list:
        if depth == MAX_DEPTH:
            raise Malformed(f"nested more than {MAX_DEPTH} deep")
        for key, item in value.items() if kind is dict else enumerate(value):
            if kind is dict:
                vet_text(key, path)
            if type(item) is not int and type(item) is not bool:
                vet(item, (f"{path}.{key}" if kind is dict else f"{path}[{key}]"), depth + 1)
    elif kind is str:
        vet_text(value, path)
    elif kind is Flaw:
        raise Malformed(at(path, value.reason))
    elif kind is float and not math.isfinite(value):
        raise Malformed(at(path, f"{value} is not a JSON number"))
    elif kind not in (int, float, bool, type(None)):
        raise Malformed(at(path, f"a {kind.__name__} has no place in JSON"))


def vet_text(text: Any, path: str) -> None:
    """Refuse half a surrogate pair: it parses, and can't be printed or written again."""
    if type(text) is not str:
        raise Malformed(at(path, f"a key is text, not {describe(text)}"))
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Malformed(at(path, "half a surrogate pair is not text"))


def envelope(document: Any) -> dict[str, Any]:
    """The six keys with their types; what stands inside is its kind's business."""
    if type(document) is not dict:
        raise Malformed(f"a receipt is a JSON object, not {describe(document)}")
    keys(document, "", KEYS)
    if type(document["receipt"]) is not int or document["receipt"] != VERSION:
        raise Malformed(f"receipt: expected {VERSION}, got {describe(document['receipt'])}")
    for name in ("kind", "claim"):
        if type(document[name]) is not str:
            raise Malformed(f"{name}: expected text, got {describe(document[name])}")
    for name in ("given", "answer", "evidence"):
        if type(document[name]) is not dict:
            raise Malformed(f"{name}: expected an object, got {describe(document[name])}")
    return document


# --- the fields of a kind ------------------------------------------------------------------------


def at(path: str, reason: str) -> str:
    """The reason with the path of its field before it."""
    path = path.removeprefix(".")
    path = path if len(path) <= 80 else path[:77] + "..."
    return f"{ascii(path)[1:-1]}: {reason}" if path else reason


def shorten(text: str) -> str:
    """Quoted, ASCII, at most 40 characters: nothing in a file reaches the terminal raw."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


def describe(value: Any) -> str:
    """What came instead, in a few words whatever its size."""
    if value is None or type(value) is bool:
        return json.dumps(value)
    if type(value) is int:
        return str(value) if value.bit_length() < 100 else f"a {value.bit_length():,}-bit integer"
    if type(value) is float:
        return repr(value)
    if type(value) is str:
        return shorten(value)
    if type(value) is dict or type(value) is list:
        return "an object" if type(value) is dict else "a list"
    return f"a {type(value).__name__}"


def keys(value: Any, path: str, expected: set[str]) -> None:
    """Exactly these keys."""
    if type(value) is not dict:
        raise Malformed(at(path, f"expected an object, got {describe(value)}"))
    if value.keys() == expected:
        return
    for name in sorted(expected):
        if name not in value:
            raise Malformed(at(f"{path}.{name}", "missing"))
    unknown = next(name for name in value if name not in expected)
    raise Malformed(at(f"{path}.{unknown}", "unknown key"))


def integer(value: Any, path: str, low: int, high: int) -> int:
    """A whole number in low..high: not true, not 1.0, not "1"."""
    if type(value) is not int:
        raise Malformed(at(path, f"expected a whole number, got {describe(value)}"))
    if not low <= value <= high:
        raise Malformed(at(path, f"expected {low}..{high}, got {describe(value)}"))
    return value


def integers(value: Any, path: str, length: int, bound: int) -> list[int]:
    """A list of `length` whole numbers in -bound..bound."""
    if type(value) is not list:
        raise Malformed(at(path, f"expected a list, got {describe(value)}"))
    if len(value) != length:
        raise Malformed(at(path, f"expected {length} entries, got {len(value)}"))
    for index, item in enumerate(value):
        if type(item) is not int or not -bound <= item <= bound:
            integer(item, f"{path}[{index}]", -bound, bound)
    return value


FRACTION = re.compile(
    rf"(-?[0-9]{{1,{MAX_FRACTION_DIGITS}}})(?:/([0-9]{{1,{MAX_FRACTION_DIGITS}}}))?"
)


def fraction(value: Any, path: str) -> Fraction:
    """An exact fraction in lowest terms, written "3", "-3" or "3/4"."""
    match = FRACTION.fullmatch(value) if type(value) is str else None
    if match is not None:
        above, below = int(match[1]), int(match[2] or 1)
        if below and str(result := Fraction(above, below)) == value:
            return result
    raise Malformed(
        at(path, f'expected a fraction in lowest terms such as "3/4", got {describe(value)}')
    )


# --- threshold neurons ---------------------------------------------------------------------------
# A neuron with weights w and bias b computes 1 where w.x + b >= 0 and 0 elsewhere. Row r of a table
# is the input whose bits, x1 first, spell r in binary; "*" in the table means either value will do.


def truth_table(given: Any) -> tuple[int, str]:
    """The number of inputs and the table, one of 0, 1, * for each row."""
    keys(given, "given", {"inputs", "table"})
    inputs = integer(given["inputs"], "given.inputs", 0, MAX_INPUTS)
    table = given["table"]
    if type(table) is not str:
        raise Malformed(f"given.table: expected text, got {describe(table)}")
    if len(table) != 1 << inputs:
        raise Malformed(f"given.table: expected {1 << inputs} rows, got {len(table)}")
    if table.count("0") + table.count("1") + table.count("*") != len(table):
        raise Malformed('given.table: only "0", "1" and "*" may stand in a table')
    return inputs, table


def counted(number: int, word: str) -> str:
    """A number of things in words for a claim."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def sums(weights: Sequence[int], bias: int) -> list[int]:
    """w.x + b on all 2^inputs rows, in the order of the table."""
    result = [bias]
    for weight in reversed(weights):
        result += [value + weight for value in result]
    return result


def same(table: str, computed: str) -> None:
    """The computed rows agree with the table wherever it isn't "*"."""
    if computed == table:
        return
    for row, (wanted, got) in enumerate(zip(table, computed, strict=True)):
        if wanted not in ("*", got):
            raise Refuted(f"row {row} of the table is {wanted}; the answer computes {got} there")


def check_separable(given: Any, answer: Any, evidence: Any) -> str:
    """One neuron computes the table: every row is computed and compared.

    With a tree under "minimal", also that no integer weights with a smaller sum of absolute values
    do: see `check_minimal`.
    """
    inputs, table = truth_table(given)
    keys(answer, "answer", {"bias", "weights"})
    weights = integers(answer["weights"], "answer.weights", inputs, MAX_WEIGHT)
    bias = integer(answer["bias"], "answer.bias", -MAX_WEIGHT, MAX_WEIGHT)
    if evidence:
        keys(evidence, "evidence", {"minimal"})
    same(table, "".join(["1" if value >= 0 else "0" for value in sums(weights, bias)]))
    claim = f"One threshold neuron computes this truth table of {counted(inputs, 'input')}"
    if not evidence:
        return claim + "."
    total = sum(map(abs, weights))
    check_minimal(inputs, table, total, evidence["minimal"])
    return f"{claim}, and none with integer weights of a smaller sum of |w| than {total} does."


def check_minimal(inputs: int, table: str, total: int, nodes: Any) -> None:
    """No integer weights with sum |w_i| < total compute the table.

    Integer weights compute it exactly when some integer t has w.x >= t on true rows, w.x <= t - 1
    on false ones. The nodes are a binary tree in preorder. A split {"input": i, "at_most": k} goes
    on with w_i <= k in its first subtree and w_i >= k + 1 in its second: every integer w falls in
    one. A leaf gives multipliers y >= 0 of true rows and z >= 0 of false rows with equal totals.
    Then t cancels, and with d = sum y x - sum z x every w that computes the table has

        sum |w_i| >= sum |w_i| - sum y (w.x - t) - sum z (t - 1 - w.x)
                   = sum (|w_i| - d_i w_i) + sum z.

    The least value of each |w_i| - d_i w_i over the leaf's interval stands at an end or at 0. If
    what comes out is above total - 1, the whole number sum |w_i| can't be below total.
    """
    if type(nodes) is not list:
        raise Malformed(at("evidence.minimal", f"expected a list, got {describe(nodes)}"))
    budget = MAX_MULTIPLIERS
    waiting: list[tuple[tuple[int | float, int | float], ...]] = [((-math.inf, math.inf),) * inputs]
    for index, node in enumerate(nodes):
        path = f"evidence.minimal[{index}]"
        if not waiting:
            raise Malformed(at(path, "the tree is complete before this node"))
        budget -= 1
        if budget < 0:
            raise Malformed(
                f"evidence.minimal: more than {MAX_MULTIPLIERS:,} multipliers and nodes"
            )
        box = waiting.pop()
        if type(node) is dict and "input" in node:
            keys(node, path, {"at_most", "input"})
            i = integer(node["input"], f"{path}.input", 1, inputs) - 1
            cut = integer(node["at_most"], f"{path}.at_most", -MAX_WEIGHT, MAX_WEIGHT)
            low, high = box[i]
            if not low <= cut < high:
                raise Malformed(at(path, f"at_most {cut} doesn't split {low}..{high}"))
            waiting.append((*box[:i], (cut + 1, high), *box[i + 1 :]))
            waiting.append((*box[:i], (low, cut), *box[i + 1 :]))
        else:
            keys(node, path, {"false", "true"})
            true = table_rows(table, "1", node["true"], f"{path}.true", multiplier)
            false = table_rows(table, "0", node["false"], f"{path}.false", multiplier)
            budget -= len(true) + len(false)
            if leaf_bound(true, false, box) <= total - 1:
                raise Refuted(at(path, f"its multipliers don't exclude a sum of |w| below {total}"))
    if waiting:
        raise Malformed("evidence.minimal: the tree is incomplete")


def leaf_bound(
    true: dict[int, Fraction],
    false: dict[int, Fraction],
    box: Sequence[tuple[int | float, int | float]],
) -> Fraction | float:
    """The lower bound on sum |w_i| that the multipliers prove for weights in the box."""
    scale = math.lcm(*(value.denominator for value in (*true.values(), *false.values())))
    ys = {row: int(value * scale) for row, value in true.items()}
    zs = {row: int(value * scale) for row, value in false.items()}
    if sum(ys.values()) != sum(zs.values()):
        raise Refuted("the multipliers of true rows and of false rows have different totals")
    bound = sum(zs.values())
    for (low, high), d in zip(box, weighted_sum(ys, zs, len(box)), strict=True):
        if (low == -math.inf and d < -scale) or (high == math.inf and d > scale):
            return -math.inf
        ends = [int(end) for end in (low, high) if math.isfinite(end)]
        ends += [0] if low <= 0 <= high else []
        bound += min(abs(end) * scale - d * end for end in ends)
    return Fraction(bound, scale)


def table_rows(
    table: str, symbol: str, value: Any, path: str, number: Callable[[Any, str, str], Number]
) -> dict[int, Number]:
    """An object {row: number}; each row must exist and have `symbol` in the table."""
    if type(value) is not dict:
        raise Malformed(at(path, f"expected an object, got {describe(value)}"))
    if len(value) > MAX_ROWS:
        raise Malformed(at(path, f"more than {MAX_ROWS:,} rows"))
    result = {}
    for key, item in value.items():
        row = int(key) if len(key) <= 9 and key.isascii() and key.isdigit() else -1
        if str(row) != key or row < 0:
            raise Malformed(at(path, f"{shorten(key)} is not a row number"))
        if row >= len(table):
            raise Refuted(at(path, f"the table has no row {row}"))
        if table[row] != symbol:
            raise Refuted(at(path, f"row {row} is {table[row]} in the table, not {symbol}"))
        result[row] = number(item, path, key)
    return result


def multiplicity(value: Any, path: str, row: str) -> int:
    """How many times a row is taken: a positive whole number."""
    if type(value) is int and 0 < value <= MAX_WEIGHT:
        return value
    return integer(value, f"{path}.{row}", 1, MAX_WEIGHT)


def multiplier(value: Any, path: str, row: str) -> Fraction:
    """How much a row counts: a fraction above 0."""
    result = fraction(value, f"{path}.{row}")
    if result <= 0:
        raise Malformed(at(f"{path}.{row}", f"expected a positive fraction, got {shorten(value)}"))
    return result


def weighted_sum(true: dict[int, int], false: dict[int, int], inputs: int) -> list[int]:
    """The sum of the true rows' inputs, x1 first, minus that of the false rows'."""
    result = [0] * inputs
    for rows, sign in ((true, 1), (false, -1)):
        for row, times in rows.items():
            i = inputs
            while row:
                i -= 1
                if row & 1:
                    result[i] += sign * times
                row >>= 1
    return result


def check_inseparable(given: Any, answer: Any, evidence: Any) -> str:
    """No neuron computes the table, by summing inequalities.

    Suppose w and b do. Take each true row as often as the evidence says and sum w.x + b >= 0; take
    the false rows likewise and sum w.x + b < 0. Both sides have equally many rows and equal sums of
    inputs, so both sums are the same number: at least 0, and below 0. That can't be.
    """
    inputs, table = truth_table(given)
    keys(answer, "answer", set())
    keys(evidence, "evidence", {"false", "true"})
    true = table_rows(table, "1", evidence["true"], "evidence.true", multiplicity)
    false = table_rows(table, "0", evidence["false"], "evidence.false", multiplicity)
    if not true:
        raise Refuted("evidence: without rows there is no contradiction")
    if sum(true.values()) != sum(false.values()):
        raise Refuted("evidence: the true rows and the false rows have different totals")
    difference = weighted_sum(true, false, inputs)
    if any(difference):
        index = next(i for i, value in enumerate(difference) if value)
        raise Refuted(f"evidence: the two sums differ in input {index + 1}")
    return f"No threshold neuron computes this truth table of {counted(inputs, 'input')}."


def check_network(given: Any, answer: Any, evidence: Any) -> str:
    """A layer of threshold neurons and one on top of it compute the table: every row is computed.

    With evidence, also that fewer hidden neurons can't: see `check_fewest`.
    """
    inputs, table = truth_table(given)
    keys(answer, "answer", {"hidden", "output"})
    hidden = answer["hidden"]
    if type(hidden) is not list:
        raise Malformed(f"answer.hidden: expected a list, got {describe(hidden)}")
    if (len(hidden) + 1) << inputs > MAX_EVALUATIONS:
        raise Malformed(f"answer.hidden: more than {MAX_EVALUATIONS:,} rows times neurons")
    layer = [neuron(item, f"answer.hidden[{i}]", inputs) for i, item in enumerate(hidden)]
    weights, bias = neuron(answer["output"], "answer.output", len(hidden))
    outputs = [bias] * len(table)
    for weight, (w, b) in zip(weights, layer, strict=True):
        outputs = [y + weight if x >= 0 else y for x, y in zip(sums(w, b), outputs, strict=True)]
    same(table, "".join(["1" if value >= 0 else "0" for value in outputs]))
    size = len(hidden)
    claim = f"A network of {size} hidden threshold neuron{'' if size == 1 else 's'} and one on top"
    claim += f" computes this truth table of {counted(inputs, 'input')}"
    if not evidence:
        return claim + "."
    check_fewest(table, inputs, size, evidence)
    return claim + ", and no network with fewer hidden neurons does."


def neuron(value: Any, path: str, inputs: int) -> tuple[list[int], int]:
    """The weights and the bias of one neuron of a network."""
    keys(value, path, {"bias", "weights"})
    weights = integers(value["weights"], f"{path}.weights", inputs, MAX_WEIGHT)
    return weights, integer(value["bias"], f"{path}.bias", -MAX_WEIGHT, MAX_WEIGHT)


def check_fewest(table: str, inputs: int, size: int, evidence: Any) -> None:
    """No network with fewer than `size` hidden neurons computes the table (size at most 3).

    With none, the output is constant. With one, it is constant, that neuron or its negation, and
    the negation of a neuron is a neuron: a refutation of one neuron refutes it. With two, a neuron
    on top of two bits is an "and" or an "or" of them or their negations: so the table is A and B or
    A or B for two neurons A, B. Take "and": A and B accept all true rows, and each false row is
    rejected by one of them. If a + b = u + v for false rows a, b and true rows u, v, no neuron that
    accepts u and v rejects both a and b (`check_inseparable`); so one of a, b goes to A and the
    other to B. Around a cycle of an odd number of such pairs that can't be kept up. "Or" is the
    same with true and false exchanged.
    """
    keys(evidence, "evidence", {"fewest"})
    proof = evidence["fewest"]
    if size == 2:
        given = {"inputs": inputs, "table": table}
        check_inseparable(given, {}, proof)
    elif size == 3:
        keys(proof, "evidence.fewest", {"and", "or"})
        odd_cycle(table, proof["and"], "0", "evidence.fewest.and")
        odd_cycle(table, proof["or"], "1", "evidence.fewest.or")
    else:
        keys(proof, "evidence.fewest", set())
        if size > 3:
            raise Refuted("evidence.fewest: there is no proof here for more than 3 hidden neurons")
        if size == 1 and not {"0", "1"} <= set(table):
            raise Refuted("evidence.fewest: a constant table needs no hidden neuron")


def odd_cycle(table: str, value: Any, symbol: str, path: str) -> None:
    """An odd number of [a, u, v]: a + (the next a) = u + v; each a is `symbol`, u and v are not."""
    if type(value) is not list or len(value) % 2 == 0 or len(value) > MAX_ROWS:
        raise Malformed(at(path, f"expected a list of odd length up to {MAX_ROWS:,}"))
    for k, item in enumerate(value):
        for row in integers(item, f"{path}[{k}]", 3, MAX_WEIGHT):
            integer(row, f"{path}[{k}]", 0, len(table) - 1)
    for k, (a, u, v) in enumerate(value):
        b = value[(k + 1) % len(value)][0]
        other = "1" if symbol == "0" else "0"
        if table[a] != symbol or table[u] != other or table[v] != other:
            raise Refuted(at(f"{path}[{k}]", f"the rows aren't {symbol}, {other}, {other}"))
        if (a ^ b, a & b) != (u ^ v, u & v):
            raise Refuted(at(f"{path}[{k}]", f"row {a} + row {b} isn't row {u} + row {v}"))


# --- automata in the gates of an LSTM ------------------------------------------------------------
# On input x an LSTM goes from h, C to C' = f C + i c and h' = o tanh(C'), where f, i and o are
# sigmoid(W [h, x] + b) and c is tanh(W [h, x] + b), each with its own W and b. Its gates are soft,
# or hard: sigmoid(z) is 1 if z > 0 and else 0, tanh(z) is the sign of z. It accepts a string when
# the readout w.h + b is at least 0 after the last symbol. Sums and products here are exact; the
# exponential is rounded outward. A pair (low, high) stands for all real numbers between.

GATES = "fiCo"


class Automaton(NamedTuple):
    """A finite automaton: `moves[state][symbol]` is the next state."""

    symbols: list[str]
    start: str
    accepting: set[str]
    moves: dict[str, dict[str, str]]


class Cells(NamedTuple):
    """The LSTM by columns: the biases of each gate, its weights (unit, input, weight) on x, the
    symbols' x, and the units that read unit j, with their weights, `readers[j][unit][gate]`.
    """

    biases: list[list[int]]
    from_x: list[list[tuple[int, int, int]]]
    codes: list[list[int]]
    readers: list[dict[int, list[int]]]


class Box(NamedTuple):
    """Where h and C are while the automaton is in a state; units not named are in the rest."""

    h: dict[int, Interval]
    C: dict[int, Interval]


class Budget:
    """Work that may still be done, in sums of small numbers; `price` is what one of these costs."""

    def __init__(self, values: int, bits: int) -> None:
        self.total = self.left = LEAST_WORK + WORK_PER_VALUE * values
        self.price = 1 + bits // 64

    def allow(self, sums: int, more: int = 0) -> None:
        """Raise if so many sums, and other work, would be too much."""
        if sums * self.price + more > self.left:
            raise Malformed(f"more than {self.total:,} operations to check for a file of its size")

    def spend(self, sums: int, more: int = 0) -> None:
        """Count some sums before they are done, and other work; raises when it is too much."""
        self.allow(sums, more)
        self.left -= sums * self.price + more


def survey(*parts: Any) -> tuple[int, int]:
    """How many values there are, and a common denominator of all numbers."""
    count, twos, common, waiting = 0, 1, 1, list(parts)
    while waiting:
        value = waiting.pop()
        count += 1
        if type(value) is dict:
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)
        elif type(value) is float:
            twos = max(twos, value.as_integer_ratio()[1])
        elif type(value) is str and (match := FRACTION.fullmatch(value)) and match[2]:
            common = math.lcm(common, int(match[2]) or 1)
            if common > 10**MAX_FRACTION_DIGITS:
                raise Malformed("the fractions have no common denominator of at most 60 digits")
    return count, math.lcm(twos, common)


def check_automaton(
    given: Any, answer: Any, evidence: Any, tell: Callable[[int, int], object] | None = None
) -> str:
    """The LSTM accepts the strings that the automaton accepts, by induction over their length.

    The evidence gives states of the automaton boxes: intervals in which each h and each C lies. One
    of the start's contains h0 and C0. From each box of a state, each symbol's step leads all of it
    into one box of the next state; so that state has one too, and after any string (h, C) lies in a
    box of the automaton's state. On boxes of accepting states the readout is at least 0, on others
    below. A state without boxes is never reached.

    In soft gates every image and every readout keeps `margin` from where it would be wrong. So the
    induction also stands where each C', h' and readout is computed with an error of at most that.

    Most units are in the rest before and after. What such a unit does while all of h is in the rest
    is computed once a symbol; only units that read an h outside it, or whose C is, do otherwise.

    `tell` is called with how many steps of how many have been seen.
    """
    dfa = automaton(given)
    names = {f"W_{g}" for g in GATES} | {f"b_{g}" for g in GATES}
    keys(answer, "answer", names | {"gates", "input_codes", "h0", "C0", "readout"})
    if answer["gates"] not in ("hard", "soft"):
        raise Malformed(f'answer.gates: expected "hard" or "soft", got {describe(answer["gates"])}')
    hard = answer["gates"] == "hard"
    keys(evidence, "evidence", {"rest", "boxes"} if hard else {"rest", "boxes", "margin"})
    values, unit = survey(answer, evidence)
    margin = 0 if hard else exact(evidence["margin"], "evidence.margin", unit)
    if margin < 0:
        raise Malformed("evidence.margin: below 0")
    budget = Budget(values + len(dfa.moves) * (1 + len(dfa.symbols)), unit.bit_length())
    hidden = len(answer["h0"]) if type(answer["h0"]) is list else 0
    cells = lstm_cells(answer, dfa.symbols, hidden, unit)
    rest, boxes = read_boxes(evidence, dfa, hidden, unit)
    check_start(answer, boxes.get(dfa.start, []), rest, hidden, unit, budget)
    check_readout(answer["readout"], dfa, boxes, rest, hidden, unit, margin)
    step = HardCell(unit) if hard else SoftCell(unit, margin, budget)
    check_steps(dfa, cells, boxes, rest, step, budget, tell)
    units, states = counted(hidden, "hidden unit"), counted(len(dfa.moves), "state")
    claim = f"This LSTM of {units} with {answer['gates']} gates accepts exactly those strings, of "
    claim += f"any length, that this automaton of {states} accepts"
    if not hard:
        claim += (
            ", in real arithmetic and in any that computes each C, h and readout from the h and C "
        )
        claim += f"before it with an error of at most {Fraction(margin, unit)}"
    return claim + "."


def automaton(given: Any) -> Automaton:
    """The automaton of the question: complete, and without names it doesn't define."""
    keys(given, "given", {"alphabet", "states", "start", "accepting", "transitions"})
    symbols = distinct(given["alphabet"], "given.alphabet")
    known = set(distinct(given["states"], "given.states"))
    accepting = set(distinct(given["accepting"], "given.accepting"))
    moves = given["transitions"]
    keys(moves, "given.transitions", known)
    if type(given["start"]) is not str or given["start"] not in known:
        raise Malformed(f"given.start: {describe(given['start'])} isn't a state")
    if not accepting <= known:
        raise Malformed(f"given.accepting: {shorten(min(accepting - known))} isn't a state")
    expected = set(symbols)
    for state, row in moves.items():
        keys(row, f"given.transitions.{state}", expected)
        for target in row.values():
            if type(target) is not str or target not in known:
                path = f"given.transitions.{state}"
                raise Malformed(at(path, f"{describe(target)} isn't a state"))
    return Automaton(symbols, given["start"], accepting, moves)


def distinct(value: Any, path: str) -> list[str]:
    """A list of different texts."""
    if type(value) is not list or not all(type(item) is str for item in value):
        raise Malformed(at(path, "expected a list of texts"))
    if len(set(value)) < len(value):
        raise Malformed(at(path, "a name appears more than once"))
    return value


def exact(value: Any, path: str, unit: int) -> int:
    """An integer, a fraction as text, or a JSON number for the binary64 it is, in units of 1/unit:
    not beyond 2^62, and not finer than 60 digits above and below the line can tell.
    """
    if type(value) is int:
        if -MAX_WEIGHT <= value <= MAX_WEIGHT:
            return value * unit
    else:
        result = Fraction(value) if type(value) is float else fraction(value, path)
        if abs(result) <= MAX_WEIGHT and result.denominator <= 10**MAX_FRACTION_DIGITS:
            return result.numerator * (unit // result.denominator)
    raise Malformed(at(path, f"too large or too fine a number: {describe(value)}"))


def exacts(value: Any, path: str, length: int, unit: int) -> list[int]:
    """A list of `length` exact numbers."""
    if type(value) is not list or len(value) != length:
        raise Malformed(at(path, f"expected a list of {length} numbers"))
    return [exact(item, path, unit) for item in value]


def interval(low: Any, high: Any, path: str, unit: int) -> Interval:
    """Two exact numbers, the smaller first."""
    result = exact(low, path, unit), exact(high, path, unit)
    if result[0] > result[1]:
        raise Malformed(at(path, "the low end lies above the high end"))
    return result


def lstm_cells(answer: Any, symbols: list[str], hidden: int, unit: int) -> Cells:
    """The weights by columns, those on h apart from those on x; biases in units of 1/unit^2."""
    keys(answer["input_codes"], "answer.input_codes", set(symbols))
    first: Any = next(iter(answer["input_codes"].values()), [])
    size = len(first) if type(first) is list else 0
    codes = [exacts(answer["input_codes"][a], "answer.input_codes", size, unit) for a in symbols]
    cells = Cells([], [], codes, [{} for _ in range(hidden)])
    for gate, name in enumerate(GATES):
        biases = exacts(answer[f"b_{name}"], f"answer.b_{name}", hidden, unit)
        cells.biases.append([bias * unit for bias in biases])
        entries = sparse(answer[f"W_{name}"], f"answer.W_{name}", hidden, hidden + size, unit)
        cells.from_x.append([(q, j - hidden, w) for q, j, w in entries if j >= hidden])
        for row, column, weight in entries:
            if column < hidden:
                cells.readers[column].setdefault(row, [0, 0, 0, 0])[gate] = weight
    return cells


def symbol_sums(cells: Cells, symbol: int) -> list[list[int]]:
    """What a symbol and the bias put into each gate of each unit."""
    code = cells.codes[symbol]
    sums = [list(bias) for bias in cells.biases]
    for total, entries in zip(sums, cells.from_x, strict=True):
        for unit, j, weight in entries:
            total[unit] += weight * code[j]
    return sums


def sparse(value: Any, path: str, rows: int, columns: int, unit: int) -> list[tuple[int, int, int]]:
    """The entries (row, column, number) of a matrix; no place twice, 0 where there is none."""
    keys(value, path, {"shape", "entries"})
    if integers(value["shape"], f"{path}.shape", 2, MAX_WEIGHT) != [rows, columns]:
        raise Malformed(at(f"{path}.shape", f"expected {[rows, columns]}"))
    if type(value["entries"]) is not list:
        raise Malformed(at(f"{path}.entries", "expected a list"))
    result, seen = [], set()
    for entry in value["entries"]:
        if type(entry) is not list or len(entry) != 3:
            raise Malformed(at(f"{path}.entries", "expected lists of [row, column, value]"))
        row = integer(entry[0], f"{path}.entries", 0, rows - 1)
        column = integer(entry[1], f"{path}.entries", 0, columns - 1)
        result.append((row, column, exact(entry[2], f"{path}.entries", unit)))
        seen.add(row * columns + column)
    if len(seen) < len(result):
        raise Malformed(at(f"{path}.entries", "a place appears more than once"))
    return result


def read_boxes(
    evidence: Any, dfa: Automaton, hidden: int, unit: int
) -> tuple[Box, dict[str, list[Box]]]:
    """The rest's intervals, as those of a unit -1, and the boxes of the states that have any."""
    keys(evidence["rest"], "evidence.rest", {"h", "C"})
    ends = [evidence["rest"][part] for part in "hC"]
    if not all(type(pair) is list and len(pair) == 2 for pair in ends):
        raise Malformed("evidence.rest: expected [low, high] for h and for C")
    rest = Box(*({-1: interval(pair[0], pair[1], "evidence.rest", unit)} for pair in ends))
    if type(evidence["boxes"]) is not dict:
        raise Malformed("evidence.boxes: expected an object")
    boxes = {}
    for state, found in evidence["boxes"].items():
        if state not in dfa.moves:
            raise Malformed(f"evidence.boxes: {shorten(state)} isn't a state")
        if type(found) is not list:
            raise Malformed("evidence.boxes: expected a list of boxes for a state")
        path = f"evidence.boxes.{state}"
        boxes[state] = [read_box(item, path, hidden, unit) for item in found]
    return rest, boxes


def read_box(value: Any, path: str, hidden: int, unit: int) -> Box:
    """One box: for h and for C a list of [unit, low, high]."""
    keys(value, path, {"h", "C"})
    parts = []
    for part in ("h", "C"):
        if type(value[part]) is not list:
            raise Malformed(at(path, "expected a list of [unit, low, high]"))
        units = {}
        for entry in value[part]:
            if type(entry) is not list or len(entry) != 3:
                raise Malformed(at(path, "expected lists of [unit, low, high]"))
            place = integer(entry[0], path, 0, hidden - 1)
            units[place] = interval(entry[1], entry[2], path, unit)
        if len(units) < len(value[part]):
            raise Malformed(at(path, "a unit appears more than once"))
        parts.append(units)
    return Box(*parts)


def inside(inner: Interval, outer: Interval) -> bool:
    """Whether all of `inner` lies in `outer`."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def times(weight: int, factor: Interval) -> Interval:
    """A number times an interval."""
    low, high = weight * factor[0], weight * factor[1]
    return (low, high) if weight >= 0 else (high, low)


def product(x: Interval, y: Interval) -> Interval:
    """All products of a number from each."""
    if x[0] == x[1]:
        return times(x[0], y)
    corners = x[0] * y[0], x[0] * y[1], x[1] * y[0], x[1] * y[1]
    return min(corners), max(corners)


def replaced(total: Interval, weight: int, old: Interval, new: Interval) -> Interval:
    """A sum one of whose terms is weight times `old`, with `new` in its place."""
    (a, b), (c, d) = times(weight, old), times(weight, new)
    return total[0] - a + c, total[1] - b + d


def check_start(
    answer: Any, boxes: list[Box], rest: Box, hidden: int, unit: int, budget: Budget
) -> None:
    """h0 and C0 lie in one of the boxes of the start."""
    h = exacts(answer["h0"], "answer.h0", hidden, unit)
    C = exacts(answer["C0"], "answer.C0", hidden, unit)
    budget.spend(hidden * len(boxes))
    for box in boxes:
        if all(
            inside((h[q], h[q]), box.h.get(q, rest.h[-1]))
            and inside((C[q], C[q]), box.C.get(q, rest.C[-1]))
            for q in range(hidden)
        ):
            return
    raise Refuted("evidence.boxes: h0 and C0 lie in none of the start's boxes")


def check_readout(
    readout: Any,
    dfa: Automaton,
    boxes: dict[str, list[Box]],
    rest: Box,
    hidden: int,
    unit: int,
    margin: int,
) -> None:
    """The readout is at least 0 on boxes of accepting states and below 0 on the others."""
    keys(readout, "answer.readout", {"weights", "bias"})
    weights = exacts(readout["weights"], "answer.readout.weights", hidden, unit)
    bias = exact(readout["bias"], "answer.readout.bias", unit) * unit
    margin *= unit
    ends = [times(weight, rest.h[-1]) for weight in weights]
    common = bias + sum(end[0] for end in ends), bias + sum(end[1] for end in ends)
    for state, found in boxes.items():
        for box in found:
            value = common
            for q, there in box.h.items():
                value = replaced(value, weights[q], rest.h[-1], there)
            if not (value[0] >= margin if state in dfa.accepting else value[1] < -margin):
                word = "accept" if state in dfa.accepting else "reject"
                raise Refuted(f"state {shorten(state)}: the readout doesn't {word} all of a box")


def reading(cells: Cells, box: Box) -> set[int]:
    """The units whose step isn't that of a unit at rest because of the box."""
    return set().union(box.C, *(cells.readers[j] for j in box.h))


def affordable_steps(
    cells: Cells, boxes: dict[str, list[Box]], symbols: int, budget: Budget
) -> None:
    """Refuse before the first step what the steps will need at least."""
    size = len(cells.readers)
    sums = 12 * size + sum(len(entries) for entries in cells.from_x)
    more = 0
    for box in (box for found in boxes.values() for box in found):
        around = 1 + len(box.C) + sum(1 + len(cells.readers[j]) for j in box.h)
        budget.spend(around)
        more += around
        sums += (8 + 4 * len(box.h)) * len(reading(cells, box))
    budget.allow(symbols * sums, symbols * more)


def check_steps(
    dfa: Automaton,
    cells: Cells,
    boxes: dict[str, list[Box]],
    rest: Box,
    cell: HardCell | SoftCell,
    budget: Budget,
    tell: Callable[[int, int], object] | None,
) -> None:
    """Each symbol leads from each box of a state into one box of the next state."""
    idle = Box({}, {})
    at_rest = resting_sums(cells, rest)
    affordable_steps(cells, boxes, len(dfa.symbols), budget)
    done, total = 0, len(dfa.symbols) * len(boxes)
    for k, symbol in enumerate(dfa.symbols):
        budget.spend(12 * len(at_rest) + sum(len(entries) for entries in cells.from_x))
        inputs = symbol_sums(cells, k)
        sums = [
            [(low + x[q], high + x[q]) for (low, high), x in zip(ends, inputs, strict=True)]
            for q, ends in enumerate(at_rest)
        ]

        def step(q: int, box: Box, sums: list[list[Interval]] = sums) -> tuple[Interval, Interval]:
            z = sums[q]
            for j, there in box.h.items():
                weights = cells.readers[j].get(q)
                if weights is not None:
                    z = [
                        replaced(s, w, rest.h[-1], there) if w else s
                        for s, w in zip(z, weights, strict=True)
                    ]
            return cell.step(z, box.C.get(q, rest.C[-1]))

        resting = [step(q, idle) for q in range(len(at_rest))]
        waking = {
            q
            for q, (h, C) in enumerate(resting)
            if not (inside(h, rest.h[-1]) and inside(C, rest.C[-1]))
        }
        for state, found in boxes.items():
            target = dfa.moves[state][symbol]
            for box in found:
                budget.spend(1 + len(box.C) + sum(1 + len(cells.readers[j]) for j in box.h))
                units = reading(cells, box) | waking
                budget.spend((8 + 4 * len(box.h)) * len(units))
                image = {q: step(q, box) for q in units}
                for goal in boxes.get(target, []):
                    budget.spend(1 + len(image) + len(goal.h) + len(goal.C))
                    if all(
                        inside(h, goal.h.get(q, rest.h[-1]))
                        and inside(C, goal.C.get(q, rest.C[-1]))
                        for q in image.keys() | goal.h.keys() | goal.C.keys()
                        for h, C in (image.get(q) or resting[q],)
                    ):
                        break
                else:
                    raise Refuted(
                        f"state {shorten(state)}, symbol {shorten(symbol)}: the step doesn't lead "
                        f"into a box of state {shorten(target)}"
                    )
            done += 1
            if tell is not None and (done == total or done % (1 + total // 100) == 0):
                tell(done, total)


def resting_sums(cells: Cells, rest: Box) -> list[list[Interval]]:
    """What all of h in the rest adds up to at the gates of each unit."""
    sums: list[list[Interval]] = [[(0, 0)] * 4 for _ in cells.readers]
    if rest.h[-1] == (0, 0):
        return sums
    for readers in cells.readers:
        for q, weights in readers.items():
            sums[q] = [
                (low + more[0], high + more[1])
                for (low, high), w in zip(sums[q], weights, strict=True)
                for more in (times(w, rest.h[-1]),)
            ]
    return sums


class HardCell:
    """A step of a unit with hard gates, exactly: only the signs of its sums matter."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def step(self, z: list[Interval], C: Interval) -> tuple[Interval, Interval]:
        """The unit's h' and C', from what its four gates sum up to and its C."""
        f, i, o = ((int(low > 0), int(high > 0)) for low, high in (z[0], z[1], z[3]))
        kept, new = product(f, C), product(i, self.sign(z[2]))
        C = kept[0] + new[0] * self.unit, kept[1] + new[1] * self.unit
        return times(self.unit, product(o, self.sign(C))), C

    @staticmethod
    def sign(z: Interval) -> Interval:
        """0 at 0; it grows with z, so the ends of the interval give the ends."""
        return (z[0] > 0) - (z[0] < 0), (z[1] > 0) - (z[1] < 0)


class SoftCell:
    """A step of a unit with soft gates, all of it widened by the margin and rounded outward.

    The gates' sums are rounded outward to whole multiples of 1/64 first. Saturated gates lose next
    to nothing by that, and few different C' are left: each is computed once.
    """

    def __init__(self, unit: int, margin: int, budget: Budget) -> None:
        self.unit, self.margin, self.budget = unit, margin, budget
        self.known: dict[tuple[int, ...], tuple[Interval, Interval]] = {}

    def step(self, z: list[Interval], C: Interval) -> tuple[Interval, Interval]:
        """The unit's h' and C', from what its four gates sum up to and its C."""
        square = self.unit * self.unit
        f, i, c, o = [(low * COARSE // square, -(-high * COARSE // square)) for low, high in z]
        key = (*f, *i, *c, *C)
        found = self.known.get(key)
        if found is None:
            self.budget.spend(0, NEW_CELL)
            if len(self.known) == KNOWN_CELLS:
                self.known.clear()
            found = self.known[key] = self.cell(f, i, c, C)
        new, tanh = found
        h = product(coarse_sigmoid(o), tanh)
        return self.widened((h[0] * self.unit, h[1] * self.unit), ONE * ONE), new

    def cell(self, f: Interval, i: Interval, c: Interval, C: Interval) -> tuple[Interval, Interval]:
        """C', widened, and tanh(C') in parts of ONE, from sums in units of 1/64."""
        ends = coarse_sigmoid((2 * c[0], 2 * c[1]))
        tanh = 2 * ends[0] - ONE, 2 * ends[1] - ONE  # tanh(z) = 2 sigmoid(2 z) - 1
        kept, new = product(coarse_sigmoid(f), C), product(coarse_sigmoid(i), tanh)
        low, high = (a * ONE + b * self.unit for a, b in zip(kept, new, strict=True))
        below, scale = ONE * ONE * self.unit, 2 * FINE
        tanh = (
            2 * sigmoid_bound(low * scale // below, True) - ONE,
            2 * sigmoid_bound(-(-high * scale // below), False) - ONE,
        )
        return self.widened((low, high), ONE * ONE), tanh

    def widened(self, x: Interval, below: int) -> Interval:
        """An interval in units of 1/(unit below) in those of 1/unit, and the margin around it."""
        return x[0] // below - self.margin, -(-x[1] // below) + self.margin


COARSE, FINE = 2**6, 2**64  # sums of gates, and 2 C', are rounded to whole parts of these
ONE = 2**100  # what a sigmoid is counted in parts of
DOWN = decimal.Context(prec=32, rounding=decimal.ROUND_FLOOR)
UP = decimal.Context(prec=32, rounding=decimal.ROUND_CEILING)


@lru_cache(maxsize=2**16)
def coarse_sigmoid(z: Interval) -> Interval:
    """All of 2^100 sigmoid(z), for an interval in units of 1/64: it grows with z."""
    step = FINE // COARSE
    return sigmoid_bound(z[0] * step, True), sigmoid_bound(z[1] * step, False)


def sigmoid_bound(z: int, below: bool) -> int:
    """A whole number at most 2^100 sigmoid(z / 2^64), or at least; `decimal` rounds exp to the
    nearest (IBM's general decimal arithmetic), so the next number beyond bounds it. Beyond 200 the
    end of (0, 1) will do.
    """
    most = 200 * FINE
    if not -most <= z <= most and (z < 0) == below:
        return 0 if below else ONE
    z = max(-most, min(z, most))
    out, against = (DOWN, UP) if below else (UP, DOWN)
    power = against.exp(against.divide(-z, FINE))
    power = UP.next_plus(power) if below else DOWN.next_minus(power)
    above, under = out.divide(1, against.add(1, power)).as_integer_ratio()
    return above * ONE // under if below else -(-above * ONE // under)


# --- attention on graphs -------------------------------------------------------------------------
# Node j's new state is, head by head, the sum of V h_i over the edges i -> j, weighted by the
# softmax of their scores Q h_j . K h_i, divided by sqrt(d) where "scaled"; the heads side by side.


def check_attention(given: Any, answer: Any, evidence: Any) -> str:
    """Message passing along the edges gives these states: it is done again with 100 digits.

    Numbers are the binary64 they parse to, at most 10^6, and no product of rows has more than 64
    terms, so a score is below 10^30 and off by less than 10^-65. A weight is then off by less than
    10^-64 of itself; one that is left out, its score 1,000 below the largest, is below 10^-400. A
    new state is a mean of numbers below 10^14: off by less than 10^-40, which is taken from what is
    allowed.
    A node without edges gets 0; an edge listed twice counts twice.
    """
    keys(given, "given", {"edges", "h", "heads", "scaled"})
    keys(answer, "answer", {"h", "within"})
    keys(evidence, "evidence", set())
    if type(given["scaled"]) is not bool:
        raise Malformed(
            at("given.scaled", f"expected true or false, got {describe(given['scaled'])}")
        )
    h = matrix_of(given["h"], "given.h")
    edges = sized(given["edges"], "given.edges", 0, MAX_EDGES)
    for i, edge in enumerate(edges):
        for node in integers(edge, f"given.edges[{i}]", 2, len(h)):
            integer(node, f"given.edges[{i}]", 0, len(h) - 1)
    heads = sized(given["heads"], "given.heads", 1, MAX_FEATURES)
    new: list[list[decimal.Decimal]] = [[] for _ in h]
    budget = MAX_PRODUCTS
    with decimal.localcontext(decimal.Context(prec=100)):
        for i, head in enumerate(heads):
            keys(head, f"given.heads[{i}]", {"K", "Q", "V"})
            Q, K, V = (matrix_of(head[name], f"given.heads[{i}].{name}") for name in "QKV")
            if {len(row) for row in Q + K + V} != {len(h[0])} or len(Q) != len(K):
                raise Malformed(at(f"given.heads[{i}]", "Q, K and V don't fit h and each other"))
            budget -= len(h) * len(h[0]) * (len(Q) + len(K) + len(V))
            budget -= len(edges) * (len(Q) + len(V) + 50)  # an exponential is worth 50 products
            if budget < 0:
                raise Malformed(f"given: more than {MAX_PRODUCTS:,} products")
            one_head(h, edges, Q, K, V, given["scaled"], new)
        states = matrix_of(answer["h"], "answer.h", len(new[0]))
        (allowed,) = matrix_of([[answer["within"]]], "answer.within")[0]
        if not decimal.Decimal("1e-30") <= allowed <= 1:
            raise Malformed("answer.within: expected 1e-30..1")
        if len(states) != len(h):
            raise Malformed(at("answer.h", f"expected {len(h)} rows, got {len(states)}"))
        for node, (said, found) in enumerate(zip(states, new, strict=True)):
            for x, y in zip(said, found, strict=True):
                if abs(x - y) > allowed - decimal.Decimal("1e-40"):
                    raise Refuted(f"answer.h[{node}]: off by {abs(x - y):.2e}")
    loops = sum(source == target for source, target in edges)
    scores = "scores divided by sqrt(d)" if given["scaled"] else "scores not divided by sqrt(d)"
    return (
        f"Softmax message passing with {counted(len(heads), 'head')} and {scores}, along "
        f"{counted(len(edges), 'directed edge')} of {counted(len(h), 'node')}, {loops} of them "
        f"from a node to itself, gives these states to within {float(answer['within'])!r}."
    )


def one_head(
    h: list[list[decimal.Decimal]],
    edges: list[list[int]],
    Q: list[list[decimal.Decimal]],
    K: list[list[decimal.Decimal]],
    V: list[list[decimal.Decimal]],
    scaled: bool,
    new: list[list[decimal.Decimal]],
) -> None:
    """Append what each node hears by this head to its new state."""
    q, k, v = ([[dot(row, x) for row in matrix] for x in h] for matrix in (Q, K, V))
    divisor = decimal.Decimal(len(Q)).sqrt() if scaled else decimal.Decimal(1)
    heard: list[list[tuple[decimal.Decimal, int]]] = [[] for _ in h]
    for source, target in edges:
        heard[target].append((dot(q[target], k[source]) / divisor, source))
    for state, scores in zip(new, heard, strict=True):
        largest = max((score for score, _ in scores), default=decimal.Decimal(0))
        powers = [
            (s - largest).exp() if s - largest > -1000 else decimal.Decimal(0) for s, _ in scores
        ]
        total = sum(powers, decimal.Decimal(0))
        for i in range(len(V)):
            part = dot(powers, [v[source][i] for _, source in scores])
            state.append(part / total if scores else decimal.Decimal(0))


def dot(left: list[decimal.Decimal], right: list[decimal.Decimal]) -> decimal.Decimal:
    """The sum of the products."""
    return sum((x * y for x, y in zip(left, right, strict=True)), decimal.Decimal(0))


def sized(value: Any, path: str, low: int, high: int) -> list[Any]:
    """A list of low..high entries."""
    if type(value) is not list:
        raise Malformed(at(path, f"expected a list, got {describe(value)}"))
    if not low <= len(value) <= high:
        raise Malformed(at(path, f"expected {low}..{high} entries, got {len(value)}"))
    return value


def matrix_of(value: Any, path: str, width: int | None = None) -> list[list[decimal.Decimal]]:
    """A matrix of numbers as decimals, exactly; 1 to 64 rows and columns."""
    rows: list[list[decimal.Decimal]] = []
    for i, row in enumerate(sized(value, path, 1, MAX_FEATURES)):
        row = sized(row, f"{path}[{i}]", 1, MAX_FEATURES * MAX_FEATURES)
        if len(row) != (width or (len(rows[0]) if rows else len(row))):
            raise Malformed(at(f"{path}[{i}]", f"{len(row)} numbers, not as many as expected"))
        if width is None and len(row) > MAX_FEATURES:
            raise Malformed(at(f"{path}[{i}]", f"more than {MAX_FEATURES} numbers"))
        for number in row:
            if type(number) not in (int, float) or not -(10**6) <= number <= 10**6:
                raise Malformed(
                    at(f"{path}[{i}]", f"expected numbers up to 10^6, got {describe(number)}")
                )
        rows.append([decimal.Decimal(number) for number in row])
    return rows


# --- evaluation ----------------------------------------------------------------------------------


def check_exact_match(given: Any, answer: Any, evidence: Any) -> str:
    """So many of the predictions are, letter for letter, what they should be: they are counted.

    What they should be stands in the file as references, or is worked out here from the sources
    where the task has a rule (`pig_latin`). What made the predictions isn't known to this file.
    """
    by_rule = "task" in given
    extra = set(given) & {"weights"}
    keys(given, "given", extra | {"sources", "task" if by_rule else "references"})
    sources = texts(given["sources"], "given.sources")
    if by_rule:
        if given["task"] != "piglatin":
            raise Malformed('given.task: the only task with a rule here is "piglatin"')
        references = [pig_latin(s, f"given.sources[{i}]") for i, s in enumerate(sources)]
    else:
        references = texts(given["references"], "given.references", len(sources))
    keys(evidence, "evidence", {"predictions"})
    predictions = texts(evidence["predictions"], "evidence.predictions", len(sources))
    keys(answer, "answer", {"matches", "of"})
    claimed = integer(answer["matches"], "answer.matches", 0, MAX_VALUES)
    of = integer(answer["of"], "answer.of", 0, MAX_VALUES)
    if of != len(sources):
        raise Refuted(f"answer.of: says {of}; there are {len(sources)} sources")
    matches = sum(map(str.__eq__, predictions, references))
    if claimed != matches:
        raise Refuted(f"answer.matches: says {claimed}; {matches} of the predictions match")
    what = "the Pig Latin of their sources" if by_rule else "their references"
    return f"{matches} of {of} predictions{said_of(given)} are letter for letter {what}."


def said_of(given: Any) -> str:
    """Words on the format of the weights that a model had, where it wasn't float32.

    They repeat what the file says: what made its numbers isn't known here.
    """
    if "weights" not in given:
        return ""
    if type(given["weights"]) is not str or given["weights"] not in WEIGHTS:
        raise Malformed(f"given.weights: expected one of {', '.join(WEIGHTS)}, or nothing")
    return f", said to be of {given['weights']} weights,"


def texts(value: Any, path: str, length: int | None = None) -> list[str]:
    """A list of texts, as many as there should be; together within the budget of letters."""
    if type(value) is not list or not value:
        raise Malformed(at(path, "expected a list of at least one text"))
    if length is not None and len(value) != length:
        raise Malformed(at(path, f"expected {length} entries, got {len(value)}"))
    for index, item in enumerate(value):
        if type(item) is not str:
            raise Malformed(at(f"{path}[{index}]", f"expected text, got {describe(item)}"))
    if sum(map(len, value)) > MAX_LETTERS:
        raise Malformed(at(path, f"more than {MAX_LETTERS:,} letters"))
    return value


PIG_LATIN_WORD = re.compile("(y?(?:qu|[bcdfghjklmnpqrstvwxz])*+)([a-z]*)")


def pig_latin(sentence: str, path: str) -> str:
    """Each word's leading consonants go behind a hyphen with "ay"; a word without gets "way".

    "qu" goes together; y is a consonant where it begins the word, a vowel elsewhere.
    """
    if not re.fullmatch("[a-z]++(?: [a-z]++)*+", sentence):
        raise Malformed(at(path, "expected words of a to z with one space between them"))
    words = [PIG_LATIN_WORD.fullmatch(word) for word in sentence.split(" ")]
    return " ".join([f"{m[2]}-{m[1] or 'w'}ay" for m in words if m])


# --- decoding ------------------------------------------------------------------------------------
# Log-probabilities are whole multiples of 2^-36 between -65,536 and 0: the search rounds what the
# model says to these, and adds them exactly. So does this file, in whole numbers of 2^-36. A
# hypothesis of log-probability s and length n, the end token included, scores s;
# s / n^alpha; s / ((5 + n) / 6)^alpha; s + gamma n; s + gamma min(n, L). alpha and gamma are
# decimals p/q, and s / n^(p/q) > s' / n'^(p/q) is decided as |s|^q n'^p < |s'|^q n^p.


class Objective(NamedTuple):
    """How sequences are scored."""

    name: str
    kind: str
    number: Fraction  # alpha or gamma
    limit: int  # L
    close: list[int]  # one entry a comparison that needed whole numbers

    def shift(self) -> int:
        """What is added to the length before it is raised to alpha; -1 where nothing is raised."""
        return {"length-normalised": 0, "gnmt": 5}.get(self.kind, -1)

    def rewarded(self, s: int, n: int) -> Fraction:
        """The score where it is a fraction, in units."""
        counted = min(n, self.limit) if self.kind == "bounded-reward" else n
        return s + self.number * counted * UNITS

    def compare(self, a: tuple[int, int], b: tuple[int, int]) -> int:
        """-1, 0, 1: a = (s, n) scores lower than, as, higher than b. Exact."""
        (s, n), (t, m) = a, b
        if self.shift() < 0:
            x, y = self.rewarded(s, n), self.rewarded(t, m)
            return (x > y) - (x < y)
        p, q = self.number.numerator, self.number.denominator
        if n == m or p == 0 or (s >= 0) != (t > 0) or s == 0 or t == 0:
            return (s > t) - (s < t)
        # log |s| - alpha log n, each to some 1e-13: what is further apart needs no whole numbers.
        apart = math.log(abs(s) / abs(t))
        apart -= p / q * math.log((n + self.shift()) / (m + self.shift()))
        if abs(apart) > 1e-9:
            return (1 if apart > 0 else -1) * (1 if s > 0 else -1)
        self.close.append(n)
        if len(self.close) > MAX_CLOSE:
            raise Malformed(f"evidence: more than {MAX_CLOSE} scores too close to tell apart")
        left, right = power(abs(s), n + self.shift(), p, q), power(abs(t), m + self.shift(), p, q)
        return ((left > right) - (left < right)) * (1 if s > 0 else -1)

    def reach(self, low: int, high: int) -> int:
        """The length in low..high at which a log-probability that is at most 0 scores best.

        For each length the score grows with s, and no continuation has a larger s than its prefix.
        In n, s / n^alpha grows for alpha >= 0 and falls for alpha < 0, as s <= 0; gamma n likewise.
        """
        return high if self.number >= 0 else low

    def near(self, score: float, s: int, n: int) -> bool:
        """Whether `score` is the score of (s, n), to 2^-49 of itself."""
        value = Fraction(score)
        if self.shift() < 0:
            exact = self.rewarded(s, n) / UNITS
            return abs(value - exact) <= max(abs(value), abs(exact)) / 2**49
        base = Fraction(n + self.shift(), 1 + self.shift())
        p, q = self.number.numerator, self.number.denominator
        if value * s <= 0:
            return value == 0 == s
        low, high = abs(value) * (1 - Fraction(1, 2**49)), abs(value) * (1 + Fraction(1, 2**49))
        exact = Fraction(abs(s), UNITS) ** q / base**p
        return low**q <= exact <= high**q

    def above(self, s: int, n: int) -> str:
        """A number with 6 decimals that the score of (s, n) isn't above."""
        if self.shift() < 0:
            return decimals(math.ceil(self.rewarded(s, n) * 10**6 / UNITS))
        base = Fraction(n + self.shift(), 1 + self.shift())
        p, q = self.number.numerator, self.number.denominator
        exact = Fraction(-s, UNITS) ** q / base**p
        # The largest k with (k / 10^6)^q <= exact: -k / 10^6 is at least the score.
        low, high = 0, 1
        while Fraction(high, 10**6) ** q <= exact:
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if Fraction(middle, 10**6) ** q <= exact else (low, middle)
        return decimals(-low)


def power(s: int, n: int, p: int, q: int) -> Fraction:
    """(s / n^(p/q))^q."""
    return Fraction(s**q, n**p) if p >= 0 else Fraction(s**q * n**-p)


def decimals(millionths: int) -> str:
    """A whole number of millionths, written out."""
    whole, rest = divmod(abs(millionths), 10**6)
    return f"{'-' if millionths < 0 else ''}{whole}.{rest:06d}"


OBJECTIVE = re.compile(
    r"log-probability|(?:length-normalised|gnmt|word-reward):(-?[0-9]{1,3}(?:\.[0-9]{1,3})?)"
    r"|bounded-reward:(-?[0-9]{1,3}(?:\.[0-9]{1,3})?):([1-9][0-9]{0,5})"
)


def search_given(given: Any, names: set[str]) -> tuple[dict[str, int], Objective]:
    """The numbers of a search and its objective.

    "keeps_bound": false, where a rule changed the model's numbers and may lift some above 0.
    "rules", where there are any, say which; they matter to whoever asks the model again, and so
    does "weights" (`said_of`).
    """
    bound = "keeps_bound" not in given
    if not bound and given["keeps_bound"] is not False:
        raise Malformed("given.keeps_bound: expected false, or nothing")
    extra = set(given) & {"keeps_bound", "rules", "weights"}
    rules = given.get("rules", [])
    if type(rules) is not list or not all(type(rule) is str for rule in rules):
        raise Malformed("given.rules: expected a list of texts")
    keys(
        given,
        "given",
        names | extra | {"end_token", "max_length", "objective", "source", "vocab_size"},
    )
    vocab_size = integer(given["vocab_size"], "given.vocab_size", 1, MAX_TOKENS)
    numbers = {
        "highest": 0 if bound else 65536,
        "vocab_size": vocab_size,
        "end_token": integer(given["end_token"], "given.end_token", 0, vocab_size - 1),
        "max_length": integer(given["max_length"], "given.max_length", 1, MAX_LENGTH),
    }
    for name in names:
        numbers[name] = integer(given[name], f"given.{name}", 1, MAX_TOKENS)
    source = given["source"]
    size = len(source) if type(source) is list else 0
    integers(source, "given.source", size, MAX_WEIGHT)
    name = given["objective"]
    match = OBJECTIVE.fullmatch(name) if type(name) is str else None
    if match is None:
        raise Malformed(f"given.objective: not an objective, {describe(name)}")
    number = Fraction(match[1] or match[2] or 0)
    objective = Objective(name, name.partition(":")[0], number, int(match[3] or 0), [])
    if objective.shift() >= 0 and abs(number) > 10:
        raise Malformed("given.objective: expected -10..10")
    return numbers, objective


def units(value: Any, path: str, high: int = 0) -> int:
    """A log-probability in units of 2^-36."""
    if type(value) is not float and type(value) is not int:
        raise Malformed(at(path, f"expected a number, got {describe(value)}"))
    if not -65536 <= value <= high:
        raise Malformed(at(path, f"expected -65536..{high}, got {describe(value)}"))
    exact = value * UNITS
    if exact != int(exact):
        raise Malformed(at(path, f"{describe(value)} is no multiple of 2^-36"))
    return int(exact)


class Prefix(NamedTuple):
    """A kept candidate: its place in the trace, and what led to it."""

    before: Any  # the Prefix it extends, or None
    token: int
    total: int

    def tokens(self) -> list[int]:
        """All tokens, from the first."""
        found, prefix = [], self
        while prefix.before is not None:
            found.append(prefix.token)
            prefix = prefix.before
        return found[::-1]


def check_beam_stop(given: Any, answer: Any, evidence: Any) -> str:
    """Beam search stopped in time: no later step could find a better sequence.

    The trace is run again. Each step keeps the best extensions of the prefixes that were live: at
    most beam_size, in order (sum, then parent, then token), each of a live parent, none better than
    the best that was rejected, and fewer than beam_size only where nothing possible was rejected.
    What ends in the end token is completed and not extended. The answer is the best completed.

    Whatever a further step could find continues a live prefix, and each token adds log p <= 0. So
    it scores no more than the best live prefix's sum would at the best length that is left
    (`reach`). If that is no better than the answer, or nothing is live, or max_length is reached,
    no later step can find better. And any other sequence continues, or is, a candidate rejected at
    a step t: it scores no more than the best rejected sum at the best length in t..max_length. If
    none of these is better than the answer, the answer is the best of all.

    A step may keep fewer than beam_size where all that was rejected proves to be worse than the
    answer (its prefixes then are the best of their length, in a beam of any size: a better one's
    sum, at the answer's length, would score no worse than the answer, and so would the bound of
    the rejected candidate that it is or continues).

    Where a rule may lift log-probabilities above 0, the search must have run to its end, and
    nothing is claimed of what it rejected.
    """
    numbers, objective = search_given(given, {"beam_size"})
    keys(evidence, "evidence", {"bound", "steps"})
    longest = numbers["max_length"]
    best, live, limits, narrow = run_trace(evidence["steps"], numbers, objective)
    length = len(evidence["steps"])
    words = f"beam search of size {numbers['beam_size']} for at most {longest} tokens"
    said = said_of(given) or ","
    changed = f"{said.removesuffix(',')}, which rules changed," if given.get("rules") else said
    words = f"On these log-probabilities{changed} {words}"
    end = (live[0].total, objective.reach(length + 1, longest)) if live else None
    if length == longest:
        end = None
    if numbers["highest"] and end is not None:
        raise Refuted(f"evidence.steps: a live prefix is left after step {length}, and may gain")
    same_bound(evidence["bound"], end, objective)
    if best is None:
        keys(answer, "answer", set())
        if narrow:
            raise Refuted("evidence.steps: fewer than beam_size are kept, and nothing is completed")
        if end is not None:
            raise Refuted(f"evidence.steps: after step {length} live prefixes are left")
        return f"{words} completes no hypothesis."
    keys(answer, "answer", {"score", "tokens"})
    tokens = integers(answer["tokens"], "answer.tokens", best[1], MAX_TOKENS)
    found = best[2].tokens()
    if tokens != found:
        where = next(i for i, (a, b) in enumerate(zip(tokens, found, strict=True)) if a != b)
        raise Refuted(f"answer.tokens[{where}]: the trace's best has {found[where]} there")
    pair = best[:2]
    if type(answer["score"]) not in (int, float) or not -1e9 < answer["score"] < 1e9:
        raise Malformed("answer.score: expected a number")
    if not objective.near(answer["score"], *pair):
        raise Refuted(f"answer.score: the trace's best doesn't score {describe(answer['score'])}")
    if end is not None and objective.compare(end, pair) > 0:
        raise Refuted("evidence.bound: a live prefix could still become better than the answer")
    if narrow and (numbers["highest"] or any(objective.compare(x, pair) >= 0 for x in limits)):
        raise Refuted("evidence.steps: fewer than beam_size are kept, and what is rejected may win")
    claim = f"{words} finds this best sequence by {objective.name}, and no step after step {length}"
    claim += " can find a better one"
    if numbers["highest"]:
        return f"{claim}; of other sequences nothing is said, as steps may add to a score."
    upper = pair
    for limit in limits if end is None else [*limits, end]:
        upper = limit if objective.compare(limit, upper) > 0 else upper
    if upper == pair:
        return f"{claim}; no sequence of at most {longest} tokens scores better."
    return f"{claim}; other sequences may score up to {objective.above(*upper)}."


def run_trace(
    steps: Any, numbers: dict[str, int], objective: Objective
) -> tuple[tuple[int, int, Prefix] | None, list[Prefix], list[tuple[int, int]], bool]:
    """The best completed (sum, length, prefix), the live prefixes at the end, the rejected sums
    with the length at which each scores best, and whether a step kept fewer than it could.
    """
    size, longest = numbers["beam_size"], numbers["max_length"]
    if type(steps) is not list or not 1 <= len(steps) <= longest:
        raise Malformed(f"evidence.steps: expected a list of 1..{longest} steps")
    beam: list[Prefix] = [Prefix(None, -1, 0)]
    best: tuple[int, int, Prefix] | None = None
    limits, budget, narrow = [], MAX_CANDIDATES, False
    for t, step in enumerate(steps, 1):
        path = f"evidence.steps[{t - 1}]"
        if not any(prefix.token != numbers["end_token"] for prefix in beam):
            raise Refuted(f"{path}: nothing is live before this step")
        keys(step, path, {"kept", "rejected"})
        if type(step["kept"]) is not list or len(step["kept"]) > size:
            raise Malformed(f"{path}.kept: expected a list of at most {size}")
        budget -= len(step["kept"]) + 1
        if budget < 0:
            raise Malformed(f"evidence.steps: more than {MAX_CANDIDATES:,} candidates")
        extensions = numbers["vocab_size"] * sum(p.token != numbers["end_token"] for p in beam)
        beam = kept_prefixes(step["kept"], beam, numbers, f"{path}.kept")
        if step["rejected"] is not None:
            rejected = units(step["rejected"], f"{path}.rejected", MAX_LENGTH * numbers["highest"])
            if not beam or rejected > beam[-1].total:
                raise Refuted(f"{path}.rejected: what was rejected belongs into the beam")
            if len(beam) >= extensions:
                raise Refuted(f"{path}.rejected: every extension is kept")
            narrow = narrow or len(beam) < size
            limits.append((rejected, objective.reach(t, longest)))
        for prefix in beam:
            done = prefix.token == numbers["end_token"]
            if done and (best is None or objective.compare((prefix.total, t), best[:2]) > 0):
                best = (prefix.total, t, prefix)
    live = [prefix for prefix in beam if prefix.token != numbers["end_token"]]
    return best, live, limits, narrow


def kept_prefixes(
    kept: list[Any], beam: list[Prefix], numbers: dict[str, int], path: str
) -> list[Prefix]:
    """The next beam; every candidate extends a live prefix, and they stand in order."""
    found: list[Prefix] = []
    order: tuple[int, int, int] | None = None
    for k, item in enumerate(kept):
        where = f"{path}[{k}]"
        if type(item) is not list or len(item) != 3:
            raise Malformed(at(where, "expected [parent, token, log-probability]"))
        parent = integer(item[0], f"{where}[0]", 0, MAX_TOKENS)
        token = integer(item[1], f"{where}[1]", 0, numbers["vocab_size"] - 1)
        if parent >= len(beam) or beam[parent].token == numbers["end_token"]:
            raise Refuted(at(where, f"{parent} is no live prefix of the step before"))
        total = beam[parent].total + units(item[2], f"{where}[2]", numbers["highest"])
        if total < -65536 * UNITS:
            raise Refuted(at(where, "a sum below -65536 counts as impossible"))
        if order is not None and (-total, parent, token) <= order:
            raise Refuted(at(where, "out of order: sum, then parent, then token"))
        order = (-total, parent, token)
        found.append(Prefix(beam[parent], token, total))
    return found


def same_bound(value: Any, end: tuple[int, int] | None, objective: Objective) -> None:
    """The bound that is written down is the one computed: null where nothing can come."""
    if end is None:
        if value is not None:
            raise Refuted("evidence.bound: nothing can come, expected null")
        return
    if type(value) not in (int, float) or not -1e9 < value < 1e9:
        raise Malformed("evidence.bound: expected a number")
    if not objective.near(value, *end):
        raise Refuted(f"evidence.bound: the best live prefix's bound isn't {describe(value)}")


class Mapped(NamedTuple):
    """A prefix of a map: its place in the file, its sum in units (None: impossible), its length."""

    parent: int
    token: int
    log_prob: float | None
    total: int | None
    length: int


def check_beam_map(given: Any, answer: Any, evidence: Any) -> str:
    """No sequence is better than the answer, or than a stated number.

    The map is a tree: prefixes, each one token longer than its parent, 0 is the empty one. After a
    prefix that has children or a row in "rejected" every next token is either a child or stands for
    all the others in that row: [prefix, the best log-probability among them, the logarithm of their
    probabilities' sum]. So every sequence is a completed prefix of the map, or continues an open
    one (without children or row), or continues an expanded one with a rejected token. Each token
    adds log p <= 0, so none scores above the prefix's sum, with the rejected token's best added, at
    the best length that is left (`reach`); lengths count from the prefix's next token, or from the
    one after where the end token is a child and so not among the rejected.

    That nothing was left out shows after every expanded prefix: the children's probabilities and
    the rejected ones' sum add up to 1 within the tolerance. exp is taken in 30 digits, whose error
    is below 10^-25. (After each prefix, not once for all: there a rare branch could hide.)
    """
    numbers, objective = search_given(given, set())
    if numbers["highest"] or "rules" in given:
        raise Malformed("given: a map is of a model's own log-probabilities, which no rule changed")
    keys(evidence, "evidence", {"prefixes", "rejected", "tolerance"})
    tolerance = evidence["tolerance"]
    if type(tolerance) is not float or not 0 < tolerance <= 0.001:
        raise Malformed("evidence.tolerance: expected a number in 0..0.001")
    nodes, children = map_prefixes(evidence["prefixes"], numbers)
    rejected = map_rejected(evidence["rejected"], nodes)
    for number in children.keys() | rejected.keys():
        adds_up(number, nodes, children, rejected, numbers["vocab_size"], tolerance)
    keys(answer, "answer", {"score", "tokens"})
    pair = mapped_answer(answer, nodes, children, numbers, objective)
    upper = pair
    for number, node in enumerate(nodes):
        if node.total is None:
            continue
        if node.token == numbers["end_token"]:
            if objective.compare((node.total, node.length), pair) > 0:
                raise Refuted(f"evidence.prefixes[{number - 1}]: completed, better than the answer")
            continue
        total, low = node.total, node.length + 1
        if number in children or number in rejected:
            best = rejected[number][0] if number in rejected else None
            if best is None:
                continue
            total += best
            low += numbers["end_token"] in children.get(number, {})
        if low <= numbers["max_length"]:
            limit = (total, objective.reach(low, numbers["max_length"]))
            upper = limit if objective.compare(limit, upper) > 0 else upper
    said, longest = said_of(given) or ",", numbers["max_length"]
    claim = f"On these log-probabilities{said} no sequence of at most {longest} tokens "
    if upper == pair:
        claim += f"scores better by {objective.name} than this one"
    else:
        claim += f"scores above {objective.above(*upper)} by {objective.name}"
    return f"{claim}; after every prefix the probabilities add up to 1 within {tolerance!r}."


def map_prefixes(
    value: Any, numbers: dict[str, int]
) -> tuple[list[Mapped], dict[int, dict[int, int]]]:
    """All prefixes, the empty one first, and each one's children by token."""
    if type(value) is not list or len(value) > MAX_PREFIXES:
        raise Malformed(f"evidence.prefixes: expected a list of at most {MAX_PREFIXES:,}")
    nodes = [Mapped(0, -1, 0.0, 0, 0)]
    children: dict[int, dict[int, int]] = {}
    for number, item in enumerate(value, 1):
        path = f"evidence.prefixes[{number - 1}]"
        if type(item) is not list or len(item) != 3:
            raise Malformed(at(path, "expected [parent, token, log-probability]"))
        parent = integer(item[0], f"{path}[0]", 0, number - 1)
        token = integer(item[1], f"{path}[1]", 0, numbers["vocab_size"] - 1)
        before = nodes[parent]
        if before.token == numbers["end_token"] or before.total is None:
            raise Refuted(at(path, f"prefix {parent} is completed or impossible"))
        if before.length == numbers["max_length"]:
            raise Refuted(at(path, f"longer than {before.length} tokens"))
        if token in children.setdefault(parent, {}):
            raise Refuted(at(path, f"token {token} after prefix {parent} appears twice"))
        children[parent][token] = number
        total = None if item[2] is None else before.total + units(item[2], f"{path}[2]")
        nodes.append(Mapped(parent, token, item[2], total, before.length + 1))
    return nodes, children


def map_rejected(value: Any, nodes: list[Mapped]) -> dict[int, tuple[int | None, float | None]]:
    """The best of the rejected tokens, in units, and the logarithm of their sum, by prefix."""
    if type(value) is not list or len(value) > MAX_PREFIXES:
        raise Malformed(f"evidence.rejected: expected a list of at most {MAX_PREFIXES:,}")
    found: dict[int, tuple[int | None, float | None]] = {}
    for k, item in enumerate(value):
        path = f"evidence.rejected[{k}]"
        if type(item) is not list or len(item) != 3:
            raise Malformed(at(path, "expected [prefix, best, log of the sum]"))
        number = integer(item[0], f"{path}[0]", 0, len(nodes) - 1)
        if number in found:
            raise Refuted(at(path, f"prefix {number} appears twice"))
        if item[1] is None and item[2] is None:
            found[number] = (None, None)
            continue
        if type(item[2]) not in (int, float) or not -70000 <= item[2] <= 1:
            raise Malformed(at(f"{path}[2]", "expected a number in -70000..1"))
        found[number] = (units(item[1], f"{path}[1]"), item[2])
    return found


def adds_up(
    number: int,
    nodes: list[Mapped],
    children: dict[int, dict[int, int]],
    rejected: dict[int, tuple[int | None, float | None]],
    vocab_size: int,
    tolerance: float,
) -> None:
    """All tokens after a prefix are there, and their probabilities add up to 1."""
    below = children.get(number, {})
    path = f"evidence: prefix {number}"
    best, mass = rejected.get(number, (None, None))
    left = vocab_size - len(below)
    if (number in rejected) != (left > 0):
        raise Refuted(f"{path}: {left} next tokens are no children, its row in rejected is wrong")
    with localcontext() as context:
        context.prec = 30
        if best is not None and mass is not None:
            off = Decimal(mass) - Decimal(best) / UNITS
            if not Decimal("-1e-9") <= off <= Decimal(left).ln() + Decimal("1e-9"):
                raise Refuted(f"{path}: {left} tokens with that best can't have that sum")
        logs = [nodes[child].log_prob for child in below.values()]
        total = sum((Decimal(x).exp() for x in [*logs, mass] if x is not None), Decimal(0))
        if abs(total - 1) > Decimal(tolerance) + Decimal("1e-25"):
            raise Refuted(f"{path}: the next tokens' probabilities add up to {total:.9f}")


def mapped_answer(
    answer: Any,
    nodes: list[Mapped],
    children: dict[int, dict[int, int]],
    numbers: dict[str, int],
    objective: Objective,
) -> tuple[int, int]:
    """The answer's (sum, length): a completed prefix of the map, with the score that is stated."""
    tokens = answer["tokens"]
    if type(tokens) is not list:
        raise Malformed("answer.tokens: expected a list")
    number = 0
    for k, token in enumerate(integers(tokens, "answer.tokens", len(tokens), MAX_TOKENS)):
        if token not in children.get(number, {}):
            raise Refuted(f"answer.tokens[{k}]: {token} isn't in the map there")
        number = children[number][token]
    node = nodes[number]
    if node.token != numbers["end_token"] or node.total is None:
        raise Refuted("answer.tokens: not a completed prefix of the map")
    if type(answer["score"]) not in (int, float) or not -1e9 < answer["score"] < 1e9:
        raise Malformed("answer.score: expected a number")
    if not objective.near(answer["score"], node.total, node.length):
        raise Refuted(f"answer.score: its sum doesn't score {describe(answer['score'])}")
    return node.total, node.length


# --- recurrences ---------------------------------------------------------------------------------
# h_t = W^T h_{t-1}. Entries of W are numbers, fractions as text, or [real part, imaginary part]. A
# complex W is replaced with the real matrix of twice the size in which a + bi is [[a, -b], [b, a]]:
# its eigenvalues are those of W and their conjugates. Matrices are lists of rows of whole numbers.


def exact_number(value: Any, path: str) -> tuple[int, int]:
    """A number or a fraction as text, as numerator and positive denominator."""
    if type(value) is int:
        return value, 1
    if type(value) is float:
        return value.as_integer_ratio()
    return fraction(value, path).as_integer_ratio()


def matrix(given: Any) -> tuple[int, list[list[tuple[int, int]]]]:
    """The size of W, and W or its real form as numerators and denominators."""
    keys(given, "given", {"W"})
    rows = given["W"]
    if type(rows) is not list or not 1 <= len(rows) <= MAX_SIZE:
        raise Malformed(f"given.W: expected a list of 1..{MAX_SIZE} rows, got {describe(rows)}")
    parts: list[list[list[tuple[int, int]]]] = []
    complex_entries = False
    for i, row in enumerate(rows):
        if type(row) is not list or len(row) != len(rows):
            raise Malformed(f"given.W[{i}]: expected a list of {len(rows)} entries")
        parts.append([])
        for j, entry in enumerate(row):
            pair = entry if type(entry) is list else [entry]
            if len(pair) != 1 + (type(entry) is list):
                raise Malformed(f"given.W[{i}][{j}]: expected [real part, imaginary part]")
            complex_entries |= len(pair) == 2
            parts[-1].append([exact_number(part, f"given.W[{i}][{j}]") for part in pair])
    if not complex_entries:
        return len(rows), [[entry[0] for entry in row] for row in parts]
    result = []
    for entries in parts:
        whole = [[*entry, (0, 1)][:2] for entry in entries]
        result.append([x for (a, (b, below)) in whole for x in (a, (-b, below))])
        result.append([x for (a, b) in whole for x in (b, a)])
    if len(result) > MAX_SIZE:
        raise Malformed(f"given.W: complex matrices have at most {MAX_SIZE // 2} rows")
    return len(rows), result


def fixed_point(W: list[list[tuple[int, int]]]) -> tuple[list[list[int]], int, int]:
    """V, q and e with V / 2^q <= W < (V + e) / 2^q in each entry; e = 0 where V is exact.

    The largest entry has 128 bits, or fewer, down to 64, where fewer are exact.
    """
    sizes = [n.bit_length() - d.bit_length() + 1 for row in W for n, d in row if n]
    top = max(sizes, default=0)
    q = 128 - top
    up, down = max(q, 0), max(-q, 0)
    pairs = [[divmod(n << up, d << down) for n, d in row] for row in W]
    V = [[value for value, _ in row] for row in pairs]
    if any(rest for row in pairs for _, rest in row):
        return V, q, 1
    used = 0
    for row in V:
        for value in row:
            used |= value
    spare = min(64, (used & -used).bit_length() - 1) if used else 0
    return [[value >> spare for value in row] for row in V], q - spare, 0


def bits(A: list[list[int]]) -> int:
    """The length of the longest entry."""
    return max([max(max(row), -min(row)).bit_length() for row in A])


def multiply(A: list[list[int]], B: list[list[int]]) -> list[list[int]]:
    """A B. Each row of B is packed into one long number, so that Python multiplies whole rows."""
    columns = len(B[0])
    width = (bits(A) + bits(B) + len(B).bit_length()) // 8 + 1
    half, size = 1 << (8 * width - 1), width * columns
    offset = int.from_bytes(half.to_bytes(width, "little") * columns, "little")
    packed = []
    for row in B:
        text = b"".join([(value + half).to_bytes(width, "little") for value in row])
        packed.append(int.from_bytes(text, "little") - offset)
    result = []
    for row in A:
        total = sum(map(int.__mul__, row, packed), offset)
        text, read = total.to_bytes(size, "little"), int.from_bytes
        result.append([read(text[k : k + width], "little") - half for k in range(0, size, width)])
    return result


def norms(A: list[list[int]]) -> list[int]:
    """The sum of absolute values of each row."""
    return [sum(map(abs, row)) for row in A]


def affordable(work: int, size: int) -> bool:
    """Whether a matrix of this size may cost so many products of bits."""
    return work <= min(MAX_WORK, SMALL_WORK + WORK_PER_ENTRY * size**2)


def hex_rows(value: Any, path: str, size: int) -> list[list[int]]:
    """A matrix of 64-bit two's complement numbers, each row 16 hexadecimal digits an entry."""
    if type(value) is not list or len(value) != size:
        raise Malformed(at(path, f"expected a list of {size} rows"))
    rows = []
    for i, row in enumerate(value):
        if type(row) is not str or len(row) != 16 * size or not re.fullmatch("[0-9a-f]+", row):
            raise Malformed(at(f"{path}[{i}]", f"expected {16 * size} hexadecimal digits"))
        rows.append(list(struct.unpack(f">{size}q", bytes.fromhex(row))))
    return rows


class Disc(NamedTuple):
    """The discs around a + bi and a - bi, in units of 2^-q."""

    a: int
    b: int
    radius: int


def discs(W: list[list[tuple[int, int]]], evidence: Any) -> tuple[list[Disc], int]:
    """All eigenvalues of W lie in these discs, and a union of discs that meets no other has as many
    as it is made of; q.

    D is made of the blocks [a] and [[a, b], [-b, a]], E = W X - X D, F = I - Y X. If ||F|| < 1 in
    the norm of row sums, Y X and so X is invertible, and X^-1 W X = D + G with G = X^-1 E. From
    Y E = Y X G = G - F G one has ||G|| <= g = ||Y E|| / (1 - ||F||), and row i of G sums, in
    absolute values, to at most that of Y E plus g times that of F. Let (D + G) x = lambda x, and
    let block k of x be the longest. D's block is normal, so the distance from lambda to its
    eigenvalues is at most the sum of |G| over its rows (Gershgorin; Feingold and Varga 1962). Along
    D + s G, s from 0 to 1, eigenvalues move continuously and can't leave a union of discs.
    """
    V, q, unsure = fixed_point(W)
    size = len(V)
    keys(evidence, "evidence", {"X", "Y", "blocks", "shift"})
    shift = integer(evidence["shift"], "evidence.shift", 0, 127)
    X, Y = (hex_rows(evidence[name], f"evidence.{name}", size) for name in ("X", "Y"))
    blocks = centres(evidence["blocks"], size, q)
    E = multiply(V, X)
    for row, x in zip(E, X, strict=True):
        i = 0
        for a, b, pair in blocks:
            row[i] -= a * x[i] - (b * x[i + 1] if pair else 0)
            if pair:
                row[i + 1] -= b * x[i] + a * x[i + 1]
            i += 1 + pair
    blur = unsure * sum(norms(X))
    G = [r + y * blur for r, y in zip(norms(multiply(Y, E)), norms(Y), strict=True)]
    F = multiply(Y, X)
    for i, row in enumerate(F):
        row[i] -= 1 << shift
    f = norms(F)
    if (rest := (1 << shift) - max(f)) <= 0:
        raise Refuted("evidence: ||I - Y X|| isn't below 1, so nothing follows from X and Y")
    g = max(G) // rest + 1
    result, i = [], 0
    for a, b, pair in blocks:
        radius = sum((G[k] + f[k] * g >> shift) + 1 for k in range(i, i + 1 + pair))
        result.append(Disc(a, abs(b), radius))
        i += 1 + pair
    return result, q


def centres(value: Any, size: int, q: int) -> list[tuple[int, int, bool]]:
    """The blocks [a] and [a, b], rounded to whole units of 2^-q: any D serves, if it is fixed."""
    if type(value) is not list or len(value) > size:
        raise Malformed(f"evidence.blocks: expected a list of at most {size}")
    result = []
    for k, block in enumerate(value):
        if type(block) is not list or len(block) not in (1, 2):
            raise Malformed(f"evidence.blocks[{k}]: expected [a] or [a, b]")
        parts = [exact_number(part, f"evidence.blocks[{k}]") for part in block]
        whole = [(n << max(q, 0)) // (d << max(-q, 0)) for n, d in parts]
        if max(map(abs, whole)) >> 160:
            raise Refuted(f"evidence.blocks[{k}]: far above every entry of W")
        result.append((whole[0], whole[-1] if len(whole) == 2 else 0, len(whole) == 2))
    if sum(1 + pair for _, _, pair in result) != size:
        raise Malformed(f"evidence.blocks: expected blocks for {size} rows in all")
    return result


def check_radius(found: list[Disc], q: int, low: Fraction, high: Fraction) -> None:
    """Every disc reaches at most `high`; some union of discs, met by no other, has all of its at
    `low` or farther out. The union is grown from the disc that stands farthest out.
    """
    unit = Fraction(2) ** q
    top, bottom = high * unit, low * unit
    for a, b, radius in found:
        if top < radius or a * a + b * b > (top - radius) ** 2:
            raise Refuted("answer.radius: an eigenvalue may lie above the interval")
    if bottom <= 0:
        return
    first = max(found, key=lambda disc: math.isqrt(disc.a**2 + disc.b**2) - disc.radius)
    left, growing = [disc for disc in found if disc is not first], [first]
    while growing:
        a, b, radius = growing.pop()
        if a * a + b * b < (bottom + radius) ** 2:
            raise Refuted("answer.radius: all eigenvalues may lie below the interval")
        apart: list[Disc] = []
        for disc in left:
            meets = (a - disc.a) ** 2 + (b - disc.b) ** 2 <= (radius + disc.radius) ** 2
            (growing if meets else apart).append(disc)
        left = apart


def hex_number(value: Any, path: str) -> int:
    """A whole number of any length in hexadecimal digits."""
    if type(value) is not str or not re.fullmatch("-?[0-9a-f]+", value):
        raise Malformed(at(path, f"expected hexadecimal digits, got {describe(value)}"))
    return int(value, 16)


def root_discs(f: list[int], roots: Any, q: int, most: int, path: str) -> list[Disc]:
    """Discs around z_1, ..., z_d that hold all roots of f, monic of degree d; a union of discs that
    meets no other has as many as it is made of.

    |z - z_i| <= d |f(z_i)| / prod over j != i of |z_i - z_j| (Smith 1970). For f = g + h with g the
    product of all z - z_j and h the polynomial of lower degree that is f at each z_j: h / g is the
    sum of f(z_i) / g'(z_i) / (z - z_i), by Lagrange, below 1 in size outside the discs; so f, and
    every g + s h with s from 0 to 1, has no root there. In units of 2^-q all is exact.
    """
    points = []
    for k, pair in enumerate(sized(roots, path, len(f) - 1, len(f) - 1)):
        ends = sized(pair, f"{path}[{k}]", 2, 2)
        points.append(tuple(hex_number(part, f"{path}[{k}]") for part in ends))
        if max(map(abs, points[-1])) >> most:
            raise Refuted(f"{path}[{k}]: far above every entry of W")
    if len(set(points)) < len(points):
        raise Malformed(at(path, "a root stands twice"))
    result = []
    for a, b in points:
        real, imaginary = 0, 0
        for k, c in enumerate(reversed(f)):
            real, imaginary = real * a - imaginary * b + (c << q * k), real * b + imaginary * a
        apart = 1
        for x, y in points:
            apart *= (a - x) ** 2 + (b - y) ** 2 or 1
        size = (len(f) - 1) ** 2 * (real * real + imaginary * imaginary)
        result.append(Disc(a, b, math.isqrt(size // apart) + 1 if size else 0))
    return result


def rank(rows: list[list[int]]) -> int:
    """The rank of a matrix modulo a prime: over the rationals it is at least as large."""
    left, found = rows, 0
    while left:
        pivot = left.pop()
        at = next((k for k, x in enumerate(pivot) if x), None)
        if at is None:
            continue
        found += 1
        inverse = pow(pivot[at], -1, PRIME)
        left = [
            [(x - factor * y) % PRIME for x, y in zip(row, pivot, strict=True)] if row[at] else row
            for row in left
            for factor in (row[at] * inverse % PRIME,)
        ]
    return found


class Factor(NamedTuple):
    """A monic polynomial of whole numbers, its roots as the file has them, and the highest power in
    which it stands in the least polynomial of a vector.
    """

    f: list[int]
    roots: Any
    power: int


class Chained(NamedTuple):
    """The eigenvalues of V = below W: the roots of the factors, below 2^length in size."""

    factors: list[Factor]
    below: int
    length: int
    q: int

    def discs(self, factor: Factor, path: str) -> list[Disc]:
        """Around a factor's roots."""
        return root_discs(factor.f, factor.roots, self.q, self.length + self.q, path)


def chained(W: list[list[tuple[int, int]]], evidence: Any) -> Chained:
    """The eigenvalues of V are the roots of the factors. Where all of these are different, the size
    of a root's largest Jordan block is its factor's highest power.

    V is W times the common denominator of its entries. A chain is a vector v and a product p of
    factors with p(V) v = 0 while v, V v, ..., of as many vectors as p has degrees, are independent.
    So p is the least polynomial that annihilates v, and divides V's minimal polynomial: each root
    is an eigenvalue. All chains together span the space; the least common multiple of all p
    annihilates it, and is the minimal polynomial. Vectors that are independent modulo a prime are
    independent.
    """
    keys(evidence, "evidence", {"chains", "factors", "q"})
    q, n = integer(evidence["q"], "evidence.q", 0, 4096), len(W)
    V, below = common_denominator(W)
    length = bits(V) + n.bit_length() + 1  # of an eigenvalue, and a bit
    factors: list[list[int]] = []
    work = 0
    for k, value in enumerate(sized(evidence["factors"], "evidence.factors", 1, n)):
        path = f"evidence.factors[{k}]"
        keys(value, path, {"polynomial", "roots"})
        f = [hex_number(c, path) for c in sized(value["polynomial"], path, 2, n + 1)]
        if f[-1] != 1 or bits([f]) > (len(f) - 1) * length:
            raise Malformed(at(path, "not monic, or too long for eigenvalues of W"))
        work += 2 * len(f) ** 3 * (length + q) ** 2
        if not affordable(work, n):
            raise Malformed(at(path, "more than the budget of degree and digits"))
        factors.append(f)
    spanned: list[list[int]] = []
    most, work = [0] * len(factors), 0
    for k, chain in enumerate(sized(evidence["chains"], "evidence.chains", 1, n)):
        path = f"evidence.chains[{k}]"
        keys(chain, path, {"powers", "vector"})
        powers = integers(chain["powers"], f"{path}.powers", len(factors), n)
        vector = integers(chain["vector"], f"{path}.vector", n, 2**31)
        degree = sum(max(0, e) * (len(f) - 1) for e, f in zip(powers, factors, strict=True))
        if min(powers) < 0 or not 1 <= degree <= n:
            raise Malformed(at(f"{path}.powers", f"expected a product of degree 1..{n}"))
        work += n**2 * degree * (max(length, 64) * max(length * degree // 2, 64) + 2**16)
        if not affordable(work, n):
            raise Malformed("evidence.chains: more than the budget of rows and digits")
        most = list(map(max, most, powers))
        p = [1]
        for f, e in zip(factors, powers, strict=True):
            for _ in range(e):
                p = polynomial_product(p, f)
        rows = follow(V, vector, p, path)
        if rank(list(rows)) < degree:
            raise Refuted(f"{path}: a shorter polynomial may annihilate the vector")
        spanned += rows
    if not all(most):
        raise Malformed("evidence.factors: one is in no chain")
    if rank(spanned) < n:
        raise Refuted("evidence.chains: they don't span the space")
    parts = zip(factors, evidence["factors"], most, strict=True)
    return Chained([Factor(f, value["roots"], e) for f, value, e in parts], below, length, q)


def check_chains(
    W: list[list[tuple[int, int]]], evidence: Any, low: Fraction, high: Fraction
) -> None:
    """The roots of all factors (`chained`) lie in discs (`root_discs`), and these in the ring."""
    found = chained(W, evidence)
    discs = []
    for k, factor in enumerate(found.factors):
        discs += found.discs(factor, f"evidence.factors[{k}].roots")
    check_radius(discs, found.q, low * found.below, high * found.below)


def follow(V: list[list[int]], vector: list[int], p: list[int], path: str) -> list[list[int]]:
    """v, V v, V^2 v, ... modulo a prime, as many as p has degrees; p(V) v is 0."""
    rows, total = [], [0] * len(V)
    for k, c in enumerate(p):
        total = [x + c * y for x, y in zip(total, vector, strict=True)]
        if k < len(p) - 1:
            rows.append([x % PRIME for x in vector])
            vector = [sum(map(int.__mul__, row, vector)) for row in V]
    if any(total):
        raise Refuted(f"{path}: the polynomial doesn't annihilate the vector")
    return rows


class Power(NamedTuple):
    """About M = W^(2^k): ||M|| <= norm / 2^q and |trace M| >= trace / 2^q."""

    norm: int
    trace: int
    q: int


def powers(W: list[list[tuple[int, int]]], squarings: int, precision: int) -> list[Power]:
    """Norms of W, W^2, W^4, … from above, and traces from below.

    Each square is cut to `precision` bits. If M is off by at most e in the norm of row sums, M^2 is
    off by at most 2 ||M|| e + e^2, and cutting adds at most 1 an entry.
    """
    M, q, unsure = fixed_point(W)
    size = len(M)
    error, result = size * unsure, []
    for k in range(squarings + 1):
        if k:
            error = (2 * max(norms(M)) + error) * error
            M, q = multiply(M, M), 2 * q
            cut = max(0, bits(M) - precision, error.bit_length() - precision)
            if cut:
                M = [[value >> cut for value in row] for row in M]
                error, q = (error >> cut) + 1 + size, q - cut
        trace = abs(sum(M[i][i] for i in range(size)))
        result.append(Power(max(norms(M)) + error, max(0, trace - size * error), q))
    return result


def check_powers(
    W: list[list[tuple[int, int]]], evidence: Any, low: Fraction, high: Fraction
) -> None:
    """rho^m <= ||W^m|| in any norm, and |trace W^m| = |sum of lambda^m| <= n rho^m, for m = 2^k.

    So high^m >= ||W^m|| for the last m, and n low^m <= |trace W^m| for some m, prove the interval.
    """
    keys(evidence, "evidence", {"bits", "squarings"})
    squarings = integer(evidence["squarings"], "evidence.squarings", 0, 64)
    precision = integer(evidence["bits"], "evidence.bits", 32, 4096)
    if not affordable(len(W) ** 3 * (squarings + 1) * precision**2, len(W)):
        raise Malformed("evidence: more than the budget of squarings, bits and size")
    found = powers(W, squarings, precision)
    if found[-1].norm and not raised(
        high, squarings, down=True, least=found[-1].norm, q=found[-1].q
    ):
        raise Refuted("answer.radius: the power's norm allows more than the interval's end")
    if low > 0 and not any(
        p.trace and raised(low, k, down=False, least=p.trace, q=p.q, size=len(W))
        for k, p in enumerate(found)
    ):
        raise Refuted("answer.radius: no power's trace shows that much")


def raised(x: Fraction, squarings: int, *, down: bool, least: int, q: int, size: int = 1) -> bool:
    """Whether x^(2^k) >= least / 2^q (down) or size x^(2^k) <= least / 2^q, by rounded squares."""
    if x <= 0:
        return not down
    p = 192 + x.denominator.bit_length() - x.numerator.bit_length()
    above, below = x.numerator << max(p, 0), x.denominator << max(-p, 0)
    value = above // below if down else -(-above // below)
    for _ in range(squarings):
        value, p = value * value, 2 * p
        cut = max(0, value.bit_length() - 192)
        value, p = (value >> cut if down else -(-value >> cut)), p - cut
    left, right = value * size, least
    shift = q - p  # compares left 2^-p with right 2^-q
    if abs(shift) > 10**6:
        return (shift > 0) == down
    left, right = left << max(shift, 0), right << max(-shift, 0)
    return left >= right if down else left <= right


def radius_interval(value: Any) -> tuple[Fraction, Fraction]:
    """The two ends, numbers, in order and not negative."""
    if type(value) is not list or len(value) != 2 or not {type(x) for x in value} <= {int, float}:
        raise Malformed("answer.radius: expected [low, high]")
    low, high = map(Fraction, value)
    if not 0 <= low <= high:
        raise Malformed("answer.radius: expected 0 <= low <= high")
    return low, high


def spectrum_claim(size: int, radius: Sequence[float], verdict: str) -> str:
    """What is proved of an interval that holds."""
    what = {
        "vanishing": "h_t = W^T h_{t-1} vanishes for every h_0",
        "exploding": "h_t = W^T h_{t-1} explodes for almost every h_0",
        "undecided": "whether h_t = W^T h_{t-1} vanishes or explodes is left open",
    }[verdict]
    where = f"[{radius[0]!r}, {radius[1]!r}]"
    return f"The spectral radius of this {size} x {size} matrix lies in {where}: {what}."


def check_spectrum(given: Any, answer: Any, evidence: Any) -> str:
    """The largest |eigenvalue| of W lies in the interval: by discs around approximate eigenvalues
    (`discs`), around the roots of polynomials (`check_chains`), or by a power (`powers`).

    Below 1, W^t tends to 0. Above 1, h_t grows without bound unless h_0 lies in the proper subspace
    spanned by the generalised eigenvectors of W^T with |lambda| <= 1.
    """
    size, W = matrix(given)
    keys(answer, "answer", {"radius", "verdict"})
    low, high = radius_interval(answer["radius"])
    if max(n.bit_length() for x in (low, high) for n in x.as_integer_ratio()) > 2200:
        raise Malformed("answer.radius: expected binary64 numbers")
    verdict = "vanishing" if high < 1 else "exploding" if low > 1 else "undecided"
    if answer["verdict"] != verdict:
        raise Refuted(f"answer.verdict: the interval says {verdict}")
    if "squarings" in evidence:
        check_powers(W, evidence, low, high)
    elif "chains" in evidence:
        check_chains(W, evidence, low, high)
    else:
        check_radius(*discs(W, evidence), low, high)
    return spectrum_claim(size, answer["radius"], verdict)


def polynomial_product(p: list[int], q: list[int]) -> list[int]:
    """The product of two polynomials."""
    result = [0] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            result[i + j] += a * b
    return result


def roots_inside(p: list[int]) -> bool:
    """Whether all roots have modulus below 1 (Schur 1918, Cohn 1922).

    With p* the coefficients in reverse, that holds exactly if |p_0| < |p_n| and it holds for
    (p_n p - p_0 p*) / z, of lower degree.
    """
    while len(p) > 1:
        if abs(p[0]) >= abs(p[-1]):
            return False
        p = [p[-1] * a - p[0] * b for a, b in zip(p, reversed(p), strict=True)][1:]
        common = math.gcd(*p)
        p = [c // common for c in p]
    return True


def check_exact(given: Any, answer: Any, evidence: Any) -> str:
    """The spectral radius is 1, and the largest Jordan block on the unit circle has size J.

    The eigenvalues are the roots of factors (`chained`). Where a factor has "roots", these are
    approximate, and discs around its own lie inside the circle. The product P of all the others,
    its roots divided by V's denominator, has simple roots, all on the circle. So no two of them
    have a root in common, and J is the highest power of one of them: ||W^t|| grows like t^(J-1).

    P is checked by Cohn's theorem: its coefficients read the same in reverse up to sign, and P' has
    its roots inside. For then n P = z P' +- (P')*, and |(P')*| < |z P'| outside the circle, so P
    has no root there, nor, by symmetry, inside; and none is double, as P' would have it too.
    """
    size, W = matrix(given)
    keys(answer, "answer", {"degree", "verdict"})
    found = chained(W, evidence)
    edge = found.below << found.q
    P, block = [1], 0
    for k, factor in enumerate(found.factors):
        if factor.roots is None:
            scaled = [c * found.below**j for j, c in enumerate(factor.f)]
            common = math.gcd(*scaled)
            P, block = (
                polynomial_product(P, [c // common for c in scaled]),
                max(block, factor.power),
            )
            continue
        for a, b, radius in found.discs(factor, f"evidence.factors[{k}].roots"):
            if radius >= edge or a * a + b * b >= (edge - radius) ** 2:
                raise Refuted(f"evidence.factors[{k}]: a root may lie outside the unit circle")
    if len(P) == 1:
        raise Refuted("evidence.factors: none is said to have its roots on the circle")
    if not affordable(len(P) ** 4 * bits([P]) ** 2, len(W)):
        raise Malformed("evidence.factors: more than the budget of degree and digits")
    slope = [k * c for k, c in enumerate(P)][1:]
    if P[::-1] not in (P, [-c for c in P]) or not roots_inside(slope):
        raise Refuted("evidence.factors: roots aren't simple, or not on the unit circle")
    growth = block - 1
    if integer(answer["degree"], "answer.degree", 0, len(W)) != growth:
        raise Refuted(f"answer.degree: what is proved is {growth}")
    if answer["verdict"] != ("polynomial" if growth else "bounded"):
        raise Refuted(f"answer.verdict: doesn't go with the degree {growth}")
    what = f"grows like t^{growth}" if growth else "stays bounded and doesn't tend to 0"
    return f"The spectral radius of this {size} x {size} matrix is exactly 1, and ||W^t|| {what}."


def common_denominator(W: list[list[tuple[int, int]]]) -> tuple[list[list[int]], int]:
    """V and d with W = V / d; refused where powers of V would be too long."""
    below, limit = 1, MAX_EXACT_BITS // len(W)
    for row in W:
        for _, d in row:
            below = math.lcm(below, d)
            if below.bit_length() > limit:
                raise Malformed("given.W: the common denominator is too long")
    V = [[n * (below // d) for n, d in row] for row in W]
    if bits(V) > limit:
        raise Malformed("given.W: the numbers are too long for a matrix of this size")
    return V, below


# --- scaling laws --------------------------------------------------------------------------------
# A law predicts the loss L of a run; r = ln L - ln(loss measured). The objective is the sum over
# runs of r^2/2 where |r| <= delta and delta (|r| - delta/2) elsewhere (Huber 1964).

MAX_RUNS, MAX_BUDGETS = 2_000, 100
LARGEST = 10**30  # of a number of runs' tables and of a parameter; its inverse is the smallest
FORTY = decimal.Context(prec=40)  # errors of some 10^-35: nothing beside the tolerances
CLOSE = Decimal("1e-9")  # of the objective and of N and D, relative
AT_REST = Decimal("1e-6")  # of a slope, relative to what the runs pull either way
POWERS = {
    "kaplan-c": ("Cc", "compute"),
    "kaplan-d": ("Dc", "tokens"),
    "kaplan-n": ("Nc", "parameters"),
}
SUMS = {"hoffmann": "", "muennighoff": "ratio", "pearce-song": "omega"}
"""The laws that are a sum of powers above a floor, and the constant that is given to each."""


def check_scaling_fit(given: Any, answer: Any, evidence: Any) -> str:
    """The parameters are a stationary point of the objective, by 40-digit arithmetic.

    Where the objective has a minimum all its slopes are 0. A slope is the sum over runs of
    clip(r, -delta, delta) times the slope of ln L: each run pulls the parameter one way or the
    other, and at a stationary point the pulls cancel. Binary64 parameters can't cancel them to
    nothing, so what is checked is |sum of pulls| <= 10^-6 sum of |pulls|, to the logarithm of every
    coefficient and to every exponent; a coordinate on which the runs pull by less than 10^-9 of
    what they pull on another (a term that has vanished) counts as at rest. That it is the
    least of all minima isn't shown.

    The N that minimises E + A/N^a + B/D^b on 6 N D = C has aA/N^a = bB/D^b: the derivative to ln N
    along the budget is -aA/N^a + bB/D^b, and rises in ln N, so there is no other.
    """
    law, extra, delta, runs, budgets = scaling_question(given)
    keys(answer, "answer", {"allocation", "objective", "parameters"})
    keys(evidence, "evidence", set())
    p = scaling_parameters(answer["parameters"], law)
    stated = positive(answer["objective"], "answer.objective")
    with decimal.localcontext(FORTY):
        total = Decimal(0)
        slopes = pulls = [total] * len(p)
        for *inputs, loss in runs:
            logarithm, derivatives = log_law(law, list(p.values()), inputs, extra)
            r = logarithm - loss.ln()
            pull = max(-delta, min(delta, r))
            total += pull * (r - pull / 2)
            slopes = [s + pull * d for s, d in zip(slopes, derivatives, strict=True)]
            pulls = [s + abs(pull * d) for s, d in zip(pulls, derivatives, strict=True)]
        if abs(total - stated) > CLOSE * total:
            raise Refuted(f"answer.objective: it is {total:.12e} at these parameters")
        for name, slope, pull in zip(p, slopes, pulls, strict=True):
            if abs(slope) > AT_REST * pull and pull > CLOSE * max(pulls):
                raise Refuted(
                    f"not stationary in {name}: the runs pull by {slope / pull:.1e} of their pulls"
                )
        check_allocation(answer["allocation"], p, budgets)
    claim = (
        f"At these parameters the summed Huber loss (delta {float(delta)!r}) of the log residuals "
        f"of the law {law} on {counted(len(runs), 'run')} is the stated objective to 1 part in "
        "10^9, and no slope of it is above 10^-6 of the runs' pulls: a stationary point, not shown "
        "to be the least"
    )
    if budgets:
        claim += (
            f"; for {counted(len(budgets), 'budget')} of 6 N D FLOPs the stated N and D are where "
            "the law at these parameters is least, to 1 part in 10^9"
        )
    return claim + "."


def scaling_question(
    given: Any,
) -> tuple[str, Decimal, Decimal, list[list[Decimal]], list[Decimal]]:
    """The law, the constant given to it, delta, each run's inputs and loss, and the budgets."""
    law = given.get("law") if type(given) is dict else None
    if type(law) is not str or law not in {*POWERS, *SUMS, "kaplan-nd"}:
        raise Malformed(f"given.law: {describe(law)} is no law that is known here")
    constant = SUMS.get(law, "")
    keys(given, "given", {"delta", "flops", "law", "runs"} | ({constant} if constant else set()))
    extra = positive(given[constant], f"given.{constant}") if constant else Decimal(0)
    inputs = [POWERS[law][1]] if law in POWERS else ["parameters", "tokens"]
    names = [*inputs, *(["unique_tokens"] if law == "muennighoff" else []), "loss"]
    keys(given["runs"], "given.runs", set(names))
    columns = [positives(given["runs"][name], f"given.runs.{name}", MAX_RUNS) for name in names]
    if len({len(column) for column in columns}) != 1 or not columns[0]:
        raise Malformed("given.runs: one value a run is expected in every column")
    runs = [list(row) for row in zip(*columns, strict=True)]
    if law == "muennighoff" and any(unique > tokens for _, tokens, unique, _ in runs):
        raise Malformed("given.runs: a run has more unique tokens than tokens")
    budgets = positives(given["flops"], "given.flops", MAX_BUDGETS)
    if budgets and law != "hoffmann":
        raise Malformed("given.flops: allocations are proved for the law hoffmann alone")
    return law, extra, positive(given["delta"], "given.delta"), runs, budgets


def positive(value: Any, path: str) -> Decimal:
    """The exact value of a JSON number above 0 and of a size that can be reckoned with."""
    if type(value) is not int and type(value) is not float:
        raise Malformed(at(path, f"expected a number, got {describe(value)}"))
    if value <= 0 or value > LARGEST or value * LARGEST < 1:
        raise Malformed(at(path, f"expected a number from 1e-30 to 1e30, got {describe(value)}"))
    return Decimal(value)


def positives(value: Any, path: str, most: int) -> list[Decimal]:
    """A list of at most so many of them."""
    if type(value) is not list:
        raise Malformed(at(path, f"expected a list, got {describe(value)}"))
    if len(value) > most:
        raise Malformed(at(path, f"at most {most:,} values, got {len(value):,}"))
    return [positive(item, f"{path}[{index}]") for index, item in enumerate(value)]


def scaling_parameters(value: Any, law: str) -> dict[str, Decimal]:
    """A law's parameters in the order of `log_law`: all of them positive."""
    if law in POWERS:
        names = [POWERS[law][0], f"alpha_{POWERS[law][0][0]}"]
    elif law == "kaplan-nd":
        names = ["Nc", "Dc", "alpha_N", "alpha_D"]
    else:
        names = ["E", "A", "B", "alpha", "beta"] + (["R_D", "R_N"] if law == "muennighoff" else [])
    keys(value, "answer.parameters", set(names))
    return {name: positive(value[name], f"answer.parameters.{name}") for name in names}


def log_law(
    law: str, p: list[Decimal], inputs: list[Decimal], extra: Decimal
) -> tuple[Decimal, list[Decimal]]:
    """The logarithm of a law, and its slopes to the logarithms of coefficients and to exponents."""
    if law in POWERS:  # (Xc / X)^a
        x = (p[0] / inputs[0]).ln()
        return p[1] * x, [p[1], x]
    if law == "kaplan-nd":  # ((Nc / N)^(a / b) + Dc / D)^b
        x, u = (p[0] / inputs[0]).ln(), p[2] / p[3]
        size, data = bounded_exp(u * x), p[1] / inputs[1]
        share, logarithm = size / (size + data), (size + data).ln()
        slopes = [p[2] * share, p[3] * (1 - share), share * x, logarithm - share * x * u]
        return p[3] * logarithm, slopes
    E, A, B, alpha, beta = p[:5]  # E + A / N'^alpha + B / D'^beta
    N, D, by_n, by_d = inputs[0], inputs[1], Decimal(0), Decimal(0)
    if law == "pearce-song":
        N += extra * bounded_exp(N.ln() / 3)
    elif law == "muennighoff":
        N, by_n = worth(N, min(N, extra * inputs[2]), p[6])
        D, by_d = worth(D, inputs[2], p[5])
    n, d = N.ln(), D.ln()
    size, data = A * bounded_exp(-alpha * n), B * bounded_exp(-beta * d)
    L = E + size + data
    slopes = [E / L, size / L, data / L, -size * n / L, -data * d / L]
    more = [-beta * data * by_d / L, -alpha * size * by_n / L] if law == "muennighoff" else []
    return L.ln(), slopes + more


def worth(X: Decimal, unique: Decimal, r: Decimal) -> tuple[Decimal, Decimal]:
    """U + U r (1 - exp(-(X / U - 1) / r)), and the slope of its logarithm to ln r."""
    turns = X / unique - 1
    left = bounded_exp(-turns / r)
    whole = 1 + r * (1 - left)
    return unique * whole, (r * (1 - left) - turns * left) / whole


def bounded_exp(x: Decimal) -> Decimal:
    """Exp, where it is no absurd number; far below, 0 to the precision that is computed with."""
    if x > 10_000:
        raise Refuted("a law with these parameters is beyond all numbers")
    return x.exp() if x > -10_000 else Decimal(0)


def check_allocation(value: Any, p: dict[str, Decimal], budgets: list[Decimal]) -> None:
    """Each budget's N and D: 6 N D is the budget, and N is where the law is least along it."""
    if type(value) is not list or len(value) != len(budgets):
        raise Malformed(f"answer.allocation: expected {counted(len(budgets), 'pair')} [N, D]")
    for index, (pair, flops) in enumerate(zip(value, budgets, strict=True)):
        path = f"answer.allocation[{index}]"
        numbers = positives(pair, path, 2)
        if len(numbers) != 2:
            raise Malformed(at(path, "expected a pair [N, D]"))
        N, D = numbers
        gain, loss = p["alpha"] * p["A"], p["beta"] * p["B"]
        best = ((gain / loss).ln() + p["beta"] * (flops / 6).ln()) / (p["alpha"] + p["beta"])
        if abs(N.ln() - best) > CLOSE:
            raise Refuted(at(path, f"the law is least at N = {bounded_exp(best):.12e}"))
        if abs(6 * N * D / flops - 1) > CLOSE:
            raise Refuted(at(path, "6 N D is not the budget"))


CHECKS: dict[str, Callable[[Any, Any, Any], str]] = {
    "automaton.lstm": check_automaton,
    "beam.map": check_beam_map,
    "beam.stop": check_beam_stop,
    "evaluation.exact_match": check_exact_match,
    "graph.attention": check_attention,
    "neuron.inseparable": check_inseparable,
    "neuron.network": check_network,
    "neuron.separable": check_separable,
    "recurrence.exact": check_exact,
    "recurrence.spectrum": check_spectrum,
    "scaling.fit": check_scaling_fit,
}


# --- the verdict ---------------------------------------------------------------------------------


def check(document: dict[str, Any]) -> str:
    """The claim of a receipt that holds; raises `Malformed` or `Refuted` for any other."""
    envelope(document)
    kind = document["kind"]
    if kind not in CHECKS:
        raise Malformed(f"kind: {shorten(kind)} isn't one of {', '.join(sorted(CHECKS))}")
    proved = CHECKS[kind](document["given"], document["answer"], document["evidence"])
    if document["claim"] != proved:
        raise Refuted(f"claim: says {shorten(document['claim'])}; what is proved is: {proved}")
    return proved


def check_file(path: str | os.PathLike[str], large: bool = False) -> Verdict:
    """The verdict on one file; `large` allows 32 times the size."""
    name = ascii(os.fspath(path))[1:-1]
    try:
        return Verdict(name, "holds", check(parse(read(path, large), large)))
    except Refuted as error:
        return Verdict(name, "refuted", str(error))
    except Malformed as error:
        return Verdict(name, "unreadable", str(error))


def main(paths: Sequence[str]) -> int:
    """Print a verdict a file; 0 if all hold, 1 if one is refuted, 2 if one is unreadable."""
    if not paths or paths[0] in ("-h", "--help"):
        print("usage: python check.py [--large] FILE...", file=sys.stdout if paths else sys.stderr)
        return 0 if paths else 2
    large = paths[0] == "--large"
    verdicts = [check_file(path, large) for path in paths[large:]]
    for verdict in verdicts:
        print(f"{verdict.status}: {verdict.file}: {verdict.text}")
    return max((verdict.exit_code for verdict in verdicts), default=2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
