"""Is a receipt true? Beam search: trace and bounds again, by 60-digit decimals and plain lists."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

from tests.decoding.tiny import Tiny
from tests.receipts.truths.common import Document, whole

from unrolled.decoding import beam_search, exact_search
from unrolled.decoding.processors import RepetitionPenalty

FORMATS = ("float32", "bfloat16", "int8", "int4")


def searched(question: tuple[int, int, int, str, bool]) -> Document:
    seed, beam_size, max_length, objective, coarse = question
    scorer = Tiny(3, seed, coarse=coarse)
    scorer.weights = FORMATS[seed % len(FORMATS)]
    options: dict[str, Any] = {"beam_size": beam_size, "max_length": max_length}
    options["processors"] = [RepetitionPenalty(1.5)] if seed % 5 == 0 else []
    return beam_search(scorer, [[1]], objective=objective, **options)[0].receipt().document()


def origin(given: Document) -> str:
    """What is said of the weights; nothing where they are float32, and so in older receipts."""
    if "weights" not in given:
        return ""
    assert given["weights"] in FORMATS[1:]
    return f", said to be of {given['weights']} weights"


def decimal_score(name: str, s: Fraction, n: int) -> Decimal:
    kind, *numbers = name.split(":")
    a = Decimal(numbers[0]) if numbers else Decimal(0)
    with localcontext() as context:
        context.prec = 60
        value = Decimal(s.numerator) / Decimal(s.denominator)
        if kind == "length-normalised":
            return value / Decimal(n) ** a
        if kind == "gnmt":
            return value / (Decimal(n + 5) / 6) ** a
        if kind == "word-reward":
            return value + a * n
        if kind == "bounded-reward":
            return value + a * min(n, int(numbers[1]))
        assert kind == "log-probability"
        return value


def trace_holds(document: Document) -> bool:
    with localcontext() as context:
        context.prec = 60
        return trace_holds_with_60_digits(document)


def trace_holds_with_60_digits(document: Document) -> bool:
    """The beam by the trace's own numbers; claims compared with bounds over every length."""
    given, answer, evidence = document["given"], document["answer"], document["evidence"]
    names = {"vocab_size", "end_token", "beam_size", "max_length", "objective", "source"}
    assert set(given) - {"keeps_bound", "rules", "weights"} == names
    assert all(type(rule) is str for rule in given.get("rules", []))
    assert given.get("keeps_bound") in (None, False)
    positive, end, size = "keeps_bound" in given, given["end_token"], given["beam_size"]
    longest, name, vocab = given["max_length"], given["objective"], given["vocab_size"]
    assert whole(end, size, longest, vocab, *given["source"])
    assert 0 <= end < vocab
    assert set(evidence) == {"steps", "bound"}
    beam: list[tuple[list[int], Fraction]] = [([], Fraction(0))]
    completed, thrown, narrow = [], [], False
    for t, step in enumerate(evidence["steps"], 1):
        assert set(step) == {"kept", "rejected"}
        assert t <= longest
        new, order = [], []
        for parent, token, log_prob in step["kept"]:
            assert whole(parent, token)
            assert 0 <= token < vocab
            tokens, s = beam[parent]
            assert parent >= 0
            assert tokens[-1:] != [end]
            assert type(log_prob) in (int, float)
            assert positive or log_prob <= 0
            new.append(([*tokens, token], s + Fraction(log_prob)))
            order.append((-new[-1][1], parent, token))
        assert order == sorted(set(order))
        assert len(order) <= size
        assert any(tokens[-1:] != [end] for tokens, _ in beam)
        if step["rejected"] is not None:
            r = Fraction(step["rejected"])
            assert type(step["rejected"]) in (int, float)
            narrow = narrow or len(new) < size
            assert len(new) < vocab * sum(tokens[-1:] != [end] for tokens, _ in beam)
            assert r <= new[-1][1]
            assert positive or r <= 0
            thrown += [decimal_score(name, r, n) for n in range(t, longest + 1)]
        beam = new
        completed += [(tokens, s) for tokens, s in beam if tokens[-1] == end]
    steps = len(evidence["steps"])
    assert steps
    live = [s for tokens, s in beam if tokens[-1] != end]
    later = [decimal_score(name, s, n) for s in live for n in range(steps + 1, longest + 1)]
    tiny = Decimal("1e-40")
    ruled = ", which rules changed" if given.get("rules") else ""
    words = f"On these log-probabilities{origin(given)}{ruled}, beam search of size {size} for "
    words += f"at most {longest} tokens"
    if later:
        assert type(evidence["bound"]) in (int, float)
        assert abs(Decimal(evidence["bound"]) - max(later)) <= abs(max(later)) * Decimal(2) ** -40
        assert not positive
    else:
        assert evidence["bound"] is None
    if not answer:
        assert not narrow
        return (
            not completed and not later and document["claim"] == words + " completes no hypothesis."
        )
    assert set(answer) == {"tokens", "score"}
    scores = [decimal_score(name, s, len(tokens)) for tokens, s in completed]
    best = max(scores)
    tokens = next(t for (t, _), v in zip(completed, scores, strict=True) if v >= best - tiny)
    assert whole(*answer["tokens"])
    assert answer["tokens"] == tokens
    assert type(answer["score"]) in (int, float)
    assert abs(Decimal(answer["score"]) - best) <= (abs(best) + longest) * Decimal(2) ** -40
    assert max(later, default=best) <= best + tiny
    # In a narrower beam, what was rejected must be worse: else it may stand before the answer.
    assert not narrow or (max(thrown) < best - tiny and not positive)
    claim = f"{words} finds this best sequence by {name}, and no step after step {steps} can find"
    claim += " a better one"
    above = max([best, *thrown, *later])
    if positive:
        return document["claim"] == (
            f"{claim}; of other sequences nothing is said, as steps may add to a score."
        )
    if above <= best + tiny:
        said = f"; no sequence of at most {longest} tokens scores better."
        return document["claim"] == claim + said
    said = document["claim"].removeprefix(f"{claim}; other sequences may score up to ")
    return above <= Decimal(said.removesuffix(".")) <= above + Decimal("1e-6")


def mapped(question: tuple[int, int, int, str, int]) -> Document | None:
    seed, beam_size, max_length, objective, budget = question
    scorer = Tiny(3, seed)
    scorer.weights = FORMATS[seed % len(FORMATS)]
    answer = exact_search(
        scorer, [1], max_length=max_length, objective=objective, budget=budget,
        beam_size=beam_size, rows=2,
    )  # fmt: skip
    return answer.receipt().document() if answer.best else None


def map_holds(document: Document) -> bool:
    with localcontext() as context:
        context.prec = 60
        return map_holds_with_60_digits(document)


def map_holds_with_60_digits(document: Document) -> bool:
    """Prefixes by their tokens; every length of every bound; sums of float exponentials."""
    given, answer, evidence = document["given"], document["answer"], document["evidence"]
    names = {"vocab_size", "end_token", "max_length", "objective", "source"}
    assert set(given) - {"weights"} == names
    end, longest, vocab = given["end_token"], given["max_length"], given["vocab_size"]
    name = given["objective"]
    assert whole(end, longest, vocab, *given["source"])
    assert 0 <= end < vocab
    assert set(evidence) == {"prefixes", "rejected", "tolerance"}
    tolerance = evidence["tolerance"]
    assert 0 < tolerance <= 0.001
    spelled: list[tuple[int, ...]] = [()]
    sums: dict[tuple[int, ...], Fraction | None] = {(): Fraction(0)}
    chances: dict[tuple[int, ...], dict[int, float]] = {}
    for parent, token, log_prob in evidence["prefixes"]:
        assert whole(parent, token)
        assert 0 <= parent < len(spelled)
        assert 0 <= token < vocab
        before = spelled[parent]
        assert sums[before] is not None
        assert before[-1:] != (end,)
        tokens = (*before, token)
        assert tokens not in sums
        assert len(tokens) <= longest
        assert log_prob is None or (type(log_prob) in (int, float) and log_prob <= 0)
        chances.setdefault(before, {})[token] = 0.0 if log_prob is None else math.exp(log_prob)
        sums[tokens] = None if log_prob is None else sums[before] + Fraction(log_prob)
        spelled.append(tokens)
    rows = {}
    for number, best, log_mass in evidence["rejected"]:
        assert whole(number)
        assert 0 <= number < len(spelled)
        assert spelled[number] not in rows
        assert (best is None) == (log_mass is None)
        assert best is None or (type(best) in (int, float) and type(log_mass) in (int, float))
        assert best is None or best <= 0
        rows[spelled[number]] = (best, 0.0 if log_mass is None else math.exp(log_mass))
    bounds, completed = [], {}
    for tokens, s in sums.items():
        if s is not None and tokens[-1:] == (end,):
            completed[tokens] = decimal_score(name, s, len(tokens))
        elif tokens in chances or tokens in rows:
            listed = chances.get(tokens, {})
            best, mass = rows.get(tokens, (None, 0.0))
            assert abs(sum(listed.values()) + mass - 1) <= tolerance + 1e-9
            assert (tokens in rows) == (len(listed) < vocab)
            if best is not None:
                low = len(tokens) + 1 + (end in listed)
                s += Fraction(best)
                bounds += [decimal_score(name, s, n) for n in range(low, longest + 1)]
        elif s is not None:
            bounds += [decimal_score(name, s, n) for n in range(len(tokens) + 1, longest + 1)]
    assert set(answer) == {"tokens", "score"}
    assert whole(*answer["tokens"])
    best = completed[tuple(answer["tokens"])]
    tiny = Decimal("1e-40")
    assert best >= max(completed.values()) - tiny
    assert type(answer["score"]) in (int, float)
    assert abs(Decimal(answer["score"]) - best) <= (abs(best) + longest) * Decimal(2) ** -40
    words = f"On these log-probabilities{origin(given)}, no sequence of at most {longest} tokens "
    words += "scores "
    tail = f"; after every prefix the probabilities add up to 1 within {tolerance!r}."
    said = document["claim"]
    above = max([best, *bounds])
    if above <= best + tiny:
        return said == f"{words}better by {name} than this one{tail}"
    number = said.removeprefix(f"{words}above ").removesuffix(f" by {name}{tail}")
    return above <= Decimal(number) <= above + Decimal("1e-6")
