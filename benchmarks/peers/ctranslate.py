"""CTranslate2: its own converter, its own beams."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from peers.contender import Contender, Sources


def convert(sources: Sources, weights: str, to: Path, python: str) -> None:
    command = [python, "-m", "ctranslate2.converters.transformers", "--model", str(sources.hf)]
    subprocess.run([*command, "--quantization", weights, "--output_dir", str(to)], check=True)


def load(folder: Path, weights: str, threads: int) -> Contender:
    import ctranslate2

    generator = ctranslate2.Generator(
        str(folder), device="cpu", compute_type=weights, intra_threads=threads, inter_threads=1
    )
    return CTranslate2(generator, json.loads((folder / "vocabulary.json").read_text("utf-8")))


class CTranslate2:
    """`generate_batch`, the prompt read at once."""

    def __init__(self, generator: object, words: list[str]) -> None:
        self.generator, self.words = generator, words

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        found = self.generator.generate_batch(
            [[self.words[token] for token in prompt] for prompt in prompts],
            beam_size=beam_size,
            min_length=new_tokens,
            max_length=new_tokens,
            include_prompt_in_result=False,
        )
        return [one.sequences_ids[0] for one in found]

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        found = self.generator.forward_batch([list(tokens)], return_log_probs=True)
        return np.array(found, dtype=np.float32)[0, first - 1 : -1]
