"""ONNX Runtime GenAI: its own model builder, its own beams."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.bare import padded
from peers.contender import Contender, Sources

FORMATS = {"float32": "fp32", "int8": "int8", "int4": "int4"}


def convert(sources: Sources, weights: str, to: Path, python: str) -> None:
    command = [python, "-m", "onnxruntime_genai.models.builder", "-i", str(sources.hf)]
    kind = ["-p", FORMATS[weights], "-e", "cpu", "-o", str(to), "-c", str(to / "cache")]
    subprocess.run([*command, *kind, "--extra_options", "prune_lm_head=true"], check=True)


def load(folder: Path, weights: str, threads: int) -> Contender:
    import onnxruntime_genai

    config = onnxruntime_genai.Config(str(folder))
    session = {"session_options": {"intra_op_num_threads": threads}}
    config.overlay(json.dumps({"model": {"decoder": session}}))
    settings = json.loads((folder / "genai_config.json").read_text("utf-8"))
    return OnnxGenAI(onnxruntime_genai, config, settings["model"]["pad_token_id"])


class OnnxGenAI:
    """Its generator, a token at a time."""

    def __init__(self, genai: Any, config: Any, pad: int) -> None:
        self.genai, self.model, self.pad = genai, genai.Model(config), pad

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        rows, _ = padded(prompts, self.pad)
        width = rows.shape[1]
        generator = self._generator(
            num_beams=beam_size,
            batch_size=len(prompts),
            min_length=width + new_tokens,
            max_length=width + new_tokens,
        )
        generator.append_tokens(rows.astype(np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [generator.get_sequence(i)[width:].tolist() for i in range(len(prompts))]

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        generator = self._generator(max_length=len(tokens) + 1)
        rows, given = [], [*tokens[:first]]
        for token in [*tokens[first:-1], None]:
            generator.append_tokens(np.array([given], dtype=np.int32))
            rows.append(generator.get_logits().reshape(-1, generator.get_logits().shape[-1])[-1])
            given = [token]
        logits = np.stack(rows).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        return (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)

    def _generator(self, **options: Any) -> Any:
        params = self.genai.GeneratorParams(self.model)
        params.set_search_options(do_sample=False, **options)
        return self.genai.Generator(self.model, params)
