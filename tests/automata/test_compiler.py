"""Does the LSTM accept what the automaton accepts, in every kind of gates and numbers?"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from tests.automata.oracle import accepted, all_codes, every_string, library, random_dfa

from unrolled.automata import DFA, Matrix, compile, fewest, from_regex, named, parity
from unrolled.automata.orders import consecutive
from unrolled.automata.scan import SparseSteps
from unrolled.errors import BadInput
from unrolled.receipts import check

SIZES = [(2, 12), (3, 7), (4, 6), (6, 4)]  # letters, and the length up to which all are tried


def lstm_accepts(answer, codes, dtype=np.float64):
    """Step by step through the gates, all strings of one length at once."""
    lstm = answer.lstm
    h = np.tile(lstm.h0, (len(codes), 1)).astype(dtype)
    C = np.tile(lstm.C0, (len(codes), 1)).astype(dtype)
    inputs = answer.inputs.astype(dtype)
    for t in range(codes.shape[1]):
        C, h = lstm.step(inputs[codes[:, t]], h, C)[4:]
    assert h.dtype == dtype
    return answer.read(h)


def stepper(answer, dtype):
    """The step of the equations for symbol numbers, and h0, C0."""
    inputs = answer.inputs.astype(dtype)
    start = tuple(v.astype(dtype)[None] for v in (answer.lstm.h0, answer.lstm.C0))
    return (lambda codes, h, C: answer.lstm.step(inputs[codes], h, C)[:3:-1]), start


def agrees_on_every_string(answer, longest, dtype=np.float64):
    """Every string of up to that length, asked of the LSTM and of `accepts_input`."""
    other = library(answer.dfa)
    for h, words in every_string(answer.dfa, *stepper(answer, dtype), longest):
        assert h.dtype == dtype
        assert answer.read(h).tolist() == [other.accepts_input(word) for word in words]


def random_word(rng, dfa, length):
    return "".join(np.array(dfa.alphabet)[rng.integers(0, len(dfa.alphabet), length)])


@pytest.mark.parametrize("seed", range(200))
def test_hard_gates_accept_what_the_library_accepts(seed):
    rng = np.random.default_rng(seed)
    letters = SIZES[seed % 4][0]
    dfa = random_dfa(rng, int(rng.integers(1, 41)), "abcdef"[:letters])
    answer = compile(dfa)
    answer.receipt()
    rare = letters > 2  # two letters never need more than a unit for each state but one
    assert answer.lstm.hidden_size <= (len(dfa.minimal()[0].states) - 1) * (2 if rare else 1)
    agrees_on_every_string(answer, 12)
    long = random_word(rng, dfa, 100_000)
    assert answer.accepts(long) == library(dfa).accepts_input(long)


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_strings_that_share_no_step_are_accepted_alike(seed):
    rng = np.random.default_rng(seed)
    dfa = random_dfa(rng, int(rng.integers(1, 41)), "ab")
    answer, other = compile(dfa), library(dfa)
    for length in range(1, 13):
        codes = all_codes(2, length)
        words = ["".join(word) for word in np.array(["a", "b"])[codes].tolist()]
        assert lstm_accepts(answer, codes).tolist() == [other.accepts_input(w) for w in words]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_soft_gates_accept_it_too_in_both_precisions(seed, dtype):
    rng = np.random.default_rng(seed)
    letters, longest, most = [(2, 12, 40), (3, 7, 40), (3, 12, 4), (6, 4, 40)][seed % 4]
    dfa = random_dfa(rng, int(rng.integers(2, most + 1)), "abcdef"[:letters])
    answer = compile(dfa, "soft")
    if seed < 8 and dtype == np.float64:
        answer.receipt()
    agrees_on_every_string(answer, longest, dtype)
    codes = rng.integers(0, letters, (4, 1_000))
    assert (lstm_accepts(answer, codes, dtype) == accepted(dfa, codes)).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_gates_go_on_accepting_it_through_a_hundred_thousand_symbols(seed, dtype):
    rng = np.random.default_rng(seed)
    dfa = random_dfa(rng, int(rng.integers(20, 41)), "ab")
    answer, other = compile(dfa, "soft"), library(dfa)
    word = random_word(rng, dfa, 100_000)
    layer = answer.lstm.to_torch(dtype)
    lstm = answer.lstm
    start = tuple(torch.tensor(v, dtype=dtype).reshape(1, 1, -1) for v in (lstm.h0, lstm.C0))
    x = torch.tensor(answer.inputs, dtype=dtype)[torch.tensor(dfa.encode(word).astype(int))]
    with torch.inference_mode():
        said = answer.read(layer(x[None], start)[0][0].numpy())
    states = list(other.read_input_stepwise(word, ignore_rejection=True))[1:]
    assert said.tolist() == [state in other.final_states for state in states]
    assert answer.accepts(word) == other.accepts_input(word) == said[-1]


def test_soft_gates_of_many_units_are_stepped_by_their_weights_that_are_not_0():
    answer = compile(named("mod-600"), "soft")
    word = "1" * 1_199
    assert not answer.accepts(word)
    assert answer.accepts(word + "01")


@pytest.mark.parametrize("gates", ["hard", "soft"])
@pytest.mark.parametrize("expression", ["(0|10*1)*", "(a|b)*abb", "(0|1)*11(0|1)*", "0", ""])
def test_regular_expressions_become_lstms_of_a_unit_less_than_states(gates, expression):
    from automata.fa.dfa import DFA as Library  # noqa: N811
    from automata.fa.nfa import NFA

    dfa = from_regex(expression)
    answer = compile(dfa, gates)
    assert answer.lstm.hidden_size == len(dfa.states) - 1
    other = Library.from_nfa(NFA.from_regex(expression, input_symbols=set(dfa.alphabet)))
    for dtype in (np.float64,) if gates == "hard" else (np.float32, np.float64):
        for h, words in every_string(dfa, *stepper(answer, dtype), 12):
            assert answer.read(h).tolist() == [other.accepts_input(word) for word in words]
    for length in (99_999, 100_000):
        word = random_word(np.random.default_rng(length), dfa, length)
        assert answer.accepts(word) == other.accepts_input(word)


def test_parity_takes_one_unit_and_its_cell_state_is_the_parity():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, 1000)
    expected = np.cumsum(bits) % 2
    hard, soft = parity(), parity("soft")
    text = "".join(map(str, bits.tolist()))
    assert (hard.run(text).C[:, 0] == expected).all()
    for dtype in (np.float32, np.float64):
        assert np.abs(soft.run(text, dtype).C[:, 0] - expected).max() < 1 / 32
    for answer in (hard, soft):
        assert answer.lstm.hidden_size == 1
        assert not answer.lstm.h0.any()
        assert not answer.lstm.C0.any()
        assert answer.receipt().check()


def test_soft_parity_keeps_a_bit_through_any_number_of_zeros():
    soft = parity("soft")
    C = soft.run("1" + "0" * 5000, np.float32).C[:, 0]
    assert np.abs(C - 1).max() < 1 / 32


def test_a_set_of_letters_that_is_no_interval_in_any_order_splits_a_state():
    # Into x lead {a, b}, {b, c} and {a, c}: no order has all three in one piece. The state into
    # which most copies would lead costs no unit, so there are two such states.
    pairs = ["ab", "bc", "ac"]
    moves = {}
    for k, pair in enumerate(pairs):
        moves[f"p{k}"] = {a: "x" if a in pair else "y" for a in "abc"}
        moves[f"q{k}"] = {a: "y" if a in pair else "x" for a in "abc"}
    moves["x"] = {"a": "p0", "b": "p1", "c": "p2"}
    moves["y"] = {"a": "q0", "b": "q1", "c": "q2"}
    dfa = DFA("abc", moves, "x", {"x", "p0", "q1"})
    answer = compile(dfa)
    states = len(dfa.minimal()[0].states)
    assert answer.lstm.hidden_size > states - 1
    assert "more where no order" in answer.construction
    answer.receipt()
    compile(dfa, "soft").receipt()
    for length in range(1, 8):
        codes = all_codes(3, length)
        assert (lstm_accepts(answer, codes) == accepted(dfa, codes)).all()


def test_an_order_is_found_where_there_is_one():
    assert consecutive([0b011, 0b110], 3) is not None
    assert consecutive([0b011, 0b110, 0b101], 3) is None
    rng = np.random.default_rng(1)
    for size in (5, 9, 26):
        order = rng.permutation(size)
        ends = np.sort(rng.integers(0, size, (12, 2)), axis=1)
        masks = [sum(1 << int(k) for k in order[a : b + 1]) for a, b in ends.tolist()]
        found = consecutive(masks, size)
        assert found is not None
        assert sorted(found) == list(range(size))
        for mask in masks:
            places = [k for k, letter in enumerate(found) if mask >> letter & 1]
            assert places[-1] - places[0] == len(places) - 1


@pytest.mark.parametrize("gates", ["hard", "soft"])
@pytest.mark.parametrize(
    "alphabet",
    ["one-hot", {"0": [-1], "1": [1]}, {"0": [0.5, 0], "1": [0.25, 3]}],
)
def test_any_independent_vectors_can_stand_for_the_symbols(gates, alphabet):
    answer = compile(named("contains-0110"), gates, alphabet)
    answer.receipt()
    codes = all_codes(2, 8)
    assert (lstm_accepts(answer, codes) == accepted(answer.dfa, codes)).all()


@pytest.mark.parametrize(
    ("alphabet", "message"),
    [
        ({"0": [1], "1": [1]}, "affinely dependent"),
        ({"0": [1]}, "a vector for each symbol"),
        ({"0": [1], "1": [1, 2]}, "of one length"),
        ({"0": [1], "1": [math.nan]}, "finite"),
    ],
)
def test_vectors_that_cannot_tell_the_symbols_apart_are_refused(alphabet, message):
    with pytest.raises(BadInput, match=message):
        compile(named("parity"), alphabet=alphabet)
    with pytest.raises(BadInput, match="two letters"):
        compile(named("contains-abc"), alphabet="bit")


def test_a_sharpness_too_small_names_a_state_and_one_that_works():
    with pytest.raises(BadInput, match=r"sharpness 1 proves nothing: state '.*sharpness \d+ works"):
        compile(named("contains-0110"), "soft", sharpness=1)
    with pytest.raises(BadInput, match="hard gates have no sharpness"):
        compile(named("parity"), sharpness=3)
    sharp = compile(named("contains-0110"), "soft", sharpness=40)
    assert sharp.receipt().check()


@pytest.mark.parametrize("gates", ["hard", "soft"])
def test_unreachable_states_and_states_that_share_a_code_are_no_obstacle(gates):
    moves = {
        "a": {"0": "a", "1": "b"},
        "b": {"0": "b2", "1": "a2"},
        "a2": {"0": "a", "1": "b"},
        "b2": {"0": "b", "1": "a"},
        "lost": {"0": "lost", "1": "a"},
    }
    answer = compile(DFA("01", moves, "a", {"b", "b2", "lost"}), gates)
    assert answer.lstm.hidden_size == 1
    assert "lost" not in answer.evidence["boxes"]
    assert "automaton of 5 states" in answer.receipt().claim


@pytest.mark.parametrize("alphabet", ["a", "ab"])
@pytest.mark.parametrize("accepting", [[], [0]])
def test_an_automaton_of_one_state_needs_no_unit(alphabet, accepting):
    answer = compile(DFA.from_table(np.zeros((1, len(alphabet)), int), accepting, alphabet))
    assert answer.lstm.hidden_size == 0
    assert answer.receipt().check()
    assert answer.accepts("aa") == bool(accepting)
    assert answer.accepts("") == bool(accepting)
    with pytest.raises(BadInput, match="0 units"):
        compile(answer.dfa, "soft").lstm.to_torch()


@pytest.mark.parametrize("states", [4, 6, 8])
def test_the_fewest_units_are_about_the_logarithm_of_the_states(states):
    rng = np.random.default_rng(states)
    dfa = random_dfa(rng, states, "01")
    answer = fewest(dfa)
    small = len(dfa.minimal()[0].states)
    assert answer.lstm.hidden_size == math.ceil(math.log2(small))
    answer.receipt()
    codes = all_codes(2, 10)
    assert (lstm_accepts(answer, codes) == accepted(dfa, codes)).all()


@pytest.mark.parametrize("k", range(1, 6))
def test_a_counter_to_a_power_of_two_takes_a_unit_a_bit(k):
    answer = fewest(named(f"mod-{2**k}"))
    assert answer.lstm.hidden_size == k
    assert answer.receipt().check()
    text = "110" * 50
    expected = [text[: t + 1].count("1") % 2**k == 0 for t in range(len(text))]
    assert answer.accepts_along(text).tolist() == expected


def test_one_step_by_the_weights_of_units_that_are_on_is_the_step_of_the_equations():
    rng = np.random.default_rng(3)
    for answer in (compile(random_dfa(rng, 30, "abc")), fewest(named("mod-8")), parity()):
        steps = SparseSteps(answer.lstm, answer.inputs)
        codes = rng.integers(0, len(answer.inputs), 200)
        run = answer.lstm(answer.inputs[codes])
        state = steps.start
        for t, symbol in enumerate(codes.tolist()):
            state = steps.step(state, symbol)
            h = np.zeros(answer.lstm.hidden_size)
            h[state[0]] = state[1]
            assert (h == run.h[t]).all()
            if not steps.forgets:
                assert (state[2] == np.where(steps.kept, run.C[t], 0)).all()


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000, 600_000])
@pytest.mark.parametrize("name", ["parity", "mod-5", "contains-0110", "balanced-3"])
def test_the_scan_gives_the_state_of_the_walk(name, length):
    dfa = named(name)
    answer = parity() if name == "parity" else compile(dfa)
    rng = np.random.default_rng(length)
    codes = rng.integers(0, 2, length)
    text = "".join(np.array(list(dfa.alphabet))[codes]) if length else ""
    state, expected, rows = dfa.states.index(dfa.start), [], dfa.table.tolist()
    for symbol in codes.tolist():
        state = rows[state][symbol]
        expected.append(bool(dfa.final[state]))
    assert answer.accepts(text) == bool(dfa.final[state])
    assert answer.accepts_along(text).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_computes_the_same_and_comes_back_the_same(seed, dtype):
    rng = np.random.default_rng(seed)
    answer = compile(random_dfa(rng, 12, "abc"), "soft")
    codes = rng.integers(0, 3, (5, 40))
    x = answer.inputs[codes]
    ours = answer.lstm(x)
    layer = answer.lstm.to_torch(dtype)
    start = tuple(
        torch.tensor(np.tile(v, (1, 5, 1)), dtype=dtype) for v in (answer.lstm.h0, answer.lstm.C0)
    )
    with torch.no_grad():
        h, (_, C) = layer(torch.tensor(x, dtype=dtype), start)
    assert np.abs(h.numpy() - ours.h).max() < 1e-6
    assert np.abs(C[0].numpy() - ours.C[:, -1]).max() < 1e-6
    ours_torch = answer.lstm(torch.tensor(x))
    assert np.abs(ours_torch.h.numpy() - ours.h).max() < 1e-12
    back = type(answer.lstm).from_torch(layer)
    for name in ("W_f", "W_i", "W_C", "W_o"):
        assert (getattr(back, name).dense == getattr(answer.lstm, name).dense).all()
    for name in ("b_f", "b_i", "b_C", "b_o"):
        assert (getattr(back, name) == getattr(answer.lstm, name)).all()


def test_hard_gates_run_on_tensors_and_torch_has_none():
    answer = parity()
    x = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    assert answer.lstm(x).C[:, 0].tolist() == [0, 1, 0, 1]
    with pytest.raises(BadInput, match="torch has no hard gates"):
        answer.lstm.to_torch()


def test_a_large_lstm_is_never_written_out():
    answer = compile(named("mod-6000"))
    assert answer.lstm.hidden_size == 5999
    with pytest.raises(BadInput, match="written out"):
        answer.lstm.W_i.dense  # noqa: B018
    assert answer.accepts("1" * 6000 + "0")
    x = answer.inputs[[1, 1, 0]]
    h = answer.lstm(x).h
    assert h.sum(axis=1).tolist() == [1, 1, 1]
    tensor = answer.lstm(torch.tensor(x)).h
    assert (tensor.numpy() == h).all()


def test_the_exported_file_opens_in_torch(tmp_path):
    from safetensors.torch import load_file

    answer = compile(named("contains-11"), "soft")
    answer.export_torch(tmp_path / "w.safetensors")
    parts = load_file(tmp_path / "w.safetensors")
    layer = torch.nn.LSTM(1, 2, batch_first=True, dtype=torch.float64)
    prefix = "lstm."
    layer.load_state_dict({k[5:]: v for k, v in parts.items() if k.startswith(prefix)})
    for word in ("0110", "0101", "1", "0", "11"):
        x = parts["inputs"][[int(c) for c in word]][None]
        with torch.no_grad():
            h, _ = layer(x, (parts["h0"][None], parts["C0"][None]))
        score = h[0, -1] @ parts["readout.weight"][0] + parts["readout.bias"][0]
        assert bool(score >= 0) == ("11" in word)


PLACES = [f"{part}_{gate}" for gate in "fiCo" for part in "Wb"]
PLACES += ["h0", "C0", "inputs", "readout", "readout_bias"]


def perturbed(answer, name, change):
    """The answer with each of the numbers under a name moved, one at a time."""
    owner = answer.lstm if hasattr(answer.lstm, name) else answer
    found = getattr(owner, name)
    dense = np.array(found.dense if isinstance(found, Matrix) else found, dtype=float)
    for place in np.ndindex(dense.shape):
        moved = dense.copy()
        moved[place] += change
        part = {name: Matrix.from_dense(moved) if isinstance(found, Matrix) else moved}
        if name == "readout_bias":
            part = {name: float(moved)}
        if owner is answer.lstm:
            part = {"lstm": dataclasses.replace(answer.lstm, **part)}
        yield place, dataclasses.replace(answer, **part)


def follows(answer, most=1_000):
    """Whether an LSTM with hard gates accepts the automaton's strings, all of them: every pair of
    a state of it and one of the automaton that can be met is met. None if they are too many.
    """
    dfa, lstm = answer.dfa, answer.lstm
    order = [(tuple(lstm.h0), tuple(lstm.C0), dfa.start)]
    seen = set(order)
    for h, C, q in order:
        if bool(answer.read(np.array(h))) != (q in dfa.accepting):
            return False
        for x, symbol in zip(answer.inputs, dfa.alphabet, strict=True):
            C_new, h_new = lstm.step(x, np.array(h), np.array(C))[4:]
            pair = tuple(h_new.tolist()), tuple(C_new.tolist()), dfa.transitions[q][symbol]
            if pair not in seen:
                seen.add(pair)
                order.append(pair)
        if len(order) > most:
            return None
    return True


def proves(answer):
    try:
        answer.receipt()
    except check.Refuted:
        return False
    return True


def test_every_number_of_parity_is_proved_within_its_margin_and_refused_beyond_it():
    """The margins by hand, from the pre-activations: f = 1 - 2x, i = 2x - 2h - 1, C~ = o = 1."""
    margins = {
        ("W_f", (0, 0)): (-1, 1),  # z_f is above 0 at h = 1, x = 0, and not at h = 1, x = 1
        ("W_f", (0, 1)): (None, 1),  # nor at h = 0, x = 1
        ("b_f", (0,)): (-1, 1),
        ("W_i", (0, 0)): (None, 1),  # z_i at h = 1, x = 1
        ("W_i", (0, 1)): (-1, 1),
        ("b_i", (0,)): (-1, 1),
        ("b_C", (0,)): (-1, None),
        ("b_o", (0,)): (-1, None),
    }
    answer = parity()
    for (name, place), (low, high) in margins.items():
        for quarter in range(-24, 25):
            change = quarter / 4
            moved = dict(perturbed(answer, name, change))[place]
            # A pre-activation of 0 counts as below 0: the upper ends belong to what is proved.
            right = (low is None or change > low) and (high is None or change <= high)
            assert proves(moved) == right, (name, place, change)
            assert follows(moved) in (right, None), (name, place, change)


@pytest.mark.parametrize("which", ["contains-0110", "random", "parity", "fewest"])
def test_every_number_that_is_moved_too_far_in_hard_gates_is_refused(which):
    rng = np.random.default_rng(7)
    answer = {
        "contains-0110": lambda: compile(named("contains-0110")),
        "random": lambda: compile(random_dfa(rng, 4, "abc")),
        "parity": parity,
        "fewest": lambda: fewest(named("mod-8")),
    }[which]()
    assert proves(answer)
    refused = dict.fromkeys(PLACES, 0)
    for name in PLACES:
        for change in (-3, -0.5, 0.5, 3):
            for place, moved in perturbed(answer, name, change):
                right = follows(moved)
                if right is False:
                    refused[name] += 1
                    assert not proves(moved), (name, place, change)
                elif abs(change) < 1 and name[1] == "_" and which != "fewest":
                    assert proves(moved), (name, place, change)  # odd numbers leave that margin
    assert all(refused[name] for name in ("W_i", "b_i", "b_o", "h0", "inputs", "readout_bias"))


@pytest.mark.parametrize("which", ["contains-0110", "random", "parity"])
def test_every_number_that_is_moved_too_far_in_soft_gates_is_refused(which):
    rng = np.random.default_rng(7)
    dfa = random_dfa(rng, 6, "abc") if which == "random" else named(which)
    answer = parity("soft") if which == "parity" else compile(dfa, "soft")
    letters = len(dfa.alphabet)
    codes = all_codes(letters, 9 if letters == 2 else 6)
    right, refused = accepted(dfa, codes), 0
    size = 36 if which == "parity" else 3 * answer.sharpness
    for name in PLACES:
        sizes = (-size, size) if name[1] == "_" else (-2, 2)
        for change in sizes:
            for place, moved in perturbed(answer, name, change):
                if (lstm_accepts(moved, codes) != right).any():
                    refused += 1
                    assert not proves(moved), (name, place, change)
    assert refused > 10
