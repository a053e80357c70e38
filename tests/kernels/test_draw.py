"""The picture's points are the formats' own errors, and none beats what none can."""

from pathlib import Path

import numpy as np
import pytest

from unrolled.kernels import FORMATS
from unrolled.kernels.draw import SHAPE, cost, draw_formats, kinds


def test_sizes_and_errors_are_those_that_the_formats_have() -> None:
    more = 32 / SHAPE[0] + 32 / SHAPE[1]
    sizes = {"float32": 32.0, "bfloat16": 16.0, "int8": 8.5 + more, "int4": 5 + more}
    for name, weight in kinds().items():
        found = {format: cost(weight, format) for format in FORMATS}
        assert {format: size for format, (size, _) in found.items()} == sizes
        assert found["float32"][1] == 0.0
        if name == "normal":
            assert all(share > 2.0**-size for size, share in found.values() if size < 32)
    # A rounding to steps of c is off by c / √12 in the root mean square. Weights of a uniform draw
    # are 1 / √3, and c is 1 / 127 of the largest of 32, whose square is 32 / 34 on average and
    # which is not off itself.
    uniform, share = np.asarray(kinds()["uniform"]), (32 / 34 * 31 / 32) ** 0.5
    assert cost(uniform, "int8")[1] == pytest.approx(share / 127 / 2, rel=0.005)


def test_the_picture_is_one(tmp_path: Path) -> None:
    draw_formats(tmp_path / "formats.svg")
    assert b"<svg" in (tmp_path / "formats.svg").read_bytes()
