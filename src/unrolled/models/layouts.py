"""Which of our weights is which of theirs? One table a layout; nothing else knows the names.

Ours fuse what is multiplied by the same input: queries, keys and values in `attention.qkv`, gate
and up in `mlp.up`, one below the other. A table's entry lists what stands in ours, in order. `{n}`
is the layer. Sources: the models' code in Hugging Face's `transformers`; for GGUF, the names that
its specification and the `gguf` library give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrolled.models.config import ModelConfig

Names = dict[str, tuple[str, ...]]

LLAMA_HF: Names = {
    "stack.embedding": ("model.embed_tokens",),
    "stack.blocks.{n}.attention_norm": ("model.layers.{n}.input_layernorm",),
    "stack.blocks.{n}.attention.qkv": (
        "model.layers.{n}.self_attn.q_proj",
        "model.layers.{n}.self_attn.k_proj",
        "model.layers.{n}.self_attn.v_proj",
    ),
    "stack.blocks.{n}.attention.out": ("model.layers.{n}.self_attn.o_proj",),
    "stack.blocks.{n}.mlp_norm": ("model.layers.{n}.post_attention_layernorm",),
    "stack.blocks.{n}.mlp.up": (
        "model.layers.{n}.mlp.gate_proj",
        "model.layers.{n}.mlp.up_proj",
    ),
    "stack.blocks.{n}.mlp.down": ("model.layers.{n}.mlp.down_proj",),
    "stack.norm": ("model.norm",),
    "head.linear": ("lm_head",),
}
GPT2_HF: Names = {
    "stack.embedding": ("transformer.wte",),
    "stack.position_embedding": ("transformer.wpe",),
    "stack.blocks.{n}.attention_norm": ("transformer.h.{n}.ln_1",),
    "stack.blocks.{n}.attention.qkv": ("transformer.h.{n}.attn.c_attn",),
    "stack.blocks.{n}.attention.out": ("transformer.h.{n}.attn.c_proj",),
    "stack.blocks.{n}.mlp_norm": ("transformer.h.{n}.ln_2",),
    "stack.blocks.{n}.mlp.up": ("transformer.h.{n}.mlp.c_fc",),
    "stack.blocks.{n}.mlp.down": ("transformer.h.{n}.mlp.c_proj",),
    "stack.norm": ("transformer.ln_f",),
    "head.linear": ("lm_head",),
}
LLAMA_GGUF: Names = {
    "stack.embedding": ("token_embd",),
    "stack.blocks.{n}.attention_norm": ("blk.{n}.attn_norm",),
    "stack.blocks.{n}.attention.qkv": ("blk.{n}.attn_q", "blk.{n}.attn_k", "blk.{n}.attn_v"),
    "stack.blocks.{n}.attention.out": ("blk.{n}.attn_output",),
    "stack.blocks.{n}.mlp_norm": ("blk.{n}.ffn_norm",),
    "stack.blocks.{n}.mlp.up": ("blk.{n}.ffn_gate", "blk.{n}.ffn_up"),
    "stack.blocks.{n}.mlp.down": ("blk.{n}.ffn_down",),
    "stack.norm": ("output_norm",),
    "head.linear": ("output",),
}
GPT2_GGUF: Names = {
    "stack.embedding": ("token_embd",),
    "stack.position_embedding": ("position_embd",),
    "stack.blocks.{n}.attention_norm": ("blk.{n}.attn_norm",),
    "stack.blocks.{n}.attention.qkv": ("blk.{n}.attn_qkv",),
    "stack.blocks.{n}.attention.out": ("blk.{n}.attn_output",),
    "stack.blocks.{n}.mlp_norm": ("blk.{n}.ffn_norm",),
    "stack.blocks.{n}.mlp.up": ("blk.{n}.ffn_up",),
    "stack.blocks.{n}.mlp.down": ("blk.{n}.ffn_down",),
    "stack.norm": ("output_norm",),
    "head.linear": ("output",),
}
LINEAR = (".attention.qkv", ".attention.out", ".mlp.up", ".mlp.down")
"""Endings of our modules that are linear layers inside a block."""


@dataclass(frozen=True)
class Layout:
    """How a family's file names and lays out what our decoder has."""

    name: str
    names: Names
    transposed: bool = False
    """Matrices inside the blocks are [in, out] (Hugging Face's Conv1D), ours [out, in]."""
    interleaved: bool = False
    """Rotary pairs of queries and keys are dimensions (2i, 2i + 1); ours are (i, i + d/2)."""
    buffers: tuple[str, ...] = ()
    """Endings of tensors that hold no weight: tables that old versions saved as well."""

    def theirs(self, ours: str) -> list[str]:
        """Their names of what stands in our parameter, in order."""
        module, _, kind = ours.rpartition(".")
        parts = module.split(".")
        layer = parts[2] if module.startswith("stack.blocks.") else ""
        key = module.replace(f"blocks.{layer}.", "blocks.{n}.", 1) if layer else module
        return [f"{name.format(n=layer)}.{kind}" for name in self.names[key]]

    def turned(self, ours: str) -> bool:
        """Whether theirs is the transpose of this parameter of ours."""
        return self.transposed and ours.removesuffix(".weight").endswith(LINEAR)


LLAMA = Layout("Llama", LLAMA_HF, buffers=(".rotary_emb.inv_freq",))
GPT2 = Layout("GPT-2", GPT2_HF, transposed=True, buffers=(".attn.bias", ".attn.masked_bias"))
LLAMA_FILE = Layout("GGUF llama", LLAMA_GGUF, interleaved=True, buffers=("rope_freqs.weight",))
GPT2_FILE = Layout("GGUF gpt2", GPT2_GGUF)


def sizes(ours: str, config: ModelConfig) -> list[int]:
    """Rows of each thing that our fused parameter holds: q, k, v, or gate and up."""
    if ".attention.qkv." in ours:
        key_value = config.kv_heads * config.head_size
        return [config.hidden_size, key_value, key_value]
    return [config.mlp_size, config.mlp_size]


def split(ours: str, weight: Tensor, layout: Layout, config: ModelConfig) -> Iterator[Tensor]:
    """Our parameter as the tensors that `layout.theirs(ours)` names."""
    parts = [weight]
    if len(layout.theirs(ours)) > 1:
        parts = list(weight.split(sizes(ours, config)))
    for part in parts:
        yield (part.T if layout.turned(ours) else part).contiguous()


def join(ours: str, parts: list[Tensor], layout: Layout, config: ModelConfig) -> Tensor:
    """The reverse of `split`, with rotary pairs brought into our order."""
    if layout.interleaved and ".attention.qkv." in ours:
        heads = (config.num_heads, config.kv_heads)
        parts = [pairs_apart(p, h) for p, h in zip(parts, heads, strict=False)] + parts[2:]
    if layout.turned(ours):
        parts = [part.T for part in parts]
    return (torch.cat(parts) if len(parts) > 1 else parts[0]).contiguous()


def pairs_apart(weight: Float[Tensor, "rows ..."], heads: int) -> Float[Tensor, "rows ..."]:
    """Rows 2i and 2i + 1 of each head become rows i and i + d/2."""
    apart: Tensor = weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
    return apart
