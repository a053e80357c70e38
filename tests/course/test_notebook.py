"""Are the two versions what they must be, and is a solution cut out whole?"""

from __future__ import annotations

import ast
import sys

import jupytext
import pytest

from unrolled.course import building
from unrolled.course.building import build_checked
from unrolled.course.export import NAME
from unrolled.course.isolation import available
from unrolled.course.notebook import NOTEBOOK, build_notebooks, notebook_of
from unrolled.course.regions import GAP, regions, solved_source, student_source, surviving
from unrolled.errors import BadInput, WorkFailed


def test_every_part_of_the_set_has_a_gap_and_no_line_of_a_solution_is_left(source):
    cut = student_source(source)
    assert cut.count(GAP[1]) == len(regions(source)) == 9
    ast.parse(cut)
    for line in ("masked_fill(attention_mask == 0", "torch.multinomial", "F.cross_entropy", "tril"):
        assert line in solved_source(source)
        assert line not in cut


def test_markers_in_strings_mark_nothing():
    source = 'x = """\n# <solution>\n"""\ny = "# </solution>"\n'
    assert regions(source) == []
    assert student_source(source) == source


def test_a_gap_stands_as_far_in_as_its_solution():
    source = "if True:\n    # <solution>\n    x = [\n1]\n    # </solution>\ny = 2\n"
    assert student_source(source) == f"if True:\n    {GAP[0]}\n    {GAP[1]}\ny = 2\n"
    assert solved_source(source) == "if True:\n    x = [\n1]\ny = 2\n"


@pytest.mark.parametrize(
    "source",
    [
        "# <solution>\n",
        "# </solution>\n",
        "# <solution>\n# <solution>\n# </solution>\n",
        "x = 1  # <solution>\n# </solution>\n",
    ],
)
def test_a_marker_without_its_other_half_is_refused(source: str):
    with pytest.raises(BadInput, match=r"line 1|line 2"):
        regions(source)


def test_a_line_that_survives_is_noticed():
    source = "# <solution>\nx = secret()\n# </solution>\ny = 1\n"
    assert surviving(source, student_source(source)) == []
    assert surviving(source, "x = secret()\n") == ["x = secret()"]


def test_the_same_source_makes_the_same_notebook_and_back(source):
    text = notebook_of(solved_source(source))
    assert text == notebook_of(solved_source(source))
    cells = jupytext.reads(text, fmt="ipynb").cells
    kept = [c.source for c in jupytext.reads(solved_source(source), fmt="py:percent").cells]
    assert [c.source for c in cells] == kept
    assert sum("passed" in c.source for c in cells) == 8


def test_both_versions_are_built_and_graded(tmp_path):
    built = build_checked(tmp_path, available()[0])
    for folder in built:
        assert (folder / NOTEBOOK).is_file()
        assert (folder / "gtgpt/definitions.py").is_file()
        ast.parse((folder / NAME).read_text())


@pytest.mark.usefixtures("lent")
@pytest.mark.parametrize("swapped", ["solution", "student"])
def test_a_version_that_is_not_what_it_must_be_is_refused(tmp_path, monkeypatch, swapped):
    def build(output):
        built = build_notebooks(output)
        other = {"solution": built.student, "student": built.solution}[swapped]
        (getattr(built, swapped) / NAME).write_text((other / NAME).read_text())
        return built

    monkeypatch.setattr(building, "build_notebooks", build)
    with pytest.raises(WorkFailed, match=r"gets 0 of 11|passes Embedding"):
        build_checked(tmp_path, available()[0])


def test_the_public_tests_of_the_notebook_pass_on_the_solution_and_its_last_cell_writes(
    tmp_path, monkeypatch
):
    built = build_notebooks(tmp_path)
    monkeypatch.chdir(built.solution)
    monkeypatch.syspath_prepend(built.solution)
    for name in [n for n in sys.modules if n.partition(".")[0] == "gtgpt"]:
        monkeypatch.delitem(sys.modules, name)
    cells = [c for c in jupytext.read(built.solution / NOTEBOOK).cells if c.cell_type == "code"]
    long = next(i for i, c in enumerate(cells) if "class Sorting" in c.source)
    done, space = [""], {"__name__": "notebook"}
    space["In"] = done  # type: ignore[assignment]
    expected = (built.solution / NAME).read_text()
    (built.solution / NAME).unlink()
    for cell in [*cells[:long], cells[-1]]:
        done.append(cell.source)
        exec(compile(cell.source, "cell", "exec"), space)
    assert (built.solution / NAME).read_text() == expected
