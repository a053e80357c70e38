"""How fast can memory be read here, and how many bytes must a decoding step read?"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Any

BITS = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4}
GROUP = 32
"""Weights to a scale of 16 bits in the smaller formats: what llama.cpp, and most, count with."""


def read_speeds(
    megabytes: tuple[int, ...] = (540, 270, 135, 76), rounds: int = 15
) -> dict[str, float]:
    """GB/s of reading so many megabytes again and again on two threads, median of rounds.

    A dot product of a vector with itself reads each number once, and does two operations on it.
    """
    import torch

    torch.set_num_threads(2)
    found = {}
    for size in megabytes:
        x = torch.ones(size * 250_000)
        half = len(x) // 2
        parts = torch.stack([x[:half], x[half:]])
        del x
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            parts.sum()
            times.append(time.perf_counter() - start)
        found[f"{size} MB"] = size * 1e6 / median(times) / 1e9
    return found


def step_bytes(config: dict[str, Any], weights: str, rows: int, columns: int) -> dict[str, float]:
    """Megabytes (10^6) that a step must read: each matrix once, and its rows' keys and values.

    `config` is that of the Hugging Face folder. The head is a matrix of the step, tied or not; of
    the embedding a step reads a row each. The cache is counted in float32.
    """
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    head = hidden // config["num_attention_heads"]
    kv = head * config["num_key_value_heads"]
    layer = hidden * (2 * hidden + 2 * kv + 3 * config["intermediate_size"])
    bits, scales = BITS[weights], 16 / GROUP if BITS[weights] < 16 else 0
    # Nearly everybody keeps the head in 8 bits where the layers have four.
    inside, vocabulary = layers * layer, hidden * config["vocab_size"]
    size = inside * (bits + scales) + vocabulary * (max(bits, 8) + scales)
    return {
        "weights": size / 8 / 1e6,
        "cache": rows * columns * layers * 2 * kv * 4 / 1e6,
    }


def read_config(folder: Path) -> dict[str, Any]:
    """config.json."""
    found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return found
