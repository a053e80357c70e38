"""Are probed gradients those derived by hand, and is the model left as it was?"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from unrolled.errors import BadInput
from unrolled.recurrences.advice import Cell, for_exploding, for_stack, for_vanishing
from unrolled.recurrences.probe import UpdateWatch, probe
from unrolled.recurrences.unroll import Recorder, lyapunov, singular_values

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def linear_rnn(W):
    """h_t = W^T h_{t-1} + x_t for nonnegative states: a ReLU that never bites."""
    n = len(W)
    rnn = nn.RNN(n, n, nonlinearity="relu", bias=False, batch_first=True)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(torch.eye(n))
        rnn.weight_hh_l0.copy_(torch.tensor(W).T)
    return rnn


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_the_gradient_of_a_linear_recurrence_is_the_power_derived_by_hand(factor):
    """L = |h_T|^2 / 2, so dL/dh_t = W^(T-t) h_T."""
    W = factor * np.array([[0.6, 0.4], [0.3, 0.7]])
    x = torch.rand(1, 12, 2, generator=torch.Generator().manual_seed(0))
    h = np.zeros(2)
    for row in x[0].numpy():
        h = W.T @ h + row
    expected = [np.linalg.norm(np.linalg.matrix_power(W, 11 - t) @ h) for t in range(12)]
    found = probe(linear_rnn(W), x)
    np.testing.assert_allclose(found.tracks[0].norms, expected, rtol=1e-5)
    assert found.loss == pytest.approx(h @ h / 2, rel=1e-5)


def test_vanishing_and_exploding_are_named_with_their_rate():
    x = torch.rand(1, 30, 2)
    (line,) = probe(linear_rnn(0.5 * np.eye(2)), x).advice
    assert "vanishes, by a factor of 0.5 a step" in line
    assert "t = 20" in line  # 2^-10 < 1/1000 < 2^-9
    (line,) = probe(linear_rnn(2.0 * np.eye(2)), x).advice
    assert "explodes, by a factor of 2 a step" in line
    assert probe(linear_rnn(np.eye(2)), x).advice == []


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False}]
)
@pytest.mark.parametrize("batch_first", [True, False])
def test_unrolled_step_by_step_it_computes_what_the_module_computes(kind, options, batch_first):
    torch.manual_seed(0)
    module = kind(3, 4, batch_first=batch_first, **options)
    x = torch.randn(5, 6, 3)
    expected = module(x)
    with Recorder(module):
        found = module(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("two_ways", [False, True])
def test_packed_sequences_end_where_they_end(kind, two_ways):
    torch.manual_seed(0)
    module = kind(3, 4, num_layers=2, batch_first=True, bidirectional=two_ways)
    packed = pack_padded_sequence(
        torch.randn(3, 6, 3), torch.tensor([2, 6, 3]), batch_first=True, enforce_sorted=False
    )
    expected, state = module(packed)
    with Recorder(module):
        found, last = module(packed)
    torch.testing.assert_close(found.data, expected.data)
    torch.testing.assert_close(last, state)


def test_the_model_is_left_as_it_was():
    model = nn.LSTM(3, 4, batch_first=True)
    model.weight_hh_l0.grad = torch.ones_like(model.weight_hh_l0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    probe(model, torch.ones(2, 5, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.weight_hh_l0.grad, torch.ones_like(model.weight_hh_l0))
    assert model.weight_ih_l0.grad is None
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
    assert "forward" not in model.__dict__


def test_a_deep_stack_without_residuals_is_named():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(6))
            for block in self.blocks:
                block.weight.data = 0.25 * torch.eye(4)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    found = probe(Stack(), torch.ones(1, 3, 4), loss=lambda m, x: m(x).sum())
    assert [t.name for t in found.tracks] == [f"blocks.{k}" for k in range(6)]
    (line,) = found.advice
    assert "vanishes from the last block to the first, by a factor of 0.25 a block" in line


class Blocks(nn.Module):
    """Blocks of one kind, so strong that the gradient explodes from the last to the first."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.read = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Block(kind) for _ in range(4))

    def forward(self, x):
        x = self.read(x)
        for block in self.blocks:
            x = block(hidden=x) if self.kind == "by name" else block(x)
        return x


class Block(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.inner = kind, nn.Linear(4, 4)
        self.inner.weight.data = 9 * torch.eye(4)
        if kind in ("before", "after", "by name"):
            self.norm = nn.LayerNorm(4)
        if kind == "rms":
            self.norm = RMSNorm()

    def forward(self, hidden):
        match self.kind:
            case "none":
                return torch.tanh(self.inner(hidden))
            case "gated":
                return hidden * torch.sigmoid(self.inner(hidden))
            case "bare":
                return nn.functional.dropout(self.inner(hidden), 0.1) + hidden
            case "before" | "by name":
                middle = hidden + self.inner(self.norm(hidden))
                return middle + self.inner(self.norm(middle))
            case _:
                return self.norm(hidden + self.inner(hidden))


class RMSNorm(nn.Module):
    def forward(self, x):
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()


@pytest.mark.parametrize(
    ("kind", "skip", "advice"),
    [
        ("none", "none", "Residual connections with a norm before each block usually help."),
        ("gated", "none", "Residual connections with a norm before each block usually help."),
        ("bare", "bare", "Its blocks have residual connections; a norm before each"),
        ("before", "before", "connections and norms before them; a smaller learning rate"),
        ("by name", "before", "connections and norms before them; a smaller learning rate"),
        ("after", "after", "Its norms stand on the residual path"),
        ("rms", "after", "Its norms stand on the residual path"),
    ],
)
def test_the_advice_on_depth_names_only_what_the_blocks_have_not(kind, skip, advice):
    torch.manual_seed(0)
    found = probe(Blocks(kind), torch.randn(2, 3, 4), loss=lambda m, x: (m(x) ** 3).sum())
    assert [track.skip for track in found.tracks] == [skip] * 4
    assert advice in for_stack([track.skip for track in found.tracks])
    for line in found.advice:
        assert line.startswith("blocks: ")
        assert advice in line


def test_the_advice_on_time_names_only_what_the_layer_has_not():
    torch.manual_seed(0)
    lstm, x = nn.LSTM(2, 6, batch_first=True), torch.randn(2, 60, 2)
    with torch.no_grad():
        lstm.bias_ih_l0[6:12], lstm.bias_hh_l0[6:12] = -1.5, -0.5
    (line,) = probe(lstm, x).advice
    assert "A forget-gate bias of 1 to 3 (its mean is -2), or an orthogonal start" in line
    for part in lstm.weight_hh_l0.chunk(4):
        nn.init.orthogonal_(part.data)
    (line,) = probe(lstm, x).advice
    assert line.endswith("A forget-gate bias of 1 to 3 (its mean is -2) usually helps.")
    assert for_vanishing(Cell("forget", 1.5, False)).startswith("An orthogonal start")
    assert for_vanishing(Cell("update", 0, True)).startswith("An update-gate bias of 1 to 3")
    assert for_vanishing(Cell("forget", 1.5, True)).startswith("Shorter sequences")
    assert for_exploding(Cell("", 0, True)) == "Clipping its norm usually helps."
    assert "smaller spectral radius" in for_exploding(Cell("", 0, False))


def test_a_hugging_face_model_is_probed_by_its_own_loss():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=3, n_head=2))
    tokens = torch.arange(6)[None]
    model.config.loss_type = "ForCausalLM"
    found = probe(model.eval(), {"input_ids": tokens, "labels": tokens})
    assert found.loss == pytest.approx(model(tokens, labels=tokens).loss.item())
    assert [t.skip for t in found.tracks if t.name.startswith("transformer.h.")] == ["before"] * 3


def test_the_exponents_of_a_linear_recurrence_are_its_eigenvalues_logarithms():
    W = np.array([[0.8, 0.1], [0.3, 0.6]])
    x = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    found = lyapunov(linear_rnn(W), x, warm_up=100)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(W))))[::-1]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    values = singular_values(linear_rnn(W), x[:3])
    np.testing.assert_allclose(values[-1], np.linalg.svd(W, compute_uv=False), rtol=1e-5)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_the_gradient_of_an_lstm_is_the_one_derived_by_hand():
    """L = |h_T|^2 / 2. With a = dL/dh_t and e = dL/dc_t in all, and the gates' sums z = W x + U h,
    e += a o (1 - tanh^2 c), dL/dz = (e g i(1-i), e c_- f(1-f), e i (1-g^2), a tanh(c) o(1-o)),
    and a step back a becomes U^T dL/dz, e becomes e f.
    """
    torch.manual_seed(3)
    lstm = nn.LSTM(2, 3, batch_first=True).double()
    x = torch.randn(1, 9, 2, dtype=torch.float64)
    W, U, b, d = (getattr(lstm, f"{n}_l0").detach().numpy() for n in NAMES)
    h, c, kept = np.zeros(3), np.zeros(3), []
    for row in x[0].numpy():
        z = W @ row + U @ h + b + d
        i, f, g, o = sigmoid(z[:3]), sigmoid(z[3:6]), np.tanh(z[6:9]), sigmoid(z[9:])
        before, c = c, f * c + i * g
        h = o * np.tanh(c)
        kept.append((i, f, g, o, before, c))
    a, e, expected = h, np.zeros(3), []
    for i, f, g, o, before, c in reversed(kept):
        expected.append(np.linalg.norm(a))
        e = e + a * o * (1 - np.tanh(c) ** 2)
        gates = (e * g * i * (1 - i), e * before * f * (1 - f), e * i * (1 - g**2))
        a = U.T @ np.concatenate([*gates, a * np.tanh(c) * o * (1 - o)])
        e = e * f
    np.testing.assert_allclose(probe(lstm, x).tracks[0].norms, expected[::-1], rtol=1e-10)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU])
def test_the_gradient_is_what_a_small_change_of_a_state_makes(kind):
    torch.manual_seed(4)
    module = kind(2, 3, batch_first=True).double()
    x = torch.randn(1, 8, 2, dtype=torch.float64)
    norms = probe(module, x).tracks[0].norms
    for t in range(7):
        h = module(x[:, : t + 1])[1].detach()
        slopes = []
        for unit in np.eye(3):
            ends = [module(x[:, t + 1 :], h + s * torch.tensor(unit)) for s in (1e-5, -1e-5)]
            up, down = (float((y[:, -1] ** 2).sum().detach() / 2) for y, _ in ends)
            slopes.append((up - down) / 2e-5)
        assert norms[t] == pytest.approx(np.linalg.norm(slopes), rel=1e-6)


def test_advice_knows_a_gated_layer_and_a_gradient_that_reaches_the_first_step():
    torch.manual_seed(0)
    (line,) = probe(nn.GRU(2, 4, batch_first=True), torch.randn(2, 9, 2)).advice
    assert "the first step gets" in line
    assert "An LSTM" not in line
    (line,) = probe(nn.RNN(2, 4, batch_first=True), torch.randn(2, 50, 2)).advice
    assert "An LSTM or GRU" in line


def test_a_model_under_ddp_is_probed_as_the_model_it_wraps():
    import torch.distributed as dist

    torch.manual_seed(0)
    model, x = nn.LSTM(2, 3, batch_first=True), torch.randn(2, 5, 2)
    expected = probe(model, x)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        found = probe(nn.parallel.DistributedDataParallel(model), x)
    finally:
        dist.destroy_process_group()
    assert found.loss == expected.loss
    np.testing.assert_array_equal(found.tracks[0].norms, expected.tracks[0].norms)
    assert found.weights == expected.weights


def test_what_cannot_be_probed_is_refused():
    with pytest.raises(BadInput, match="no loss of its own"):
        probe(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(BadInput, match="no parameter"):
        probe(nn.Linear(2, 2), torch.ones(1, 2), loss=lambda _, x: x.sum())
    with pytest.raises(BadInput, match="one direction"):
        lyapunov(nn.Linear(2, 2), torch.ones(3, 2))
    with pytest.raises(BadInput, match="leaves none"):
        lyapunov(nn.RNN(2, 2), torch.ones(3, 2), warm_up=3)


def test_the_watch_measures_what_a_step_changed():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    old = {k: p.detach().clone() for k, p in enumerate(model.parameters())}
    gradients = [p.grad.clone() for p in model.parameters()]
    watch = UpdateWatch(model)
    optimizer.step()
    row = watch.row()
    for k, p in enumerate(q.detach() for q in model.parameters()):
        assert row[f"probe/gradient_norm/{k}"] == pytest.approx(float(gradients[k].norm()))
        assert row[f"probe/update_ratio/{k}"] == pytest.approx(
            float((p - old[k]).norm() / old[k].norm()), rel=1e-5
        )
    assert math.isfinite(sum(row.values()))
