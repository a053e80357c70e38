"""Is each problem on a page of its own, and is what the answers state what others compute?"""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from unrolled.automata import parity
from unrolled.course import set_folder
from unrolled.course.writeup import build, facts, picture
from unrolled.course.writeup.build import (
    ANSWERS,
    MOST_WORDS,
    build_writeup,
    pages,
    prepared,
    words,
)
from unrolled.course.writeup.facts import BIGRAMS, collect
from unrolled.course.writeup.notebook import cells
from unrolled.errors import BadInput, WorkFailed
from unrolled.receipts import check

RECORDS = set_folder() / "report"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("facts")


@pytest.fixture(scope="module")
def collected(folder: Path) -> dict:
    return collect(folder, RECORDS)


@pytest.fixture
def once(folder: Path, collected: dict, monkeypatch) -> None:
    """What is computed is computed once for all tests, and copied."""

    def copied(target: Path, records: Path) -> dict:
        assert records == RECORDS
        shutil.copytree(folder, target, dirs_exist_ok=True)
        return dict(collected)

    monkeypatch.setattr(build, "collect", copied)


@pytest.mark.usefixtures("once")
def test_every_problem_begins_a_page_and_the_receipts_hold(tmp_path):
    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts/old.json").touch()
    found = build_writeup(tmp_path, name="Zoë <#> $x$ \\")
    assert list(found) == ["1", *(answer.number for answer in ANSWERS)]
    every = list(itertools.chain.from_iterable(found.values()))
    assert every == list(range(1, len(every) + 1))
    assert json.loads((tmp_path / "pages.json").read_text()) == found
    text = (tmp_path / "ps3-writeup.pdf").read_bytes()
    assert text.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", text)) == len(every)
    receipts = sorted((tmp_path / "receipts").iterdir())
    assert [p.stem for p in receipts] == sorted(
        [
            "and", "or", "xor", "parity", "beam", "vanishing", "exploding", "defective",
            "aggregate", "attention", "scaling",
            *(f"report-{record.name}" for record in RECORDS.iterdir() if record.is_dir()),
        ]
    )  # fmt: skip
    assert all(check.check_file(path).exit_code == 0 for path in receipts)


def test_every_receipt_is_named_in_an_answer_and_no_other(collected):
    answers = "".join(p.read_text("utf-8") for p in (set_folder() / "writeup").glob("*.typ"))
    named = set(re.findall(r'#(?:claim|backing)\("([\w-]+)"\)', answers))
    named |= {"vanishing", "exploding", "defective"}  # in a loop
    named |= {run["receipt"] for run in collected["report"]["runs"]}
    assert named == set(collected["receipts"])


def test_a_receipt_that_does_not_hold_stops_the_build(tmp_path):
    receipt = parity("hard").receipt()
    receipt.answer["readout"]["bias"] = -receipt.answer["readout"]["bias"]
    with pytest.raises(WorkFailed, match="receipt parity doesn't hold"):
        facts.keep({"parity": receipt}, tmp_path)


def test_the_graph_update_is_numpys(collected):
    messages = 2 * np.array([[-1, 1], [0, -1], [1, 0]])
    mixed = np.array([0.6, 0.2, 0.2]) @ messages
    result = np.array([1, -1]) @ [1, 1] + np.maximum(mixed, 0)
    assert collected["graph"]["result"] == f"[{result[0]:g}, {result[1]:g}]"
    assert (collected["graph"]["edges"], collected["graph"]["with_loops"]) == (12, 16)
    assert float(collected["graph"]["difference"]) < 1e-12
    assert "16 directed edges of 4 nodes, 4 of them" in collected["receipts"]["attention"]


def test_the_review_compares_laws_by_their_closed_forms(collected):
    told = collected["scaling"]
    # N ~ C^(beta / (alpha + beta)); in Kaplan's joint law alpha_D / (alpha_N + alpha_D)
    assert told["hoffmann"] == f"{10 ** (0.2849 / (0.3392 + 0.2849)):.1f}"
    assert told["kaplan"] == f"{10 ** (0.103 / (0.076 + 0.103)):.1f}"
    assert float(told["low"]) < float(told["alpha"]) < float(told["high"])
    assert (told["runs"], told["times"]) == (29, 10)


def test_the_beam_search_is_brute_force_and_does_not_end_at_the_first_completed(collected):
    best = max(
        (math.prod(BIGRAMS[a][b] for a, b in itertools.pairwise((3, *row, 3))), row)
        for length in range(5)
        for row in itertools.product(range(3), repeat=length)
    )
    told = collected["beam"]
    assert told["answer"] == " ".join(["abc"[token] for token in best[1]] + ["end"]) == "a b end"
    assert float(told["probability"]) == pytest.approx(best[0])
    assert "after step 3" in told["reason"]


def test_the_recurrences_are_said_to_do_what_they_do(collected):
    told = {name: row["says"] for name, row in collected["recurrences"].items()}
    assert told["vanishing"].startswith("Vanishes")
    assert told["exploding"].startswith("Explodes")
    assert told["defective"].startswith("Grows like t^1")


def notebook(outputs: list[dict]) -> str:
    code = {"cell_type": "code", "source": ["x = 1\n", "x # $y$ `z`"], "outputs": outputs}
    return json.dumps(
        {"cells": [{"cell_type": "markdown", "source": "# T\n\n`a` # *b* $c$"}, code]}
    )


@pytest.mark.usefixtures("once")
def test_a_notebook_is_typeset_with_what_it_printed_after_the_answers(tmp_path):
    picture = io.BytesIO()
    Figure().savefig(picture, format="png")
    png = base64.b64encode(picture.getvalue()).decode()
    outputs = [
        {"text": ["\x1b[31m 1%\r 50%\r100% #let\r\n", "done\n"]},
        {"data": {"image/png": png, "text/plain": "<Figure>"}},
        {"data": {"text/plain": ["1"]}},
        {"traceback": ["\x1b[0;31mError", "here"]},
        {"text": "\n".join(map(str, range(100)))},
        {"text": " "},
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(notebook(outputs))
    shown = [output.get("text") for output in cells(path, tmp_path)[1]["outputs"]]
    assert shown[:4] == ["100% #let\ndone", None, "1", "Error\nhere"]
    assert "… 40 lines left out …" in shown[4]
    assert len(shown) == 5
    found = build_writeup(tmp_path / "out", notebook=path)
    assert list(found)[-1] == "notebook"
    assert list(found)[-2] == "report"
    assert found["notebook"][0] == found["report"][-1] + 1
    for text in ("{}", "[1]", '{"cells": [{"cell_type": "code", "source": 1}]}', ""):
        path.write_text(text)
        with pytest.raises(BadInput, match="not a Jupyter notebook"):
            cells(path, tmp_path)


def test_words_are_counted_as_a_reader_does():
    text = (
        '#import "/shared.typ": *\n_A title,\nof two lines._\n\nOne well-known law, it\'s (so) 3.5.'
    )
    assert words(text) == 6
    assert words('// none\n#claim("x")') == 0
    review = [(set_folder() / "writeup" / file).read_text("utf-8") for file in build.REVIEW]
    assert 150 < sum(map(words, review)) <= MOST_WORDS


@pytest.mark.usefixtures("once")
def test_answers_that_cannot_be_are_refused(tmp_path):
    mine = tmp_path / "mine"
    with pytest.raises(BadInput, match="no such folder"):
        build_writeup(tmp_path, answers=mine)
    mine.mkdir()
    (mine / "4-7.typ").write_text("word " * 300)
    with pytest.raises(BadInput, match="447 words; at most 350"):
        build_writeup(tmp_path, answers=mine)
    (mine / "4-7.typ").write_text("#nothing")
    with pytest.raises(BadInput, match=r"don't compile: .*unknown variable"):
        build_writeup(tmp_path, answers=mine)
    (mine / "5.typ").write_text("")
    with pytest.raises(BadInput, match=r"no problem has this name; expected 2-1"):
        build_writeup(tmp_path, answers=mine)
    assert not (tmp_path / "ps3-writeup.pdf").exists()


def test_a_long_answer_gets_all_its_pages():
    starts = [{"problem": "1", "page": 1}, {"problem": "2", "page": 2}, {"problem": "3", "page": 5}]
    assert pages(starts, 6) == {"1": [1], "2": [2, 3, 4], "3": [5, 6]}


@pytest.mark.usefixtures("once")
def test_the_readme_shows_the_write_up_as_it_is_now():
    with prepared(None, None, "A. Student", "None") as (ready, _):
        drawn = imread(io.BytesIO(picture.side_by_side(ready)))
    kept = imread(Path(__file__).parents[2] / "docs/images/course-writeup.png")
    assert drawn.shape == kept.shape
    assert np.abs(drawn - kept).mean() < 0.01  # `make course-picture` draws it again
