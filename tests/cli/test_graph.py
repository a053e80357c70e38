"""Does `unrolled graph` answer, prove, draw and refuse as a user would expect?"""

from __future__ import annotations

import json

import pytest

from unrolled.cli import main


def run(capsys, *arguments):
    code = main(["graph", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_example_is_worked_to_its_end(capsys, tmp_path):
    code, out, _ = run(capsys, "example", "--plot", str(tmp_path / "g.svg"))
    assert code == 0
    assert "their sum       [-0.8, 0.8]" in out
    assert (tmp_path / "g.svg").exists()
    assert json.loads(run(capsys, "example", "--json")[1])["h1"] == ["0", "4/5"]


def test_the_sentence_has_twelve_edges_and_sixteen_with_self_loops(capsys):
    code, out, _ = run(capsys, "edges", "--tokens", "I eat red apples", "--json")
    counts = json.loads(out)
    assert (code, counts["between_different"], counts["with_self_loops"]) == (0, 12, 16)


@pytest.mark.parametrize("pattern", ["complete", "causal", "window", "bigbird", "expander"])
def test_attention_is_message_passing_and_the_receipt_says_so(capsys, tmp_path, pattern):
    path = tmp_path / "r.json"
    code, out, _ = run(capsys, "equivalent", "--pattern", pattern, "--receipt", str(path), "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["difference"] <= 1e-13
    assert main(["check", str(path)]) == 0


def test_every_attention_of_a_run_is_message_passing_on_what_was_held_out(
    capsys, sort_run, text_run
):
    code, out, _ = run(capsys, "equivalent", str(text_run), "--json")
    (layer,) = json.loads(out)["layers"]
    n = layer["nodes"]
    assert (code, layer["name"]) == (0, "stack.blocks.0.attention")
    assert layer["edges"] == n * (n + 1) // 2
    assert layer["self_loops"] == n
    assert layer["difference"] <= 1e-13 * max(1, layer["scale"])
    code, out, _ = run(capsys, "equivalent", str(sort_run))
    assert code == 0
    rows = [line.split() for line in out.splitlines() if ".blocks." in line]
    assert [row[-1] for row in rows] == ["yes"] * len(rows) != []


def test_reach_prints_a_row_a_graph_and_draws(capsys, tmp_path):
    code, out, _ = run(
        capsys, "reach", "--lengths", "16", "32", "--layers", "2", "--plot", str(tmp_path / "r.png")
    )
    assert code == 0
    assert [row.split()[:3] for row in out.splitlines()[1:3]] == [
        ["dense", "16", "256"],
        ["dense", "32", "1,024"],
    ]
    assert (tmp_path / "r.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tree"], "the parts are example, edges, equivalent, reach, not 'tree'"),
        (["edges", "--tokens", ""], "1 to 2,000 tokens"),
        (["equivalent", "--nodes", "0"], "1 to 4,096"),
        (["equivalent", "--num-heads", "3"], "num_heads must divide hidden_size"),
        (["equivalent", "no-run"], "no-run"),
        (["equivalent", "no-run", "--nodes", "4"], "a run has its own layers and masks"),
        (["reach", "--lengths", "4"], "lengths must be above 8"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_help_shows_the_parts_and_each_its_example(capsys):
    assert "equivalent" in run(capsys, "--help")[1]
    assert "Example: unrolled graph reach" in run(capsys, "reach", "--help")[1]
