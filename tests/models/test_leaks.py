"""Nothing leaks: not from the future, not from another document, not from padding.

Each test has a twin that shows it would notice: the same change, where it may be seen, is seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.models.test_values import draw, tiny

from unrolled.models import build
from unrolled.models.batch import IGNORED, Batch

POSITIONS = ("rope", "learned", "sinusoidal")


def packed(architecture: str, tokens: torch.Tensor) -> Batch:
    """Two documents of 5 and 4 tokens in a row of 10, the last column padding."""
    documents = torch.tensor([[1] * 5 + [2] * 4 + [0]]).expand(len(tokens), -1)
    positions = torch.tensor([[*range(5), *range(4), 0]]).expand(len(tokens), -1)
    real = documents > 0
    targets = torch.where(real, tokens, IGNORED)
    return Batch(tokens, targets, real, documents, positions)


def gradient_reach(model: Any, batch: Batch, position: int) -> torch.Tensor:
    """Which input positions the loss at one position depends on, by its gradient."""
    embedding = model.embedding if hasattr(model, "embedding") else model.stack.embedding
    seen: dict[str, torch.Tensor] = {}
    single = torch.full_like(batch.targets, IGNORED)
    single[:, position] = batch.targets[:, position]

    def keep(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        seen["x"] = output.detach().requires_grad_()
        return seen["x"]

    handle = embedding.register_forward_hook(keep)
    model.loss(replace(batch, targets=single)).backward()
    handle.remove()
    gradient = seen["x"].grad
    assert gradient is not None
    return gradient.abs().sum(-1)[0] > 0


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(("architecture", "sees"), [("decoder", "past"), ("encoder", "all")])
def test_a_packed_position_depends_on_its_own_document_alone(
    architecture: Any, sees: str, positions: Any
) -> None:
    model = build(architecture, tiny(positions=positions))
    batch = packed(architecture, draw(1, 10))
    for position in range(9):
        first, last = (0, 4) if position < 5 else (5, 8)
        last = position if sees == "past" else last
        reach = gradient_reach(model, batch, position)
        assert reach.nonzero().squeeze(1).tolist() == list(range(first, last + 1))


@pytest.mark.parametrize("architecture", ["decoder", "encoder"])
def test_without_document_numbers_the_same_batch_does_leak(architecture: Any) -> None:
    model = build(architecture, tiny())
    batch = packed(architecture, draw(1, 10))
    unmarked = Batch(batch.tokens, batch.targets, batch.attention_mask)
    assert gradient_reach(model, unmarked, 6)[:5].all()


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("architecture", ["decoder", "encoder", "lstm"])
def test_a_packed_loss_is_the_sum_over_its_documents(architecture: Any, positions: Any) -> None:
    model = build(architecture, tiny(positions=positions))
    tokens = draw(3, 10)
    with torch.no_grad():
        together = model.loss(packed(architecture, tokens))
        alone = sum(
            model.loss(Batch(part, part)) for part in (*tokens[:, :9].split((5, 4), dim=1),)
        )
    torch.testing.assert_close(together, alone)


def test_an_lstm_unpacks_what_is_packed_and_would_leak_otherwise() -> None:
    model = build("lstm", tiny())
    batch = packed("lstm", draw(1, 10))
    unmarked = Batch(batch.tokens, batch.targets)
    with torch.no_grad():
        assert not torch.allclose(model.loss(batch), model.loss(unmarked), atol=1e-4)


@pytest.mark.parametrize("memory", ["cross-attention", "prefix"])
def test_a_source_reaches_every_target_and_the_future_none(memory: Any) -> None:
    model = build("encoder-decoder", tiny(memory=memory)).eval()
    source, tokens = draw(1, 6, 2), draw(1, 5)
    with torch.no_grad():
        before = model(source, tokens)
        other_source = source.clone()
        other_source[0, 3] = (source[0, 3] + 1) % 29
        other_tokens = tokens.clone()
        other_tokens[0, 3] = (tokens[0, 3] + 1) % 29
        by_source = (model(other_source, tokens) - before).abs().amax(-1)[0] > 1e-7
        by_token = (model(source, other_tokens) - before).abs().amax(-1)[0] > 1e-7
    assert by_source.tolist() == [True] * 5
    assert by_token.tolist() == [False, False, False, True, True]
