"""OpenVINO: its GenAI pipeline, and a bare loop of ours over the same graph in the runtime.

The graph keeps its cache as state and takes, at each step, the row that each row continues.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.bare import forced, padded, search
from peers.contender import Contender, Sources

FORMATS = {
    "float32": ["--weight-format", "fp32"],
    "int8": ["--weight-format", "int8"],
    # Groups of 128, the default, don't divide 576.
    "int4": ["--weight-format", "int4", "--group-size", "64", "--ratio", "1.0"],
}


def convert(sources: Sources, weights: str, to: Path, python: str) -> None:
    command = [python, "-m", "optimum.commands.optimum_cli", "export", "openvino"]
    task = ["--model", str(sources.hf), "--task", "text-generation-with-past"]
    subprocess.run([*command, *task, *FORMATS[weights], str(to)], check=True)


def load(folder: Path, weights: str, threads: int, bare: bool = False) -> Contender:
    # float32 means all of it: by default the cache has 8 bits here too.
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    settings |= exact if weights == "float32" else {}
    if bare:
        return Bare(folder, settings | {"PERFORMANCE_HINT": "LATENCY"}, threads)
    return GenAI(folder, settings)


class Bare:
    """A beam loop of ours over the compiled graph."""

    def __init__(self, folder: Path, settings: dict[str, Any], threads: int) -> None:
        import openvino
        import torch

        torch.set_num_threads(threads)
        model = openvino.Core().read_model(folder / "openvino_model.xml")
        last_only(model)
        self.request = openvino.compile_model(model, "CPU", settings).create_infer_request()
        self.end = end_of(folder)

    def start(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        self.request.reset_state()
        rows, self.real = padded(prompts, self.end)
        places = np.maximum(self.real.cumsum(1) - 1, 0)
        return self._infer(rows, places, np.arange(len(prompts)))

    def step(self, parents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        self.real = np.pad(self.real[parents], ((0, 0), (0, 1)), constant_values=1)
        return self._infer(tokens[:, None], self.real.sum(1, keepdims=True) - 1, parents)

    def _infer(self, tokens: np.ndarray, places: np.ndarray, parents: np.ndarray) -> np.ndarray:
        self.request.infer(
            {
                "input_ids": tokens,
                "attention_mask": self.real,
                "position_ids": places,
                "beam_idx": parents.astype(np.int32),
            },
            share_inputs=True,
        )
        return self.request.get_tensor("logits").data[:, -1]

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        return search(self, prompts, beam_size, new_tokens, self.end)

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        return forced(self, tokens, first)


class GenAI:
    """`LLMPipeline.generate` on token numbers."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        import openvino_genai

        self.genai, self.folder, self.settings = openvino_genai, folder, settings
        self.pipeline = openvino_genai.LLMPipeline(str(folder), "CPU", settings)
        self.bare: Bare | None = None
        self.end = end_of(folder)

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        import openvino

        config = self.genai.GenerationConfig()
        config.max_new_tokens = new_tokens
        config.ignore_eos = True
        config.num_beams = beam_size
        config.do_sample = False
        rows, real = padded(prompts, self.end)
        inputs = self.genai.TokenizedInputs(openvino.Tensor(rows), openvino.Tensor(real))
        return [list(tokens) for tokens in self.pipeline.generate(inputs, config).tokens]

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        """The pipeline shows none: those of the same graph under the same settings."""
        self.bare = self.bare or Bare(self.folder, self.settings, 1)
        return self.bare.log_probs(tokens, first)


def last_only(model: Any) -> None:
    """Let the graph compute the logits of the last position alone, as GenAI does too."""
    from openvino import opset13

    node = model.output("logits").get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    last = opset13.slice(node.input_value(0), [-1], [np.iinfo(np.int64).max], [1], [1])
    node.input(0).replace_source_output(last.output(0))
    model.validate_nodes_and_infer_types()


def end_of(folder: Path) -> int:
    """The end token's number."""
    import json

    return int(json.loads((folder / "config.json").read_text("utf-8"))["eos_token_id"])
