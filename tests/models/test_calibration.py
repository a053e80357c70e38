"""Are the sizes of a decoder's inputs those of what it was given?"""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from tests.models.test_packed import made
from torch import nn

from unrolled.models import Decoder
from unrolled.models.calibration import LENGTH, ROWS, input_sizes
from unrolled.models.laid_out import EMBEDDING, HEAD, matrices


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tie_embeddings": False, "bias": True, "norm": "layernorm", "activation": "gelu"},
        {"attention": "window:4"},
        {"max_positions": 7},
    ],
    ids=["llama", "gpt", "sparse", "short"],
)
def test_sizes_are_those_of_the_text_that_the_model_wrote(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(**options)
    length = min(LENGTH, model.config.max_positions)
    read: list[torch.Tensor] = []
    hidden = Decoder.hidden

    def watched(self: Decoder, tokens: torch.Tensor, **words: object) -> torch.Tensor:
        read.append(tokens)
        return hidden(self, tokens, **words)

    monkeypatch.setattr(Decoder, "hidden", watched)
    sizes = input_sizes(model)
    monkeypatch.undo()
    text = torch.cat(read, dim=1)
    assert text.shape == (ROWS, length)
    assert len(set(map(tuple, text.tolist()))) > ROWS / 2
    # The whole text at once, and what each matrix is given then.
    given: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(
                lambda _, x, name=name: given.update({f"{name}.weight": x[0]})
            )
    with torch.no_grad():
        model(text)
    if model.config.tie_embeddings:
        given[EMBEDDING] = given.pop(HEAD)
    assert sizes.keys() == given.keys() == matrices(model.config).keys()
    for name, x in given.items():
        expected = x.double().square().mean((0, 1)).sqrt().numpy()
        np.testing.assert_allclose(sizes[name], expected, rtol=1e-4, atol=1e-6)


def test_a_model_is_left_as_it_was() -> None:
    model = made(dropout=0.5).train()
    model.stack.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.random.get_rng_state()
    one = input_sizes(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    two = input_sizes(model)  # no dropout in it, and the same draws
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_model_of_no_numbers_has_sizes_of_none() -> None:
    model = made()
    with torch.no_grad():
        model.stack.norm.weight.fill_(torch.nan)
    assert np.isnan(input_sizes(model)[EMBEDDING]).all()


def test_others_may_use_the_model_meanwhile() -> None:
    model = made()
    alone, ended = input_sizes(model), threading.Event()

    def use() -> None:
        with torch.no_grad():
            while not ended.is_set():
                model(torch.tensor([[1, 2, 3]]))

    other = threading.Thread(target=use)
    other.start()
    try:
        meanwhile = input_sizes(model)
    finally:
        ended.set()
        other.join()
    assert all(np.array_equal(alone[name], meanwhile[name]) for name in alone)
