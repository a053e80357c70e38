"""The picture shows every kept candidate, and the answer's path is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.decoding.tiny import Tiny

from unrolled.decoding import beam_search
from unrolled.decoding.draw import MOST_STEPS, Page, draw, short
from unrolled.errors import BadInput


def test_the_answers_places_spell_the_answer() -> None:
    for seed in range(20):
        (found,) = beam_search(Tiny(4, seed), [[1]], beam_size=3, max_length=6)
        places = sorted(found.places())
        tokens = [found.trace[step - 1].kept[rank].token for step, rank in places]
        assert tokens == (found.hypotheses[0].tokens if found.hypotheses else [])


def test_a_picture_holds_the_tokens_and_is_the_same_each_time(tmp_path: Path) -> None:
    (found,) = beam_search(Tiny(4, 2), [[1]], beam_size=3, max_length=6)
    for name in ("a.svg", "b.svg", "c.png"):
        draw(found, tmp_path / name, text=lambda token: f"${token}_")
    picture = (tmp_path / "a.svg").read_bytes()
    assert picture == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").stat().st_size > 1000
    for step in found.trace:
        assert all(f"{kept.total:.2f}".encode() in picture for kept in step.kept)
    with pytest.raises(BadInput, match="png or"):
        draw(found, tmp_path / "a.txt")
    with pytest.raises(BadInput, match="can't write"):
        draw(found, tmp_path / "no" / "a.svg")


@pytest.mark.parametrize("steps", [1, 5, 12, 13, 60, 250])
def test_a_long_search_goes_on_in_the_next_line_of_the_page(steps: int) -> None:
    page = Page(steps, ranks=3)
    places = [page.at(step, rank) for step in range(1, steps + 1) for rank in range(4)]
    assert len(set(places)) == 4 * steps
    assert {x for x, _ in places} == set(range(1, page.columns + 1))
    assert page.columns <= MOST_STEPS
    assert page.lines == -(-steps // MOST_STEPS)
    for step in range(1, steps + 1):
        strokes = page.edge(step, 2 if step > 1 else 0, 1)
        assert (strokes[0][0][0], strokes[0][1][0]) == page.at(step - 1, 2 if step > 1 else 0)
        assert (strokes[-1][0][-1], strokes[-1][1][-1]) == page.at(step, 1)
        # A stroke stays in its line of the page; the way to the next line is drawn as two.
        assert all(abs(ys[1] - ys[0]) <= 3 and 0 <= xs[1] - xs[0] <= 1 for xs, ys in strokes)
        assert len(strokes) == (2 if page.at(step, 0)[0] == 1 and step > 1 else 1)


def test_a_long_label_is_cut_to_its_column() -> None:
    assert short("ation") == "ation"
    assert short("internationalisation") == "internation…"
