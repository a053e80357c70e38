"""How would one explain the answer on a blackboard?

The neuron with its sum, and for a small table every row; the refutation as inequalities, and what
comes out when they are added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unrolled.neurons.network import Network
from unrolled.neurons.separate import Inseparable, Separable
from unrolled.neurons.truth_table import TruthTable

SHOWN_ROWS = 16  # of a table that is checked row by row
SHOWN_INPUTS = 6  # a row is written with the values of at most this many inputs
SHOWN_NEURONS = 16  # of a network


def explain(answer: Separable | Inseparable | Network) -> str:
    """The answer and its proof in plain words, several lines."""
    if isinstance(answer, Separable):
        return "\n".join(explain_separable(answer))
    if isinstance(answer, Inseparable):
        return "\n".join(explain_inseparable(answer))
    return "\n".join(explain_network(answer))


def linear(weights: Sequence[int], names: Sequence[str], bias: int) -> str:
    """2*x1 - x2 - 1, without the terms that are 0."""
    text = ""
    for weight, name in [*zip(weights, names, strict=True), (bias, "")]:
        if weight:
            size = (
                str(abs(weight))
                if not name
                else name
                if abs(weight) == 1
                else f"{abs(weight)}*{name}"
            )
            sign = " - " if weight < 0 else " + "
            text += size if not text and weight > 0 else ("-" if not text else sign) + size
    return text or "0"


def explain_separable(answer: Separable) -> Iterable[str]:
    """The neuron, its value on each row, and what is known about smaller weights."""
    table = answer.table
    yield "Yes: one threshold neuron computes it."
    yield ""
    yield f"    output 1 where {linear(answer.weights, table.names, answer.bias)} >= 0, else 0"
    yield ""
    yield f"    weights {list(answer.weights)}, bias {answer.bias}"
    if len(table.bits) <= SHOWN_ROWS:
        yield ""
        yield from rows(answer)
    if answer.tree is not None:
        total = sum(map(abs, answer.weights))
        yield ""
        yield f"No whole weights with a smaller sum of |w| than {total} do it: " + (
            "a linear program bounds the sum from below,"
            if len(answer.tree) == 1
            else f"a search tree of {len(answer.tree)} linear programs leaves nothing smaller,"
        )
        yield "and its exact dual solution is in the receipt."


def rows(answer: Separable) -> Iterable[str]:
    """Every row with its sum."""
    table = answer.table
    widths = [max(len(name), 1) for name in table.names]
    head = "  ".join(table.names)
    yield f"    {head}  sum  output".rstrip() if head else "    sum  output"
    for row, bit in enumerate(table.bits):
        point = table.point(row)
        total = sum(w * x for w, x in zip(answer.weights, point, strict=True)) + answer.bias
        cells = "  ".join(f"{x:>{width}}" for x, width in zip(point, widths, strict=True))
        lead = f"    {cells}  " if cells else "    "
        free = "  (either would do)" if bit == "*" else ""
        yield f"{lead}{total:>3}  {int(total >= 0):>6}{free}"


def explain_inseparable(answer: Inseparable) -> Iterable[str]:
    """The inequalities, each as often as it counts, and their contradiction."""
    table = answer.table
    yield "No: no threshold neuron computes it."
    yield ""
    yield "Suppose a neuron did, with bias b and weights " + weight_names(table) + "."
    yield "Then the sum is at least 0 on true rows and below 0 on false ones. In particular:"
    yield ""
    yield from inequalities(table, answer.true, ">= 0")
    yield from inequalities(table, answer.false, "< 0")
    total = total_sum(answer)
    yield ""
    yield f"Add up the {count_of(answer.true)} for true rows:  {total} >= 0"
    yield f"Add up the {count_of(answer.false)} for false rows: {total} < 0"
    yield ""
    yield "The left sides are the same, and one number can't be at least 0 and below 0:"
    yield "so there are no such weights and no such bias."


def weight_names(table: TruthTable) -> str:
    """As in "w1 for x1, w2 for x2"; the short form for many."""
    if table.inputs > SHOWN_INPUTS:
        return f"w1, ..., w{table.inputs} for {table.names[0]}, ..., {table.names[-1]}"
    return ", ".join(f"w{i + 1} for {name}" for i, name in enumerate(table.names))


def inequalities(table: TruthTable, multiples: dict[int, int], relation: str) -> Iterable[str]:
    """One inequality a row."""
    word = "true" if relation.startswith(">") else "false"
    for row, times in sorted(multiples.items()):
        point = table.point(row)
        names = [f"w{i + 1}" for i in range(table.inputs)]
        text = " + ".join(["b", *(name for name, x in zip(names, point, strict=True) if x)])
        where = place(table, point)
        often = "" if times == 1 else f"   taken {times} times"
        yield f"    {word:>5} {where}:  {text} {relation}{often}"


def place(table: TruthTable, point: Sequence[int]) -> str:
    """Which row it is: every value of few inputs, of many those that are 1."""
    named = list(zip(table.names, point, strict=True))
    if table.inputs <= SHOWN_INPUTS:
        return "at " + ", ".join(f"{name}={x}" for name, x in named)
    ones = [name for name, x in named if x]
    return f"where just {', '.join(ones)} = 1" if ones else "where all inputs are 0"


def total_sum(answer: Inseparable) -> str:
    """What both sides add up to."""
    sums = [0] * answer.table.inputs
    for row, times in answer.true.items():
        sums = [s + times * x for s, x in zip(sums, answer.table.point(row), strict=True)]
    terms = [(sum(answer.true.values()), "b")]
    terms += [(value, f"w{i + 1}") for i, value in enumerate(sums) if value]
    return " + ".join(name if value == 1 else f"{value}*{name}" for value, name in terms)


def count_of(multiples: dict[int, int]) -> str:
    """As in "2 inequalities"; says if some are taken more than once."""
    times = sum(multiples.values())
    extra = "" if times == len(multiples) else " (with their repetitions)"
    return f"{times} inequalities{extra}"


def explain_network(answer: Network) -> Iterable[str]:
    """The hidden neurons, the one on top, and whether fewer could do."""
    size = len(answer.hidden)
    yield f"A network of two layers computes it, with {size} hidden neuron{'s' * (size != 1)}:"
    yield ""
    names = [f"h{i + 1}" for i in range(size)]
    for name, (weights, bias) in zip(names, answer.hidden, strict=True):
        if name == f"h{SHOWN_NEURONS + 1}":
            yield f"    ... and {size - SHOWN_NEURONS} more: --receipt FILE writes them all down"
            break
        yield f"    {name} = 1 where {linear(weights, answer.table.names, bias)} >= 0, else 0"
    else:
        weights, bias = answer.output
        yield f"    output = 1 where {linear(weights, names, bias)} >= 0, else 0"
    yield ""
    if answer.fewest is None:
        yield "Whether fewer hidden neurons can do isn't known: the search found no such network."
    else:
        yield (
            "Fewer hidden neurons can't do: "
            + (
                "a constant needs none.",
                "without one the output is constant.",
                "with one, the output is that neuron or its negation, and",
                "two neurons make an 'and' or an 'or', and for both an odd",
            )[size]
        )
        yield from (
            [],
            [],
            ["no single neuron computes the table (see above)."],
            ["cycle of rows is in the receipt whose neighbours no neuron gets right together."],
        )[size]
