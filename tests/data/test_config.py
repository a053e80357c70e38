"""Does an impossible setting of the data name its field?"""

from __future__ import annotations

import pytest
from jaxtyping import TypeCheckError

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
        ("mask_fraction", 0.0),
        ("mask_fraction", 1.0),
        ("mask_fraction", float("nan")),
    ],
)
def test_an_impossible_value_names_its_field(field: str, value: object):
    # where annotations are enforced, a word that is no choice is refused before the config is made
    with pytest.raises((BadInput, TypeError), match=field):
        DataConfig(**{field: value})


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises((BadInput, TypeCheckError), match="tokenizer"):
        DataConfig(tokenizer="words")  # type: ignore[arg-type]


def test_the_window_is_for_streams_only():
    assert DataConfig().stream_window is None
    assert DataConfig(streaming=True, window=10).stream_window == 10
