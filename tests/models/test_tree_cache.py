"""Rows that share a tree give what each row's whole sequence gives."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from unrolled.errors import BadInput
from unrolled.models.cache import KeyValueCache
from unrolled.models.config import ModelConfig
from unrolled.models.decoder import Decoder
from unrolled.models.encoder_decoder import EncoderDecoder
from unrolled.models.stack import initialise

SIZES: dict[str, Any] = {"vocab_size": 19, "hidden_size": 24, "num_layers": 2, "max_positions": 90}
PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6], [5, 3, 5]]
STEPS = 45
"""Enough to clear the tree a few times."""


def built(kind: type, **options: Any) -> Any:
    config = ModelConfig(**{**SIZES, "num_heads": 4, **options})
    model = kind(config)
    initialise(model, torch.Generator().manual_seed(0), 2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0)  # so that what is attended to matters
    return model.double().eval()


def start(model: Any) -> tuple[Any, list[tuple[int, list[int]]]]:
    """A tree over the prompts, and each row's source and tokens behind it."""
    width = max(map(len, PROMPTS))
    if isinstance(model, EncoderDecoder):
        padded = torch.tensor([[*p, *[0] * (width - len(p))] for p in PROMPTS])
        mask = torch.tensor([[True] * len(p) + [False] * (width - len(p)) for p in PROMPTS])
        cache = model.encode(padded, mask, capacity=1)
    else:
        padded = torch.tensor([[*[0] * (width - len(p)), *p] for p in PROMPTS])
        mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in PROMPTS])
        cache = model.make_cache(len(PROMPTS), width)
        model(padded, attention_mask=mask, cache=cache)
    return model.branch(cache), [(i, []) for i in range(len(PROMPTS))]


def whole(model: Any, source: int, tokens: list[int]) -> Any:
    """The last logits of a row, from nothing but its tokens."""
    prompt = torch.tensor([PROMPTS[source]])
    if isinstance(model, EncoderDecoder):
        return model(prompt, torch.tensor([tokens]))[0, -1]
    return model(torch.tensor([PROMPTS[source] + tokens]))[0, -1]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Decoder, {}),
        (Decoder, {"num_kv_heads": 2, "positions": "learned"}),
        (Decoder, {"num_kv_heads": 1, "positions": "sinusoidal"}),
        (EncoderDecoder, {"positions": "learned"}),
        (EncoderDecoder, {"num_kv_heads": 2, "memory": "prefix"}),
        (EncoderDecoder, {"positions": "sinusoidal", "memory": "prefix"}),
    ],
)
@pytest.mark.parametrize("widest", [1, 5])
@torch.no_grad()
def test_rows_of_a_tree_are_their_own_sequences(kind: type, options: Any, widest: int) -> None:
    model, rng = built(kind, **options), random.Random(1)
    tree, rows = start(model)
    for step in range(STEPS):
        parents = []
        for source in range(len(PROMPTS)):
            own = [i for i, row in enumerate(rows) if row[0] == source]
            gone = not own or (step == 12 + 9 * source and source)
            parents += [] if gone else rng.choices(own, k=rng.randint(1, widest))
        if step % 7 == 3:
            rng.shuffle(parents)
        tokens = [rng.randrange(19) for _ in parents]
        tree.reorder(torch.tensor(parents))
        rows = [(rows[p][0], [*rows[p][1], t]) for p, t in zip(parents, tokens, strict=True)]
        call = model.decode if isinstance(model, EncoderDecoder) else model
        found = (
            call(torch.tensor(tokens)[:, None], tree)
            if isinstance(model, EncoderDecoder)
            else call(torch.tensor(tokens)[:, None], cache=tree)
        )
        for i in rng.sample(range(len(rows)), min(3, len(rows))):
            torch.testing.assert_close(found[i, 0], whole(model, *rows[i]), rtol=1e-9, atol=1e-9)
    # What nobody descends from is not kept: far fewer columns than were written.
    assert tree.length < 90 + 5 * widest
    assert len({source for source, _ in rows}) < len(PROMPTS)
    assert tree.keys.shape[1] < len(PROMPTS)


@torch.no_grad()
def test_a_source_whose_every_node_is_needed_leaves_those_of_others_in_their_places() -> None:
    model, rng = built(Decoder), random.Random(2)
    tree, rows = start(model)
    for step in range(STEPS):
        parents = []
        for source in range(len(PROMPTS)):
            own = [i for i, row in enumerate(rows) if row[0] == source]
            chosen = own if source == 0 else [rng.choice(own)] * len(own)
            parents += chosen if step else own * 2
        tokens = [rng.randrange(19) for _ in parents]
        rows = [(rows[p][0], [*rows[p][1], t]) for p, t in zip(parents, tokens, strict=True)]
        tree.reorder(torch.tensor(parents))
        logits = model(torch.tensor(tokens)[:, None], cache=tree)[:, -1]
        for row, got in zip(rows, logits, strict=True):
            torch.testing.assert_close(got, whole(model, *row), rtol=0, atol=1e-9)


def test_more_than_a_token_a_row_is_refused() -> None:
    model = built(Decoder)
    tree, _ = start(model)
    with pytest.raises(BadInput, match="one token at a time"):
        model(torch.zeros(4, 2, dtype=torch.long), cache=tree)


def test_a_tree_holds_each_source_once_however_many_rows_it_has() -> None:
    model = built(Decoder)
    cache: KeyValueCache = model.make_cache(1, 30)
    model(torch.ones(1, 30, dtype=torch.long), cache=cache)
    tree = model.branch(cache)
    tree.reorder(torch.zeros(16, dtype=torch.long))
    with torch.no_grad():
        model(torch.ones(16, 1, dtype=torch.long), cache=tree)
    assert tree.keys.numel() < 6 * cache.keys.numel()
