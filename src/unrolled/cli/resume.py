"""`unrolled resume RUN`: go on with a run that was stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from unrolled.cli.command import Command
from unrolled.cli.output import progress
from unrolled.cli.train import finish
from unrolled.errors import BadInput
from unrolled.tasks.running import resume
from unrolled.training.run import load_config


@dataclass(frozen=True)
class Longer:
    """What may be changed of a run that goes on."""

    max_steps: int = 0
    """Go on to this step; 0: to the run's own last one."""
    learning_rate: float = 0.0
    """Learning rate from here on, as for a run that diverged; 0: the run's own."""

    def __post_init__(self) -> None:
        """Refuse what is below 0."""
        for name in ("max_steps", "learning_rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BadInput(f"training.{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True)
class Resume(Command):
    """Go on with a run that was stopped, to the very weights it would have had.

    Whatever stopped it (Ctrl-C, a kill, a power cut), it goes on from its last checkpoint. A
    finished run goes on with a larger --training.max-steps, one that diverged from its best
    checkpoint with a smaller --training.learning-rate.
    """

    name: ClassVar[str] = "resume"
    example: ClassVar[str] = "unrolled resume runs/piglatin"

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    training: Longer = Longer()
    json: bool = False
    """Print the scores as JSON."""

    def run(self) -> int:
        """Train on, then say how well it went."""
        task = load_config(self.run_folder).task
        with progress("scoring") as tell:
            trained = resume(self.run_folder, **asdict(self.training), progress=tell)
        return finish(task, trained, self.json)
