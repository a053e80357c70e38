"""Options that depend on the machine give way where they can't run, and say so."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch

from unrolled.errors import BadInput
from unrolled.models.batch import Batch
from unrolled.training.memory import keep_freed_memory
from unrolled.training.precision import faster_precision, pick_device

TOKENS = torch.arange(24).reshape(2, 12) % 7
BATCHES = [Batch(TOKENS, TOKENS)] * 3


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "mps:7"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=r"training\.device"):
        pick_device(name)


def test_the_format_that_was_faster_is_taken() -> None:
    weight = torch.ones(1, requires_grad=True)

    def slow_in(chosen: bool) -> object:
        def loss(_: Batch) -> torch.Tensor:
            if torch.is_autocast_enabled("cpu") == chosen:
                time.sleep(0.05)
            return weight.sum()

        return loss

    cpu = torch.device("cpu")
    assert faster_precision(slow_in(True), BATCHES, cpu)[0] == "float32"  # type: ignore[arg-type]
    best, times = faster_precision(slow_in(False), BATCHES, cpu)  # type: ignore[arg-type]
    assert best == "bfloat16"
    assert times > 2


COMPARE = """
import torch
from unrolled.models import ModelConfig, build
from unrolled.models.batch import Batch
from unrolled.training.precision import compiled
torch.manual_seed(0)
tokens = torch.randint(7, (2, 12))
config = ModelConfig(vocab_size=7, hidden_size=16, num_layers=1, num_heads=2)
model = build("decoder", config)
gradients = []
for loss in (model.loss, compiled(model.loss)):
    model.zero_grad()
    value = loss(Batch(tokens, tokens))
    value.backward()
    gradients.append([value.detach(), *(p.grad.clone() for p in model.parameters())])
for a, b in zip(*gradients):
    torch.testing.assert_close(a, b)
print("equal")
"""


def test_a_compiled_loss_has_the_same_value_and_gradient() -> None:
    # In a process of its own: the tests' type checker is none of what torch.compile can read.
    # Its helpers would cost more in starting than they give: the other cores are other tests'.
    alone = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    words = [sys.executable, "-c", COMPARE]
    done = subprocess.run(words, capture_output=True, text=True, env=alone)
    assert done.stdout == "equal\n", done.stderr


def test_freed_memory_is_kept_where_the_allocator_is_glibc() -> None:
    import platform

    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
