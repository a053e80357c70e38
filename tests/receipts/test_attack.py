"""Is any forged receipt accepted, does any crash the checker, or keep it busy?"""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.receipts.false_claims import FALSE_CLAIMS, UNPROVED, forged
from tests.receipts.forgeries import ATTACKS, Document, mutate

from unrolled.receipts import check

FORGERIES = 25  # of each of the receipts hypothesis draws
SECONDS = 1.0

attack = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def accepted(text: str) -> str | None:
    """What the checker says is proved; None if it refuses, soon and by an error of its own."""
    started = time.process_time()
    try:
        return check.check(check.parse(text))
    except (check.Malformed, check.Refuted) as error:
        reason = str(error)
    finally:
        assert time.process_time() - started < SECONDS
    assert reason.isascii()
    assert reason.isprintable()
    return None


def receipt(kind: str, question: object) -> Document:
    """The receipt of a question, if it has one of this kind."""
    document = ATTACKS[kind].answer(question)
    assume(document is not None)
    assert document is not None
    return document


def true(document: Document) -> bool:
    """What the oracle of the document's kind says; what it can't make sense of isn't true."""
    try:
        assert set(document) == {"receipt", "kind", "claim", "given", "answer", "evidence"}
        assert type(document["receipt"]) is int
        assert document["receipt"] == 1
        return ATTACKS[document["kind"]].holds(document)
    except Exception:
        return False


def test_every_kind_the_checker_knows_is_attacked():
    assert ATTACKS.keys() == check.CHECKS.keys()


@pytest.mark.parametrize("kind", sorted(ATTACKS))
def test_receipts_that_hold_are_accepted_and_true(kind):
    @settings(attack, max_examples=60)
    @given(ATTACKS[kind].questions)
    def run(question):
        document = receipt(kind, question)
        assert document["kind"] == kind
        assert accepted(json.dumps(document)) == document["claim"]
        assert ATTACKS[kind].holds(document)

    run()


@pytest.mark.parametrize("kind", sorted(ATTACKS))
def test_no_forged_receipt_is_accepted_unless_it_is_true_all_the_same(kind):
    others = st.one_of([st.tuples(st.just(k), a.questions) for k, a in ATTACKS.items()])

    @attack
    @given(ATTACKS[kind].questions, others, st.integers(0, 2**32))
    def run(question, other_question, seed):
        document, other = receipt(kind, question), receipt(*other_question)
        rng = random.Random(seed)
        for _ in range(FORGERIES):
            forged = mutate(document, other, rng)
            if accepted(json.dumps(forged)):
                assert true(forged), json.dumps(forged)

    run()


@pytest.mark.parametrize("kind", sorted(FALSE_CLAIMS))
def test_what_was_made_by_hand_to_claim_too_much_is_false_and_refused(kind):
    for lie in FALSE_CLAIMS[kind]:
        name, honest, _ = lie
        assert accepted(json.dumps(honest)) == honest["claim"], name
        false = forged(lie)
        assert not accepted(json.dumps(false)), name
        assert name in UNPROVED or not true(false), name


@pytest.mark.parametrize("kind", sorted(ATTACKS))
def test_no_damaged_text_crashes_the_checker_or_passes_for_another_claim(kind):
    @settings(attack, max_examples=60)
    @given(ATTACKS[kind].questions, st.integers(0, 2**32))
    def run(question, seed):
        rng = random.Random(seed)
        text = json.dumps(receipt(kind, question))
        for _ in range(FORGERIES):
            at = rng.randrange(len(text))
            length = rng.choice((0, 1, 1, 2, 9))
            junk = rng.choice(
                ["", "0", "9", "-", ".", '"', "{", "[[[", "]", ",", ":", "e9", "\\u", "é"]
            )
            damaged = text[:at] + junk + text[at + length :]
            if accepted(damaged):
                assert true(json.loads(damaged)), damaged

    run()


def test_the_attack_does_change_receipts_and_some_forgeries_are_well_formed():
    """An attack all of whose forgeries fall at the first hurdle would show nothing."""
    reasons: set[type] = set()
    passed = 0

    @attack
    @given(ATTACKS["neuron.separable"].questions, st.integers(0, 2**32))
    def run(question, seed):
        nonlocal passed
        document = receipt("neuron.separable", question)
        rng = random.Random(seed)
        for _ in range(FORGERIES):
            forged = mutate(document, document, rng)
            try:
                check.check(check.parse(json.dumps(forged)))
                passed += forged != document
            except (check.Malformed, check.Refuted) as error:
                reasons.add(type(error))

    run()
    assert reasons == {check.Malformed, check.Refuted}
    assert passed
