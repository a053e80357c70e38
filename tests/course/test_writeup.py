"""Is each problem on a page of its own, and is what the answers state what others compute?"""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from unrolled.course import set_folder
from unrolled.course.writeup import build, facts
from unrolled.course.writeup.build import ANSWERS, MOST_WORDS, build_writeup, pages, words
from unrolled.course.writeup.facts import BIGRAMS, collect
from unrolled.course.writeup.notebook import cells
from unrolled.errors import BadInput, WorkFailed
from unrolled.receipts import check


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> dict:
    return collect(tmp_path_factory.mktemp("facts"))


def test_every_problem_begins_a_page_and_the_receipts_hold(tmp_path):
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
        ["and", "or", "xor", "parity", "beam", "vanishing", "exploding", "defective"]
    )
    assert all(check.check_file(path).exit_code == 0 for path in receipts)


def test_a_receipt_that_does_not_hold_stops_the_build(tmp_path, monkeypatch):
    def broken(found):
        receipt = facts.parity("hard").receipt()
        receipt.answer["readout"]["bias"] = -receipt.answer["readout"]["bias"]
        found["parity"] = receipt
        return {}

    monkeypatch.setattr(facts, "parity_lstm", broken)
    with pytest.raises(WorkFailed, match="receipt parity doesn't hold"):
        collect(tmp_path)


def test_the_graph_update_is_numpys(collected):
    messages = 2 * np.array([[-1, 1], [0, -1], [1, 0]])
    mixed = np.array([0.6, 0.2, 0.2]) @ messages
    result = np.array([1, -1]) @ [1, 1] + np.maximum(mixed, 0)
    assert collected["graph"]["result"] == f"[{result[0]:g}, {result[1]:g}]"
    assert (collected["graph"]["edges"], collected["graph"]["with_loops"]) == (12, 16)


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
    assert found["notebook"][0] == found["4.8"][-1] + 1
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


def test_answers_that_cannot_be_are_refused(tmp_path):
    mine = tmp_path / "mine"
    with pytest.raises(BadInput, match="no such folder"):
        build_writeup(tmp_path, answers=mine)
    mine.mkdir()
    (mine / "4-7.typ").write_text("word " * 300)
    with pytest.raises(BadInput, match="431 words; at most 350"):
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
