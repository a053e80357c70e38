"""Where does the compiled step find a decoder's parameters? By name, checked, as addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from unrolled.errors import BadInput
from unrolled.kernels.formats import LANES, Packed, pack
from unrolled.models.attention import rotary_table
from unrolled.models.config import ModelConfig

Packs = Mapping[str, Packed | np.ndarray]
EMBEDDING, HEAD = "stack.embedding.weight", "head.linear.weight"
LAYER = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
"""The matrices of a block, in the step's order."""


def matrices(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Name and shape [outputs, inputs] of every matrix that a step multiplies by."""
    hidden, mlp = config.hidden_size, config.mlp_size
    wide = (config.num_heads + 2 * config.kv_heads) * config.head_size
    up = mlp * (2 if config.activation == "swiglu" else 1)
    shapes = ((wide, hidden), (hidden, hidden), (up, hidden), (hidden, mlp))
    found = {
        f"stack.blocks.{layer}.{name}.weight": shape
        for layer in range(config.num_layers)
        for name, shape in zip(LAYER, shapes, strict=True)
    }
    found[head_of(config)] = (config.vocab_size, hidden)
    return found


def head_of(config: ModelConfig) -> str:
    """Name of the matrix that makes the logits."""
    return EMBEDDING if config.tie_embeddings else HEAD


def multiplied(config: ModelConfig) -> int:
    """Weights that a step multiplies by."""
    return sum(outputs * inputs for outputs, inputs in matrices(config).values())


def format_for(name: str, weights: str) -> str:
    """The format of a parameter in a model of format `weights`.

    In int4 embeddings and heads have 8 bits: what four cost there is most of what they cost at all,
    as with SmolLM2-135M (benchmarks/LOG.md), and others keep them so (llama.cpp, OpenVINO).
    """
    of_tokens = name.endswith(("embedding.weight", "head.linear.weight"))
    return "int8" if weights == "int4" and of_tokens else weights


def checked(config: ModelConfig, packs: Packs) -> str:
    """The format of the layers' matrices; with the head all there, and of the config's sizes."""
    *layers, head = matrices(config).items()
    formats = set()
    for name, shape in (*layers, head):
        held = packs.get(name)
        if not isinstance(held, Packed):
            raise BadInput(f"{name} should be a packed matrix, not {type(held).__name__}")
        if name != head[0]:
            formats.add(held.format)
        _check_parts(name, held, *shape)
    if len(formats) != 1:
        raise BadInput(f"the matrices should be of one format, not {', '.join(sorted(formats))}")
    return formats.pop()


def _check_parts(name: str, held: Packed, outputs: int, inputs: int) -> None:
    """Raise `BadInput` unless all parts of a packed matrix are of the sizes that it must have."""
    like = pack(np.zeros((1, inputs), np.float32), held.format)
    blocks = -(-outputs // LANES)
    for part, array, one in zip(Packed._fields, held, like, strict=True):
        count = {"scales": outputs, "factors": len(one)}.get(part, blocks)
        shape = (count if len(one) else 0, *one.shape[1:])
        if (array.dtype, array.shape) != (one.dtype, shape):
            raise BadInput(
                f"{name}: {part} should be {list(shape)} in {held.format}, of {one.dtype}, not "
                f"{list(array.shape)} of {array.dtype}"
            )


def embedding(config: ModelConfig, packs: Packs) -> Packed | np.ndarray:
    """The table of tokens, packed or not."""
    held, shape = packs.get(EMBEDDING), (config.vocab_size, config.hidden_size)
    if isinstance(held, Packed):
        _check_parts(EMBEDDING, held, *shape)
        return held
    return array_of(packs, EMBEDDING, *shape)


def array_of(packs: Packs, name: str, *shape: int) -> Float32[np.ndarray, ...]:
    """A vector or table that is not packed."""
    array = packs.get(name)
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{name} should be an array, not {type(array).__name__}")
    if array.shape != shape:
        raise BadInput(f"{name} should be {list(shape)}, not {list(array.shape)}")
    return np.ascontiguousarray(array, np.float32)


def laid_out(config: ModelConfig, packs: Packs) -> Any:
    """The model as the step reads it (`kernels.arrays.Model`)."""
    from unrolled.kernels.arrays import CHUNK, Model

    places, likes = [], []
    for name in matrices(config):
        pack = packs[name]
        assert isinstance(pack, Packed)
        values, scales, groups, factors = pack
        if not all(part.flags.c_contiguous for part in pack):
            raise BadInput(f"{name} should be contiguous in memory")
        places.append(
            [
                *(values.ctypes.data, *values.shape),
                *(scales.ctypes.data, *scales.shape),
                *(groups.ctypes.data, *groups.shape[:2]),
                *(factors.ctypes.data, *factors.shape),
            ]
        )
        likes.append(
            Packed(
                np.empty((0, 0), values.dtype),
                np.empty(0, scales.dtype),
                np.empty((0, 0, groups.shape[2]), groups.dtype),
                np.empty(0, factors.dtype),
            )
        )
    layers, hidden = config.num_layers, config.hidden_size
    norms = np.zeros((2 * layers + 1, 2, hidden), np.float32)
    names = [f"stack.blocks.{i}.{n}_norm" for i in range(layers) for n in ("attention", "mlp")]
    for norm, name in zip(norms, [*names, "stack.norm"], strict=True):
        norm[0] = array_of(packs, f"{name}.weight", hidden)
        if f"{name}.bias" in packs:
            norm[1] = array_of(packs, f"{name}.bias", hidden)
    biases = np.empty((layers, 0), np.float32)
    if config.bias:
        sizes = {name: outputs for name, (outputs, _) in matrices(config).items()}
        made = [
            array_of(packs, f"{block}.{n}.bias", sizes[f"{block}.{n}.weight"])
            for block in (f"stack.blocks.{i}" for i in range(layers))
            for n in LAYER
        ]
        biases = np.concatenate(made).reshape(layers, -1)
    cos = sin = np.empty((0, config.head_size // 2), np.float32)
    if config.positions == "rope":
        cos, sin = (table.numpy() for table in rotary_table(config))
    return Model(
        likes[0], likes[-1], np.array(places, np.int64), norms, biases, cos, sin,
        np.ones(max(hidden, config.max_positions, CHUNK), np.float32),
        config.num_heads, config.kv_heads, config.head_size, np.float32(config.norm_eps),
        config.norm == "layernorm", config.activation == "swiglu",
    )  # fmt: skip
