"""Does the picture of a batch show what the batch holds?"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from unrolled.data import ByteTokenizer, pair_batches, text_batches
from unrolled.data.draw import COLOURS, PADDING, _pale, draw_batches, picture_of


def codes(picture: np.ndarray) -> list[str]:
    """Each row as letters: A, B, … predicted, a, b, … read only, . padding."""
    known = {to_rgb(PADDING): "."}
    for i, colour in enumerate(COLOURS):
        known |= {to_rgb(colour): chr(65 + i), _pale(colour): chr(97 + i)}
    return ["".join(known[tuple(pixel)] for pixel in row) for row in picture.tolist()]


def test_a_packed_row_shows_its_documents_and_padding():
    stream = text_batches(
        lambda: ["abc", "de"], ByteTokenizer(), length=9, tokens_per_batch=9, seed=0
    )
    assert codes(picture_of(next(stream))) == ["AAAABBB.."]


def test_pairs_show_what_is_read_and_what_is_predicted(tmp_path):
    batches = {}
    for layout in ("decoder", "encoder-decoder"):
        stream = pair_batches(
            lambda: [("ab", "xyz"), ("c", "d")],
            ByteTokenizer(),
            layout=layout,
            tokens_per_batch=50,
            max_positions=9,
            seed=0,
        )
        batches[layout] = next(stream)
    assert sorted(codes(picture_of(batches["decoder"]))) == ["aAA...", "aaAAAA"]
    assert sorted(codes(picture_of(batches["encoder-decoder"]))) == ["aa.AA..", "aaaAAAA"]
    draw_batches(batches, tmp_path / "batches.png")
    assert (tmp_path / "batches.png").read_bytes().startswith(b"\x89PNG")
