"""Are receipts written canonically and read strictly?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import BadInput
from unrolled.receipts import Receipt, check

PARTS = {
    "kind": "neuron.separable",
    "given": {"inputs": 1, "table": "01"},
    "answer": {"weights": [1], "bias": -1},
    "evidence": {},
}

values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=3)


def test_prove_words_the_claim_and_refuses_what_does_not_hold():
    receipt = Receipt.prove(**PARTS)
    assert receipt.claim == "One threshold neuron computes this truth table of 1 input."
    assert receipt.check() == receipt.claim
    with pytest.raises(check.Refuted):
        Receipt.prove(**{**PARTS, "answer": {"weights": [1], "bias": 0}})


def test_the_written_form_is_canonical():
    receipt = Receipt.prove(**PARTS)
    again = Receipt.prove(**{**PARTS, "answer": {"bias": -1, "weights": [1]}})
    assert receipt == again
    assert receipt.to_json() == again.to_json()
    assert receipt.to_json() == (
        '{"answer":{"bias":-1,"weights":[1]},'
        '"claim":"One threshold neuron computes this truth table of 1 input.",'
        '"evidence":{},"given":{"inputs":1,"table":"01"},"kind":"neuron.separable","receipt":1}\n'
    )


@given(st.text(), st.text(), objects, objects, objects)
def test_what_is_written_is_read_back_equal_bit_for_bit(kind, claim, question, answer, evidence):
    receipt = Receipt(kind, claim, question, answer, evidence)
    read = Receipt.parse(receipt.to_json())
    assert read == receipt
    assert read.to_json() == receipt.to_json()
    assert receipt.to_json().isascii()


def test_saving_and_loading_keep_the_bytes(tmp_path):
    receipt = Receipt.prove(**PARTS)
    path = tmp_path / "receipt.json"
    receipt.save(path)
    assert Receipt.load(path) == receipt
    assert path.read_text("ascii") == receipt.to_json()
    assert [file.name for file in tmp_path.iterdir()] == ["receipt.json"]
    mode = path.stat().st_mode & 0o777
    plain = tmp_path / "plain"
    plain.touch()
    assert mode == plain.stat().st_mode & 0o777


def test_a_receipt_read_need_not_be_canonical():
    text = json.dumps(Receipt.prove(**PARTS).document(), indent=3)
    assert Receipt.parse(text) == Receipt.prove(**PARTS)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("given", {"x": float("nan")}, "given.x: nan is not a JSON number"),
        ("given", {"x": [1, float("inf")]}, r"given.x\[1\]: inf is not a JSON number"),
        ("answer", {"w": (1, 2)}, "answer.w: a tuple has no place in JSON"),
        ("evidence", {"x": np.float64(1)}, "evidence.x: a float64 has no place in JSON"),
    ],
)
def test_a_receipt_of_what_json_cannot_hold_is_refused_with_its_path(field, value, reason):
    parts = {**PARTS, "claim": "c", field: value}
    with pytest.raises(BadInput, match=reason):
        Receipt(**parts)


def test_loading_names_the_file_and_the_field(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"receipt": 1, "kind": 3}', "utf-8")
    with pytest.raises(BadInput, match=r"broken.json: not a receipt: answer: missing"):
        Receipt.load(path)
    with pytest.raises(BadInput, match="can't be opened"):
        Receipt.load(tmp_path / "none")


def test_saving_where_one_cannot_write_is_one_clear_line(tmp_path):
    with pytest.raises(BadInput, match=r"can't write .*; choose another place"):
        Receipt.prove(**PARTS).save(tmp_path / "no" / "where.json")
    with pytest.raises(BadInput, match="can't write"):
        Receipt.prove(**PARTS).save(tmp_path)
