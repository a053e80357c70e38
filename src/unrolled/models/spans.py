"""When is all that a query sees an unbroken run of keys, and which? Then no mask is needed.

Of a causal row query i sees keys 0…i, of packed documents those from its document's start on, of an
encoder's row with padding on the right all real ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int32, Integer
from torch import Tensor


class Spans(NamedTuple):
    """Query i of a row sees keys first[i] … end[i] - 1; neither falls from one query to the next.

    One row where all are the same.
    """

    first: Int32[Tensor, "_rows time"]
    end: Int32[Tensor, "_rows time"]


def spans(
    time: int,
    documents: Integer[Tensor, "batch time"] | None,
    real: Bool[Tensor, "batch time"] | None,
    *,
    causal: bool,
) -> Spans | None:
    """The spans of rows without a past, or None: only a mask can say who sees whom.

    That is where a document's number falls from one position to the next, so that it might come
    twice, or where padding doesn't stand on the right. A padded query sees what the last real one
    does, so that its (unused) softmax is not over nothing.
    """
    place = torch.arange(time)[None]
    first, end = torch.zeros_like(place), torch.full_like(place, time)
    if documents is not None:
        steps = documents.long().diff(dim=1)  # numbers without a sign would wrap
        if bool((steps < 0).any()):
            return None
        new = torch.cat((torch.ones_like(documents[:, :1]), steps), dim=1) > 0
        first = torch.where(new, place, 0).cummax(1).values
        # The next document's start, seen from behind; of the last one the row's end.
        next_ = torch.where(new, place, time).flip(1).cummin(1).values.flip(1)
        end = torch.cat((next_[:, 1:], torch.full_like(next_[:, :1], time)), dim=1)
    if causal:
        end = place + 1
    if real is not None:
        length = real.sum(1, keepdim=True)
        if not bool((real == (place < length)).all()) or not bool(length.all()):
            return None
        last = torch.minimum(place, length - 1)
        first, end = (t.expand(len(real), time).gather(1, last) for t in (first, end))
        end = torch.minimum(end, length)
    first, end = torch.broadcast_tensors(first, end)
    return Spans(first.int().contiguous(), end.int().contiguous())
