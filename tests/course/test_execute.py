"""Is a notebook run as a person would run it, and is nothing written of one that fails?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unrolled.course.writeup.execute import execute
from unrolled.course.writeup.notebook import cells
from unrolled.errors import WorkFailed


def notebook(folder: Path, *sources: str) -> Path:
    """A notebook with a text between its code cells."""
    text = {"cell_type": "markdown", "source": ["# Title"]}
    code = {"cell_type": "code", "outputs": [], "execution_count": None}
    path = folder / "a.ipynb"
    path.write_text(json.dumps({"cells": [text, *({**code, "source": s} for s in sources)]}))
    return path


def test_cells_share_names_print_in_order_and_show_their_last_value(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 6")
    path = notebook(
        tmp_path,
        "import os, sys, beside\nprint('out')\nprint('bar', file=sys.stderr)\nprint('on')",
        "os.write(1, b'not by Python')\nx = beside.VALUE\nNone",
        "x * 7",
        "import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))) is A, In[3]",
        "open('here', 'w').close()",
    )
    told: list[tuple[int, int]] = []
    execute(path, tmp_path / "made.ipynb", lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(1, 6)]
    made = json.loads((tmp_path / "made.ipynb").read_text())
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert [(o["name"], o["text"]) for o in code[0]["outputs"]] == [
        ("stdout", "out\n"),
        ("stderr", "bar\n"),
        ("stdout", "on\n"),
    ]
    shown = [[o["text"] for o in cell["outputs"]] for cell in cells(tmp_path / "made.ipynb", path)]
    assert shown[1:] == [["out", "bar", "on"], [], ["42"], ["(True, 'x * 7')"], []]
    assert [cell["execution_count"] for cell in code] == [1, 2, 3, 4, 5]
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {
        "a.ipynb", "beside.py", "here", "made.ipynb",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "cell 2 fails: ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", "cell 2 fails: SystemExit: 0"),
        ("x = (", r"cell 2 fails: SyntaxError: '\(' was never closed"),
        ("import os; os._exit(3)", r"cell 2 ended the process \(3\)"),
        ("import os; os.kill(os.getpid(), 9)", r"cell 2 ended the process \(-9\)"),
        ("import os; os._exit(0)", "cell 2 ended the process"),
    ],
)
def test_a_cell_that_fails_is_named_and_what_was_there_stays(tmp_path, source, message):
    path, made = notebook(tmp_path, "x = 1", source, "print('never')"), tmp_path / "made.ipynb"
    made.write_text("old")
    with pytest.raises(WorkFailed, match=message):
        execute(path, made)
    assert made.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
