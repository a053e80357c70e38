"""llama.cpp, through the functions of its C library that llama-cpp-python names; the loop is ours.

It has no beams of its own any more. Rows are its sequences, which share the cells of one cache: a
row that continues another takes over its cells by their marks, nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.bare import forced, search
from peers.contender import Contender, Sources

MOST_ROWS, CELLS = 64, 4096


def convert(sources: Sources, weights: str, to: Path, python: str) -> None:
    """Its own quantiser from the file of four bits, which itself is what `int4` reads."""
    import llama_cpp

    to.mkdir()
    if weights == "int4":
        (to / "model.gguf").symlink_to(sources.gguf)
        return
    params = llama_cpp.llama_model_quantize_default_params()
    kinds = {"float32": llama_cpp.LLAMA_FTYPE_ALL_F32, "int8": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}
    params.ftype, params.allow_requantize = kinds[weights], True
    names = str(sources.gguf).encode(), str(to / "model.gguf").encode()
    if llama_cpp.llama_model_quantize(*names, params):
        raise OSError(f"llama.cpp could not write {names[1].decode()}")


def load(folder: Path, weights: str, threads: int) -> Contender:
    import llama_cpp
    import torch

    torch.set_num_threads(threads)
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = False  # among them AMX's, by which it dies of an illegal instruction
    model = llama_cpp.llama_model_load_from_file(str(folder / "model.gguf").encode(), params)
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = CELLS, 1024, 512
    settings.n_seq_max, settings.kv_unified = 2 * MOST_ROWS, True
    settings.n_threads = settings.n_threads_batch = threads
    return Llama(llama_cpp, model, llama_cpp.llama_init_from_model(model, settings))


class Llama:
    """Sequences of one context."""

    def __init__(self, library: Any, model: Any, context: Any) -> None:
        self.c, self.model, self.context = library, model, context
        self.memory = library.llama_get_memory(context)
        words = library.llama_model_get_vocab(model)
        self.end, self.size = library.llama_vocab_eos(words), library.llama_vocab_n_tokens(words)
        self.batch = library.llama_batch_init(1024, 0, 1)

    def generate(
        self, prompts: Sequence[Sequence[int]], beam_size: int, new_tokens: int
    ) -> list[list[int]]:
        return search(self, prompts, beam_size, new_tokens, self.end)

    def log_probs(self, tokens: Sequence[int], first: int) -> np.ndarray:
        return forced(self, tokens, first)

    def start(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        self.c.llama_memory_clear(self.memory, True)
        self.offset = 0  # rows have the sequences from here on; the next step's, the other half
        self.lengths = np.array([len(prompt) for prompt in prompts])
        cells = [
            (token, place, row, place + 1 == len(prompt))
            for row, prompt in enumerate(prompts)
            for place, token in enumerate(prompt)
        ]
        return self._decode(cells, len(prompts))

    def step(self, parents: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        if not np.array_equal(parents, np.arange(len(self.lengths))):
            old, self.offset = self.offset, MOST_ROWS - self.offset
            for row, parent in enumerate(parents.tolist()):
                self.c.llama_memory_seq_cp(self.memory, old + parent, self.offset + row, -1, -1)
            for row in range(len(self.lengths)):
                self.c.llama_memory_seq_rm(self.memory, old + row, -1, -1)
        self.lengths = self.lengths[parents] + 1
        places = (self.lengths - 1).tolist()
        rows = range(self.offset, self.offset + len(parents))
        cells = [(t, p, row, True) for t, p, row in zip(tokens.tolist(), places, rows, strict=True)]
        return self._decode(cells, len(parents))

    def _decode(self, cells: list[tuple[int, int, int, bool]], rows: int) -> np.ndarray:
        """Run (token, position, sequence, whether its logits are wanted) through the model."""
        batch = self.batch
        batch.n_tokens = len(cells)
        for i, (token, place, sequence, wanted) in enumerate(cells):
            batch.token[i], batch.pos[i], batch.logits[i] = token, place, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        if self.c.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode failed on {len(cells)} tokens")
        logits = self.c.llama_get_logits(self.context)
        return np.ctypeslib.as_array(logits, (rows, self.size))
