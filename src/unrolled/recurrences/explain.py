"""How would one explain the answer on a blackboard?

The formula, where the eigenvalues lie, what that means for h_t and how fast, and what happens
before the long run.
"""

from __future__ import annotations

import math

import numpy as np

from unrolled.recurrences.power import State
from unrolled.recurrences.sparse import SparseRadius
from unrolled.recurrences.verdict import Part, Verdict

SHOWN = 6  # eigenvalues


def explain(answer: Verdict) -> str:
    """The answer in words, several lines."""
    heads = {
        "vanishes": "Vanishes: h_t tends to 0 for every h_0.",
        "explodes": "Explodes: h_t grows without bound for almost every h_0.",
        "bounded": "Bounded: h_t neither vanishes nor explodes.",
        "polynomial": f"Grows like t^{answer.degree}, although no eigenvalue exceeds 1 in modulus.",
        "undecided": "Undecided: the spectral radius is too near to 1 for what is proved here.",
    }
    lines = [heads[answer.behaviour], "", "    h_t = W^T h_{t-1} = (W^T)^t h_0", ""]
    lines += [f"    eigenvalues: {eigenvalues(answer)}", f"    spectral radius: {radius(answer)}"]
    lines += ["", *reason(answer), *before(answer)]
    return "\n".join(lines)


def eigenvalues(answer: Verdict) -> str:
    """The largest few."""
    values = answer.spectrum.eigenvalues
    shown = ", ".join(spell(value) for value in values[:SHOWN])
    return shown + (f", … ({len(values)} in all)" if len(values) > SHOWN else "")


def spell(value: complex) -> str:
    """A complex number with four digits, real where the rest is rounding."""
    tiny = 1e-12 * abs(value)
    real = 0.0 if abs(value.real) <= tiny else value.real
    if abs(value.imag) <= tiny:
        return f"{real:.4g}"
    return f"{real:.4g}{'+' if value.imag > 0 else '-'}{abs(value.imag):.4g}i"


def radius(answer: Verdict) -> str:
    """The interval, or what is known exactly."""
    low, high = answer.spectrum.low, answer.spectrum.high
    if answer.behaviour in ("bounded", "polynomial"):
        return "1, exactly"
    if low == high:
        return f"{low:.12g}, exactly"
    text = f"{answer.rate:.9g}, proved to within {max(high - answer.rate, answer.rate - low):.1g}"
    if low <= 1 <= high and answer.exact is not None:
        side = "below" if answer.behaviour == "vanishes" else "above"
        text = f"{side} 1, by less than {max(high - 1, 1 - low):.1g}"
    return text


def reason(answer: Verdict) -> list[str]:
    """Why, in terms of eigenvalues and Jordan blocks, and how fast."""
    steps = answer.steps_to_halve_or_double
    if answer.behaviour == "vanishes":
        if not answer.spectrum.high:
            return ["All eigenvalues are 0: h_t is 0 after at most n steps."]
        return [
            "All eigenvalues lie inside the unit circle, so (W^T)^t tends to 0.",
            *speed(answer, change("halves", steps, answer.rate)),
        ]
    if answer.behaviour == "explodes":
        return [
            "An eigenvalue lies outside the unit circle. h_t grows unless h_0 has no component",
            "along the generalised eigenvectors of W^T with |lambda| > 1" + exception(answer),
            *speed(answer, change("doubles", steps, answer.rate)),
        ]
    if answer.behaviour == "bounded":
        return ["The eigenvalues on the unit circle are semisimple (Jordan blocks of size 1)."]
    if answer.behaviour == "polynomial":
        size = answer.degree + 1
        return [
            f"The largest Jordan block on the unit circle has size {size}, and the t-th power of a",
            f"block of size k grows like t^(k-1): here t^{answer.degree}.",
        ]
    return ["Give entries as exact fractions, or a matrix of at most 200 rows."]


def exception(answer: Verdict) -> str:
    """For which h_0 an exploding W doesn't explode."""
    try:
        growing = answer.growing
    except np.linalg.LinAlgError:
        return "."
    size, outside = growing.shape
    if outside == size:
        return ": these are\nall there are, so it explodes for every h_0 but 0."
    if not outside:
        return "."
    if outside > 1 or size > SHOWN or growing.dtype.kind == "c":
        return f": it then\nlies in a subspace of dimension {size - outside}, of {size}."
    weights = growing[:, 0] / growing[np.argmax(np.abs(growing[:, 0])), 0]
    terms = [(w, f"h_0[{i}]") for i, w in enumerate(weights, 1) if abs(w) > 1e-12]
    line = " ".join(
        f"{'-' if w < 0 else '+'} {'' if abs(abs(w) - 1) < 1e-12 else f'{abs(w):.4g} '}{name}"
        for w, name in terms
    )
    return f", that is,\nunless {line.removeprefix('+ ')} = 0."


def change(what: str, steps: float, rate: float) -> str:
    """The pace of the long run, in steps or, where it is faster, a step."""
    if abs(steps - 1) < 5e-4:
        return f"In the long run ||h_t|| {what} every step."
    if steps < 1:
        return f"In the long run ||h_t|| is multiplied by {rate:.3g} a step."
    return f"In the long run ||h_t|| {what} every {steps:.3g} steps."


def speed(answer: Verdict, line: str) -> list[str]:
    """The line, unless the radius is too near to 1 for one."""
    if answer.spectrum.low <= 1 <= answer.spectrum.high:
        return [
            "That is decided exactly, for the binary64 numbers as given; if they stand for others",
            'such as 3/5, write these as fractions: "3/5".',
        ]
    return [line]


def before(answer: Verdict) -> list[str]:
    """The transient, where there is one."""
    seen = answer.transient
    if not seen.departure:
        return []
    lines = [""]
    if answer.behaviour == "vanishes" and seen.peak > math.log(1.01):
        lines.append(
            f"Before that it can grow: ||(W^T)^t|| rises to {size(seen.peak)} at t = "
            f"{seen.peak_step}."
        )
    lines += [
        f"W isn't normal: condition of the eigenvectors {seen.condition:.3g}, numerical radius "
        f"{seen.numerical_radius:.3g},",
        f"numerical abscissa {seen.numerical_abscissa:.3g}" + kreiss(answer),
    ]
    return lines


def kreiss(answer: Verdict) -> str:
    """The end of a sentence; where powers grow without bound the constant is infinite."""
    found = answer.transient.kreiss
    if found is None or answer.behaviour in ("explodes", "polynomial"):
        return "."
    return f", Kreiss constant at least {found:.3g}."


def size(logarithm: float) -> str:
    """exp(logarithm) with three digits, even beyond binary64."""
    if logarithm == -math.inf:
        return "0"
    if abs(logarithm) < 600:
        return f"{math.exp(logarithm):.3g}"
    exponent = math.floor(logarithm / math.log(10))
    return f"{math.exp(logarithm - exponent * math.log(10)):.3g}e{exponent:+d}"


def explain_state(state: State, steps: int, part: Part | None) -> str:
    """h_t, and how much of h_0 is in which directions."""
    lines = [f"After {steps:,} steps ||h_t|| = {size(state.log_norm)}"]
    with np.printoptions(precision=4, suppress=True, threshold=8):
        lines.append(f"in the direction {state.direction}")
    if part is not None and not part.growing:
        where = "steady and decaying" if part.steady else "decaying"
        lines.append(f"This h_0 has no part in growing directions: {where} ones alone.")
    return "\n".join(lines)


def explain_sparse(found: SparseRadius) -> str:
    """What is known of a large sparse matrix."""
    where = f"[{found.low:.12g}, {found.high:.12g}]"
    if found.high < 1:
        head = "Vanishes: h_t tends to 0 for every h_0."
    elif found.low > 1:
        head = "Explodes: h_t grows without bound for almost every h_0."
    else:
        head = "Undecided: what is proved of the spectral radius leaves it open."
    lines = [head, "", "    h_t = W^T h_{t-1} = (W^T)^t h_0", ""]
    lines.append(f"    spectral radius: in {where}, proved")
    if found.estimate is not None:
        lines.append(f"    ARPACK's estimate: {found.estimate:.9g}, not proved")
    parts = "component" if found.components == 1 else "components"
    lines += ["", f"W has {found.components:,} strongly connected {parts}."]
    return "\n".join(lines)
