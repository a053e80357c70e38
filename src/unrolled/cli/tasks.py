"""`unrolled tasks`: what there is to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.table import Table

from unrolled.cli.command import Command, print_json, show
from unrolled.tasks import TASKS


@dataclass(frozen=True)
class Tasks(Command):
    """List the tasks, with a line each."""

    name: ClassVar[str] = "tasks"
    example: ClassVar[str] = "unrolled tasks"

    json: bool = False
    """Print a JSON list of {"task", "summary", "architectures"}."""

    def run(self) -> int:
        """Print the list."""
        if self.json:
            print_json(
                [
                    {"task": t.name, "summary": t.summary, "architectures": list(t.architectures)}
                    for t in TASKS.values()
                ]
            )
            return 0
        table = Table("task", "what it is", "architectures", box=None, pad_edge=False)
        for task in TASKS.values():
            table.add_row(task.name, task.summary, ", ".join(task.architectures))
        show(table)
        return 0
