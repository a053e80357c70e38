"""Does PyTorch round what the compiled step rounds?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unrolled.kernels.formats import pack, quantised
from unrolled.models.rounded import nearest


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
    packed = pack(np.ones((1, 70), np.float32), "int8")
    xq, steps = np.zeros((12, quantised(70)), np.int16), np.zeros((12, 3), np.float32)
    quantise(packed, x, xq, steps)
    found = nearest(torch.from_numpy(x)).numpy()
    each = steps.repeat(32, axis=1)[:, :70]
    real = np.isfinite(each)
    assert (np.isfinite(found) == real).all()
    assert real.sum() == 12 * 70 - 32 - 32 - 6
    whole = np.divide(found, each, out=np.zeros_like(found), where=real & (each > 0))
    assert np.abs(whole[real] - np.rint(whole[real])).max() < 1e-4
    assert (np.abs(found - x)[real] <= np.maximum(0.5001 * each, 2.0**-100)[real]).all()
    assert (found[real & (each == 0)] == 0).all()
