"""A model of the `transformers` library computes here what it computes there, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models import library
from tests.models.test_values import tiny

from unrolled.errors import BadInput
from unrolled.models import Decoder, ModelConfig
from unrolled.models.attention import rotary_frequencies
from unrolled.models.export_hf import export_hf
from unrolled.models.foreign import gather
from unrolled.models.import_hf import read_hf


def taken(folder: Path, max_positions: int = 0) -> Decoder:
    source = read_hf(folder, max_positions)
    model = Decoder(source.config)
    model.load_state_dict(gather(source), strict=False)
    return model.eval()


def change(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One folder a case, written once."""
    root = tmp_path_factory.mktemp("saved")

    def folder(case: str) -> Path:
        path = root / case
        if not path.exists():
            library.make(case).save_pretrained(path)
        return path

    return folder


def copy(source: Path, target: Path) -> Path:
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("case", library.CASES)
def test_a_folder_of_the_library_has_the_librarys_logits(saved: Any, case: str) -> None:
    theirs = library.open_folder(saved(case))
    assert library.difference(taken(saved(case)), theirs) < 1e-4


@pytest.mark.parametrize("case", library.CASES)
def test_what_came_in_goes_out_again(saved: Any, case: str, tmp_path: Path) -> None:
    export_hf(taken(saved(case)), tmp_path, {"bos_token_id": 1, "eos_token_id": 2})
    before = library.open_folder(saved(case))
    again = library.open_folder(tmp_path)
    tokens = library.draw(2, 30)
    torch.testing.assert_close(before(tokens).logits, again(tokens).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", ["llama 3", "gpt-2"])
def test_shards_are_read_as_one(tmp_path: Path, case: str) -> None:
    model = library.make(case)
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert library.difference(taken(tmp_path), model) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    model = library.make("llama").to(dtype)
    model.save_pretrained(tmp_path)
    weight = taken(tmp_path).stack.embedding.weight
    assert weight.dtype == torch.float32
    assert weight.equal(model.model.embed_tokens.weight.float())


def test_gpt2s_first_files_without_prefix_and_with_masks_are_read(
    saved: Any, tmp_path: Path
) -> None:
    folder = copy(saved("gpt-2"), tmp_path)
    weights = load_file(folder / "model.safetensors")
    old = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    old |= {"h.0.attn.bias": torch.ones(1, 1, 40, 40, dtype=torch.uint8)}
    old |= {"h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    assert library.difference(taken(folder), library.open_folder(saved("gpt-2"))) < 1e-4


def test_rotary_settings_of_version_4_are_read(saved: Any, tmp_path: Path) -> None:
    folder = copy(saved("llama 3"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = parameters
    (folder / "config.json").write_text(json.dumps(config))
    assert read_hf(folder).config == read_hf(saved("llama 3")).config
    assert read_hf(folder).config.rope_factor == 4.0


def test_a_tied_matrix_saved_twice_is_read_once(saved: Any, tmp_path: Path) -> None:
    folder = copy(saved("llama tied"), tmp_path)
    weights = load_file(folder / "model.safetensors")
    twice = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    save_file(twice, folder / "model.safetensors")
    assert library.difference(taken(folder), library.open_folder(saved("llama tied"))) < 1e-4


@pytest.mark.parametrize("case", ["llama 3", "gpt-2"])
def test_a_context_may_be_shortened(saved: Any, case: str) -> None:
    short = taken(saved(case), max_positions=12)
    tokens = library.draw(2, 12)
    whole = taken(saved(case))
    assert short.config.max_positions == 12
    torch.testing.assert_close(short(tokens), whole(tokens))
    with pytest.raises(BadInput, match="1 to 40"):
        read_hf(saved(case), 41)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_stretched_frequencies_are_the_librarys(factor: float) -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {**library.LLAMA3_ROPE, "factor": factor, "rope_theta": 500_000.0}
    rope["original_max_position_embeddings"] = 8192
    theirs = library.transformers.LlamaConfig(
        hidden_size=2048, num_attention_heads=32, rope_parameters=rope
    )
    inverse, scale = ROPE_INIT_FUNCTIONS["llama3"](theirs, "cpu")
    ours = ModelConfig(hidden_size=2048, num_heads=32, rope_theta=500_000.0, rope_factor=factor)
    assert scale == 1.0
    torch.testing.assert_close(rotary_frequencies(ours).float(), inverse, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("case", "settings", "name"),
    [
        ("llama", {"model_type": "mamba"}, "'mamba'"),
        ("llama", {"model_type": None}, "model_type"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "SequenceClassification"),
        ("llama", {"head_dim": 8}, "head_dim"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("llama", {"num_local_experts": 8}, "num_local_experts"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "'yarn'"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear'"),
        ("llama", {"rope_parameters": 3}, "rope_parameters"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"hidden_size": "24"}, "hidden_size"),
        ("llama", {"num_attention_heads": 5}, "head_dim"),
        ("llama", {"num_attention_heads": 5, "head_dim": None}, "num_heads"),
        ("llama", {"num_attention_heads": 0, "head_dim": None}, "num_heads"),
        ("llama", {"num_hidden_layers": 3}, "lacks 'model.layers.2"),
        ("llama", {"num_hidden_layers": 1}, "holds 'model.layers.1"),
        ("llama", {"intermediate_size": 48}, "gate_proj"),
        ("llama", {"attention_bias": True}, "lacks .*q_proj.bias"),
        ("llama with attention biases", {"attention_bias": False}, "holds .*bias"),
        ("llama tied", {"tie_word_embeddings": False}, "lacks 'lm_head.weight'"),
        ("mistral", {"sliding_window": 4096}, "sliding_window"),
        ("qwen 2", {"use_sliding_window": True, "sliding_window": 8}, "sliding_window"),
        ("qwen 2", {"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ("gpt-2", {"activation_function": "gelu"}, "activation_function"),
        ("gpt-2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx"),
        ("gpt-2", {"add_cross_attention": True}, "add_cross_attention"),
        ("gpt-2", {"n_positions": 50}, "wpe"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(
    saved: Any, tmp_path: Path, case: str, settings: dict[str, Any], name: str
) -> None:
    folder = copy(saved(case), tmp_path)
    change(folder, **settings)
    with pytest.raises(BadInput, match=name):
        gather(read_hf(folder))


def test_a_file_cut_short_is_refused(saved: Any, tmp_path: Path) -> None:
    folder = copy(saved("llama"), tmp_path)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"model\.safetensors is not a whole"):
            read_hf(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    library.make("llama").save_pretrained(tmp_path, max_shard_size="8KB")
    sorted(tmp_path.glob("*.safetensors"))[1].unlink()
    with pytest.raises(BadInput, match=r"model-00002-.* is missing"):
        read_hf(tmp_path)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": {"a": "../b"}}', '{"weight_map": [1]}'])
def test_a_damaged_index_is_refused(saved: Any, tmp_path: Path, index: str) -> None:
    folder = copy(saved("llama"), tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(BadInput, match="weight_map"):
        read_hf(folder)


def test_pickles_are_never_opened(saved: Any, tmp_path: Path) -> None:
    folder = copy(saved("llama"), tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"pickled weights only \(pytorch_model\.bin\)"):
        read_hf(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(BadInput, match="no weights"):
        read_hf(folder)


def test_whole_numbers_are_no_weights(saved: Any, tmp_path: Path) -> None:
    folder = copy(saved("llama"), tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {**weights, "model.norm.weight": torch.ones(24, dtype=torch.int8)},
        folder / "model.safetensors",
    )
    with pytest.raises(BadInput, match="stored as I8"):
        read_hf(folder)


def test_a_folder_without_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no Hugging Face folder: it has no config\.json"):
        read_hf(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="can't be read"):
        read_hf(tmp_path)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"rope_factor": 0.5}, "rope_factor"),
        ({"rope_factor": float("nan")}, "rope_factor"),
        ({"rope_low_frequency": 4.0}, "rope_low_frequency"),
        ({"rope_original_positions": 0}, "rope_original_positions"),
        ({"rope_factor": 2.0, "positions": "learned"}, "rope_factor"),
    ],
)
def test_an_impossible_scaling_is_refused_by_its_field(options: dict[str, Any], name: str) -> None:
    with pytest.raises(BadInput, match=f"model.{name}"):
        tiny(**options)
