"""Does an impossible setting of the data name its field?"""

from __future__ import annotations

import pytest

from unrolled.data.config import DataConfig
from unrolled.errors import BadInput


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 260),
        ("tokens_per_batch", 0),
        ("window", 0),
        ("holdout", 1),
        ("corpus", ""),
        ("tokenizer", "words"),
        ("mask_fraction", 0.0),
        ("mask_fraction", 1.0),
        ("mask_fraction", float("nan")),
    ],
)
def test_an_impossible_value_names_its_field(field: str, value: object):
    with pytest.raises(BadInput, match=f"data.{field} "):
        DataConfig(**{field: value})


def test_the_window_is_for_streams_only():
    assert DataConfig().stream_window is None
    assert DataConfig(streaming=True, window=10).stream_window == 10
