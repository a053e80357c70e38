"""Do the pictures show the points, the line, and the segments that cross?"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from unrolled.errors import BadInput
from unrolled.neurons import Separable, TruthTable, separate
from unrolled.neurons import draw as module
from unrolled.neurons.draw import boundary, cut, draw


def drawn(text, tmp_path, monkeypatch):
    """The axes of the picture of a function."""
    kept = []
    monkeypatch.setattr(
        module, "Figure", lambda **options: kept.append(Figure(**options)) or kept[-1]
    )
    path = tmp_path / "picture.svg"
    draw(separate(TruthTable.parse(text)), path, text)
    ElementTree.parse(path)
    return kept[0].axes[0]


def scattered(axes):
    return {
        part.get_label(): sorted(map(tuple, np.asarray(part.get_offsets()).tolist()))
        for part in axes.collections
        if part.get_label() in ("true", "false", "either")
    }


def test_the_points_of_two_inputs_stand_where_they_belong(tmp_path, monkeypatch):
    axes = drawn("a and not b", tmp_path, monkeypatch)
    assert scattered(axes) == {"true": [(1, 0)], "false": [(0, 0), (0, 1), (1, 1)]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    assert axes.get_title() == "a and not b: one neuron"


def test_the_segments_of_xor_join_the_true_rows_and_the_false_ones(tmp_path, monkeypatch):
    axes = drawn("a xor b", tmp_path, monkeypatch)
    ends = [sorted(map(tuple, line.get_xydata().tolist())) for line in axes.lines]
    assert ends == [[(0, 1), (1, 0)], [(0, 0), (1, 1)]]
    crossing = axes.collections[0].get_offsets()
    assert np.asarray(crossing).tolist() == [[0.5, 0.5]]
    assert axes.get_title() == "a xor b: no neuron"


@pytest.mark.parametrize("bits", ["0001", "0111", "1000", "0100", "0011"])
def test_the_line_leaves_true_rows_on_one_side_and_none_on_it(bits):
    answer = separate(TruthTable(bits))
    assert isinstance(answer, Separable)
    weights, bias = boundary(answer)
    for row, bit in enumerate(bits):
        value = np.dot(weights, answer.table.point(row)) + bias
        assert (value > 0) == (bit == "1")
        assert abs(value) >= 0.5


def test_the_plane_cuts_the_cube_in_a_polygon_with_its_corners_in_order():
    polygon = cut((1, 1, 1), -1.5)
    assert len(polygon) == 6
    steps = np.linalg.norm(np.diff(np.vstack([polygon, polygon[:1]]), axis=0), axis=1)
    assert steps == pytest.approx([2**-0.5] * 6), "the hexagon of the regular cut"
    assert len(cut((1, 1, 1), -0.5)) == 3
    assert len(cut((0, 1, 0), -0.5)) == 4
    assert len(cut((0, 0, 0), -1.0)) == 0


@pytest.mark.parametrize(
    "text", ["a or (b and c)", "parity(a, b, c)", "a and 1", "1 and (a or not a)"]
)
@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_pictures_are_written_and_the_same_each_time(text, ending, tmp_path):
    table = TruthTable.parse(text, ("a", "b", "c"))
    first, second = tmp_path / f"1{ending}", tmp_path / f"2{ending}"
    draw(separate(table), first)
    draw(separate(table), second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_a_refutation_of_more_than_four_rows_is_drawn(tmp_path):
    draw(separate(TruthTable("1*0*1*00", ("a", "b", "c"))), tmp_path / "a.png")


@pytest.mark.parametrize(
    ("bits", "name", "message"),
    [
        ("01", "a.png", "pictures are for two or three inputs, this has 1"),
        ("0110", "a.pdf", "a picture is a .png or .svg file, got 'a.pdf'"),
        ("0110", "none/a.png", "can't write"),
    ],
)
def test_what_cannot_be_drawn_is_refused(bits, name, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        draw(separate(TruthTable(bits)), tmp_path / name)
