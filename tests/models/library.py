"""Tiny random models of the `transformers` library, and both libraries' answers side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from tests.models.test_values import VOCAB, draw

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

LLAMA: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GPT2: dict[str, Any] = {
    "vocab_size": VOCAB,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", LLAMA),
    "llama tied": ("Llama", LLAMA | {"tie_word_embeddings": True}),
    "llama without groups": ("Llama", LLAMA | {"num_key_value_heads": 4}),
    "llama with one key head": ("Llama", LLAMA | {"num_key_value_heads": 1}),
    "llama with all biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama with attention biases": ("Llama", LLAMA | {"attention_bias": True}),
    "llama with mlp biases": ("Llama", LLAMA | {"mlp_bias": True}),
    "llama of another eps and base": (
        "Llama",
        LLAMA
        | {"rms_norm_eps": 0.1, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}},
    ),
    "llama 3": ("Llama", LLAMA | {"rope_parameters": LLAMA3_ROPE}),
    "llama 3.1": (
        "Llama",
        LLAMA
        | {
            "rope_parameters": LLAMA3_ROPE
            | {"rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 8192}
        },
    ),
    "mistral": ("Mistral", LLAMA | {"sliding_window": None}),
    "qwen 2": ("Qwen2", LLAMA),
    "gpt-2": ("GPT2", GPT2),
    "gpt-2 untied": ("GPT2", GPT2 | {"tie_word_embeddings": False}),
    "gpt-2 of another width": ("GPT2", GPT2 | {"n_inner": 40, "layer_norm_epsilon": 0.1}),
}


def make(case: str) -> Any:
    """A model of the library with weights of ordinary size, biases and norms included."""
    name, options = CASES[case]
    config = getattr(transformers, f"{name}Config")(**options)
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    model = getattr(transformers, head)(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model


def open_folder(folder: Path) -> Any:
    """What the library makes of a folder."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def difference(ours: Any, theirs: Any, vocab: int = VOCAB) -> float:
    """Greatest difference of two models' logits, relative to their spread."""
    tokens = draw(3, 37) % vocab
    with torch.no_grad():
        a, b = ours(tokens), theirs(tokens).logits
    assert b.std() > 0.1, "logits too even to tell models apart"
    return float((a - b).abs().max())
