"""A GGUF file computes here what the model it was written from computes in `transformers`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tests.models import library
from tests.models.library import LLAMA

from unrolled.errors import BadInput
from unrolled.models import Decoder
from unrolled.models.foreign import gather
from unrolled.models.import_gguf import read_gguf

LLAMA_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
}
GPT2_NAMES = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
    "transformer.h.": "blk.",
}


def their_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows i and i + d/2 of a head side by side, as llama.cpp's converter lays them."""
    shape = weight.shape
    return weight.reshape(heads, 2, -1, *shape[1:]).swapaxes(1, 2).reshape(shape)


def write(path: Path, model: Any, changes: dict[str, Any] | None = None, **kinds: Any) -> Path:
    """The model as a GGUF file; `kinds` says how tensors of two dimensions are stored."""
    config, llama = model.config, model.config.model_type == "llama"
    name = "llama" if llama else "gpt2"
    fields: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
    }
    if llama:
        fields |= {
            "feed_forward_length": config.intermediate_size,
            "attention.head_count_kv": config.num_key_value_heads,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "rope.freq_base": float(config.rope_parameters["rope_theta"]),
        }
    else:
        fields |= {
            "feed_forward_length": config.n_inner or 4 * config.n_embd,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        }
    writer = gguf.GGUFWriter(path, name)
    for key, value in {**fields, **(changes or {})}.items():
        if value is not None:
            add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            add[type(value)](f"{name}.{key}", value)
    for key, weight in tensors(model, llama).items():
        kind = kinds.get("kind") if weight.ndim == 2 else None
        if kind is None:
            writer.add_tensor(key, weight)
        else:
            writer.add_tensor(key, gguf.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(model: Any, llama: bool) -> dict[str, np.ndarray]:
    heads = model.config.num_attention_heads
    found: dict[str, np.ndarray] = {}
    for key, parameter in model.named_parameters():
        weight = parameter.detach().numpy().copy()
        if "q_proj" in key:
            weight = their_order(weight, heads)
        if "k_proj" in key:
            weight = their_order(weight, model.config.num_key_value_heads)
        if not llama and ".c_" in key and weight.ndim == 2:
            weight = np.ascontiguousarray(weight.T)
        for theirs, short in (LLAMA_NAMES if llama else GPT2_NAMES).items():
            key = key.replace(theirs, short)
        found[key] = weight
    if llama and model.config.rope_parameters["rope_type"] == "llama3":
        plain = 1 / model.config.rope_parameters["rope_theta"] ** (np.arange(0, 6, 2) / 6)
        found["rope_freqs.weight"] = (plain / model.model.rotary_emb.inv_freq.numpy()).astype("f4")
    return found


def taken(path: Path) -> Decoder:
    source, _ = read_gguf(path)
    model = Decoder(source.config)
    model.load_state_dict(gather(source), strict=False)
    return model.eval()


@pytest.mark.parametrize(
    "case",
    [c for c in library.CASES if c.split()[0] in ("llama", "gpt-2") and c != "llama 3"]
    + ["llama 3.1"],
)
def test_a_file_has_the_logits_of_the_model_it_was_written_from(tmp_path: Path, case: str) -> None:
    model = library.make(case)
    assert library.difference(taken(write(tmp_path / "m.gguf", model)), model) < 1e-4


@pytest.mark.parametrize("name", ["F16", "BF16", "Q8_0", "Q4_1", "Q5_0"])
def test_a_stored_format_gives_the_values_that_it_stands_for(tmp_path: Path, name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    wide = {"hidden_size": 64, "intermediate_size": 96}
    library.CASES["wide"] = ("Llama", LLAMA | wide)
    model = library.make("wide")
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 2:
                order = their_order if "q_proj" in key or "k_proj" in key else None
                heads = 2 if "k_proj" in key else 4
                weight = parameter.numpy().copy()
                stored = gguf.quantize(order(weight, heads) if order else weight, kind)
                values = torch.from_numpy(gguf.dequantize(stored, kind).astype("f4"))
                if order:
                    values = values.reshape(heads, -1, 2, 64).transpose(1, 2).reshape(values.shape)
                parameter.copy_(values)
    assert library.difference(taken(write(tmp_path / "m.gguf", model, kind=kind)), model) < 1e-4


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"expert_count": 8}, "expert_count"),
        ({"attention.sliding_window": 512}, "sliding_window"),
        ({"attention.key_length": 8}, "key_length"),
        ({"rope.dimension_count": 4}, "rope.dimension_count"),
        ({"rope.scaling.type": "yarn"}, "'yarn'"),
        ({"embedding_length": None}, "embedding_length"),
        ({"embedding_length": "24"}, "embedding_length"),
        ({"block_count": 3}, "lacks 'blk.2"),
        ({"block_count": 1}, "holds 'blk.1"),
        ({"feed_forward_length": 48}, "ffn_gate"),
        ({"attention.head_count": 0}, "num_heads"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    path = write(tmp_path / "m.gguf", library.make("llama"), changes)
    with pytest.raises(BadInput, match=name):
        gather(read_gguf(path)[0])


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma3")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(BadInput, match="'gemma3'"):
        read_gguf(tmp_path / "m.gguf")


def test_waves_stretched_otherwise_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", library.make("llama 3"))
    with pytest.raises(BadInput, match="otherwise than Llama 3"):
        read_gguf(path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", library.make("gpt-2"))
    whole = path.read_bytes()
    header = whole.index(b"token_embd")
    lengths = [*range(0, header, 3), *range(header, len(whole), len(whole) // 40), len(whole) - 1]
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"m\.gguf"):
            gather(read_gguf(path)[0])


def test_a_file_with_any_byte_of_its_header_changed_ends_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", library.make("gpt-2"))
    whole = path.read_bytes()
    for place in range(whole.index(b"token_embd") + 64):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        with contextlib.suppress(BadInput):
            gather(read_gguf(path)[0])


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        read_gguf(tmp_path / "none.gguf")
