"""Do the pictures show the states, the symbols, and the gates over time?"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from unrolled.automata import compile, named, parity
from unrolled.automata import draw as module
from unrolled.automata.draw import draw
from unrolled.errors import BadInput


def test_the_graph_and_the_gates_stand_side_by_side(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(module, "Figure", lambda **o: kept.append(Figure(**o)) or kept[-1])
    draw(parity(), tmp_path / "p.svg", "0110")
    ElementTree.parse(tmp_path / "p.svg")
    left, right = kept[0].axes[:2]
    assert sorted(text.get_text() for text in left.texts if text.get_text()) == list("000111")
    values = np.asarray(right.images[0].get_array())
    run = parity().run("0110")
    assert (values == np.stack([part[:, 0] for part in run])).all()
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["f", "i", "C̃", "o", "C", "h"]
    assert [tick.get_text() for tick in right.get_xticklabels()] == list("0110")


@pytest.mark.parametrize("ending", [".png", ".svg"])
@pytest.mark.parametrize("name", ["contains-0110", "balanced-3", "mod-1"])
def test_pictures_are_written_and_the_same_each_time(name, ending, tmp_path):
    answer = compile(named(name))
    string = "()((" if name == "balanced-3" else "0110"
    first, second = tmp_path / f"1{ending}", tmp_path / f"2{ending}"
    draw(answer, first, string)
    draw(answer, second, string)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("name", "string", "path", "message"),
    [
        ("mod-30", "", "a.png", "room for 24 states, this has 30"),
        ("mod-20", "1", "a.png", "12 units"),
        ("parity", "1" * 61, "a.png", "60 symbols"),
        ("parity", "1", "a.pdf", "a picture is a .png or .svg file"),
        ("parity", "12", "a.png", "symbol 2 of the string is '2'"),
        ("parity", "1", "none/a.png", "can't write"),
    ],
)
def test_what_cannot_be_drawn_is_refused(name, string, path, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        draw(compile(named(name)), tmp_path / path, string)
