"""The plan's arithmetic against models that are built, counted, run and measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unrolled.cli import main
from unrolled.errors import BadInput
from unrolled.models import ModelConfig, build
from unrolled.models.attention import KEEP_SCORES_BELOW
from unrolled.models.batch import Batch
from unrolled.models.decoder import Decoder
from unrolled.training import TrainingConfig
from unrolled.training.optimizer import Optimizer
from unrolled.training.plan import (
    Scale,
    activation_bytes,
    flop_per_token,
    loss_bytes,
    make_plan,
    memory,
    parameter_count,
)

SMALL = ModelConfig(
    vocab_size=50, hidden_size=32, num_layers=3, num_heads=4, num_kv_heads=2, max_positions=1024
)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_kv_heads": 0},
    {"activation": "gelu"},
    {"norm": "layernorm"},
    {"norm": "layernorm", "bias": True},
    {"bias": True},
    {"positions": "learned"},
    {"positions": "sinusoidal", "activation": "gelu", "bias": True},
    {"tie_embeddings": False, "intermediate_size": 40},
    {"dropout": 0.1},
]
LARGE = ModelConfig(
    vocab_size=50_304, hidden_size=2048, num_layers=24, num_heads=16, max_positions=2048
)


PLAIN = Scale(gpus=1, precision="float32")


def batch(rows: int, length: int, vocab_size: int = 50) -> Batch:
    tokens = torch.randint(vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))
    return Batch(tokens, tokens)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_parameters_are_as_many_as_the_model_has(options: dict[str, Any]) -> None:
    config = replace(SMALL, **options)
    with torch.device("meta"):
        model = Decoder(config)
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())


def test_so_they_are_at_the_size_that_is_planned() -> None:
    with torch.device("meta"):
        model = Decoder(LARGE)
    assert parameter_count(LARGE) == sum(p.numel() for p in model.parameters()) > 1.3e9


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("length", [16, 48])
def test_the_operations_are_those_that_pytorch_counts(options: dict[str, Any], length: int) -> None:
    config = replace(SMALL, **options)
    model = build("decoder", config)
    # The plain kernel makes attention's products one by one, where the counter sees them.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss(batch(2, length)).backward()
    assert counter.get_total_flops() == flop_per_token(config, length) * 2 * length


def kept(config: ModelConfig, made: Batch, half: bool) -> int:
    """Bytes of all that autograd keeps for the backward pass, weights and tables aside."""
    model = build("decoder", config)
    own = [*model.parameters(), *model.buffers()]
    known = {t.untyped_storage().data_ptr() for t in own}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = model.loss(made)
    total = sum(storage.nbytes() for storage in found.values())
    del loss
    return total


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_tokens_activations_are_what_autograd_keeps_of_it(
    options: dict[str, Any], half: bool
) -> None:
    """Between 1 and 2 rows, so that what does not grow with the rows drops out; within 3 %.

    As long as a row is here, the fused kernel is used in bfloat16 on a CPU too.
    """
    config = replace(SMALL, **options)
    few, many = (kept(config, batch(rows, KEEP_SCORES_BELOW), half) for rows in (1, 2))
    planned = activation_bytes(config, KEEP_SCORES_BELOW, half=half)
    assert planned == pytest.approx(many - few, rel=0.03)


PEAK = """
import resource, sys, torch
from unrolled.models import ModelConfig, build
from unrolled.models.batch import Batch
model = build("decoder", ModelConfig(**eval(sys.argv[1])))
def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not ru_maxrss, which on Linux begins at that of the process that started this one.
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
def run(rows):
    tokens = torch.zeros(rows, 256, dtype=torch.long)
    model.loss(Batch(tokens, tokens)).backward()
    return peak()
print(run(1), run(17))
"""


def test_the_peak_of_a_process_grows_by_the_planned_activations_within_a_quarter() -> None:
    sizes = {"vocab_size": 512, "hidden_size": 256, "num_layers": 6, "max_positions": 256}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, repr(sizes)], capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    parts = {
        rows: {p.name: p.ddp for p in memory(ModelConfig(**sizes), PLAIN, rows, 256)}  # type: ignore[arg-type]
        for rows in (1, 17)
    }
    growing = ("activations", "one block's gradients")
    planned = sum(parts[17][name] - parts[1][name] for name in growing)
    assert planned > 5e8
    assert 0.8 < (many - few) / planned < 1.25


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizers_state_is_as_large_as_planned(optimizer: Any) -> None:
    model = build("decoder", SMALL)
    real = Optimizer(model, TrainingConfig(optimizer=optimizer))
    model.loss(batch(1, 8)).backward()
    real.step(1e-3)
    held = sum(t.nbytes for name, t in real.tensors().items() if not name.endswith(".step"))
    parts = memory(SMALL, Scale(gpus=1, optimizer=optimizer), 1, 64)
    assert held == next(part.ddp for part in parts if part.name == "optimizer")


def test_sharding_divides_the_states_and_leaves_the_activations() -> None:
    parts = {part.name: part for part in make_plan(LARGE, Scale()).memory}
    for name in ("weights", "gradients", "optimizer", "copy for a checkpoint"):
        assert parts[name].ddp == 64 * parts[name].fsdp
    assert parts["activations"].ddp == parts["activations"].fsdp
    alone = make_plan(LARGE, Scale(gpus=1, tokens_per_step=2048))
    assert alone.total("ddp") == alone.total("fsdp")
    assert loss_bytes(LARGE) == 4 * 50_304 * (2 * 2048 + 4096)


def test_time_is_work_over_rate() -> None:
    plan = make_plan(LARGE, Scale(tokens=10**9, gpu_tflops=100, utilisation=0.5, gpus=32))
    assert plan.seconds == pytest.approx(1e9 * plan.flop_per_token / (32 * 50e12))
    assert plan.steps == 1908
    assert make_plan(LARGE, Scale()).tokens == 20 * plan.parameters
    # Kaplan's 6 N leaves out attention, and counts no embedding twice: near, not the same.
    assert 6 * plan.parameters == pytest.approx(plan.flop_per_token, rel=0.2)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--tokens-per-step", "1000"], "no multiple of row_length"),
        (["--gpus", "0"], "gpus must be at least 1"),
        (["--utilisation", "1.5"], "utilisation is a share"),
        (["--row-length", "4096"], "above model.max_positions"),
        (["--model.vocab-size", "0"], "vocab_size must be stated"),
    ],
)
def test_what_can_not_be_planned_is_refused(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 2
    assert named in capsys.readouterr().err


def test_the_command_says_the_same_in_words_and_as_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    plan = make_plan(LARGE, Scale())
    assert answer["parameters"] == plan.parameters
    assert answer["total"] == {"ddp": plan.total("ddp"), "fsdp": plan.total("fsdp")}
    with pytest.raises(BadInput):
        Scale(gpu_memory=0.0)
    assert main(["plan", "--gpus", "64"]) == 0
    words = capsys.readouterr().out
    assert f"{plan.parameters:,}" in words
    assert f"{plan.total('fsdp') / 1e9:.2f}" in words
