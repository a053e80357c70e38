"""Is a table read as it is meant, and is one that can't be used refused with the reason?"""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.errors import BadInput
from unrolled.scaling import Runs, find_law, fit, read_runs

HEADER = "parameters,tokens,loss\n"
ROWS = "".join(f"{10**k},{2 * 10 ** (k + 1)},{5 - 0.3 * k}\n" for k in range(3, 10))


def read(tmp_path, text, names=None):
    path = tmp_path / "runs.csv"
    path.write_text(text, "utf-8")
    return read_runs(path, names)


def test_columns_are_found_by_name_in_any_order_and_the_rest_left_alone(tmp_path):
    text = "seed,loss,run,tokens,parameters\n1,3.5,a,200,10\n2,3.25,b,400,20\n"
    runs = read(tmp_path, text)
    assert runs.parameters.tolist() == [10, 20]
    assert runs.tokens.tolist() == [200, 400]
    assert runs.loss.tolist() == [3.5, 3.25]
    assert runs.names == ("a", "b")
    assert runs.compute.tolist() == [12_000, 48_000]


def test_names_can_be_mapped(tmp_path):
    text = "n_params,D,val\n10,200,3.5\n"
    names = {"parameters": "n_params", "tokens": "D", "loss": "val"}
    assert read(tmp_path, text, names).loss.tolist() == [3.5]


def test_a_column_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"has 2 columns called 'loss': keep one$"):
        read(tmp_path, "parameters,tokens,loss,loss\n10,200,3.5,3.4\n")


def test_the_shipped_sweep_is_what_the_page_says():
    runs, curves = read_runs("shipped"), read_runs("shipped-curves")
    assert len(runs) == len(set(runs.names)) == 29
    assert 1e4 <= runs.parameters.min() < runs.parameters.max() <= 1e6
    budgets = 2.5e11 * 2 ** np.round(np.log2(runs.compute / 2.5e11))
    assert sorted(set(budgets)) == [2.5e11, 5e11, 1e12, 2e12, 4e12]
    assert np.abs(runs.compute / budgets - 1).max() < 0.005
    assert set(curves.names) == set(runs.names)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("parameters,tokens\n1,2\n", "has no column loss; it has parameters, tokens: map a name"),
        (HEADER.replace(",", ";") + "1;2;3\n", "separates its columns by semicolons"),
        (HEADER.replace(",", "\t") + "1\t2\t3\n", "separates its columns by tabs"),
        (HEADER + "1,2,0\n", "line 2: loss is '0'; a number above 0"),
        (HEADER + "1,2,3\n1,2,-3\n", "line 3: loss is '-3'"),
        (HEADER + "1,2,nan\n", "line 2: loss is 'nan'"),
        (HEADER + "1,inf,3\n", "line 2: tokens is 'inf'"),
        (HEADER + "1,2\n", "line 2: loss is 'empty'"),
        (HEADER + "1,2,3 nats\n", "line 2: loss is '3 nats'"),
        (HEADER, "holds no runs"),
        ("", "holds no runs"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_place(tmp_path, text, reason):
    with pytest.raises(BadInput, match=reason):
        read(tmp_path, text)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadInput, match="can't be read as a table: No such file"):
        read_runs(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="is none of the columns parameters, tokens, loss"):
        read(tmp_path, HEADER + ROWS, {"params": "x"})


@pytest.mark.parametrize(
    ("runs", "law", "reason"),
    [
        (2, "hoffmann", "2 runs can't determine the 5 parameters .* give at least 6"),
        (2, "kaplan-n", "2 runs can't determine the 2 parameters"),
    ],
)
def test_too_few_runs_are_refused(tmp_path, runs, law, reason):
    text = HEADER + "".join(ROWS.splitlines(keepends=True)[:runs])
    with pytest.raises(BadInput, match=reason):
        fit(find_law(law), read(tmp_path, text))


def test_runs_of_one_size_and_other_hopeless_ones_are_refused():
    wide, same = np.geomspace(1e5, 1e8, 8), np.full(8, 1e6)
    loss = np.linspace(5, 3, 8)
    with pytest.raises(BadInput, match="1 different parameters; the law hoffmann needs at least 3"):
        fit(find_law("hoffmann"), Runs(same, wide, loss))
    with pytest.raises(BadInput, match="1 different tokens"):
        fit(find_law("hoffmann"), Runs(wide, same, loss))
    with pytest.raises(BadInput, match="no run repeats a token"):
        fit(find_law("muennighoff"), Runs(wide, wide, loss))
    with pytest.raises(BadInput, match="delta is a positive number"):
        fit(find_law("hoffmann"), Runs(wide, wide, loss), delta=0.0)
    with pytest.raises(BadInput, match="run 3: loss is nan"):
        Runs(wide, wide, np.where(np.arange(8) == 2, np.nan, loss))
    with pytest.raises(BadInput, match="8 parameters, 8 tokens and 7 losses"):
        Runs(wide, wide, loss[:7])
    with pytest.raises(BadInput, match="run 1 has more unique tokens than tokens"):
        Runs(wide, wide, loss, 2 * wide)
