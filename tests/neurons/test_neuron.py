"""Does a neuron give the same on NumPy arrays, torch tensors and as a linear layer?"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from unrolled.errors import BadInput
from unrolled.neurons import ThresholdNeuron, TruthTable, separate

INPUTS = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 1]])
MAJORITY = ThresholdNeuron((1, 1, 1), -2)
EXPECTED = [0, 0, 1, 1, 0]


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_, np.float32, np.float64])
def test_numpy_arrays_of_any_type(dtype):
    result = MAJORITY(INPUTS.astype(dtype))
    assert result.dtype == dtype
    assert result.tolist() == EXPECTED


@pytest.mark.parametrize(
    "dtype",
    [
        torch.int64,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float16,
        torch.bfloat16,
        torch.float32,
    ],
)
def test_torch_tensors_of_any_type(dtype):
    result = MAJORITY(torch.tensor(INPUTS).to(dtype))
    assert result.dtype == dtype
    assert result.tolist() == EXPECTED


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,), (2, 1, 4)])
def test_any_batch_shape(batch):
    x = np.random.default_rng(0).integers(0, 2, (*batch, 3))
    ours, theirs = MAJORITY(x), MAJORITY(torch.tensor(x))
    assert ours.shape == theirs.shape == batch
    assert (np.asarray(ours) == theirs.numpy()).all()
    assert (np.asarray(ours) == (x.sum(axis=-1) >= 2)).all()


def test_large_weights_are_exact_in_small_types():
    weights = (2**40, -(2**40) + 1, 2**33)
    neuron = ThresholdNeuron(weights, -1)
    for x in (np.array([1, 1, 0], dtype=np.int8), np.array([1, 1, 0], dtype=np.float32)):
        assert neuron(x) == 1
        assert neuron(torch.tensor(x)) == 1
    with pytest.raises(BadInput, match=r"below 2\^53"):
        ThresholdNeuron((2**53,), 0)


def test_real_inputs_fall_on_the_side_of_the_line_they_are_on():
    neuron = ThresholdNeuron((2, -1), 1)
    x = np.array([[-0.6, 0.0], [-0.4, 0.0], [0.0, 1.0], [0.0, 1.001]])
    assert neuron(x).tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_found_neuron_runs_as_its_table_says():
    table = TruthTable.parse("x1 and (not x2 or x3)")
    answer = separate(table)
    x = np.array([table.point(row) for row in range(8)])
    assert "".join(map(str, answer.neuron()(x))) == table.bits


@pytest.mark.parametrize(("scale", "dtype"), [(1, torch.float32), (2**30, torch.float64)])
def test_the_linear_layer_computes_the_sum(scale, dtype):
    neuron = ThresholdNeuron((3 * scale, -2 * scale, scale), 1 - scale)
    layer = neuron.to_linear()
    assert layer.weight.dtype == dtype
    x = torch.tensor(INPUTS).to(dtype)
    expected = INPUTS @ np.array(neuron.weights) + neuron.bias
    assert layer(x)[:, 0].tolist() == expected.tolist()
    assert (layer(x)[:, 0] >= 0).to(dtype).tolist() == neuron(x).tolist()


def test_inputs_that_do_not_fit_are_refused_with_both_shapes():
    with pytest.raises(BadInput, match=r"expected inputs of shape \(..., 3\), got \(5, 2\)"):
        MAJORITY(np.zeros((5, 2)))
    with pytest.raises(BadInput, match=r"\(..., 3\), got \(\)"):
        MAJORITY(torch.tensor(1.0))
    with pytest.raises(BadInput, match="a NumPy array or a torch tensor, got list"):
        MAJORITY([0, 1, 1])


def test_deciding_a_function_does_not_import_torch_or_matplotlib():
    code = (
        "import sys; from unrolled.neurons import TruthTable, separate;"
        "separate(TruthTable.parse('a and b')).receipt();"
        "assert not {'torch', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
