"""How is a model trained? Batches at random, AdamW, gradients clipped, a call after each batch."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from gtgpt.utils import CfgNode

Callback = Callable[["Trainer"], None]


class Trainer:
    """Trains `model(x, y) -> (logits, loss)` on a dataset of pairs (x, y).

    While it runs, `iter_num` counts the batches, `iter_dt` is the last one's time in seconds and
    `loss` its loss.
    """

    @staticmethod
    def get_default_config() -> CfgNode:
        """Adam's settings of GPT-3 (Brown et al. 2020, appendix B); `max_iters` None is no end."""
        return CfgNode(
            device="auto",
            num_workers=0,
            max_iters=None,
            batch_size=64,
            learning_rate=3e-4,
            betas=(0.9, 0.95),
            weight_decay=0.1,
            grad_norm_clip=1.0,
        )

    def __init__(self, config: Any, model: Any, dataset: Any) -> None:
        self.config, self.dataset = config, dataset
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = automatic if config.device == "auto" else config.device
        self.model = model.to(self.device)
        self.optimizer: torch.optim.Optimizer | None = None
        self.callbacks: dict[str, list[Callback]] = defaultdict(list)
        self.iter_num, self.iter_time, self.iter_dt = 0, 0.0, 0.0
        self.loss: torch.Tensor | None = None

    def add_callback(self, onevent: str, callback: Callback) -> None:
        """Call `callback(trainer)` too whenever `onevent` (on_batch_end) happens."""
        self.callbacks[onevent].append(callback)

    def set_callback(self, onevent: str, callback: Callback) -> None:
        """Call `callback(trainer)`, and none that was set before, whenever `onevent` happens."""
        self.callbacks[onevent] = [callback]

    def trigger_callbacks(self, onevent: str) -> None:
        """Make the calls of `onevent`."""
        for callback in self.callbacks.get(onevent, []):
            callback(self)

    def run(self) -> None:
        """Train until `max_iters` batches were seen."""
        config, model = self.config, self.model
        self.optimizer = torch.optim.AdamW(
            model.configure_optimizers(config), lr=config.learning_rate, betas=config.betas
        )
        model.train()
        self.iter_num, self.iter_time = 0, time.perf_counter()
        for x, y in self._batches():
            if config.max_iters is not None and self.iter_num >= config.max_iters:
                break
            _, self.loss = model(x.to(self.device), y.to(self.device))
            model.zero_grad(set_to_none=True)
            self.loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_norm_clip)
            self.optimizer.step()
            self.iter_num += 1
            now = time.perf_counter()
            self.iter_dt, self.iter_time = now - self.iter_time, now
            self.trigger_callbacks("on_batch_end")

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches drawn with replacement, without end."""
        yield from DataLoader(
            self.dataset, batch_sampler=self._draws(), num_workers=self.config.num_workers
        )

    def _draws(self) -> Iterator[list[int]]:
        """Numbers of the rows of each batch; on the CPU whatever the default device is."""
        generator = torch.Generator("cpu").manual_seed(torch.initial_seed() % (1 << 63))
        shape, size = (self.config.batch_size,), len(self.dataset)
        while True:
            yield torch.randint(size, shape, generator=generator, device="cpu").tolist()
