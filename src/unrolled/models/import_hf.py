"""What does a Hugging Face folder hold? config.json and safetensors of the Llama or GPT-2 family.

Mistral and Qwen2 models are Llama's with a sliding window (refused) and with biases on queries,
keys and values. Settings that a config.json leaves out have the defaults that `transformers` gives
them. Whatever changes the result and can't be represented is refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.models.config import ModelConfig
from unrolled.models.foreign import Fields, Source
from unrolled.models.layouts import GPT2, LLAMA, Layout

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
FAMILIES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
"""Kinds of model that can be read, and what the class of each is called."""
ATTENTION, MLP = frozenset({"q_proj", "k_proj", "v_proj"}), frozenset({"gate_proj", "up_proj"})
FLOATS = {"F32", "F16", "BF16", "F64"}


def read_hf(folder: Path, max_positions: int = 0) -> Source:
    """The weights of a folder as `save_pretrained` writes it.

    `max_positions` shortens the context. Raises `BadInput` for a folder that is none, another kind
    of model, a setting that can't be represented, pickled weights, and files cut short.
    """
    content = read_json(folder / CONFIG)
    fields = Fields(content, str(folder / CONFIG))
    family = find_family(fields)
    fields.refuse("quantization_config")
    config = gpt2_config(fields) if family == "gpt2" else llama_config(fields, family)
    config = shortened(config, max_positions, str(folder))
    layout = GPT2 if family == "gpt2" else LLAMA
    unbiased = unbiased_modules(fields, family) if config.bias else frozenset()
    tensors = Tensors(folder, layout)
    return Source(str(folder), config, layout, tensors.shapes(), tensors.read, unbiased)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path.parent} is no Hugging Face folder: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} can't be read: {error}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path} should hold a JSON object, and holds a {type(content).__name__}")
    return content


def find_family(fields: Fields) -> str:
    """Which of the kinds a folder holds; another kind is refused by its name."""
    kind = fields.values.get("model_type")
    named = fields.values.get("architectures") or []
    known = f"there are {', '.join(FAMILIES.values())}"
    if kind not in FAMILIES:
        raise BadInput(f"{fields.where}: model_type {kind!r} can't be represented; {known}")
    if named and named != [FAMILIES[kind]]:
        raise BadInput(f"{fields.where}: architectures {named} can't be represented; {known}")
    return str(kind)


def llama_config(fields: Fields, family: str) -> ModelConfig:
    """Ours for a Llama, Mistral or Qwen2."""
    get = fields.get
    hidden_size, heads = get("hidden_size", 4096), get("num_attention_heads", 32)
    refuse_llama(fields, family, hidden_size, heads)
    attention = family == "qwen2" or (family == "llama" and get("attention_bias", False))
    default_kv = 8 if family == "mistral" else heads
    key_value = get("num_key_value_heads", 0) or default_kv
    return ModelConfig(
        vocab_size=get("vocab_size"),
        hidden_size=hidden_size,
        num_layers=get("num_hidden_layers", 32),
        num_heads=heads,
        num_kv_heads=0 if key_value == heads else key_value,
        intermediate_size=get("intermediate_size"),
        max_positions=get("max_position_embeddings", 2048),
        positions="rope",
        norm="rmsnorm",
        activation="swiglu",
        bias=attention or (family == "llama" and get("mlp_bias", False)),
        tie_embeddings=get("tie_word_embeddings", False),
        norm_eps=get("rms_norm_eps", 1e-6),
        **rope(fields),
    )


def refuse_llama(fields: Fields, family: str, hidden_size: int, heads: int) -> None:
    """Refuse, by name, the settings that our decoder has no counterpart for."""
    fields.refuse("hidden_act", "silu")
    fields.refuse("head_dim", hidden_size // max(heads, 1))
    fields.refuse("partial_rotary_factor", 1.0)
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        fields.refuse(name, 0, 1)
    if family == "mistral" or fields.get("use_sliding_window", False):
        fields.refuse("sliding_window")
    kinds = fields.values.get("layer_types") or []
    if any(kind != "full_attention" for kind in kinds):
        raise BadInput(
            f"{fields.where}: layer_types has {next(k for k in kinds if k != 'full_attention')!r}: "
            "only 'full_attention' can be represented"
        )


def rope(fields: Fields) -> dict[str, Any]:
    """Rotary settings, as versions 4 (`rope_scaling`) and 5 (`rope_parameters`) write them."""
    values = {"rope_theta": fields.values.get("rope_theta")}
    for name in ("rope_scaling", "rope_parameters"):
        part = fields.values.get(name) or {}
        if not isinstance(part, Mapping):
            raise BadInput(f"{fields.where}: {name} should be an object, and is {part!r}")
        values |= part
    inner = Fields(values, f"{fields.where}, rope")
    theta = {"rope_theta": inner.get("rope_theta", 10_000.0)}
    inner.refuse("partial_rotary_factor", 1.0)
    inner.refuse("type", "default", "llama3")
    inner.refuse("rope_type", "default", "llama3")
    if "llama3" not in (values.get("rope_type"), values.get("type")):
        return theta
    return theta | {
        "rope_factor": inner.get("factor", 8.0),
        "rope_low_frequency": inner.get("low_freq_factor", 1.0),
        "rope_high_frequency": inner.get("high_freq_factor", 4.0),
        "rope_original_positions": inner.get("original_max_position_embeddings", 8192),
    }


def gpt2_config(fields: Fields) -> ModelConfig:
    """Ours for a GPT-2."""
    get = fields.get
    fields.refuse("activation_function", "gelu_new", "gelu_pytorch_tanh")
    fields.refuse("scale_attn_weights", True)
    fields.refuse("scale_attn_by_inverse_layer_idx", False)
    fields.refuse("add_cross_attention", False)
    return ModelConfig(
        vocab_size=get("vocab_size"),
        hidden_size=get("n_embd", 768),
        num_layers=get("n_layer", 12),
        num_heads=get("n_head", 12),
        intermediate_size=get("n_inner", 0) or 4 * get("n_embd", 768),
        max_positions=get("n_positions", 1024),
        positions="learned",
        norm="layernorm",
        activation="gelu",
        bias=True,
        tie_embeddings=get("tie_word_embeddings", True),
        norm_eps=get("layer_norm_epsilon", 1e-5),
    )


def unbiased_modules(fields: Fields, family: str) -> frozenset[str]:
    """Modules of theirs without a bias, in a model that has some."""
    if family == "gpt2":
        return frozenset()
    if family == "qwen2":
        return MLP | {"down_proj", "o_proj"}
    without: frozenset[str] = frozenset()
    if not fields.get("attention_bias", False):
        without |= ATTENTION | {"o_proj"}
    if not fields.get("mlp_bias", False):
        without |= MLP | {"down_proj"}
    return without


def shortened(config: ModelConfig, max_positions: int, where: str) -> ModelConfig:
    """The same with a shorter context, where one is asked for."""
    if not max_positions:
        return config
    if not 1 <= max_positions <= config.max_positions:
        raise BadInput(
            f"--max-positions is 1 to {config.max_positions}, the context of {where}, "
            f"not {max_positions}"
        )
    return replace(config, max_positions=max_positions)


class Tensors:
    """The tensors of a folder: one safetensors file, or those that an index lists."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.files: dict[str, Any] = {}
        self.keys: dict[str, tuple[Any, str]] = {}
        self.layout = layout
        for path in weight_files(folder):
            file = open_whole(path)
            self.files[path.name] = file
            self.keys |= {self._name(key): (file, key) for key in file.keys()}  # noqa: SIM118
        self._all_there(folder)

    def _name(self, key: str) -> str:
        """GPT-2's own files name the body's tensors without "transformer."."""
        if self.layout is GPT2 and key.split(".")[0] in ("wte", "wpe", "h", "ln_f"):
            return f"transformer.{key}"
        return key

    def _all_there(self, folder: Path) -> None:
        if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
            for name, file in read_json(folder / INDEX)["weight_map"].items():
                if self._name(name) not in self.keys:
                    raise BadInput(f"{folder / file} lacks {name!r}, which {INDEX} says it holds")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor. Raises `BadInput` for one that is no floating-point number."""
        found = {}
        for name, (file, key) in self.keys.items():
            view = file.get_slice(key)
            buffer = name.endswith(self.layout.buffers)
            if view.get_dtype() not in FLOATS and not buffer:
                raise BadInput(
                    f"{name} is stored as {view.get_dtype()}: only {', '.join(sorted(FLOATS))} "
                    "can be read"
                )
            found[name] = tuple(view.get_shape())
        return found

    def read(self, name: str) -> Tensor:
        """One tensor, in float32."""
        file, key = self.keys[name]
        tensor: Tensor = file.get_tensor(key)
        return tensor.to(torch.float32)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder; pickled weights are refused."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        names = list(shards.values()) if isinstance(shards, dict) else []
        if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
            raise BadInput(f"{folder / INDEX} has no weight_map from tensors to files beside it")
        return [folder / name for name in sorted(set(names))]
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise BadInput(
            f"{folder} has pickled weights only ({pickles[0]}), which can run code when they are "
            "read: save it as safetensors where you trust it (`model.save_pretrained(DIR)`)"
        )
    raise BadInput(f"{folder} has no weights: neither {WEIGHTS} nor {INDEX}")


def open_whole(path: Path) -> Any:
    """A safetensors file, opened; its length is checked against its header."""
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise BadInput(f"{path} is missing, and {INDEX} lists it") from None
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} is not a whole safetensors file: {error}") from None
