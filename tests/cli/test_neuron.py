"""Does `unrolled neuron` answer, prove, draw and refuse as a user would expect?"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from unrolled.cli import main
from unrolled.receipts import Receipt


def run(capsys, *arguments):
    code = main(["neuron", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_xor_is_refuted_in_plain_words(capsys):
    code, out, err = run(capsys, "x1 xor x2")
    assert code == 0
    assert err == ""
    assert out.startswith("No: no threshold neuron computes it.\n")
    for line in ("b + w2 >= 0", "b + w1 >= 0", "b < 0", "b + w1 + w2 < 0"):
        assert f":  {line}\n" in out
    assert "2*b + w1 + w2 >= 0" in out
    assert "2*b + w1 + w2 < 0" in out


def test_a_receipt_written_is_one_that_check_accepts(capsys, tmp_path):
    for number, arguments in enumerate(
        (["a and b"], ["a and b", "--minimal"], ["a xor b"], ["a xor b", "--network"], ["01*0"])
    ):
        path = tmp_path / f"{number}.json"
        code, out, _ = run(capsys, *arguments, "--receipt", str(path))
        assert code == 0
        assert f"receipt written to {path}" in out
        assert main(["check", str(path)]) == 0
        assert capsys.readouterr().out == f"holds: {path}: {Receipt.load(path).claim}\n"


def test_json_is_the_answer_and_nothing_else(capsys):
    code, out, err = run(capsys, "rain and not umbrella", "--json", "--minimal")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer["variables"] == ["rain", "umbrella"]
    assert answer["separable"] is True
    assert answer["receipt"]["answer"] == {"weights": [1, -1], "bias": -1}
    code, out, _ = run(capsys, "a xor b", "--json", "--network")
    answer = json.loads(out)
    assert answer["separable"] is False
    assert answer["receipt"]["kind"] == "neuron.network"


def test_a_plot_is_drawn(capsys, tmp_path):
    path = tmp_path / "and.svg"
    code, out, _ = run(capsys, "a and b", "--plot", str(path))
    assert code == 0
    assert f"picture written to {path}" in out
    assert path.read_text("utf-8").startswith("<?xml")


def test_the_inputs_can_be_ordered(capsys):
    code, out, _ = run(capsys, "a and not b", "--variables", "b, a", "--json")
    assert code == 0
    assert json.loads(out)["receipt"]["given"]["table"] == "0100"


def test_a_table_can_be_written_out(capsys):
    code, out, _ = run(capsys, "0*10")
    assert code == 0
    assert "output 1 where x1 - x2 - 1 >= 0" in out
    assert "(either would do)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "the expression is empty"),
        (["x1 and )"], "unexpected ')' at column 8"),
        (["x1 nand x2"], "unexpected 'nand' at column 4"),
        (["((x1"], "unexpected end of the expression at column 5"),
        ([" or ".join(f"x{i}" for i in range(40))], "40 variables"),
        (["011"], "a truth table has 2, 4, 8, 16, ... rows, got 3"),
        (["a"], "pictures are for two or three inputs, this has 1"),
        (["a and b", "--variables", "a"], "unknown variable 'b'"),
        (["a and b", "--receipt", "/no/where/a.json"], "can't write"),
        (["a and b", "--receipt", "."], "can't write"),
        (["a and b", "--plot", "/no/where/a.png"], "can't write"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(capsys, tmp_path, arguments, message):
    if arguments == ["a"]:
        arguments = ["a", "--plot", str(tmp_path / "a.png")]
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("unrolled neuron: ")
    assert message in err


def test_help_shows_an_example_that_works(capsys):
    assert main(["neuron", "--help"]) == 0
    assert 'Example: unrolled neuron "x1 xor x2" --network' in capsys.readouterr().out


def test_the_command_starts_without_torch_and_matplotlib():
    code = (
        "import sys; from unrolled.cli import main; main(['neuron', 'a and b']);"
        "assert not {'torch', 'matplotlib', 'scipy', 'highspy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_cannot_be_drawn_writes_nothing(tmp_path, capsys):
    receipt = tmp_path / "r.json"
    words = ["a and b and c and d", "--receipt", str(receipt), "--plot", str(tmp_path / "p.png")]
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert "two or three inputs" in err
    assert not receipt.exists()
