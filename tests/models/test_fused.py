"""A training step that is compiled between its products is the step of PyTorch's operations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.test_values import OPTIONS, draw, random_model, tiny
from torch import Tensor, nn

pytest.importorskip("numba")

from unrolled.models import fused as switch
from unrolled.models import fused_attention, fused_elements
from unrolled.models.attention import SelfAttention
from unrolled.models.batch import IGNORED, Batch
from unrolled.models.block import RMSNorm
from unrolled.models.fused import fused, get_ready, is_on, run
from unrolled.training.precision import autocast

REAL = torch.arange(9) < torch.tensor([[9], [6], [1]])
DOCUMENTS = torch.tensor([[0, 0, 1, 1, 1, 1, 2, 2, 2], [0] * 9, list(range(9))])
PLACES = torch.tensor([[0, 1, 0, 1, 2, 3, 0, 1, 2], list(range(9)), [0] * 9])


def batches(architecture: str) -> dict[str, Batch]:
    """Whole rows, packed ones, and for whoever takes them padded ones."""
    tokens, targets = draw(3, 9), draw(3, 9, seed=2)
    targets[:, :3] = IGNORED
    if architecture == "encoder-decoder":
        return {"padded": Batch(tokens, targets, source=draw(3, 9, seed=3), source_mask=REAL)}
    packed = Batch(tokens, targets, documents=DOCUMENTS, positions=PLACES)
    found = {"whole": Batch(tokens, targets), "packed": packed}
    if architecture == "encoder":
        found["padded"] = Batch(tokens, targets.where(REAL, IGNORED), attention_mask=REAL)
    return found


def gradients(model: Any, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    loss = model.loss(batch)
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {"loss": loss.detach()}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that were done, in order."""
    names: list[str] = []

    def noting(kernel: Any, job: Any, *rest: Any) -> None:
        names.append(
            "attention" if "qkv" in job.names else "norm" if "eps" in job.names else "gate"
        )
        run(kernel, job, *rest)

    monkeypatch.setattr(fused_attention, "run", noting)
    monkeypatch.setattr(fused_elements, "run", noting)
    return names


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "encoder-decoder"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_loss_and_gradients_are_those_of_pytorch_in_float64(
    options: dict[str, Any], architecture: str, used: list[str]
) -> None:
    model = random_model(architecture, tiny(**options))
    for kind, batch in batches(architecture).items():
        with fused():
            found = gradients(model, batch)
        exact = gradients(model.double(), batch)
        model.float()
        assert found.keys() == exact.keys()
        for name, value in exact.items():
            error = (found[name] - value).abs().max()
            assert error < 1e-5 * (1 + value.abs().max()), (kind, name)
    layers = sum(isinstance(module, SelfAttention) for module in model.modules())
    assert used.count("attention") == 2 * layers * len(batches(architecture))
    assert ("norm" in used) == (options["norm"] == "rmsnorm")
    assert ("gate" in used) == (options["activation"] == "swiglu")


def test_nothing_is_compiled_that_was_not_asked_for(used: list[str]) -> None:
    model = random_model("decoder", tiny())
    batch = batches("decoder")["whole"]
    gradients(model, batch)
    with fused(), torch.autocast("cpu", torch.bfloat16):
        model.loss(batch)
    with fused():
        gradients(model.double(), batch)
    assert not is_on(None)
    assert not used


def test_left_padding_a_cache_and_the_prefix_form_go_the_ordinary_way(used: list[str]) -> None:
    model = random_model("decoder", tiny(norm="layernorm", activation="gelu"))
    tokens = draw(3, 9)
    with fused(), torch.no_grad():
        padded = model(tokens, attention_mask=REAL.flip(1))
        cached = model(tokens, cache=model.make_cache(3, 9))
        assert not used
        plain = model(tokens)
    assert used
    assert torch.allclose(cached, plain, atol=1e-5)
    assert torch.equal(padded, model(tokens, attention_mask=REAL.flip(1)))
    model = random_model("encoder-decoder", tiny(memory="prefix"))
    batch = batches("encoder-decoder")["padded"]
    with fused():
        ours = model.loss(batch)
    assert torch.allclose(ours, model.loss(batch), rtol=1e-5)


def test_an_adapter_on_a_product_is_heard(used: list[str]) -> None:
    model = random_model("decoder", tiny())
    batch = batches("decoder")["whole"]
    before = model.loss(batch)
    attention = next(m for m in model.modules() if isinstance(m, SelfAttention))
    attention.qkv.register_forward_hook(lambda _module, _inputs, out: out * 1.5)
    with fused():
        ours = model.loss(batch)
    assert torch.allclose(ours, model.loss(batch), rtol=1e-5)
    assert not torch.allclose(ours, before, rtol=1e-3)
    assert "attention" in used


def test_without_numba_one_line_says_so_and_the_step_is_pytorchs(
    monkeypatch: pytest.MonkeyPatch, used: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    said: list[str] = []
    get_ready(said.append)
    assert len(said) == 1
    assert "pip install 'unrolled[fast]'" in said[0]
    model = random_model("decoder", tiny())
    with fused():
        gradients(model, batches("decoder")["whole"])
    assert not used


def test_pieces_that_were_not_done_are_an_error_and_not_a_wrong_answer() -> None:
    from unrolled.kernels import elements

    product, out = torch.randn(100, 8), torch.empty(100, 4)
    numbers = {"rows": 60, "width": 4}
    with pytest.raises(MemoryError):
        run(elements.gate, elements.GATE, 4, numbers, {"product": product, "out": out})


def test_a_copy_of_a_trained_norm_is_pytorchs() -> None:
    model = random_model("decoder", tiny())
    norms = [m for m in model.modules() if isinstance(m, nn.RMSNorm)]
    x = torch.randn(5, 24)
    for norm in norms:
        with fused():
            ours = norm(x)
        theirs = nn.functional.rms_norm(x, (24,), norm.weight, norm.eps)
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert len(norms) == 5


def test_on_another_device_nothing_is_compiled() -> None:
    meta = torch.device("meta")
    with autocast("float32", meta):
        assert not is_on(None)
    with fused():
        assert is_on(torch.device("cpu"))
        assert not is_on(meta)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")
@pytest.mark.parametrize(
    "weight",
    [
        torch.randn(16, dtype=torch.float64),
        torch.randn(16).bfloat16(),
        torch.randn(32)[::2],
        torch._neg_view(torch.randn(16)),
        None,
    ],
    ids=["float64", "bfloat16", "strided", "negative", "none"],
)
def test_a_norm_with_another_weight_is_pytorchs(weight: Tensor | None) -> None:
    norm = RMSNorm(16, eps=1e-5, elementwise_affine=weight is not None)
    if weight is not None:
        norm.weight = nn.Parameter(weight)
    x = torch.randn(3, 16)
    for rows in (x, torch._neg_view(x)):
        with fused():
            found = norm(rows)
        torch.testing.assert_close(found, norm(rows), rtol=1e-5, atol=1e-5)


def test_a_gradient_from_above_that_is_a_negative_view_keeps_its_sign() -> None:
    x, above = torch.randn(3, 16, requires_grad=True), torch.randn(3, 8)
    (plain,) = torch.autograd.grad(fused_elements.fused_gate(x), x, above)
    (turned,) = torch.autograd.grad(fused_elements.fused_gate(x), x, torch._neg_view(above))
    assert torch.allclose(turned, -plain)


def test_a_tensor_without_memory_goes_the_ordinary_way() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), fused():
        assert RMSNorm(8, eps=1e-5)(torch.randn(3, 8)).shape == (3, 8)
    with pytest.raises(ValueError, match="halves"):
        fused_elements.fused_gate(torch.randn(2, 7))


def test_kernels_that_cannot_be_compiled_leave_the_training_to_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(switch, "_works", True)
    monkeypatch.setitem(sys.modules, "unrolled.kernels.elements", None)
    said: list[str] = []
    get_ready(said.append)
    assert len(said) == 1
    assert "by PyTorch" in said[0]
    with fused():
        assert not is_on(None)


def test_what_was_kept_and_is_damaged_is_compiled_again(tmp_path: Path) -> None:
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)
    }  # fmt: skip
    words = [sys.executable, "-c", "import unrolled.kernels.elements"]
    subprocess.run(words, check=True, env=environment)
    kept = list(tmp_path.rglob("*.nbc"))
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:100])
    subprocess.run(words, check=True, env=environment)
