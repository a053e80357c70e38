"""Is each file read as what it says, and what is none refused in one line?"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import io

from unrolled.errors import BadInput
from unrolled.recurrences.files import is_sparse, read, read_sparse


def test_files_are_read_and_pickles_refused(tmp_path):
    np.save(tmp_path / "w.npy", np.eye(2))
    np.save(tmp_path / "p.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    (tmp_path / "w.csv").write_text("1/2, 0.25\n0, 1\n")
    (tmp_path / "w.json").write_text('{"W": [[1, [0, 1]], [0, 1]]}')
    assert read(str(tmp_path / "w.npy")).size == 2
    assert read(str(tmp_path / "w.csv")).values.tolist() == [[0.5, 0.25], [0, 1]]
    assert read(str(tmp_path / "w.json")).is_complex
    with pytest.raises(BadInput, match="pickled array is refused"):
        read(str(tmp_path / "p.npy"))
    with pytest.raises(BadInput, match="No such file"):
        read(str(tmp_path / "none.npy"))
    with pytest.raises(BadInput, match=r"expected a \.npy"):
        read("w.txt")


@pytest.mark.parametrize(
    "text",
    [
        "0.5,1/4\n0,1\n",
        "0.5;1/4\n0;1\n",
        "0.5\t1/4\n0\t1\n",
        "0.5  1/4\n  0 1\n",
        "\ufeff0.5,1/4\n0,1\n",
        "# W\n0.5, 1/4\n\n0, 1\n\n",
        "0.5,1/4\r\n0,1\r\n",
    ],
)
def test_a_table_is_read_whatever_parts_its_entries(tmp_path, text):
    path = tmp_path / "w.csv"
    path.write_bytes(text.encode())
    assert read(str(path)).values.tolist() == [[0.5, 0.25], [0, 1]]


def header(shape):
    text = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode().ljust(117)
    return b"\x93NUMPY\x01\x00" + len(text + b"\n").to_bytes(2, "little") + text + b"\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.csv", b"a,b\n1,2\n3,4\n", "first line holds no number"),
        ("w.csv", b"0,5;1\n0;0,2\n", "0,5"),
        ("w.csv", b"", "empty"),
        ("w.csv", b"1,\n0,1\n", "row 1, column 2"),
        ("w.csv", b"1,nan\n0,1\n", "row 1, column 2"),
        ("w.csv", ",".join("1" * 5000).encode(), "at most 4,000 rows"),
        ("w.csv", b"\xff\xfe1", "not UTF-8"),
        ("w.json", b"5", "expected rows"),
        ("w.json", b'{"X": 1}', "expected rows"),
        ("w.json", b"[[NaN]]", "row 1, column 1"),
        ("w.json", b"[" * 10**5, "not JSON"),
        ("w.npy", b"", "is no .npy"),
        ("w.npy", b"hello", "is no .npy"),
        ("w.npy", header((2, 2)) + bytes(8), "cut short"),
        ("w.npy", header((10**5, 10**5)), "cut short"),
        ("w.npy", header((2, 3)) + bytes(48), "must be square"),
    ],
)
def test_what_is_no_matrix_is_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read(str(path))


def test_the_matrix_of_a_receipt_is_read(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"receipt": 1, "given": {"W": [["1/3"]]}}')
    assert read(str(path)).given == [["1/3"]]


def test_sparse_files_are_read_and_others_refused(tmp_path):
    A = sp.csr_array(np.diag([0.5, 0.25]))
    sp.save_npz(tmp_path / "w.npz", A)
    io.mmwrite(tmp_path / "w.mtx", A)
    for name in ("w.npz", "w.mtx"):
        assert is_sparse(name)
        assert read_sparse(str(tmp_path / name)).toarray().tolist() == A.toarray().tolist()
    np.savez(tmp_path / "dense.npz", W=np.eye(2))
    (tmp_path / "bad.npz").write_bytes(b"PK")
    (tmp_path / "bad.mtx").write_bytes(b"1 2 3")
    for name, message in (
        ("dense.npz", "no sparse matrix"),
        ("bad.npz", "no sparse matrix"),
        ("bad.mtx", "no Matrix Market"),
        ("none.npz", "No such file"),
        ("none.mtx", "No such file|can't read"),
    ):
        with pytest.raises(BadInput, match=message):
            read_sparse(str(tmp_path / name))
