"""Do spans say the same as masks, and are they None where they can't?"""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.models.attention import bidirectional, causal
from unrolled.models.spans import Spans, spans


def mask_of(found: Spans, rows: int, time: int) -> torch.Tensor:
    place = torch.arange(time)
    seen = (place >= found.first[..., None]) & (place < found.end[..., None])
    return seen.expand(rows, time, time)


@given(st.data(), st.integers(1, 3), st.integers(1, 12), st.booleans(), st.booleans())
def test_real_queries_see_what_the_mask_lets_them(
    data: st.DataObject, rows: int, time: int, both_ways: bool, packed: bool
) -> None:
    documents = real = None
    if packed:
        drawn = st.lists(st.integers(0, 4), min_size=time, max_size=time)
        documents = torch.tensor([sorted(data.draw(drawn)) for _ in range(rows)])
    if data.draw(st.booleans()):
        lengths = torch.tensor([[data.draw(st.integers(1, time))] for _ in range(rows)])
        real = torch.arange(time) < lengths
    found = spans(time, documents, real, causal=not both_ways)
    assert found is not None
    assert found.first.shape == found.end.shape
    assert all(bool((t.diff(dim=1) >= 0).all()) for t in found)
    assert bool((found.first < found.end).all())
    sight = bidirectional(real, documents) if both_ways else causal(time, 0, real, documents)
    mask = sight.explicit(time, torch.device("cpu"))
    wanted = torch.ones(rows, time, time, dtype=torch.bool) if mask is None else mask[:, 0]
    queries = torch.ones(rows, time, dtype=torch.bool) if real is None else real
    seen = mask_of(found, rows, time)
    assert torch.equal(seen[queries], wanted.expand(rows, time, time)[queries])


def test_documents_that_come_twice_and_padding_on_the_left_need_a_mask() -> None:
    assert spans(3, torch.tensor([[0, 1, 0]]), None, causal=True) is None
    wrapping = torch.tensor([[0, 1, 0]], dtype=torch.uint8)
    assert spans(3, wrapping, None, causal=True) is None
    assert spans(3, None, torch.tensor([[False, True, True]]), causal=True) is None
    assert spans(3, None, torch.tensor([[True, False, True]]), causal=False) is None
    assert spans(2, None, torch.tensor([[False, False]]), causal=False) is None
