"""Do `unrolled recurrence` and `unrolled probe` answer, prove, draw and refuse?"""

from __future__ import annotations

import json

import numpy as np
import pytest

from unrolled.cli import main
from unrolled.receipts import Receipt


def run(capsys, *arguments):
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_a_jordan_block_is_explained_with_its_transient(capsys):
    code, out, err = run(capsys, "recurrence", "[[0.9, 1], [0, 0.9]]", "--h0", "[1, 0]")
    assert (code, err) == (0, "")
    assert out.startswith("Vanishes: h_t tends to 0 for every h_0.\n")
    assert "halves every 6.58 steps" in out
    assert "rises to 3.91 at t = 9" in out
    assert "After 100 steps" in out


@pytest.mark.parametrize(
    "W", ["[[2]]", "[[0.5]]", '[["3/5","-4/5"],["4/5","3/5"]]', "[[1,1],[0,1]]"]
)
def test_a_receipt_written_is_one_that_check_accepts(capsys, tmp_path, W):
    path = tmp_path / "r.json"
    code, out, _ = run(capsys, "recurrence", W, "--receipt", str(path))
    assert code == 0
    assert f"receipt written to {path}" in out
    code, out, _ = run(capsys, "check", str(path))
    assert out == f"holds: {path}: {Receipt.load(path).claim}\n"


def test_json_is_the_answer_and_nothing_else(capsys):
    code, out, err = run(capsys, "recurrence", "[[0.5]]", "--h0", "[2]", "--steps", "3", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer["behaviour"] == "vanishes"
    assert np.exp(answer["state"]["log_norm"]) == pytest.approx(0.25)
    assert answer["receipt"]["kind"] == "recurrence.spectrum"


def test_pictures_are_drawn(capsys, tmp_path):
    for k, W in enumerate(["[[0.9,1],[0,0.9]]", "[[0]]", "[[1,1],[0,1]]", "[[[0,2]]]"]):
        path = tmp_path / f"{k}.svg"
        assert run(capsys, "recurrence", W, "--plot", str(path))[0] == 0
        assert path.stat().st_size > 5000


@pytest.mark.parametrize(
    "arguments",
    [
        ["[[1, 2]]"],
        ["[]"],
        ["[[NaN]]"],
        ["[[Infinity]]"],
        ["none.npy"],
        ["w.txt"],
        [
            "[[1]",
        ],
        ["[[1]]", "--h0", "[1, 2]"],
        ["[[1]]", "--h0", "{}"],
        ["[[1]]", "--h0", "[1]", "--steps", "-1"],
        ["[[1]]", "--plot", "picture.gif"],
    ],
)
def test_bad_input_is_one_line_and_exit_2(capsys, arguments):
    code, out, err = run(capsys, "recurrence", *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["sort_run", "text_run"])
def test_a_run_is_probed(capsys, tmp_path, name, request):
    folder = request.getfixturevalue(name)
    capsys.readouterr()
    path = tmp_path / "heat.png"
    code, out, _ = run(capsys, "probe", str(folder), "--plot", str(path))
    assert code == 0
    assert "update / weight" in out
    code, out, _ = run(capsys, "probe", str(folder), "--json")
    assert json.loads(out)["weights"]


def test_a_lstm_run_is_probed_over_time_and_training_writes_what_it_watches(capsys, tmp_path):
    folder = tmp_path / "parity"
    words = ["train", "parity", "--out", str(folder), "--architecture=lstm", "--training.probe"]
    words += ["--training.max-steps=4", "--training.probe-every=2", "--model.hidden-size=8"]
    assert main(words) == 0
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    watched = [row for row in rows if any(key.startswith("probe/") for key in row)]
    assert [row["step"] for row in watched] == [2, 4]
    assert all(value > 0 for key, value in watched[0].items() if "update_ratio" in key)
    capsys.readouterr()
    code, out, _ = run(capsys, "probe", str(folder))
    assert code == 0
    assert "lstm layer 0" in out


def test_a_sparse_file_is_bounded_and_asks_for_nothing_dense(capsys, tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    path = tmp_path / "w.npz"
    sparse.save_npz(path, sparse.csr_array([[0.5, 0], [0.25, 0.125]]))
    code, out, _ = run(capsys, "recurrence", str(path))
    assert code == 0
    assert "Vanishes" in out
    assert "2 strongly connected components" in out
    code, out, _ = run(capsys, "recurrence", str(path), "--json")
    assert json.loads(out)["high"] == pytest.approx(0.5)
    code, _, err = run(capsys, "recurrence", str(path), "--h0", "[1, 0]")
    assert (code, err.count("\n")) == (2, 1)


def test_json_has_the_pace_and_the_transient_and_no_infinity(capsys):
    code, out, _ = run(capsys, "recurrence", "[[0.9, 1], [0, 0.9]]", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["steps_to_halve_or_double"] == pytest.approx(6.5788, rel=1e-4)
    assert answer["transient"]["peak_step"] == 9
    assert answer["transient"]["condition"] is None
    assert answer["eigenvalues"] == [[0.9, 0.0], [0.9, 0.0]]
