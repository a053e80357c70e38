"""The picture shows every kept candidate, and the answer's path is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.decoding.tiny import Tiny

from unrolled.decoding import beam_search
from unrolled.decoding.draw import answer_places, draw
from unrolled.errors import BadInput


def test_the_answers_places_spell_the_answer() -> None:
    for seed in range(20):
        (found,) = beam_search(Tiny(4, seed), [[1]], beam_size=3, max_length=6)
        places = sorted(answer_places(found))
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
