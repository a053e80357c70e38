"""Is the support package the published course's: its names, its order of weights, its draws?"""

from __future__ import annotations

import math

import pytest
import torch

from gtgpt.model import (
    DummyBlock,
    DummyEmbedding,
    DummyMultiHeadedSelfAttention,
    DummyTransformer,
)
from gtgpt.trainer import Trainer
from gtgpt.utils import CfgNode, set_seed
from unrolled.course import reference


def config(**changes: object) -> CfgNode:
    made = DummyTransformer.get_default_config()
    sizes = {"n_layer": 3, "n_head": 4, "n_embd": 64, "vocab_size": 50, "block_size": 9}
    made.merge_from_dict({**sizes, **changes})
    return made


class Block(DummyBlock):
    def __init__(self, config):
        super().__init__(config, DummyMultiHeadedSelfAttention)


def model(**changes: object) -> DummyTransformer:
    return DummyTransformer(config(**changes), Block, DummyEmbedding)


def test_names_and_shapes_of_weights_are_those_that_the_grader_sends():
    sizes = reference.Sizes(n_layer=3, n_head=4, n_embd=64, vocab_size=50, block_size=9)
    state = {name: tuple(w.shape) for name, w in model().state_dict().items()}
    assert state == reference.shapes("Decoder", sizes)


def test_layers_are_made_in_the_order_that_fixes_their_draws():
    torch.manual_seed(0)
    attention = DummyMultiHeadedSelfAttention(config())
    torch.manual_seed(0)
    for name in ("k", "v", "q", "c_proj"):
        assert torch.equal(getattr(attention, name).weight, torch.nn.Linear(64, 64).weight)


def test_initial_weights_have_the_stated_spread():
    for name, w in model().named_parameters():
        if name.endswith("c_proj.weight"):
            assert w.std().item() == pytest.approx(0.02 / math.sqrt(6), rel=0.05)
        elif "ln_" in name or name.endswith("bias"):
            assert torch.equal(w, torch.full_like(w, float(name.endswith("weight"))))
        else:
            assert w.std().item() == pytest.approx(0.02, rel=0.1)


def test_only_the_weights_of_linear_layers_decay():
    made = model()
    decay, rest = made.configure_optimizers(CfgNode(weight_decay=0.3))
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    names = {id(p): name for name, p in made.named_parameters()}
    decayed = {names[id(p)] for p in decay["params"]}
    assert decayed | {names[id(p)] for p in rest["params"]} == set(names.values())
    assert all(n.endswith("weight") and "ln_" not in n and "embed" not in n for n in decayed)
    assert len(decayed) == 3 * 6 + 1


def test_a_configuration_that_says_too_little_is_refused():
    with pytest.raises(ValueError, match="must say n_layer"):
        model(n_layer=None)
    with pytest.raises(ValueError, match="multiple of n_head, got 64 and 5"):
        model(n_head=5)


def test_the_feed_forward_network_is_tanh_gelu_between_two_layers():
    block, x = Block(config()).eval(), torch.randn(2, 3, 64)
    fc, proj = block.mlp["c_fc"], block.mlp["c_proj"]
    expected = proj(torch.nn.functional.gelu(fc(x), approximate="tanh"))
    assert torch.allclose(block.mlpf(x), expected)
    assert fc.weight.shape == (256, 64)


def test_configurations_merge_and_print():
    made = CfgNode(a=1, inner=CfgNode(b=0.5, c="x", d=None))
    made.merge_from_args(["--a=2", "--inner.b=0.25", "--inner.c=7", "--inner.d=8"])
    assert made.to_dict() == {"a": 2, "inner": {"b": 0.25, "c": "7", "d": 8}}
    assert str(made) == "a: 2\ninner:\n    b: 0.25\n    c: 7\n    d: 8"
    for words, error in ((["--x=1"], AttributeError), (["a=1"], ValueError)):
        with pytest.raises(error):
            made.merge_from_args(words)


class Line(torch.nn.Module):
    """A straight line with a loss, as the trainer expects a model."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def configure_optimizers(self, train_config):
        return [{"params": list(self.parameters()), "weight_decay": 0.0}]

    def forward(self, x, y):
        found = self.layer(x)
        return found, (found - y).square().mean()


def run(seed: int) -> tuple[Line, list[tuple[int, float]]]:
    set_seed(seed)
    settings = Trainer.get_default_config()
    settings.merge_from_dict({"max_iters": 400, "learning_rate": 0.05, "batch_size": 8})
    line, seen = Line(), []
    data = [(torch.tensor([x / 10]), torch.tensor([3 * x / 10 - 1])) for x in range(-10, 11)]
    trainer = Trainer(settings, line, data)
    trainer.set_callback("on_batch_end", lambda _: pytest.fail("replaced below"))
    trainer.set_callback("on_batch_end", lambda t: seen.append((t.iter_num, t.loss.item())))
    trainer.run()
    assert trainer.iter_dt > 0
    return line, seen


def test_batches_are_drawn_on_the_cpu_where_the_default_device_is_another():
    settings = Trainer.get_default_config()
    settings.merge_from_dict({"max_iters": 1, "batch_size": 5})
    trainer = Trainer(settings, Line(), list(range(9)))
    with torch.device("meta"):
        drawn = next(trainer._draws())
    assert len(drawn) == 5
    assert set(drawn) <= set(range(9))


def test_the_trainer_fits_a_line_and_tells_each_batch_the_same_for_the_same_seed():
    line, seen = run(1)
    assert [number for number, _ in seen] == list(range(1, 401))
    assert line.layer.weight.item() == pytest.approx(3, abs=0.01)
    assert line.layer.bias.item() == pytest.approx(-1, abs=0.01)
    assert run(1)[1] == seen
    assert run(2)[1] != seen
