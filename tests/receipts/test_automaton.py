"""Is a false receipt about an LSTM and an automaton refused, with the reason?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.receipts.examples import LSTM_PARITY, changed, uninstrumented
from tests.receipts.test_check import refusal

from unrolled.automata import DFA, compile, named, parity
from unrolled.receipts import check

SOFT = json.loads(json.dumps(parity("soft").receipt().document()))

WRONG = {
    "a bias off": (LSTM_PARITY, [("answer.b_f", [-1])], "state 'odd', symbol '0'"),
    "a pre-activation of 0 where 1 is needed": (
        LSTM_PARITY,
        [("answer.b_f", [0])],
        "state 'odd', symbol '0'",
    ),
    "a candidate of 0": (LSTM_PARITY, [("answer.b_C", [0])], "state 'even', symbol '1'"),
    "an output gate of 0": (LSTM_PARITY, [("answer.b_o", [0])], "the step doesn't lead"),
    "a start elsewhere": (LSTM_PARITY, [("given.start", "odd")], "none of the start's boxes"),
    "h0 elsewhere": (LSTM_PARITY, [("answer.h0", [1])], "none of the start's boxes"),
    "C0 elsewhere": (LSTM_PARITY, [("answer.C0", ["1/2"])], "none of the start's boxes"),
    "no box of the start": (
        LSTM_PARITY,
        [("evidence.boxes", {"odd": [{"h": [[0, 1, 1]], "C": [[0, 1, 1]]}]})],
        "none of the start's boxes",
    ),
    "no box of a state that is reached": (
        LSTM_PARITY,
        [("evidence.boxes", {"even": [{"h": [], "C": []}]})],
        "into a box of state 'odd'",
    ),
    "an empty list of boxes": (
        LSTM_PARITY,
        [("evidence.boxes.odd", [])],
        "into a box of state 'odd'",
    ),
    "accepting states exchanged": (LSTM_PARITY, [("given.accepting", ["even"])], "readout"),
    "a readout of 0 on a rejecting state": (
        LSTM_PARITY,
        [("answer.readout.bias", 0)],
        "state 'even': the readout doesn't reject",
    ),
    "an input code exchanged": (
        LSTM_PARITY,
        [("answer.input_codes", {"0": [1], "1": [0]})],
        "state 'even', symbol '0'",
    ),
    "one transition changed": (
        LSTM_PARITY,
        [("given.transitions.odd.1", "odd")],
        "state 'odd', symbol '1'",
    ),
    "a box that two values share": (
        LSTM_PARITY,
        [("evidence.boxes.odd", [{"h": [[0, 0, 1]], "C": [[0, 0, 1]]}])],
        "",
    ),
    "a claim of another size": (
        LSTM_PARITY,
        [("claim", LSTM_PARITY["claim"].replace("1 hidden", "0 hidden"))],
        "what is proved is",
    ),
    "soft weights called hard": (SOFT, [("answer.gates", "hard")], None),
    "a margin larger than proved": (SOFT, [("evidence.margin", "1/64")], "into a box"),
    "a soft bias off": (SOFT, [("answer.b_f", [0])], "the step doesn't lead"),
    "weights half as sharp": (SOFT, [("answer.b_i", [-3])], "the step doesn't lead"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_false_receipt_is_refused_with_the_reason(name):
    document, changes, reason = WRONG[name]
    status, text = refusal(changed(document, *changes))
    if reason is None:
        assert status == "unreadable"
    else:
        assert status == "refuted"
        assert reason in text


MALFORMED = {
    "an unknown gate": ([("answer.gates", "firm")], "answer.gates"),
    "a missing transition": ([("given.transitions.odd", {"0": "odd"})], "given.transitions.odd.1"),
    "a transition to nowhere": ([("given.transitions.odd.1", "none")], "'none' isn't a state"),
    "a state twice": ([("given.states", ["even", "odd", "odd"])], "more than once"),
    "a symbol that is a number": ([("given.alphabet", ["0", 1])], "list of texts"),
    "a place twice": (
        [("answer.W_f.entries", [[0, 1, -2], [0, 1, -2]])],
        "answer.W_f.entries: a place appears more than once",
    ),
    "an entry outside": ([("answer.W_f.entries", [[0, 2, -2]])], "expected 0..1, got 2"),
    "an entry in a negative row": ([("answer.W_f.entries", [[-1, 1, -2]])], "expected 0..0"),
    "another shape": ([("answer.W_f.shape", [1, 3])], "answer.W_f.shape"),
    "a bias too many": ([("answer.b_f", [1, 1])], "answer.b_f: expected a list of 1"),
    "true for a number": ([("answer.b_f", [True])], "answer.b_f"),
    "a number too fine": ([("answer.b_f", [1e-300])], "too large or too fine"),
    "a number too large": ([("answer.b_f", [2**63])], "too large or too fine"),
    "an unreduced fraction": ([("answer.b_f", ["2/4"])], "lowest terms"),
    "ends exchanged": (
        [("evidence.boxes.odd", [{"h": [[0, 1, 0]], "C": []}])],
        "the low end lies above",
    ),
    "a unit twice in a box": (
        [("evidence.boxes.odd", [{"h": [[0, 1, 1], [0, 1, 1]], "C": []}])],
        "a unit appears more than once",
    ),
    "a unit that isn't there": (
        [("evidence.boxes.odd", [{"h": [[1, 1, 1]], "C": []}])],
        "expected 0..0, got 1",
    ),
    "a box of an unknown state": ([("evidence.boxes", {"other": []})], "'other' isn't a state"),
    "a margin in hard gates": ([("evidence.margin", 0)], "evidence.margin: unknown key"),
    "input codes of two lengths": (
        [("answer.input_codes", {"0": [0], "1": [1, 1]})],
        "answer.input_codes",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_has_not_the_form_is_unreadable_and_the_field_is_named(name):
    changes, reason = MALFORMED[name]
    status, text = refusal(changed(LSTM_PARITY, *changes))
    assert status == "unreadable"
    assert reason in text


def test_a_negative_margin_is_unreadable():
    assert refusal(changed(SOFT, ("evidence.margin", "-1/2"))) == (
        "unreadable",
        "evidence.margin: below 0",
    )


def test_states_that_are_never_reached_need_no_box():
    given = {
        **LSTM_PARITY["given"],
        "states": ["even", "odd", "lost"],
        "transitions": {**LSTM_PARITY["given"]["transitions"], "lost": {"0": "odd", "1": "lost"}},
    }
    document = changed(LSTM_PARITY, ("given", given), ("claim", ""))
    assert "automaton of 3 states" in check.check_automaton(
        document["given"], document["answer"], document["evidence"]
    )


def test_the_sigmoid_is_bounded_from_both_sides():
    from decimal import Context, Decimal

    exact = Context(prec=80)
    for z in (*range(-220, 221, 13), 1 / 3, -22 / 7, 2**-40, 0):
        n = round(z * check.FINE)
        low, high = (check.sigmoid_bound(n, below) for below in (True, False))
        power = exact.exp(exact.divide(Decimal(-n), check.FINE))
        value = exact.multiply(check.ONE, exact.divide(1, exact.add(1, power)))
        assert low <= value <= high
        assert (low, high) in ((0, high), (low, check.ONE)) or low < high
        assert high - low <= 32  # of 2^100


def test_a_soft_step_contains_what_the_equations_give_and_little_more():
    """By binary64's own exp, for random sums of the gates and random boxes of C."""
    rng = np.random.default_rng(0)
    unit = 2**20
    cell = check.SoftCell(unit, 3, check.Budget(10**6, 21))
    for _ in range(300):
        centre, wide = 8 * rng.normal(size=4), rng.random(5) * rng.choice([0, 0.01, 1])
        ends = [
            (int(v * unit**2), int((v + w) * unit**2)) for v, w in zip(centre, wide, strict=False)
        ]
        c = int(rng.normal() * unit)
        start = c, c + int(wide[4] * unit)
        h, C = cell.step(ends, start)
        z = np.array([rng.uniform(low, high, 20) for low, high in ends]) / unit**2
        before = rng.uniform(*start, 20) / unit
        f, i, o = (1 / (1 + np.exp(-z[k])) for k in (0, 1, 3))
        new = f * before + i * np.tanh(z[2])
        for found, values in ((C, new), (h, o * np.tanh(new))):
            low, high = (values.min() * unit, values.max() * unit)
            assert found[0] + 3 <= low + 1e-6
            assert high - 1e-6 <= found[1] - 3
        if not wide.any():
            assert h[1] - h[0] < unit / 8  # sums lose 1/64 at most


def test_soft_steps_that_are_alike_are_computed_once(monkeypatch):
    rng = np.random.default_rng(1)
    letters = [chr(97 + k) for k in range(10)]
    dfa = DFA.from_table(rng.integers(0, 20, (20, 10)), range(0, 20, 2), letters)
    answer = compile(dfa, "soft")
    plain = uninstrumented()
    taken = count_work(plain, monkeypatch)
    computed = []

    def cell(self, *sums, whole=plain.SoftCell.cell):
        computed.append(sums)
        return whole(self, *sums)

    monkeypatch.setattr(plain.SoftCell, "cell", cell)
    claim = plain.check_automaton(dfa.given(), answer.answer(), answer.evidence)
    assert "LSTM of 19 hidden units with soft gates" in claim
    assert len(set(computed)) == len(computed) < taken[0][0] / 8 / 2  # each step counts as 8


def test_a_receipt_of_a_thousand_states_is_within_the_budgets_of_a_file():
    rng = np.random.default_rng(0)
    dfa = DFA.from_table(rng.integers(0, 1000, (1000, 4)), range(0, 1000, 2), "abcd")
    answer = compile(dfa)
    plain = uninstrumented()
    parts = {"given": dfa.given(), "answer": answer.answer(), "evidence": answer.evidence}
    claim = plain.check_automaton(*parts.values())
    text = json.dumps({"receipt": 1, "kind": "automaton.lstm", "claim": claim, **parts})
    assert "automaton of 1000 states" in plain.check(plain.parse(text))


def test_a_file_too_large_by_default_is_read_when_asked_for(tmp_path):
    path = tmp_path / "large.json"
    compile(named("mod-8")).receipt().save(path)
    plain = uninstrumented()
    for name in ("MAX_VALUES", "MAX_BYTES"):
        whole = getattr(plain, name)
        setattr(plain, name, 300)
        verdict = plain.check_file(path)
        assert verdict.status == "unreadable"
        assert "--large" in verdict.text
        assert plain.check_file(path, large=True).status == "holds"
        assert plain.main([str(path)]) == 2
        assert plain.main(["--large", str(path)]) == 0
        setattr(plain, name, whole)
    assert plain.main(["--large"]) == 2


def hostile(units, symbols, gates="hard"):
    """A receipt of one state that says little and may ask for much."""
    names = [str(k) for k in range(symbols)]
    document = changed(LSTM_PARITY)
    document["given"] = {
        "alphabet": names,
        "states": ["s"],
        "start": "s",
        "accepting": ["s"],
        "transitions": {"s": dict.fromkeys(names, "s")},
    }
    nothing = {"shape": [units, units + 1], "entries": []}
    document["answer"] |= {f"W_{g}": dict(nothing) for g in "fiCo"}
    document["answer"] |= {name: [0] * units for name in ("b_f", "b_i", "b_C", "b_o", "h0", "C0")}
    document["answer"] |= {
        "gates": gates,
        "input_codes": {name: [0] for name in names},
        "readout": {"weights": [0] * units, "bias": 1},
    }
    box = {"h": [], "C": []}
    document["evidence"] = {"rest": {"h": [-1, 1], "C": [-1, 1]}, "boxes": {"s": [box]}}
    document["evidence"] |= {"margin": 0} if gates == "soft" else {}
    return document


def many_symbols_and_units():
    return hostile(2_500, 15_000)


def fractions_without_a_common_denominator():
    document = hostile(2_000, 1)
    odd = [10**58 + 2 * k + 1 for k in range(2_000)]
    document["answer"]["W_f"]["entries"] = [[0, j, f"1/{n}"] for j, n in enumerate(odd)]
    return document


def boxes_of_all_units_where_all_wake():
    document = hostile(3_000, 3)
    for gate in "iCo":
        document["answer"][f"b_{gate}"] = [1] * 3_000
    box = {"h": [[q, 0, 1] for q in range(3_000)], "C": []}
    document["evidence"] = {"rest": {"h": [0, 0], "C": [0, 0]}, "boxes": {"s": [box] * 5}}
    return document


def many_boxes_that_say_nothing_and_many_symbols():
    document = hostile(1, 60_000)
    document["evidence"]["boxes"]["s"] *= 20_000
    return document


def boxes_each_compared_with_each():
    document = hostile(2, 2)
    for gate in "iCo":
        document["answer"][f"b_{gate}"] = [1, 1]
    document["answer"]["b_f"] = [1, 0]
    wide, none = {"h": [[0, -5, 5]], "C": [[0, -30, 30]]}, {"h": [], "C": [[0, -9, 9]]}
    document["evidence"] = {
        "rest": {"h": [-2, 2], "C": [-20, 20]},
        "boxes": {"s": [none] * 24_000 + [wide] * 6_000},
    }
    return document


def soft_gates_with_fine_numbers_all_of_them_different():
    document = hostile(8_000, 20, "soft")
    for gate in "fiCo":
        document["answer"][f"b_{gate}"] = [(k + 1) * 2.0**-150 for k in range(8_000)]
    document["evidence"]["rest"] = {"h": [-1, 1], "C": [-9, 9]}
    return document


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (many_symbols_and_units, "operations to check for a file of its size"),
        (fractions_without_a_common_denominator, "no common denominator of at most 60 digits"),
        (boxes_of_all_units_where_all_wake, "operations to check for a file of its size"),
        (many_boxes_that_say_nothing_and_many_symbols, "operations to check for a file"),
        (boxes_each_compared_with_each, "operations to check for a file of its size"),
        (soft_gates_with_fine_numbers_all_of_them_different, "operations to check for a file"),
    ],
)
def test_what_would_take_too_long_is_refused_after_work_in_proportion_to_the_file(
    make, reason, monkeypatch
):
    plain = uninstrumented()
    # A hundredth of the budgets shows the same and is sooner over.
    monkeypatch.setattr(plain, "LEAST_WORK", plain.LEAST_WORK // 100)
    monkeypatch.setattr(plain, "WORK_PER_VALUE", 1)
    counted = count_work(plain, monkeypatch)
    document = plain.parse(json.dumps(make()))
    with pytest.raises(plain.Malformed, match=reason):
        plain.check(document)
    # Work is counted before it is done: what was done is less than was allowed.
    assert all(done <= allowed for done, allowed in counted)


def count_work(plain, monkeypatch):
    """How often a unit is stepped, next to what the budget allows."""
    counted = []
    budget = plain.Budget.__init__

    def begun(self, *sizes):
        budget(self, *sizes)
        counted.append([0, self.total])

    monkeypatch.setattr(plain.Budget, "__init__", begun)
    for kind in (plain.HardCell, plain.SoftCell):

        def stepped(self, z, C, step=kind.step):
            counted[-1][0] += 8
            return step(self, z, C)

        monkeypatch.setattr(kind, "step", stepped)
    return counted
