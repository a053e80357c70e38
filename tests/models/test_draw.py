"""The drawn masks are the ones that the words under them say."""

from pathlib import Path

from unrolled.models.draw import draw_rope_scaling, draw_sights, sights


def test_each_kind_sees_what_its_name_says() -> None:
    seen = {name.splitlines()[0]: mask.int().tolist() for name, mask in sights().items()}
    assert seen["encoder"] == [[1] * 6 + [0] * 2] * 8
    assert seen["decoder"] == [[1] * (i + 1) + [0] * (7 - i) for i in range(8)]
    assert seen["decoder, packed"][2] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert seen["decoder, packed"][4] == [0, 0, 0, 1, 1, 0, 0, 0]
    assert seen["decoder, left-padded"][3] == [0, 0, 1, 1, 0, 0, 0, 0]
    assert seen["two new tokens"] == [[1] * 7 + [0], [1] * 8]


def test_the_picture_is_one(tmp_path: Path) -> None:
    draw_sights(tmp_path / "sights.png")
    assert (tmp_path / "sights.png").read_bytes().startswith(b"\x89PNG")


def test_the_stretched_waves_are_drawn(tmp_path: Path) -> None:
    draw_rope_scaling(tmp_path / "rope.png")
    assert (tmp_path / "rope.png").read_bytes().startswith(b"\x89PNG")
