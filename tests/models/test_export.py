"""A model written for the `transformers` library computes there what it computes here."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models import library
from tests.models.test_values import random_model, tiny

from unrolled.errors import BadInput
from unrolled.models.export_hf import export_hf

TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GPT2 = {"positions": "learned", "norm": "layernorm", "activation": "gelu", "num_kv_heads": 0}
SCALED = {"rope_theta": 100.0, "rope_factor": 4.0, "rope_original_positions": 16}
BIASES = list(itertools.product((False, True), (False, True)))


def exported(folder: Path, **options: Any) -> tuple[Any, Any]:
    model = random_model("decoder", tiny(**options))
    export_hf(model, folder, TOKENS)
    return model, library.open_folder(folder)


@pytest.mark.parametrize(("bias", "tie"), BIASES)
@pytest.mark.parametrize("kv_heads", [0, 1, 2])
@pytest.mark.parametrize("scaling", [{}, SCALED], ids=["plain", "scaled"])
def test_a_llama_layout_has_our_logits(
    tmp_path: Path, bias: bool, tie: bool, kv_heads: int, scaling: dict[str, Any]
) -> None:
    ours, theirs = exported(
        tmp_path, bias=bias, tie_embeddings=tie, num_kv_heads=kv_heads, norm_eps=0.1, **scaling
    )
    assert type(theirs).__name__ == "LlamaForCausalLM"
    assert library.difference(ours, theirs) < 1e-4


@pytest.mark.parametrize(("bias", "tie"), BIASES)
def test_a_gpt2_layout_has_our_logits(tmp_path: Path, bias: bool, tie: bool) -> None:
    ours, theirs = exported(tmp_path, bias=bias, tie_embeddings=tie, intermediate_size=40, **GPT2)
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    assert library.difference(ours, theirs) < 1e-4


def test_scaled_waves_are_another_model_than_plain_ones(tmp_path: Path) -> None:
    ours, theirs = exported(tmp_path, **SCALED)
    plain = random_model("decoder", tiny(rope_theta=100.0))
    assert library.difference(ours, theirs) < 1e-4 < library.difference(plain, theirs)


def test_every_weight_is_loaded_and_none_is_left_over(tmp_path: Path) -> None:
    for number, options in enumerate(({"bias": True}, {**GPT2, "bias": False})):
        folder = tmp_path / str(number)
        folder.mkdir()
        export_hf(random_model("decoder", tiny(**options)), folder, TOKENS)
        _, report = library.transformers.AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True
        )
        assert not any(report.values()), report


def test_the_special_tokens_are_told(tmp_path: Path) -> None:
    _, theirs = exported(tmp_path)
    for name, number in TOKENS.items():
        assert getattr(theirs.generation_config, name) == number
        assert getattr(theirs.config, name) == number


def test_rotary_settings_are_written_as_version_4_reads_them(tmp_path: Path) -> None:
    exported(tmp_path, **SCALED)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["rope_theta"] == 100.0
    assert config["rope_scaling"]["factor"] == 4.0


def test_a_model_in_bfloat16_is_written_in_float32(tmp_path: Path) -> None:
    model = random_model("decoder", tiny()).to(torch.bfloat16)
    export_hf(model, tmp_path, TOKENS)
    weight = library.open_folder(tmp_path).model.embed_tokens.weight
    assert weight.dtype == torch.float32
    assert weight.equal(model.stack.embedding.weight.float())


@pytest.mark.parametrize(
    ("architecture", "options", "reason"),
    [
        ("encoder-decoder", {}, "EncoderDecoder"),
        ("encoder", {}, "Encoder"),
        ("lstm", {}, "LSTM"),
        ("decoder", {"positions": "sinusoidal"}, "sinusoidal, rmsnorm, swiglu"),
        ("decoder", {"norm": "layernorm"}, "rope, layernorm, swiglu"),
        ("decoder", {"activation": "gelu"}, "rope, rmsnorm, gelu"),
        ("decoder", {**GPT2, "num_kv_heads": 2}, "2 for 4"),
    ],
)
def test_what_has_no_layout_is_refused_with_the_reason(
    tmp_path: Path, architecture: str, options: dict[str, Any], reason: str
) -> None:
    model = random_model(architecture, tiny(**options))
    with pytest.raises(BadInput, match=reason):
        export_hf(model, tmp_path, TOKENS)
    assert not list(tmp_path.iterdir())
