"""The training loop: read it from top to bottom, there is no other.

The loss of a step is the sum over its batches' targets, divided once by how many those are: the
same whether the targets came in one batch, in several that were accumulated, or in shares of
several processes.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from unrolled.errors import BadInput, WorkFailed
from unrolled.models.batch import Batch
from unrolled.models.build import Model
from unrolled.models.fused import get_ready
from unrolled.training.checkpoint import Checkpoints, read_state, restore, take
from unrolled.training.config import TrainingConfig
from unrolled.training.log import Clock, RunLog, in_words
from unrolled.training.optimizer import Optimizer, clip, learning_rate
from unrolled.training.parallel import (
    Engine,
    first,
    launched,
    leads,
    most,
    seed_of_process,
    share,
    summed,
)
from unrolled.training.precision import (
    TRIALS,
    autocast,
    compiled,
    faster_precision,
    pick_device,
)

if TYPE_CHECKING:
    from unrolled.recurrences.probe import UpdateWatch


class Diverged(WorkFailed):
    """The loss or its gradient is no longer a number; the step that showed it is not applied."""


@runtime_checkable
class Batches(Protocol):
    """Batches without end, from a place that can be noted and gone back to."""

    def __next__(self) -> Batch:
        """The next batch."""

    def state_dict(self) -> dict[str, int]:
        """The place."""

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a place."""


@dataclass
class Tally:
    """Sums since the last line of the log."""

    loss: float = 0.0
    targets: int = 0
    steps: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    norm: float = 0.0
    """Learning rate and gradient's norm of the last step."""


class Trainer:
    """Trains a model on batches; `fit` runs until the end, the clock or an interruption."""

    def __init__(
        self,
        model: Model,
        batches: Batches,
        config: TrainingConfig,
        log: RunLog,
        *,
        seed: int,
        validate: Callable[[], Mapping[str, float]] | None = None,
        sample: Callable[[], str] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.device = pick_device(config.device)
        self.model = model.to(self.device)
        self.batches, self.config, self.log = batches, config, log
        self.validate, self.sample, self.checkpoints = validate, sample, checkpoints
        loss = compiled(model.loss) if config.compile else model.loss
        self.engine = Engine(self.model, loss, config.parallel)
        self.optimizer = Optimizer(self.engine.trained, config)
        self.precision: str = config.precision
        self.step = 0
        self.clock = Clock()
        self.tally = Tally()
        self.row: dict[str, float] = {}
        self.validated: tuple[int, dict[str, float]] = (0, {})
        # Data, initial weights and samples have generators of their own: this one is dropout's.
        torch.manual_seed(seed_of_process(seed))

    def fit(self) -> str:
        """Train. Returns why it ended: "finished", "out of time" or "interrupted".

        Raises `Diverged` when the loss is no number; the step that showed it is not applied.
        """
        if self.device.type == "cpu" and self.precision != "bfloat16" and not self.config.compile:
            get_ready(self.log.say)
        if self.precision == "auto":
            self.precision = self._measure_precision()
        self.model.train()
        try:
            return self._train()
        finally:
            # Whatever ended it, a checkpoint that is being written gets written.
            if self.checkpoints is not None:
                self.checkpoints.finish()

    def _train(self) -> str:
        ended = "finished"
        with _Interrupts() as interrupts:
            if self.step == 0:
                self._save()
            while self.step < self.config.max_steps and ended == "finished":
                self._take_step()
                if self._due(self.config.log_every):
                    self._write_metrics()
                if self._due(self.config.evaluate_every):
                    self._evaluate()
                ended = self._ending(interrupts.seen)
                last = ended != "finished" or self.step == self.config.max_steps
                if last or self._due(self.config.save_every):
                    self._save()
            if ended == "out of time" and self.step < self.config.warmup_steps:
                self.log.say(
                    f"the time was over within the warm-up: {self.step} of its "
                    f"{self.config.warmup_steps} steps (--training.warmup-steps), so little has "
                    "changed"
                )
            # What follows is for the reader of this run; a resumed one goes on from before it.
            if self.validated[0] < self.step:
                self._evaluate()
            if self.checkpoints is not None:
                self.checkpoints.wait()
        return ended

    def _ending(self, interrupted: bool) -> str:
        """Why the run ends here, or "finished": it does not; all processes say the same."""
        wish = 2 if interrupted else int(self._out_of_time())
        return ("finished", "out of time", "interrupted")[int(most(wish))]

    def _due(self, every: int) -> bool:
        return self.step % every == 0

    def _save(self) -> None:
        """Copy the run as it stands; the copy is written while training goes on."""
        if self.checkpoints is None:
            return
        state = {
            "data": self.batches.state_dict(),
            "seconds": self.clock.seconds,
            "tally": asdict(self.tally),
            "row": self.row,
            "metrics_bytes": self.log.length(),
            "precision": self.precision,
            "optimizer": self.config.optimizer,
        }
        self.engine.gather()
        snapshot = take(self.model, self.optimizer, self.step, state)
        if self.validated[0] == self.step:
            snapshot.score = self.validated[1].get("validation_loss")
        if leads():
            self.checkpoints.save(snapshot)

    def resume(self, folder: Path) -> None:
        """Go back to a checkpoint: the next step is the one that followed it.

        Raises `BadInput` for a checkpoint that is damaged or of another run.
        """
        if (of := read_state(folder).get("optimizer")) != self.config.optimizer:
            raise BadInput(f"{folder} is of another optimizer: {of}, not {self.config.optimizer}")
        state = restore(folder, self.model, self.optimizer)
        self.engine.scatter()
        self.step, self.precision = state["step"], state["precision"]
        self.tally, self.row = Tally(**state["tally"]), state["row"]
        self.clock.before = state["seconds"]
        self.log.cut(state["metrics_bytes"], self.step)
        self.batches.load_state_dict(state["data"])

    def _take_step(self) -> None:
        start = self.clock.seconds
        rate = learning_rate(self.config, self.step, self._progress())
        batches = [next(self.batches) for _ in range(self.config.accumulate)]
        targets = sum(batch.num_targets for batch in batches)
        if not targets:
            raise BadInput(f"the batches of step {self.step + 1} have nothing to predict")
        total = 0.0
        for number, batch in enumerate(batches, 1):
            with self.engine.summing(number == len(batches)):
                with autocast(self.precision, self.device):
                    loss = self.engine.loss(share(batch).to(self.device)) / targets
                loss.backward()
            total += loss.item()
        total = summed(total)
        norm = clip(self.engine.trained.parameters(), self.config.clip_norm)
        if not math.isfinite(total) or not math.isfinite(norm):
            raise Diverged(
                f"at step {self.step + 1} the loss is {total} and its gradient's norm {norm}"
            )
        watched = self._watch()
        self.optimizer.step(rate)
        self.step += 1
        if watched is not None:
            self.log.write(self.step, watched.row())
        self.tally.rate, self.tally.norm = rate, norm
        self.tally.loss += total * targets
        self.tally.targets += targets
        self.tally.steps += 1
        self.tally.seconds += self.clock.seconds - start
        self._show(total)

    def _watch(self) -> UpdateWatch | None:
        """What the step will change, where that is to be written down."""
        if not self.config.probe or (self.step + 1) % self.config.probe_every:
            return None
        from unrolled.recurrences.probe import UpdateWatch  # its room imports flint

        return UpdateWatch(self.model)

    def _progress(self) -> float:
        """Which share of the run is over: by steps or by the clock, whichever is further."""
        by_steps = self.step / self.config.max_steps
        if not self.config.max_minutes:
            return by_steps
        by_clock = first(lambda: self.clock.seconds) / (60 * self.config.max_minutes)
        return max(by_steps, by_clock)

    def _out_of_time(self) -> bool:
        limit = 60 * self.config.max_minutes
        return bool(limit) and self.clock.seconds >= limit

    def _show(self, loss: float) -> None:
        speed = self.tally.targets / max(self.tally.seconds, 1e-9)
        self.log.advance(
            self.step, self.config.max_steps, f"loss {loss:.3f}  {speed:,.0f} tokens/s"
        )

    def _write_metrics(self) -> None:
        tally, self.tally = self.tally, Tally()
        row = {
            "loss": tally.loss / max(1, tally.targets),
            "learning_rate": tally.rate,
            "gradient_norm": tally.norm,
            "tokens_per_second": tally.targets / max(tally.seconds, 1e-9),
            "seconds": self.clock.seconds,
        }
        if epoch := getattr(self.batches, "epoch", None):
            row["epoch"] = float(epoch)
        self.log.write(self.step, row)
        self.row = row

    def _evaluate(self) -> None:
        if self.tally.steps:
            self._write_metrics()
        row = self.row
        speed = f"{row['tokens_per_second']:,.0f} tokens/s  {in_words(self.clock.seconds)}"
        line = f"step {self.step:>6,}  loss {row['loss']:.4f}  {speed}"
        self.engine.gather()
        values = first(partial(self._validate, line))
        self.validated = (self.step, values)
        self.model.train()

    @torch.no_grad()
    def _validate(self, line: str) -> dict[str, float]:
        """Measure and show what the model does now: the first process does it for all."""
        self.model.eval()
        values = dict(self.validate()) if self.validate is not None else {}
        if not all(map(math.isfinite, values.values())):
            raise Diverged(f"at step {self.step} the model's answers are no numbers any more")
        if values:
            self.log.write(self.step, values)
            line += "".join(f"  {name.replace('_', ' ')} {v:.4f}" for name, v in values.items())
        self.log.say(line)
        if self.sample is not None and (shown := self.sample()):
            self.log.say(shown)
        return values

    def _measure_precision(self) -> str:
        """Time some batches in both formats; the data goes back to where it was."""
        place, generator = self.batches.state_dict(), torch.get_rng_state()
        batches = [share(next(self.batches)).to(self.device) for _ in range(TRIALS)]
        with self.engine.summing(False):
            measured = faster_precision(self.engine.loss, batches, self.device)
        best, times = first(lambda: measured)
        self.engine.trained.zero_grad(set_to_none=True)
        torch.set_rng_state(generator)
        self.batches.load_state_dict(place)
        self.log.say(f"precision: {best} ({times:.1f} × as fast as the other here)")
        return best


class _Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop; a second one acts at once.

    Not under torchrun, which passes on a signal that the process may have had already: a second one
    is then no person's impatience.
    """

    def __init__(self) -> None:
        self.seen = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._wish)
        return self

    def _wish(self, number: int, _: FrameType | None) -> None:
        self.seen = True
        if not launched():
            signal.signal(number, self.before[number])

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


@torch.no_grad()
def mean_loss(model: Model, batches: list[Batch]) -> float:
    """Loss a target, in nats, over given batches, in evaluation mode."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total = sum(model.loss(batch.to(device)).item() for batch in batches)
    model.train(training)
    return total / max(1, sum(batch.num_targets for batch in batches))
