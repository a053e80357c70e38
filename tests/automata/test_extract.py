"""Is the automaton of a trained LSTM, or of a predicate, the right one, and a difference found?"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.automata.oracle import all_codes, random_dfa

from unrolled.automata import (
    LSTM,
    Matrix,
    compile,
    difference,
    extract,
    from_regex,
    learn,
    named,
    parity,
)
from unrolled.automata.learn import MAX_STRINGS
from unrolled.errors import BadInput, WorkFailed


def extracted(answer, **options):
    codes = dict(zip(answer.dfa.alphabet, answer.inputs.tolist(), strict=True))
    readout = answer.readout.tolist(), answer.readout_bias
    return extract(answer.lstm, codes, readout, **options)


@pytest.mark.parametrize("seed", range(8))
def test_the_automaton_that_was_compiled_is_found_again(seed):
    rng = np.random.default_rng(seed)
    dfa = random_dfa(rng, int(rng.integers(2, 12)), "ab")
    found = extracted(compile(dfa, "soft"), longest=6)
    assert difference(found.dfa, dfa) is None
    assert found.parts_on is None
    assert found.clusters is not None


def test_parity_is_found_in_its_soft_gates():
    found = extracted(parity("soft"))
    assert difference(found.dfa, named("parity")) is None
    assert len(found.dfa.states) == 2


def test_a_counter_that_forgets_is_told_from_parity_by_its_shortest_string():
    """With a blunt forget gate the parity of many zeros is lost; the search says after how many."""
    blunt = LSTM.from_arrays(
        "soft",
        *([[0, -8]], [2.5]),  # f = 0.92 on a 0
        *([[-20, 20]], [-10]),
        *([[0, 0]], [20]),
        *([[0, 0]], [20]),
    )
    readout = [2.0], -1.0
    found = extract(blunt, {"0": [0], "1": [1]}, readout, longest=12)
    codes = all_codes(2, 12)
    h, C = np.zeros((len(codes), 1)), np.zeros((len(codes), 1))
    for t in range(12):
        C, h = blunt.step(codes[:, t : t + 1].astype(float), h, C)[4:]
    said = (2 * h[:, 0] - 1 >= 0).tolist()
    for word, yes in zip(codes.tolist(), said, strict=True):
        if found.parts_on is None:
            assert found.dfa.accepts([str(b) for b in word]) == yes
    parts = difference(found.dfa, named("parity"))
    assert parts is not None
    assert parts[0] == "1"
    assert set(parts[1:]) == {"0"}


def test_a_search_that_stops_early_says_where_the_lstm_does_otherwise():
    answer = compile(named("mod-7"), "soft")
    found = extracted(answer, longest=10, most=3)
    if found.parts_on is not None:
        assert answer.accepts(found.parts_on) != found.dfa.accepts(found.parts_on)
    else:
        assert difference(found.dfa, answer.dfa) is None


def test_a_trained_lstm_is_read():
    """Trained for seconds on "the last symbol but one is 1", which takes 4 states."""
    torch.manual_seed(0)
    layer, head = torch.nn.LSTM(1, 6, batch_first=True), torch.nn.Linear(6, 1)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    target = from_regex("(0|1)*1(0|1)")
    for _ in range(250):
        x = torch.randint(0, 2, (64, 12, 1)).float()
        wanted = torch.zeros(64, 12)
        wanted[:, 1:] = x[:, :-1, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            head(layer(x)[0])[..., 0], wanted
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        readout = head.weight[0].tolist(), float(head.bias)
    found = extract(layer, {"0": [0], "1": [1]}, readout, longest=8)
    assert found.parts_on is None
    # The empty string was never trained; everything else is learned.
    word = difference(found.dfa, target)
    assert word is None or word == ()


def test_a_predicate_is_learned_by_queries():
    assert len(learn(lambda s: s.count("1") % 3 == 0, "01", longest=6).states) == 3
    found = learn(lambda s: "abba" in s, "ab", longest=9)
    assert difference(found, named("contains-abba")) is None
    assert len(learn(lambda _: True, "ab", longest=4).states) == 1


def test_a_predicate_that_needs_too_many_states_fails_in_one_line():
    with pytest.raises(WorkFailed, match="more than 5 states"):
        learn(lambda s: s == s[::-1], "01", longest=12, most=5)
    with pytest.raises(BadInput, match="choose a shorter length"):
        learn(lambda _: True, "01", longest=MAX_STRINGS.bit_length())


def test_sizes_that_do_not_fit_are_refused():
    answer = parity("soft")
    with pytest.raises(BadInput, match="readout weights"):
        extract(answer.lstm, {"0": [0], "1": [1]}, ([1.0, 2.0], 0.0))
    with pytest.raises(BadInput, match="choose a shorter length"):
        extracted(answer, longest=30)
    two = torch.nn.LSTM(1, 2, num_layers=2)
    with pytest.raises(BadInput, match="one layer"):
        LSTM.from_torch(two)
    with pytest.raises(BadInput, match="W_i has shape"):
        dataclasses.replace(answer.lstm, W_i=Matrix.of((1, 3)))
