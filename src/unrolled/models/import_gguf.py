"""What does a GGUF file hold? llama.cpp's format: settings, tokenizer and tensors, often quantised.

The library `gguf` (extra "weights") maps the file into memory and knows its number formats; a
tensor is brought to float32 when it is asked for, so that no second copy of the model is made.
Llama files keep queries and keys with rotary pairs side by side (2i, 2i + 1), as Meta's code has
them; ours, like Hugging Face's, pair i with i + d/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.models.attention import rotary_frequencies
from unrolled.models.config import ModelConfig
from unrolled.models.foreign import Fields, Source
from unrolled.models.import_hf import shortened
from unrolled.models.layouts import GPT2_FILE, LLAMA_FILE

ROPE_FACTORS = "rope_freqs.weight"
LLAMA_3_FACTORS = (8.0, 32.0)
"""How far the published Llama 3.1 and 3.2 models stretch their long waves."""


def read_gguf(path: Path, max_positions: int = 0) -> tuple[Source, dict[str, Any]]:
    """The weights of a GGUF file, and its metadata, which describe the tokenizer.

    `max_positions` shortens the context. Raises `BadInput` for a file that is none or is cut
    short, another architecture, and what can't be represented.
    """
    where = str(path)
    metadata, tensors = open_gguf(path)
    shapes = {name: tuple(int(n) for n in reversed(t.shape)) for name, t in tensors.items()}
    family = metadata.get("general.architecture")
    if family not in ("llama", "gpt2"):
        raise BadInput(f"{where}: architecture {family!r} can't be represented: only llama, gpt2")
    prefix = f"{family}."
    own = {n.removeprefix(prefix): v for n, v in metadata.items() if n.startswith(prefix)}
    fields = Fields(own, f"{where}, {family}")
    if "token_embd.weight" not in shapes:
        raise BadInput(f"{where} lacks 'token_embd.weight'")
    config = llama_config(fields, shapes) if family == "llama" else gpt2_config(fields, shapes)

    def read(name: str) -> Tensor:
        return dequantised(tensors[name], where)

    if ROPE_FACTORS in tensors:
        config = llama3_scaled(config, read(ROPE_FACTORS), where)
    config = shortened(config, max_positions, where)
    layout = LLAMA_FILE if family == "llama" else GPT2_FILE
    unbiased = frozenset() if not config.bias else modules_without_bias(shapes)
    return Source(where, config, layout, shapes, read, unbiased), metadata


def open_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A file's metadata and tensors, both by name; one that ends too early is refused."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise BadInput(
            "reading GGUF needs the package gguf: pip install 'unrolled[weights]'"
        ) from None

    class Whole(GGUFReader):
        """Refuses to read behind the end, where the library would go on with nothing.

        Its metadata are hundreds of thousands of small slices, and slices of a plain array are made
        in a third of the time of those of a file's.
        """

        def _get(self, offset: Any, dtype: Any, count: Any = 1, *order: Any, **named: Any) -> Any:
            if int(offset) + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError(f"it ends within what begins at byte {offset:,}")
            self.data = self.data.view(np.ndarray)  # type: ignore[assignment]
            return super()._get(offset, dtype, count, *order, **named)

    try:
        reader = Whole(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error}") from None
    except (ValueError, KeyError, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not a whole GGUF file: {error}") from None
    return metadata, {tensor.name: tensor for tensor in reader.tensors}


def dequantised(tensor: Any, where: str) -> Tensor:
    """A tensor in float32, whatever it is stored as."""
    from gguf import dequantize

    try:
        values = dequantize(tensor.data, tensor.tensor_type)
    except (NotImplementedError, ValueError) as error:
        raise BadInput(f"{where}: {tensor.name} can't be dequantised: {error}") from None
    # A tensor stored as float32 is a read-only view of the file; torch wants its own.
    return torch.from_numpy(np.array(values, dtype=np.float32, copy=not values.flags.writeable))


def llama_config(fields: Fields, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """Ours for a file of the architecture llama."""
    get = fields.get
    hidden_size, heads = get("embedding_length"), get("attention.head_count")
    key_value = get("attention.head_count_kv", heads)
    fields.refuse("expert_count", 0)
    fields.refuse("attention.sliding_window", 0)
    for name in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        fields.refuse(name, hidden_size // max(heads, 1))
    fields.refuse("rope.scaling.type", "none")
    fields.refuse("rope.scale_linear", 1.0)
    return ModelConfig(
        vocab_size=shapes["token_embd.weight"][0],
        hidden_size=hidden_size,
        num_layers=get("block_count"),
        num_heads=heads,
        num_kv_heads=0 if key_value == heads else key_value,
        intermediate_size=get("feed_forward_length"),
        max_positions=get("context_length"),
        positions="rope",
        norm="rmsnorm",
        activation="swiglu",
        bias=any(name.startswith("blk.") and name.endswith(".bias") for name in shapes),
        tie_embeddings="output.weight" not in shapes,
        norm_eps=decimal(get("attention.layer_norm_rms_epsilon", 1e-5)),
        rope_theta=get("rope.freq_base", 10_000.0),
    )


def gpt2_config(fields: Fields, shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """Ours for a file of the architecture gpt2."""
    get = fields.get
    return ModelConfig(
        vocab_size=shapes["token_embd.weight"][0],
        hidden_size=get("embedding_length"),
        num_layers=get("block_count"),
        num_heads=get("attention.head_count"),
        intermediate_size=get("feed_forward_length"),
        max_positions=get("context_length"),
        positions="learned",
        norm="layernorm",
        activation="gelu",
        bias=True,
        tie_embeddings="output.weight" not in shapes,
        norm_eps=decimal(get("attention.layer_norm_epsilon", 1e-5)),
    )


def decimal(value: float) -> float:
    """The short decimal that was meant: 1e-05, where float32 stores 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def llama3_scaled(config: ModelConfig, factors: Tensor, where: str) -> ModelConfig:
    """The scaling whose divisors of the frequencies a file holds, if it is one of Llama 3's."""
    plain = rotary_frequencies(config)
    for factor in LLAMA_3_FACTORS:
        scaled = replace(config, rope_factor=factor)
        divisors = (plain / rotary_frequencies(scaled)).float()
        if factors.shape == divisors.shape and torch.allclose(factors, divisors, rtol=1e-4):
            return scaled
    raise BadInput(
        f"{where}: {ROPE_FACTORS} stretches the rotary waves otherwise than Llama 3.1 and 3.2 do"
    )


def modules_without_bias(shapes: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
    """The linear layers of a block that have no bias in this file."""
    linear = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return frozenset(name for name in linear if f"blk.0.{name}.bias" not in shapes)
