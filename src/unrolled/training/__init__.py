"""Training: one loop, its optimizer, what it writes down."""

from unrolled.training.config import RunConfig, TrainingConfig
from unrolled.training.loop import Diverged, Trainer, mean_loss

__all__ = ["Diverged", "RunConfig", "Trainer", "TrainingConfig", "mean_loss"]
