"""Does the checker accept what is proved, and refuse a false receipt with its reason?"""

from __future__ import annotations

import json

import pytest
from tests.receipts.examples import AND, EXAMPLES, LEAST, NET, PARITY, XOR, changed

from unrolled.neurons import TruthTable, separate
from unrolled.receipts import check

# Each leaf holds, and takes 4,096 multipliers; the tree goes on splitting the first weight.
WIDE_LEAVES = [
    node
    for cut in range(1, 40)
    for node in (
        {
            "true": {str(row): "1/2048" for row in range(2048, 4096)},
            "false": {str(row): "1/2048" for row in range(2048)},
        },
        {"input": 1, "at_most": cut},
    )
]


def refusal(document):
    """Why the checker refuses: (status, reason)."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises((check.Refuted, check.Malformed)) as caught:
        check.check(check.parse(text))
    return "refuted" if caught.type is check.Refuted else "unreadable", str(caught.value)


@pytest.mark.parametrize("document", EXAMPLES, ids=lambda d: d["claim"][:40])
def test_a_receipt_that_holds_is_accepted(document):
    assert check.check(check.parse(json.dumps(document))) == document["claim"]


WRONG = {
    "a bias off by one": (AND, [("answer.bias", -3)], "row 3 of the table is 1"),
    "a bias off by one the other way": (AND, [("answer.bias", -1)], "row 1 of the table is 0"),
    "another table": (AND, [("given.table", "0111")], "row 1 of the table is 1"),
    "swapped weights": (
        AND,
        [("given.table", "0010"), ("answer.weights", [-1, 1]), ("answer.bias", -1)],
        "row 1",
    ),
    "swapped rows": (
        XOR,
        [("evidence", {"true": {"0": 1, "3": 1}, "false": {"1": 1, "2": 1}})],
        "row 0 is 0 in the table, not 1",
    ),
    "a don't-care row in the evidence": (XOR, [("given.table", "01*0")], "row 2 is *"),
    "a row beyond the table": (XOR, [("evidence.true", {"1": 1, "4": 1})], "no row 4"),
    "unequal totals": (XOR, [("evidence.true", {"1": 2, "2": 1})], "different totals"),
    "unequal sums": (
        XOR,
        [("given.table", "0111"), ("evidence", {"true": {"1": 1}, "false": {"0": 1}})],
        "differ in input 2",
    ),
    "no rows": (XOR, [("evidence", {"true": {}, "false": {}})], "without rows"),
    "a claim that says more": (
        AND,
        [("claim", LEAST["claim"])],
        "what is proved is: One threshold neuron computes this truth table of 2 inputs.",
    ),
    "a claim that says less": (LEAST, [("claim", AND["claim"])], "what is proved is"),
    "a claim about another number": (AND, [("claim", AND["claim"].replace("2", "3"))], "claim"),
    "weights that aren't the least": (
        LEAST,
        [
            ("answer", {"weights": [2, 1], "bias": -3}),
            ("claim", LEAST["claim"].replace("2 d", "3 d")),
        ],
        "don't exclude a sum of |w| below 3",
    ),
    "a weaker dual": (LEAST, [("evidence.minimal.0.true.3", "1")], "different totals"),
    "multipliers all halved": (
        LEAST,
        [("evidence.minimal.0", {"true": {"3": "1"}, "false": {"1": "1/2", "2": "1/2"}})],
        "don't exclude",
    ),
    "a dual too steep": (
        LEAST,
        [("evidence.minimal.0", {"true": {"3": "20"}, "false": {"1": "10", "2": "10"}})],
        "don't exclude",
    ),
    "a network with a wrong top": (NET, [("answer.output.bias", -1)], "row 0 of the table is 0"),
    "a network of another table": (NET, [("given.table", "0111")], "row 3 of the table is 1"),
    "three hidden neurons where two do": (
        PARITY,
        [
            ("given", {"inputs": 3, "table": "01111110"}),
            ("answer.output", {"weights": [1, 0, -1], "bias": -1}),
        ],
        "the rows aren't",
    ),
    "a cycle that isn't one": (PARITY, [("evidence.fewest.and.0", [0, 1, 4])], "row 0 + row 3"),
    "fewer than four hidden": (
        PARITY,
        [
            ("answer.hidden", [*PARITY["answer"]["hidden"], {"weights": [0, 0, 0], "bias": 0}]),
            ("answer.output.weights", [1, -1, 1, 0]),
            ("claim", PARITY["claim"].replace("A network of 3", "A network of 4")),
            ("evidence.fewest", {}),
        ],
        "no proof here for more than 3",
    ),
    "one hidden neuron for a constant": (
        NET,
        [
            ("given.table", "0000"),
            (
                "answer",
                {
                    "hidden": [{"weights": [0, 0], "bias": 0}],
                    "output": {"weights": [0], "bias": -1},
                },
            ),
            ("evidence.fewest", {}),
        ],
        "a constant table needs no hidden neuron",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_false_receipt_is_refuted_with_the_reason(name):
    document, changes, reason = WRONG[name]
    status, said = refusal(changed(document, *changes))
    assert status == "refuted"
    assert reason in said


MALFORMED = {
    "a list for the answer": (AND, [("answer", [])], "answer: expected an object, got a list"),
    "a multiplier of zero": (LEAST, [("evidence.minimal.0.true.3", "0")], "positive fraction"),
    "a weight above the budget": (AND, [("answer.weights.0", 2**62 + 1)], "answer.weights[0]: exp"),
    "a multiplicity above the budget": (XOR, [("evidence.true.1", 2**62 + 1)], "evidence.true.1"),
    "more rows than the budget": (
        XOR,
        [("evidence.true", {str(row): 1 for row in range(4097)})],
        "evidence.true: more than 4,096 rows",
    ),
    "more multipliers than the budget": (
        AND,
        [
            ("given", {"inputs": 12, "table": "0" * 2048 + "1" * 2048}),
            ("answer", {"weights": [1] + [0] * 11, "bias": -1}),
            ("evidence", {"minimal": [{"input": 1, "at_most": 0}, *WIDE_LEAVES]}),
        ],
        "more than 50,000 multipliers and nodes",
    ),
    "a split beyond the end of its interval": (
        LEAST,
        [("evidence.minimal", [{"input": 1, "at_most": 0}, {"input": 1, "at_most": 0}])],
        "at_most 0 doesn't split -inf..0",
    ),
    "a negative multiplicity": (
        XOR,
        [("evidence.true.1", -1)],
        "evidence.true.1: expected 1..",
    ),
    "a multiplicity of zero": (XOR, [("evidence.true.1", 0)], "evidence.true.1: expected 1.."),
    "true for 1": (
        XOR,
        [("evidence.true.1", True)],
        "evidence.true.1: expected a whole number, got true",
    ),
    "a boolean weight": (AND, [("answer.weights.0", True)], "answer.weights[0]: expected a whole"),
    "a float weight": (
        AND,
        [("answer.weights.1", 1.0)],
        "answer.weights[1]: expected a whole number, got 1.0",
    ),
    "a boolean bias": (
        AND,
        [("answer.bias", False)],
        "answer.bias: expected a whole number, got false",
    ),
    "a weight as text": (AND, [("answer.weights.0", "1")], "got '1'"),
    "too few weights": (
        AND,
        [("answer.weights", [1])],
        "answer.weights: expected 2 entries, got 1",
    ),
    "10^9 inputs": (AND, [("given.inputs", 10**9)], "given.inputs: expected 0..20, got 1000000000"),
    "a boolean number of inputs": (AND, [("given.inputs", True)], "given.inputs: expected a whole"),
    "a table too long": (AND, [("given.table", "00010001")], "expected 4 rows, got 8"),
    "a table too short": (AND, [("given.table", "")], "expected 4 rows, got 0"),
    "a table of other signs": (AND, [("given.table", "0021")], 'only "0", "1" and "*"'),
    "a table of other digits": (AND, [("given.table", "٠٠٠١")], 'only "0", "1" and "*"'),
    "a row written another way": (XOR, [("evidence.true", {"01": 1, "2": 1})], "'01' is not a row"),
    "a row in other digits": (XOR, [("evidence.true", {"١": 1, "2": 1})], "is not a row number"),
    "a row with a sign": (XOR, [("evidence.true", {"+1": 1, "2": 1})], "'+1' is not a row"),
    "an endless row": (XOR, [("evidence.true", {"1" * 5000: 1, "2": 1})], "is not a row number"),
    "an unknown key": (AND, [("given.names", ["a", "b"])], "given.names: unknown key"),
    "an unknown key on top": (AND, [("signed", "me")], "signed: unknown key"),
    "evidence of another kind": (AND, [("evidence", XOR["evidence"])], "evidence.minimal: missing"),
    "another version": (AND, [("receipt", 2)], "receipt: expected 1, got 2"),
    "a version that is true": (AND, [("receipt", True)], "receipt: expected 1, got true"),
    "another kind": (AND, [("kind", "neuron.magic")], "kind: 'neuron.magic' isn't one of"),
    "a kind that is a list": (AND, [("kind", [])], "kind: expected text, got a list"),
    "an answer to no question": (XOR, [("answer.weights", [])], "answer.weights: unknown key"),
    "a fraction not in lowest terms": (
        LEAST,
        [("evidence.minimal.0.true.3", "4/2")],
        "in lowest terms",
    ),
    "a fraction over nothing": (LEAST, [("evidence.minimal.0.true.3", "2/0")], "lowest terms"),
    "a fraction as a number": (LEAST, [("evidence.minimal.0.true.3", 2)], "lowest terms"),
    "a negative multiplier": (LEAST, [("evidence.minimal.0.true.3", "-2")], "positive fraction"),
    "an endless fraction": (LEAST, [("evidence.minimal.0.true.3", "1" * 900)], "lowest terms"),
    "a leaf too many": (
        LEAST,
        [("evidence.minimal", LEAST["evidence"]["minimal"] * 2)],
        "complete before",
    ),
    "no leaf": (LEAST, [("evidence.minimal", [])], "the tree is incomplete"),
    "half a tree": (
        LEAST,
        [("evidence.minimal", [{"input": 1, "at_most": 0}, *LEAST["evidence"]["minimal"]])],
        "the tree is incomplete",
    ),
    "a split that loses a case": (
        LEAST,
        [
            (
                "evidence.minimal",
                [
                    {"input": 1, "at_most": 0},
                    {"input": 1, "at_most": 1},
                    *LEAST["evidence"]["minimal"] * 3,
                ],
            )
        ],
        "at_most 1 doesn't split -inf..0",
    ),
    "a split of no input": (
        LEAST,
        [("evidence.minimal", [{"input": 0, "at_most": 0}])],
        "minimal[0].input: expected 1..2",
    ),
    "a leaf that is a number": (LEAST, [("evidence.minimal", [7])], "expected an object, got 7"),
    "a leaf without rows": (
        LEAST,
        [("evidence.minimal", [{"true": 1, "false": {}}])],
        "true: expected",
    ),
    "a cycle of even length": (PARITY, [("evidence.fewest.and", [[0, 1, 2], [3, 7, 1]])], "odd"),
    "a cycle of no rows": (PARITY, [("evidence.fewest.and", [])], "odd"),
    "a cycle off the table": (PARITY, [("evidence.fewest.and.0", [0, 1, 8])], "expected 0..7"),
    "a hidden layer that is text": (
        NET,
        [("answer.hidden", "many")],
        "answer.hidden: expected a list",
    ),
    "a hidden neuron that is a list": (
        NET,
        [("answer.hidden.0", [])],
        "answer.hidden[0]: expected",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_has_not_the_form_of_its_kind_is_unreadable_and_the_path_is_named(name):
    document, changes, reason = MALFORMED[name]
    status, said = refusal(changed(document, *changes))
    assert status == "unreadable"
    assert reason in said


def test_the_largest_numbers_within_budget_are_read():
    largest = {"weights": [2**62, 2**62], "bias": -(2**62)}
    document = changed(AND, ("given.table", "0111"), ("answer", largest))
    assert check.check(check.parse(json.dumps(document))) == AND["claim"]
    often = {"true": {"1": 2**62, "2": 2**62}, "false": {"0": 2**62, "3": 2**62}}
    assert check.check(changed(XOR, ("evidence", often))) == XOR["claim"]


def test_a_split_at_the_lower_end_of_an_interval_is_read():
    """w_1 <= -1 or w_1 >= 0; then w_1 = 0 or w_1 >= 1. All leaves hold."""
    leaf = LEAST["evidence"]["minimal"][0]
    tree = [{"input": 1, "at_most": -1}, leaf, {"input": 1, "at_most": 0}, leaf, leaf]
    assert check.check(changed(LEAST, ("evidence.minimal", tree))) == LEAST["claim"]


def test_keys_that_are_not_text_are_found_in_documents_made_in_python():
    with pytest.raises(check.Malformed, match="given: a key is text, not 1"):
        check.vet({"given": {1: 2}})


def test_a_large_network_is_refused_before_it_is_run():
    wide = {"inputs": 20, "table": "0" * 2**20}
    document = changed(NET, ("given", wide), ("answer.hidden", NET["answer"]["hidden"] * 4))
    with pytest.raises(check.Malformed, match="rows times neurons"):
        check.check(document)


def test_a_document_made_in_python_with_values_json_has_not_is_unreadable():
    for path, value in (("answer.bias", 10**5000), ("answer.weights", (1, 1)), ("kind", 3)):
        with pytest.raises(check.Malformed):
            check.check(changed(AND, (path, value)))
    with pytest.raises(check.Malformed):
        check.check({})


def test_a_minimum_found_by_splitting_holds_and_every_leaf_is_needed():
    weights = (13, 10, 8, 6, 4, 4, 2, 1)  # the least sum is 48, the linear program's optimum less
    table = TruthTable.from_function(
        lambda *x: sum(w * v for w, v in zip(weights, x, strict=True)) >= 32, 8
    )
    document = separate(table, minimal=True).receipt().document()
    tree = document["evidence"]["minimal"]
    assert len(tree) == 3
    assert "smaller sum of |w| than 48" in check.check(document)
    for leaf in (1, 2):
        root_alone = changed(document, ("evidence.minimal", [tree[leaf]]))
        assert refusal(root_alone)[0] == "refuted"
    exchanged = changed(document, ("evidence.minimal", [tree[0], tree[2], tree[1]]))
    assert refusal(exchanged)[0] == "refuted"
