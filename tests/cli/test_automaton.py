"""Does `unrolled automaton` answer, prove, draw, export and refuse as a user would expect?"""

from __future__ import annotations

import json

import pytest

from unrolled.cli import main
from unrolled.receipts import Receipt


def run(capsys, *arguments):
    code = main(["automaton", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_parity_shows_its_eight_parameters_and_the_gates_of_each_step(capsys):
    code, out, err = run(capsys, "parity", "--string", "010110")
    assert (code, err) == (0, "")
    for line in ("W_f = [0 -2]   b_f = [1]", "W_i = [-2 2]   b_i = [-1]"):
        assert f"    {line}\n" in out
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[6] for row in rows] == ["0", "1", "1", "0", "1", "1"], "C is the parity"
    assert [row[-1] for row in rows] == ["reject", "accept", "accept", "reject", "accept", "accept"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["parity"],
        ["parity", "--gates", "soft"],
        ["contains-0110", "--gates", "soft"],
        ["mod-8", "--fewest"],
        ["--regex", "(a|b)*abb"],
    ],
)
def test_a_receipt_written_is_one_that_check_accepts(capsys, tmp_path, arguments):
    path = tmp_path / "r.json"
    code, out, _ = run(capsys, *arguments, "--receipt", str(path))
    assert code == 0
    assert f"receipt written to {path}" in out
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"holds: {path}: {Receipt.load(path).claim}\n"


def test_json_is_the_answer_and_nothing_else(capsys):
    code, out, err = run(capsys, "--regex", "(0|10*1)*", "--string", "0110", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer["hidden_size"] == 1
    assert answer["accepted"] is True
    assert answer["receipt"]["kind"] == "automaton.lstm"


def test_a_table_of_words_is_read_and_its_string_split_at_spaces(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "state,accepting,go,stop\nmoving,no,moving,still\nstill,yes,moving,still\n", "utf-8"
    )
    code, out, _ = run(capsys, "--table", str(path), "--string", "go stop")
    assert code == 0
    assert out.count("accept\n") == 1


def test_a_picture_and_weights_are_written(capsys, tmp_path):
    picture, weights = tmp_path / "p.svg", tmp_path / "w.safetensors"
    words = ["mod-3", "--gates", "soft", "--string", "110", "--plot", str(picture)]
    code, out, _ = run(capsys, *words, "--export", "torch", str(weights))
    assert code == 0
    assert f"picture written to {picture}" in out
    assert f"weights written to {weights}" in out
    assert picture.read_text("utf-8").startswith("<?xml")
    assert weights.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one automaton"),
        (["parity", "--regex", "0"], "give one automaton"),
        (["pairty"], "unknown automaton 'pairty'"),
        (["--regex", "(0|1"], "unfinished or not a regular expression"),
        (["--regex", "ab", "--alphabet", "a"], "the expression holds 'b'"),
        (["--table", "none.json"], "can't read none.json"),
        (["parity", "--string", "0120"], "symbol 3 of the string is '2'; the alphabet is 0 1"),
        (["mod-3", "--gates", "soft", "--sharpness", "1"], "sharpness 1 proves nothing: state"),
        (["mod-3", "--gates", "soft", "--fewest"], "--fewest is for hard gates"),
        (["mod-3", "--sharpness", "9", "--fewest"], "--fewest is for hard gates"),
        (["parity", "--alphabet", "01"], "--alphabet is for the letters of --regex"),
        (["mod-200001"], "at most 200,000"),
        (["parity", "--export", "torch", "w.safetensors"], "torch has no hard gates"),
        (["parity", "--receipt", "/no/where/a.json"], "can't write"),
        (["parity", "--plot", "/no/where/a.png"], "can't write"),
        (["mod-3", "--gates", "soft", "--export", "torch", "/no/where/a"], "can't write"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("unrolled automaton: ")
    assert message in err


def test_help_shows_an_example_that_works(capsys):
    assert main(["automaton", "--help"]) == 0
    assert "Example: unrolled automaton parity --string 010110" in capsys.readouterr().out
    assert main(["automaton", "parity", "--string", "010110"]) == 0


def test_an_interrupted_compilation_is_one_line_and_exit_130(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("unrolled.cli.automaton.compile", interrupted)
    assert run(capsys, "mod-3") == (130, "", "unrolled automaton: interrupted\n")


def test_a_proof_beyond_the_budget_is_one_line_and_exit_1(capsys, monkeypatch):
    monkeypatch.setattr("unrolled.receipts.check.LEAST_WORK", 0)
    monkeypatch.setattr("unrolled.receipts.check.WORK_PER_VALUE", 1)
    code, out, err = run(capsys, "mod-30", "--gates", "soft")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "no checker would read the receipt" in err


def test_what_is_being_done_is_said_on_a_terminal(monkeypatch):
    import io

    from unrolled.cli import output

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", shown)
    with output.working() as tell:
        tell("proving 4,000 transitions")
    assert "proving 4,000 transitions" in shown.getvalue()


def test_how_much_is_compiled_and_proved_is_said_in_per_cent(monkeypatch, capsys):
    import contextlib

    told = []
    monkeypatch.setattr(
        "unrolled.cli.automaton.working",
        lambda: contextlib.nullcontext(lambda *words: told.append(words)),
    )
    assert main(["automaton", "mod-500"]) == 0
    for what in ("compiling 500 states", "proving 1,000 transitions"):
        parts = [words[1:] for words in told if words[0] == what and len(words) > 1]
        assert len(parts) > 10
        assert all(0 < done <= total for done, total in parts)
        assert parts == sorted(parts)
        assert parts[-1][0] == parts[-1][1]


def test_a_percentage_is_shown_where_it_is_known(monkeypatch):
    import io

    from unrolled.cli import output

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", shown)
    with output.working() as tell:
        tell("proving", 30, 120)
    assert "proving  25%" in shown.getvalue()


EVIL = "\x1b[2J\x07$x^{"


@pytest.mark.parametrize("string", [[], ["--string", f"go {EVIL}"]])
def test_a_name_that_a_terminal_would_obey_reaches_none(capsys, tmp_path, string):
    path, receipt = tmp_path / "t.json", tmp_path / "r.json"
    rows = {EVIL: {"go": EVIL, EVIL: "b"}, "b": {"go": "b", EVIL: EVIL}}
    path.write_text(json.dumps({"start": EVIL, "accepting": [EVIL], "transitions": rows}))
    files = ["--receipt", str(receipt), "--plot", str(tmp_path / "p.svg")]
    code, out, err = run(capsys, "--table", str(path), *string, *files)
    assert (code, err) == (0, "")
    assert out.replace("\n", "").isprintable()
    assert "\N{REPLACEMENT CHARACTER}[2J" in out
    assert main(["check", str(receipt)]) == 0
    assert capsys.readouterr().out.rstrip("\n").isprintable()
    code, out, err = run(capsys, "--table", str(path), "--string", "no")
    assert (code, out) == (2, "")
    assert err.rstrip("\n").isprintable()


def test_an_automaton_of_one_state_is_described_as_it_is(capsys):
    code, out, _ = run(capsys, "mod-1")
    assert code == 0
    assert out.startswith("Automaton: 1 state over 0 1,")
    assert "0 hidden units, hard gates (one state, which takes no unit)" in out
