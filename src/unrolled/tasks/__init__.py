"""Tasks: ready-made jobs that put data, models, training and decoding together."""

from unrolled.tasks.parity import Parity
from unrolled.tasks.piglatin import PigLatin
from unrolled.tasks.sort import Sort
from unrolled.tasks.task import Job, Task
from unrolled.tasks.text import Text
from unrolled.tasks.verses import Pairs, Verses

TASKS: dict[str, Task] = {
    task.name: task for task in (PigLatin(), Sort(), Parity(), Text(), Verses(), Pairs())
}

__all__ = ["TASKS", "Job", "Task"]
