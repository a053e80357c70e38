"""Does `unrolled scaling` sweep, fit, allocate and plot, and refuse as a user would expect?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.scaling.synthetic import isoflop_grid

from unrolled.cli import main
from unrolled.receipts import Receipt
from unrolled.scaling import LAWS, allocate, fit, read_runs


def run(capsys, *arguments):
    code = main(["scaling", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def table(tmp_path):
    runs = isoflop_grid(0.003)
    path = tmp_path / "runs.csv"
    rows = zip(runs.parameters, runs.tokens, runs.loss, strict=True)
    lines = [f"{N!r},{D!r},{L!r},{0.3 * N!r}" for N, D, L in np.array([*rows]).tolist()]
    header = "parameters,tokens,loss,embedding_parameters"
    path.write_text("\n".join([header, *(line.replace("[", "") for line in lines)]) + "\n")
    return path


def test_fit_prints_the_constants_their_intervals_and_how_many_starts_agree(capsys, table):
    code, out, err = run(capsys, "fit", table, "--bootstraps", 100, "--flops", 1e21)
    found = fit(LAWS["hoffmann"], read_runs(table), bootstraps=100)
    assert (code, err) == (0, "")
    assert "L = E + A / N^alpha + B / D^beta" in out
    low, high = found.intervals()["alpha"]
    assert f"{found.parameters['alpha']:.4g}" in out
    assert f"{low:.4g} .. {high:.4g}" in out
    assert f"{found.reached} of 256 starts reached this optimum" in out
    assert f"{allocate(found, 1e21).tokens_per_parameter:.4g}" in out


def test_fit_in_json_has_parameters_and_intervals_and_nothing_else_is_printed(capsys, table):
    code, out, err = run(capsys, "fit", table, "--law", "hoffmann", "--delta", 1e-3, "--json",
                         "--bootstraps", 50, "--flops", 1e21)  # fmt: skip
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert set(answer["parameters"]) == set(answer["intervals"]) == set(LAWS["hoffmann"].parameters)
    assert answer["starts"] == 256
    assert answer["allocation"][0]["flops"] == 1e21
    code, out, _ = run(capsys, "fit", table, "--json", "--bootstraps", 0)
    assert json.loads(out)["intervals"] == {}


@pytest.mark.parametrize("law", ["hoffmann", "kaplan-n", "kaplan-nd", "pearce-song"])
def test_the_receipt_of_a_fit_is_one_that_check_accepts(capsys, tmp_path, table, law):
    path = tmp_path / "fit.json"
    code, out, _ = run(capsys, "fit", table, "--law", law, "--bootstraps", 0, "--receipt", path)
    assert code == 0
    assert f"receipt written to {path}" in out
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"holds: {path}: {Receipt.load(path).claim}\n"


def test_approaches_and_sensitivity_are_shown_side_by_side(capsys, table):
    code, out, err = run(capsys, "fit", table, "--bootstraps", 100, "--approaches", "--sensitivity")
    assert (code, err) == (0, "")
    for line in ("isoFLOP parabolas", "parametric fit", "no training curves: ", "delta ",
                 "the most influential runs", "  averaged: ", "the 9 largest runs"):  # fmt: skip
        assert line in out


def test_columns_are_mapped_and_embeddings_left_out(capsys, tmp_path, table):
    other = tmp_path / "other.csv"
    other.write_text(
        table.read_text().replace("parameters,", "n_params,", 1).replace("loss", "val")
    )
    names = ("--columns", "parameters=n_params", "loss=val")
    _, plain, _ = run(capsys, "fit", table, "--bootstraps", 0, "--json")
    _, mapped, _ = run(capsys, "fit", other, *names, "--bootstraps", 0, "--json")
    assert json.loads(mapped) == json.loads(plain)
    _, inner, _ = run(capsys, "fit", table, "--without-embeddings", "--bootstraps", 0, "--json")
    one, other_fit = json.loads(plain)["parameters"], json.loads(inner)["parameters"]
    assert other_fit["A"] == pytest.approx(one["A"] * 0.7 ** one["alpha"], rel=1e-3)


def test_allocate_by_published_constants_gives_gopher_40_billion_parameters(capsys):
    code, out, err = run(capsys, "allocate", "hoffmann", "5.76e23", "--json")
    assert (code, err) == (0, "")
    assert round(json.loads(out)["parameters"] / 1e9) == 40
    _, out, _ = run(capsys, "allocate", "besiroglu", "5.76e23", "--parameters", "1e10")
    assert "loss of the best split" in out


def test_allocate_warns_on_standard_error_how_far_a_budget_is(capsys, table):
    code, out, err = run(capsys, "allocate", table, "1e26", "--bootstraps", 40)
    assert code == 0
    assert "parameters" in out
    assert "10,000 times above the largest of the runs" in err


@pytest.mark.parametrize("kind", ["loss", "isoflop", "residuals", "all"])
def test_plot_draws_the_same_bytes_twice(capsys, tmp_path, table, kind):
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for path in pictures:
        assert run(capsys, "plot", table, "--out", path, "--kind", kind, "--bootstraps", 50)[0] == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert len(pictures[0].read_bytes()) > 10_000


def test_sweep_trains_a_grid_and_its_table_can_be_read(capsys, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "\n".join("the cat sat on the mat and the dog ran off " * 4 for _ in range(120))
    )
    words = ["sweep", tmp_path / "out", "--sizes", "16x1", "16x2", "--flops", "2e8",
             "--corpus", text, "--vocab-size", 270, "--row-length", 16, "--tokens-per-batch", 64,
             "--min-tokens", 0]  # fmt: skip
    code, out, err = run(capsys, *words)
    assert code == 0
    assert f"next: unrolled scaling fit {tmp_path / 'out/runs.csv'}" in out
    assert "2 of 2 runs are trained" in err
    assert len(read_runs(tmp_path / "out/runs.csv")) == 2
    code, out, _ = run(capsys, *words, "--json")
    assert len(json.loads(out)["runs"]) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["fot"], "'fot' is none of sweep, fit, allocate, plot: did you mean fit?"),
        (["fit", "none.csv"], "none.csv can't be read as a table: No such file"),
        (["fit", "TABLE", "--law", "newton"], "unknown law 'newton': there are hoffmann"),
        (["fit", "TABLE", "--delta", "0"], "delta is a positive number"),
        (["fit", "TABLE", "--columns", "loss=val"], "has no column val; it has parameters"),
        (["fit", "TABLE", "--bootstraps", "-1"], "--bootstraps is 0 or more"),
        (["fit", "TABLE", "--bootstraps", "39"], "draw 40 or more"),
        (["fit", "TABLE", "--law", "kaplan-n", "--approaches"], "are for the law hoffmann"),
        (["allocate", "gopher", "1e20"], "expected a table of runs (.csv) or one of kaplan-n"),
        (["allocate", "hoffmann", "-5"], "the budget is a positive number, not -5"),
        (["allocate", "hoffmann", "1e20", "--exact", "--vocab-size", "0"], "have to be positive"),
        (["plot", "TABLE", "--out", "a.gif", "--bootstraps", "0"], "a .png or .svg file"),
        (["sweep", "OUT", "--sizes", "64"], "a size is width x layers, as 64x4, not '64'"),
        (["sweep", "OUT", "--jobs", "0"], "--jobs is 1 or more"),
        (["sweep", "OUT", "--flops", "1"], "there is no run to train"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path, table, words, reason):
    named = {"TABLE": table, "OUT": tmp_path / "out"}
    code, out, err = run(capsys, *(named.get(word, word) for word in words))
    assert (code, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


def test_help_names_the_four_and_each_has_an_example(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"  {word}" in out for word in ("sweep", "fit", "allocate", "plot"))
    for word in ("sweep", "fit", "allocate", "plot"):
        code, out, _ = run(capsys, word, "--help")
        assert code == 0
        assert f"Example: unrolled scaling {word} " in out
    assert run(capsys)[0] == 2
