"""Who is measured, and what is asked of each? A contender is a library in a number format.

A peer's file has two functions. `convert(sources, weights, to, python)` makes the files that it
reads, with the peer's own converter; `load(folder, weights, threads, **options)` opens them and
returns a `Contender`. The peer itself is imported inside these alone, so that the list of all can
be had where none is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np


class Contender(Protocol):
    """A model in memory."""

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        """The best continuation of each prompt, of exactly so many tokens: the end never comes."""

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        """Log-probabilities before each token from number `first` on: [len - first, vocab]."""


@dataclass(frozen=True)
class Sources:
    """What peers convert from."""

    run: Path
    """Of `unrolled import smollm2`."""
    hf: Path
    """The same weights in float32, by `unrolled export --format hf`."""
    gguf: Path
    """The file that the run was imported from, four bits a weight."""


@dataclass(frozen=True)
class Peer:
    """A library, and the number formats it is measured in."""

    name: str
    module: str
    """The file of this folder."""
    packages: tuple[str, ...]
    """What must be installed, by the names of their distributions."""
    weights: tuple[str, ...]
    converted: str = ""
    """The beginning of the folder's name with its model; peers may share one."""
    options: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str:
        """The first package that isn't installed, or nothing."""
        for package in self.packages:
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError:
                return package
        return ""

    def code(self) -> ModuleType:
        """The peer's file."""
        return importlib.import_module(f"peers.{self.module}")

    def folder(self, models: Path, weights: str) -> Path:
        """Where its converted model is."""
        return models / f"{self.converted or self.module}-{weights}"


FORMATS = ("float32", "bfloat16", "int8", "int4")
PEERS = (
    Peer("unrolled", "ours", ("unrolled",), FORMATS),
    Peer("transformers", "hugging_face", ("transformers",), ("float32", "bfloat16")),
    Peer(
        "transformers, compiled", "hugging_face", ("transformers",), ("float32", "bfloat16"),
        options={"compiled": True},
    ),
    Peer("CTranslate2", "ctranslate", ("ctranslate2",), ("float32", "int8")),
    Peer("OpenVINO GenAI", "openvino", ("openvino-genai",), ("float32", "int8", "int4")),
    Peer(
        "loop over OpenVINO", "openvino", ("openvino",), ("float32", "int8", "int4"),
        options={"bare": True},
    ),
    Peer(
        "ONNX Runtime GenAI", "onnx_genai", ("onnxruntime-genai",), ("float32", "int8", "int4")
    ),
    Peer("loop over llama.cpp", "llama", ("llama-cpp-python",), ("float32", "int8", "int4")),
)  # fmt: skip
REFERENCE = ("transformers", "float32")
"""What the others' log-probabilities and continuations are compared with."""
