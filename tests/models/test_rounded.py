"""Does PyTorch round what the compiled step rounds?"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.test_packed import made
from tests.models.test_packs import logits, saved

from unrolled.kernels.formats import FORMATS, pack, quantised
from unrolled.models import packs
from unrolled.models.batch import IGNORED, Batch
from unrolled.models.packed import PackedDecoder
from unrolled.models.packs import load_packed
from unrolled.models.rounded import nearest, round_activations, round_weights


def test_both_ways_round_activations_alike() -> None:
    pytest.importorskip("numba")
    from unrolled.kernels.activations import quantise

    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 70)).astype(np.float32) * np.float32(10.0) ** rng.integers(
        -9, 9, (12, 1)
    ).astype(np.float32)
    x[1, 3], x[2, 40], x[3, 69] = np.nan, np.inf, -np.inf
    x[4] *= np.float32(1e-37)
    x[5, :32], x[6] = 0.0, 2.0**-100
    x[7], x[8, 64:] = 1e-45, 1e-38
    sizes = np.exp2(np.arange(70) % 7).astype(np.float32)
    packed = pack(np.ones((1, 70), np.float32), "int8", sizes)
    factors = packed.factors[:70]
    assert len(set(factors)) == 4
    xq, steps = np.zeros((12, quantised(70)), np.int16), np.zeros((12, 3), np.float32)
    quantise(packed, x, xq, steps)
    found = nearest(torch.from_numpy(x), torch.from_numpy(factors)).numpy() * factors
    x *= factors
    each = steps.repeat(32, axis=1)[:, :70]
    real = np.isfinite(each)
    assert (np.isfinite(found) == real).all()
    assert real.sum() == 12 * 70 - 32 - 32 - 6
    whole = np.divide(found, each, out=np.zeros_like(found), where=real & (each > 0))
    assert np.abs(whole[real] - np.rint(whole[real])).max() < 1e-4
    assert (np.abs(found - x)[real] <= np.maximum(0.5001 * each, 2.0**-100)[real]).all()
    assert (found[real & (each == 0)] == 0).all()


def test_a_rounded_model_can_be_copied_and_take_another_number_format() -> None:
    model = made()
    round_activations(model, round_weights(model, "int8"))
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        expected = model(tokens)
        assert torch.equal(pickle.loads(pickle.dumps(model))(tokens), expected)
        near = model.bfloat16()(tokens).float()
    assert 0 < (near - expected).abs().max() < 0.2 * expected.abs().max()


@pytest.mark.parametrize("weights", FORMATS)
def test_both_ways_give_the_same_answers(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    run = saved(tmp_path / "run")
    monkeypatch.setattr(packs, "WORTH_COMPILING", 0)
    by_step = load_packed(run, weights)
    assert isinstance(by_step, PackedDecoder)
    assert by_step.format == weights
    prompt = [3, 1, 4, 1, 5, 9, 2, 6]
    found = logits(by_step, prompt)
    monkeypatch.setitem(sys.modules, "numba", None)
    lines: list[str] = []
    by_torch = load_packed(run, weights, lines.append)
    assert (lines == []) == (weights == "float32")
    torch.testing.assert_close(found, logits(by_torch, prompt), atol=1e-3, rtol=0)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_the_loss_of_a_batch_is_that_of_the_model_with_the_near_matrices(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    run = saved(tmp_path / "run")
    monkeypatch.setattr(packs, "WORTH_COMPILING", 0)
    monkeypatch.setattr("unrolled.models.packed.BLOCK", 5)
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 40, (3, 16), generator=draw)
    targets = torch.randint(0, 40, (3, 16), generator=draw)
    targets[0, :2] = targets[1, 9:] = targets[2, 7] = IGNORED
    documents = torch.ones(3, 16, dtype=torch.long)
    documents[0, 6:], documents[0, 11:] = 2, 3
    positions = torch.arange(16).repeat(3, 1)
    positions[0, 6:] -= 6
    positions[0, 11:] -= 5
    batch = Batch(tokens, targets, documents=documents, positions=positions)
    batches = [batch, Batch(tokens, targets)]
    packed = load_packed(run, weights)
    found = [float(packed.loss(batch)) for batch in batches]
    monkeypatch.setitem(sys.modules, "numba", None)
    model = load_packed(run, weights)
    with torch.no_grad():
        expected = [float(model.loss(batch)) for batch in batches]
    assert found == pytest.approx(expected, rel=2e-4)
