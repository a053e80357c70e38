"""Are a notebook's definitions found, whatever stands around them, and never run?"""

from __future__ import annotations

import ast
import json

import pytest

from course.conftest import cells
from unrolled.course.definitions import WANTED, export
from unrolled.course.export import code_cells, export_notebook
from unrolled.course.regions import solved_source
from unrolled.errors import BadInput


@pytest.fixture
def notebook(source: str) -> list[str]:
    return cells(solved_source(source))


def names(text: str) -> list[str]:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [node.name for node in ast.parse(text).body if isinstance(node, kinds)]


def test_the_file_has_what_is_wanted_and_nothing_else(notebook):
    text = export(notebook).text
    assert sorted(names(text)) == sorted(WANTED)
    assert "tqdm" not in text
    assert "DEVICE" not in text


@pytest.mark.parametrize("order", [lambda c: c[::-1], lambda c: c[1::2] + c[::2], lambda c: c + c])
def test_reordered_and_copied_cells_give_a_file_that_runs(notebook, order):
    exported = export(order(notebook))
    assert exported.notes == ()
    space: dict[str, object] = {}
    exec(exported.text, space)
    assert set(WANTED) <= space.keys()


def test_the_last_definition_counts_and_that_is_said(notebook):
    old = "def generate(model, idx, max_new_tokens, temperature=1.0):\n    return 'old'"
    exported = export([old, *notebook])
    assert "'old'" not in exported.text
    assert len(exported.notes) == 1
    assert exported.notes[0].startswith("generate is defined in cells 1, ")
    assert "'old'" in export([*notebook, old]).text


def test_helpers_constants_and_imports_come_along_in_an_order_that_runs(notebook):
    more = """
import numpy as np, os
from math import (pi as π, e)
SCALE = BASE * 2
def helper(x=SCALE): return other(x)
def generate(model, idx, max_new_tokens, temperature=1.0): return helper(), π
BASE = np.float64(3)
def other(x): return x
unused = os.getcwd()
"""
    text = export([*notebook, more]).text
    space: dict[str, object] = {}
    exec(text, space)
    assert space["generate"](0, 0, 0)[0] == 6  # type: ignore[operator]
    assert "getcwd" not in text
    assert "import os" not in text


def test_nothing_is_run(notebook, tmp_path):
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')"
    export([*notebook, trap, f"class Trap: {trap}", f"x = {trap}"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "cell",
    [
        "%matplotlib inline\nimport math",
        "!pip install x\nfor i in range(2):\n    !ls\n    %time 1",
        "%%bash\nrm -rf class",
        "math.sqrt?",
        "this is no Python",
        "files = !ls",
        "",
    ],
)
def test_what_is_not_python_does_no_harm_beside_the_definitions(notebook, cell):
    assert export([cell, *notebook]).text == export(notebook).text


def test_magics_in_a_cell_of_a_definition_are_left_out(notebook):
    cell = "%load_ext autoreload\ndef generate(model, idx, max_new_tokens, temperature=1.0):\n    1"
    assert "autoreload" not in export([*notebook, cell]).text


def test_comments_and_decorators_stay(notebook):
    cell = "@torch.no_grad()\ndef generate(model, idx, max_new_tokens):\n    return 1  # why\n"
    assert cell.strip() in export([*notebook, cell]).text


def test_a_local_variable_of_the_same_name_brings_nothing_along(notebook):
    assert "\nidx = " not in export(notebook).text
    assert "\nmask = " not in export(notebook).text


def test_a_missing_part_is_named():
    with pytest.raises(ValueError, match="doesn't define Embedding, GenericSelfAttention"):
        export(["x = 1"])


def test_a_definition_in_a_broken_cell_is_named(notebook):
    with pytest.raises(ValueError, match=r"cell 1 is not Python, line 2"):
        export(["class Embedding:\n  def f(", *notebook])


def test_a_notebook_is_read_from_its_file(notebook, tmp_path):
    path, output = tmp_path / "a.ipynb", tmp_path / "out/b.py"
    rows = [{"cell_type": "code", "source": c.splitlines(keepends=True)} for c in notebook]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "x"}, *rows]}))
    assert code_cells(path) == notebook
    export_notebook(path, output)
    assert output.read_text() == export(notebook).text
    assert [p.name for p in output.parent.iterdir()] == ["b.py"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cells": [1]}', '{"cells": [{}]}', "\0"])
def test_what_is_no_notebook_is_refused(text: str, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    with pytest.raises(BadInput, match="not a Jupyter notebook"):
        export_notebook(path, tmp_path / "b.py")
    with pytest.raises(BadInput, match="no such file"):
        export_notebook(tmp_path / "c.ipynb", tmp_path / "b.py")
