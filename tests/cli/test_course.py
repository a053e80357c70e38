"""`unrolled course`: what a student and an instructor see."""

from __future__ import annotations

import json

import pytest

import unrolled.cli.course
from course.conftest import cells
from unrolled.cli import main
from unrolled.course import set_folder
from unrolled.course.export import NAME
from unrolled.course.notebook import NOTEBOOK, Built, notebook_of
from unrolled.course.regions import solved_source
from unrolled.course.writeup import build
from unrolled.course.writeup.notebook import cells as cells_of


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (set_folder() / "Transformer_Architectures.py").read_text("utf-8")
    assert cells(text)
    (tmp_path / NOTEBOOK).write_text(notebook_of(solved_source(text)))
    return tmp_path


def test_a_notebook_is_exported_and_graded(notebook, capsys):
    assert main(["course", "export", NOTEBOOK]) == 0
    assert capsys.readouterr().out == f"{NAME} written\n"
    assert main(["course", "grade", NAME, "--results", "results.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((notebook / "results.json").read_text())
    assert told["score"] == 11


def test_what_a_submission_says_is_printed_and_not_obeyed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(r'raise ValueError("[/red]\x1b[2J\ud800[bold]")')
    assert main(["course", "grade", "bad.py"]) == 0
    printed = capsys.readouterr().out
    assert "ValueError: [/red]\ufffd[2J\ufffd[bold]" in printed.replace("\n", " ")
    assert "0 of 11 points" in printed


def test_a_folder_is_graded_into_a_table(notebook, capsys):
    (notebook / "all").mkdir()
    main(["course", "export", NOTEBOOK, "--output", "all/ann.py"])
    capsys.readouterr()
    assert main(["course", "grade", "all", "--csv", "grades.csv"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 graded, isolated by ")
    assert "mean 11.00 of 11, 1 with all" in printed
    assert (notebook / "grades.csv").read_text().splitlines()[1].startswith("ann,11.0,11.0,0.5,")
    assert len(list((notebook / "all-results").iterdir())) == 1


def test_a_write_up_of_ones_own_is_built(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/2-1.typ").write_text("Mine: $w dot x + b$.")
    words = ["course", "build", "ps3", "--answers", "mine", "--student", "Zoë", "--output", "out"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["writeup"] == "out/ps3-writeup.pdf"
    assert told["pages"]["2.1"] == [2]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "pages.json",
        "ps3-report.pptx",
        "ps3-writeup.pdf",
        "receipts",
    ]


def test_all_is_built_and_the_solved_notebook_is_run_for_it(tmp_path, monkeypatch, capsys):
    def quick(output, level):
        """In place of two notebooks that are graded, and run for a minute."""
        built = Built(output / "student", output / "solution")
        for folder in built:
            folder.mkdir(parents=True)
            (folder / NOTEBOOK).write_text(notebook_of("# %% [markdown]\n# # A\n\n# %%\n6 * 7\n"))
        return built

    def typeset(output, *, notebook, **named):
        """What is typeset is tested where it is."""
        shown = [cell["outputs"] for cell in cells_of(notebook, tmp_path)]
        assert shown == [[], [{"text": "42"}]]
        assert named == {"answers": None, "name": "", "collaborators": "None"}
        return {"notebook": [1]}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unrolled.cli.course, "build_checked", quick)
    monkeypatch.setattr(build, "build_writeup", typeset)
    assert main(["course", "build", "--no-isolation", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    rows = dict(line.split() for line in printed.splitlines())
    assert list(rows) == ["student", "solution", "writeup", "slides"]
    assert rows["writeup"] == "out/ps3-writeup.pdf"
    assert (tmp_path / "out/solution/executed.ipynb").is_file()


def test_the_autograder_is_packed_with_its_key_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "package", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "output": "autograder.zip",
        "key": "autograder.key",
    }
    assert (tmp_path / "autograder.key").stat().st_mode & 0o777 == 0o600
    assert main(["course", "package", "--key", "autograder.key"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grad"], "did you mean 'grade'?"),
        (["grade", "nothing.py"], "nothing.py: no such file or folder"),
        (["grade", ".", "--jobs", "0"], "--jobs and --seconds must be positive"),
        (["build", "ps4"], "there is no set 'ps4', only ps3"),
        (["export", "a.ipynb"], "a.ipynb: no such file"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["course", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_shows_the_commands_each_with_an_example(capsys):
    assert main(["course", "--help"]) == 0
    assert "package" in capsys.readouterr().out
    for name in ("build", "export", "grade", "package"):
        assert main(["course", name, "--help"]) == 0
        assert f"Example: unrolled course {name}" in capsys.readouterr().out
