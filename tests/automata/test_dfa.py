"""Are automata read, minimised and run as they were written down?"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from tests.automata.oracle import all_codes, library, random_dfa

from unrolled.automata import DFA, complement, difference, from_regex, intersection, named
from unrolled.errors import BadInput

EVEN = {"even": {"0": "even", "1": "odd"}, "odd": {"0": "odd", "1": "even"}}


def words(alphabet, longest):
    for length in range(longest + 1):
        for code in all_codes(len(alphabet), length).tolist():
            yield "".join(alphabet[k] for k in code)


@pytest.mark.parametrize("seed", range(20))
def test_the_library_accepts_the_same_strings_and_finds_as_few_states(seed):
    rng = np.random.default_rng(seed)
    dfa = random_dfa(rng, int(rng.integers(1, 15)), "abc"[: rng.integers(1, 4)])
    other = library(dfa)
    small, classes = dfa.minimal()
    assert len(small.states) == len(other.minify().states)
    assert difference(dfa, small) is None
    for word in words(dfa.alphabet, 5):
        assert dfa.accepts(word) == small.accepts(word) == other.accepts_input(word)
    assert set(classes.values()) == set(small.states)


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        ("(0|10*1)*", "(0|10*1)*"),
        ("(a|b)*abb", "(a|b)*abb"),
        ("a?b+", "a?b+"),
        ("a{2,3}b", "a{2,3}b"),
        ("(ab|ba)*&(a|b){4}", "(?=(ab|ba)*$)(a|b){4}"),
        ("", ""),
        (".1.", "[01]1[01]"),
        ("(ab{2}|c){2}", "(ab{2}|c){2}"),
        ("[ab]*c", "[ab]*c"),
        ("[a-c]{2}", "[a-c]{2}"),
        ("a|[^ab]c", "a|[^ab]c"),
    ],
)
def test_a_regular_expression_means_what_python_takes_it_for(expression, pattern):
    dfa = from_regex(expression)
    for word in words(dfa.alphabet, 7):
        assert dfa.accepts(word) == bool(re.fullmatch(pattern, word)), word


def test_named_automata_do_what_their_names_say():
    for word in words("01", 9):
        assert named("parity").accepts(word) == (word.count("1") % 2 == 1)
        assert named("mod-3").accepts(word) == (word.count("1") % 3 == 0)
        assert named("contains-0110").accepts(word) == ("0110" in word)
        assert named("contains-11").accepts(word) == ("11" in word)
    for word in words("abc", 6):
        assert named("contains-abcab").accepts(word) == ("abcab" in word)
    for word in words("()", 9):
        depths = np.cumsum([1 if c == "(" else -1 for c in word]) if word else np.zeros(1)
        fits = depths.min() >= 0 and depths.max() <= 2 and depths[-1] == 0
        assert named("balanced-2").accepts(word) == fits


def test_complement_and_intersection_are_those_of_sets():
    a, b = from_regex("(0|10*1)*"), named("contains-11")
    both, other = intersection(a, b), complement(a)
    for word in words("01", 8):
        assert both.accepts(word) == (a.accepts(word) and b.accepts(word))
        assert other.accepts(word) != a.accepts(word)


def test_the_shortest_difference_is_found():
    assert difference(named("mod-3"), named("mod-6")) == ("1",) * 3
    assert difference(from_regex("(0|10*1)*"), named("mod-2")) is None


def test_tables_are_read_from_json_and_csv(tmp_path):
    (tmp_path / "t.json").write_text(
        json.dumps({"start": "even", "accepting": ["odd"], "transitions": EVEN}), "utf-8"
    )
    (tmp_path / "t.csv").write_text(
        "state,accepting,0,1\neven,no,even,odd\nodd,yes,odd,even\n", "utf-8"
    )
    for name in ("t.json", "t.csv"):
        dfa = DFA.load(tmp_path / name)
        assert dfa == DFA(("0", "1"), EVEN, "even", frozenset({"odd"}))


def test_symbols_of_several_characters_are_items_of_a_list():
    dfa = DFA(
        ("go", "stop"), {"a": {"go": "a", "stop": "b"}, "b": {"go": "a", "stop": "b"}}, "a", {"b"}
    )
    assert dfa.accepts(["go", "stop"])
    with pytest.raises(BadInput, match="symbol 2 of the string is 'halt'"):
        dfa.accepts(["go", "halt"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected"),
        ('{"start": "a", "accepting": [], "transitions": {"a": {"0": "b"}}}', "has no row"),
        ('{"start": "c", "accepting": [], "transitions": {"a": {"0": "a"}}}', "'c' is named"),
        ('{"start": "a", "accepting": [], "transitions": {"a": {"0": 1}}}', "all of them texts"),
        (
            '{"start": "a", "accepting": [], "alphabet": ["0", "1"], '
            '"transitions": {"a": {"0": "a"}}}',
            "no transition on '1'",
        ),
        (
            '{"start": "a", "accepting": [], "alphabet": ["0"], '
            '"transitions": {"a": {"0": "a", "2": "a"}}}',
            "isn't in the alphabet",
        ),
        ('{"start": "a", "accepting": [], "transitions": {}}', "at least one symbol"),
        (
            '{"start": "a", "accepting": [], "transitions": {"a": {"0": "a"}, "a": {"0": "a"}}}',
            "'a' stands twice in one object",
        ),
        (
            '{"start": "a", "accepting": [], "states": 5, "transitions": {"a": {"0": "a"}}}',
            "states: expected",
        ),
        (
            '{"start": "a", "accepting": [], "states": [["a"]], "transitions": {"a": {"0": "a"}}}',
            "states: expected",
        ),
        (
            '{"start": "a", "accepting": [], "transitions": {"a": {"\\ud800": "a"}}}',
            "half a surrogate pair",
        ),
        ('{"start": "a", "accepting": [], "transitions": {"a": {"": "a"}}}', "at least one char"),
        ('{"start": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_a_table_that_is_no_automaton_is_refused_in_one_line(text, message, tmp_path):
    (tmp_path / "t.json").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=message):
        DFA.load(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line"),
        ("state,accepting,0\n", "no state"),
        ("state,accepting,0\na,maybe,a\n", "yes or no"),
        ("state,accepting,0,1\na,no,a\n", "line 2"),
        ("state,accepting,0\na,no,a\na,no,a\n", "appears twice"),
        ("state,accepting,0\na,no,b\n", "has no row"),
    ],
)
def test_a_csv_that_is_no_automaton_is_refused_in_one_line(text, message, tmp_path):
    (tmp_path / "t.csv").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=message):
        DFA.load(tmp_path / "t.csv")


def test_a_table_saved_by_a_spreadsheet_and_names_of_two_lines_are_read(tmp_path):
    (tmp_path / "t.csv").write_text('state,accepting,a\n"s\n1",yes,"s\n1"\n', "utf-8-sig")
    assert DFA.load(tmp_path / "t.csv").start == "s\n1"


def test_what_is_no_file_is_not_read_for_ever(tmp_path):
    (tmp_path / "t.json").mkdir()
    for path in (tmp_path / "t.json", "/dev/zero"):
        with pytest.raises(BadInput, match=r"not a regular file|a \.json or a \.csv file"):
            DFA.load(path)


def test_a_blank_is_a_symbol_like_any_other():
    dfa = from_regex("a b*")
    assert dfa.alphabet == (" ", "a", "b")
    assert dfa.accepts("a bb")
    assert not dfa.accepts("ab")


@pytest.mark.parametrize("expression", ["a{99999999}", "(a{500}b){500}", "((a{30}){30}){30}"])
def test_repeats_too_long_to_write_out_are_refused_at_once(expression):
    with pytest.raises(BadInput, match="once its repeats are written out"):
        from_regex(expression)


@pytest.mark.parametrize(
    "expression",
    ["(0|1", "*", "0|", "0)", "{2}", "a{3,1}", "(" * 5000, "[ab", "[]", "[b-a]", "[*]", r"a\*"],
)
def test_an_unfinished_expression_is_refused(expression):
    with pytest.raises(BadInput):
        from_regex(expression)


@pytest.mark.parametrize("name", ["pairty", "mod-0", "mod-x", "contains-", "balanced-"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(BadInput, match="unknown automaton"):
        named(name)


def test_a_symbol_outside_the_alphabet_is_named_with_its_place():
    with pytest.raises(BadInput, match="symbol 3 of the string is '2'; the alphabet is 0 1"):
        named("parity").accepts("012")
