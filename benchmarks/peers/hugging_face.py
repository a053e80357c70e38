"""transformers: eager, and through `torch.compile` with a cache of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.bare import padded
from peers.contender import Contender, Sources


def convert(sources: Sources, weights: str, to: Path, python: str) -> None:
    """Only a link: the folder is read as it is."""
    to.symlink_to(sources.hf.resolve(), target_is_directory=True)


def load(folder: Path, weights: str, threads: int, compiled: bool = False) -> Contender:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, weights)).eval()
    if compiled:
        torch._dynamo.config.recompile_limit = 64  # a graph for each length of prompt
        model.forward = torch.compile(model.forward)
    return Transformers(model, compiled)


class Transformers:
    """`generate`, as its documentation has it."""

    def __init__(self, model: Any, compiled: bool) -> None:
        self.model = model
        self.options = {"cache_implementation": "static"} if compiled else {}
        self.end: int = model.config.eos_token_id

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        import torch

        rows, real = padded(prompts, self.end)
        with torch.inference_mode():
            out = self.model.generate(
                torch.from_numpy(rows),
                attention_mask=torch.from_numpy(real),
                min_new_tokens=new_tokens,
                max_new_tokens=new_tokens,
                num_beams=beam_size,
                do_sample=False,
                pad_token_id=self.end,
                **self.options,
            )
        return out[:, rows.shape[1] :].tolist()

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        import torch

        with torch.inference_mode():
            logits = self.model(torch.tensor([tokens])).logits[0, first - 1 : -1]
        return logits.float().log_softmax(-1).numpy()
