"""`unrolled probe RUN`: where do a trained run's gradients vanish or explode?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import tyro
from torch import Tensor

from unrolled.cli.command import Command
from unrolled.cli.output import print_json, show
from unrolled.models import load
from unrolled.recurrences.probe import Probe as Found
from unrolled.recurrences.probe import probe
from unrolled.tasks.answering import open_job


@dataclass(frozen=True)
class Probe(Command):
    """Measure a run's gradients by layer and time step, and say what usually helps.

    One batch of what was held out from training goes through the model, forwards and backwards;
    nothing of the run is changed.
    """

    name: ClassVar[str] = "probe"
    example: ClassVar[str] = "unrolled probe runs/parity --plot gradients.png"

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw the gradients' norms over time as a heat map here (.png or .svg)."""
    json: bool = False
    """Print {"loss", "tracks", "weights", "advice"} as JSON."""

    def run(self) -> int:
        """Print tables and advice."""
        job, model = open_job(self.run_folder), load(self.run_folder)
        rate = job.config.training.learning_rate
        found = probe(model, job.validation[0], loss_a_target, learning_rate=rate)
        if self.plot is not None and found.tracks:
            from unrolled.recurrences.draw import draw_heat  # matplotlib is slow to import

            width = max(len(track.norms) for track in found.tracks)
            norms = np.zeros((len(found.tracks), width))
            for row, track in zip(norms, found.tracks, strict=True):
                row[: len(track.norms)] = track.norms
            draw_heat(norms, [track.name for track in found.tracks], self.plot)
        if self.json:
            print_json(document(found))
            return 0
        report(found)
        if self.plot is not None and found.tracks:
            print(f"\npicture written to {self.plot}")
        return 0


def loss_a_target(model: Any, batch: Any) -> Tensor:
    """What the trainer differentiates: so are the gradients those of a step."""
    mean: Tensor = model.loss(batch) / batch.num_targets
    return mean


def document(found: Found) -> dict[str, object]:
    """The measurements as JSON."""
    tracks = [
        {"name": t.name, "norms": t.norms.tolist(), "rate": None if np.isnan(t.rate) else t.rate}
        for t in found.tracks
    ]
    weights = [asdict(w) for w in found.weights]
    return {"loss": found.loss, "tracks": tracks, "weights": weights, "advice": found.advice}


def report(found: Found) -> None:
    """Print two tables and the advice."""
    from rich.table import Table

    time = Table("layer", "first step", "last step", "largest", "factor a step backwards")
    for t in found.tracks:
        rate = f"{t.rate:.4g}" if t.recurrent and not np.isnan(t.rate) else ""
        ends = (t.norms[0], t.norms[-1], t.norms.max())
        time.add_row(t.name, *(f"{x:.3g}" for x in ends), rate)
    weights = Table("weights", "norm", "gradient", "update / weight")
    for w in found.weights:
        weights.add_row(w.name, *(f"{x:.3g}" for x in (w.norm, w.gradient, w.update_ratio)))
    print(f"loss {found.loss:.6g} a target\n")
    if found.tracks:
        show(time)
    show(weights)
    for line in found.advice or ["Nothing vanishes or explodes here."]:
        print(line)
