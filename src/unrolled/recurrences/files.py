"""How does W get in from a file or from the command line?

Dense: .npy, .csv, .json, or the rows as JSON text. Sparse: .npz as `scipy.sparse.save_npz` writes
it, and Matrix Market's .mtx. Nothing is unpickled: that could run code.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.errors import BadInput
from unrolled.recurrences.matrix import MAX_DENSE, Matrix, check_shape

SPARSE = (".npz", ".mtx")


def read(source: str) -> Matrix:
    """W from a file's name, or itself as JSON: "[[0.9, 1], [0, 0.9]]".

    Raises:
        BadInput: no such file, another format, a pickled .npy, no matrix in it.
    """
    if source.lstrip().startswith("["):
        return Matrix.of(from_json(source, "the matrix"))
    readers: dict[str, Callable[[Path], Any]] = {
        ".npy": from_npy,
        ".csv": from_csv,
        ".json": from_json_file,
    }
    path = Path(source)
    if path.suffix.lower() not in readers:
        raise BadInput(
            f'expected a .npy, .csv, .json, .npz or .mtx file or "[[...], ...]", got {source!r}'
        )
    return Matrix.of(opened(path, readers[path.suffix.lower()]))


def is_sparse(source: str) -> bool:
    """Whether it names a file of a sparse matrix."""
    return Path(source).suffix.lower() in SPARSE


def read_sparse(source: str) -> Any:
    """A scipy.sparse matrix from a .npz or .mtx file.

    Raises:
        BadInput: no such file, no sparse matrix in it, no scipy.
    """
    return opened(Path(source), from_npz if source.lower().endswith(".npz") else from_mtx)


def opened(path: Path, reader: Callable[[Path], Any]) -> Any:
    """What a reader finds; what the system refuses in one line."""
    try:
        return reader(path)
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text") from None


def from_json(text: str, where: object) -> Any:
    """The value of a JSON text; NaN and Infinity are refused later, with their place."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not JSON: {error}") from None


def from_json_file(path: Path) -> Any:
    """A .json file: the rows, {"W": rows}, or a receipt."""
    value = from_json(path.read_text(encoding="utf-8-sig"), path)
    if isinstance(value, dict) and isinstance(value.get("given"), dict):
        value = value["given"]
    rows = value.get("W") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise BadInput(f'{path}: expected rows [[...], ...], {{"W": rows}} or a receipt of W')
    return rows


def from_csv(path: Path) -> list[list[Any]]:
    """A .csv file: a row a line, entries parted by commas, semicolons, tabs or spaces.

    Whole numbers and fractions stay exact; empty lines and those that begin with # are left out.
    """
    rows: list[list[Any]] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = (line for line in file if line.strip() and not line.lstrip().startswith("#"))
        for line in lines:
            rows.append([number(cell.strip()) for cell in cells(line)])
            if len(rows[-1]) > MAX_DENSE:
                check_shape((len(rows[-1]), len(rows[-1])))
    if rows and all(isinstance(cell, str) and "/" not in cell for cell in rows[0]):
        raise BadInput(
            f"{path}: its first line holds no number ({str(rows[0][0])[:40]!r}): expected the rows "
            "of W alone, without names, with decimal points"
        )
    return rows


def cells(line: str) -> list[str]:
    """The entries of a line."""
    mark = next((mark for mark in ";\t," if mark in line), "")
    return next(csv.reader([line], delimiter=mark)) if mark else line.split()


def number(cell: str) -> Any:
    """A cell: "1/3" stays text, "0.1" is the binary64, "1+2j" a pair."""
    for kind in (int, float, complex):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def from_npy(path: Path) -> Any:
    """A .npy file of numbers, its header read before anything is allocated."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise BadInput(f"{path} is no .npy file")
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError) as error:
        if "object" in str(error).lower():
            raise BadInput(
                f"{path}: a pickled array is refused: it can run code; save numbers"
            ) from None
        raise BadInput(f"{path} is damaged or cut short: {error}") from None


def from_npz(path: Path) -> Any:
    """What `scipy.sparse.save_npz` wrote."""
    import zipfile

    from scipy import sparse

    try:
        return sparse.load_npz(path)
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path} holds no sparse matrix of scipy's save_npz: {error}") from None


def from_mtx(path: Path) -> Any:
    """A Matrix Market file of coordinates."""
    from scipy import io, sparse

    try:
        return sparse.csr_array(io.mmread(path))
    except ValueError as error:
        raise BadInput(f"{path} is no Matrix Market file: {error}") from None
