"""What goes with the tokens must fit them: else one line by name, not an answer for other rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.test_values import draw, tiny

from unrolled.errors import BadInput
from unrolled.models import KeyValueCache, build

TOKENS = draw(2, 6)
REAL = torch.ones(2, 6, dtype=torch.bool)


def call(architecture: str, *tokens: torch.Tensor, **beside: Any) -> Any:
    """The model's own function, around the annotations that only the tests enforce."""
    model = build(architecture, tiny())
    forward = type(model).forward
    return getattr(forward, "__wrapped__", forward)(model, *tokens, **beside)


MASKS = [REAL.long(), REAL[:1], REAL[:, :3], REAL & False]
PACKED = [
    ("documents", REAL),
    ("documents", torch.ones(2, 5, dtype=torch.long)),
    ("positions", torch.full((2, 6), -1)),
    ("positions", torch.full((2, 6), 40)),
]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("architecture", ["decoder", "encoder", "lstm"])
def test_a_mask_of_another_type_or_shape_or_with_an_empty_row_is_refused(
    architecture: str, mask: torch.Tensor
) -> None:
    with pytest.raises(BadInput, match="attention_mask"):
        call(architecture, TOKENS, attention_mask=mask)


@pytest.mark.parametrize(("name", "value"), PACKED)
@pytest.mark.parametrize("architecture", ["decoder", "encoder"])
def test_documents_and_positions_that_do_not_fit_are_refused(
    architecture: str, name: str, value: torch.Tensor
) -> None:
    with pytest.raises(BadInput, match=name.removesuffix("s")):
        call(architecture, TOKENS, **{name: value})


@pytest.mark.parametrize("rows", [1, 4])
def test_a_cache_of_other_rows_is_refused(rows: int) -> None:
    with pytest.raises(BadInput, match=f"the cache holds {rows} rows and 2 came"):
        call("decoder", TOKENS, cache=KeyValueCache(tiny(), rows, 10))


def test_documents_with_a_cache_are_refused_since_the_next_step_would_see_them_all() -> None:
    documents = torch.tensor([[1, 1, 1, 2, 2, 2]] * 2)
    with pytest.raises(BadInput, match="one document a row"):
        call("decoder", TOKENS, documents=documents, cache=KeyValueCache(tiny(), 2, 10))


def test_a_target_of_other_rows_than_the_source_is_refused() -> None:
    with pytest.raises(BadInput, match="2 rows of source and 1 of target"):
        call("encoder-decoder", TOKENS, TOKENS[:1])


def test_the_mask_of_a_prompt_read_in_pieces_is_made_where_the_tokens_are() -> None:
    model = build("decoder", tiny()).to("meta")
    cache = KeyValueCache(tiny(), 2, 10, device="meta")
    for piece in TOKENS.to("meta").split(3, dim=1):
        hidden = model.hidden(piece, cache=cache)
    assert hidden.device.type == "meta"
