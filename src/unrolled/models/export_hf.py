"""Which Hugging Face model computes what ours does? Llama's or GPT-2's layout, or none, with why.

The folder has a config.json, model.safetensors and generation_config.json that
`transformers.AutoModelForCausalLM.from_pretrained` reads; the rotary settings are written as
version 4 has them, which version 5 reads too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.models.build import Model
from unrolled.models.config import ModelConfig
from unrolled.models.decoder import Decoder
from unrolled.models.layouts import GPT2, LLAMA, Layout, split
from unrolled.models.store import WEIGHTS, parameters, write_atomically, write_json

CHOICES = {
    LLAMA.name: {"positions": "rope", "norm": "rmsnorm", "activation": "swiglu"},
    GPT2.name: {"positions": "learned", "norm": "layernorm", "activation": "gelu"},
}
"""What our options must be for a layout."""


def find_layout(model: Model) -> Layout:
    """The layout that holds this model. Raises `BadInput` with the reason where there is none."""
    if not isinstance(model, Decoder):
        raise BadInput(
            f"Hugging Face has no layout for this {type(model).__name__}: its causal models are "
            "decoders alone; `--format onnx` exports every architecture"
        )
    config = model.config
    if config.pattern is not None:
        raise BadInput(
            f"Llama's and GPT-2's layouts have full attention, and this model has "
            f"{config.attention}: what opened them would look at more than it was trained to"
        )
    own = {name: getattr(config, name) for name in CHOICES[LLAMA.name]}
    if own == CHOICES[LLAMA.name]:
        return LLAMA
    if own == CHOICES[GPT2.name]:
        if config.kv_heads != config.num_heads:
            raise BadInput(
                f"GPT-2's layout has as many key and value heads as query heads, and this model "
                f"has {config.kv_heads} for {config.num_heads}; `--format onnx` can hold it"
            )
        return GPT2
    needed = "; ".join(
        f"{name}'s has {', '.join(choices.values())}" for name, choices in CHOICES.items()
    )
    raise BadInput(
        f"no Hugging Face layout has {', '.join(own.values())} together ({needed}): "
        "`--format onnx` can hold it"
    )


def export_hf(model: Model, folder: Path, tokens: dict[str, int]) -> None:
    """Write config.json, generation_config.json and model.safetensors into a folder.

    `tokens` are the ids by the names Hugging Face gives them (bos_token_id, …). The logits of what
    is written are the model's own, up to rounding.
    """
    layout = find_layout(model)
    weights = their_weights(model, layout)
    config = model.config
    settings = llama_settings(config) if layout is LLAMA else gpt2_settings(config)
    # Both spellings: version 4 of transformers reads the first, version 5 the second.
    number_format = {"torch_dtype": "float32", "dtype": "float32"}
    write_json(folder / "config.json", settings | tokens | number_format)
    write_json(folder / "generation_config.json", {"_from_model_config": True, **tokens})
    write_atomically(
        folder / WEIGHTS, lambda temporary: save_file(weights, temporary, {"format": "pt"})
    )


def their_weights(model: Model, layout: Layout) -> dict[str, Tensor]:
    """All weights under their names; GPT-2's layout always has biases, so ours without get 0."""
    weights: dict[str, Tensor] = {}
    for ours, weight in parameters(model).items():
        parts = split(ours, weight.float(), layout, model.config)
        weights |= dict(zip(layout.theirs(ours), parts, strict=True))
    if layout is GPT2 and not model.config.bias:
        for name, weight in list(weights.items()):
            if name.startswith("transformer.") and ".wte." not in name and ".wpe." not in name:
                width = weight.shape[-1]  # a Conv1D is [in, out]
                weights[name.removesuffix("weight") + "bias"] = torch.zeros(width)
    return weights


def llama_settings(config: ModelConfig) -> dict[str, Any]:
    """config.json of a Llama."""
    scaling = None
    if config.rope_factor != 1.0:
        scaling = {
            "rope_type": "llama3",
            "factor": config.rope_factor,
            "low_freq_factor": config.rope_low_frequency,
            "high_freq_factor": config.rope_high_frequency,
            "original_max_position_embeddings": config.rope_original_positions,
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.mlp_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "max_position_embeddings": config.max_positions,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": scaling,
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tie_embeddings,
    }


def gpt2_settings(config: ModelConfig) -> dict[str, Any]:
    """config.json of a GPT-2."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_embd": config.hidden_size,
        "n_inner": config.mlp_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_positions": config.max_positions,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": config.tie_embeddings,
    }
