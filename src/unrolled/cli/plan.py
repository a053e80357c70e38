"""`unrolled plan`: what training a decoder would take, before anything is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, ClassVar

import tyro
from rich.table import Table

from unrolled.cli.command import Command
from unrolled.cli.output import print_json, show
from unrolled.models.config import ModelConfig
from unrolled.training.plan import Plan, Scale, make_plan

GB = 1e9


def large() -> ModelConfig:
    """1.3 billion parameters."""
    return ModelConfig(
        vocab_size=50_304, hidden_size=2048, num_layers=24, num_heads=16, max_positions=2048
    )


@dataclass(frozen=True)
class MakePlan(Command):
    """Say what training a decoder would need: memory a GPU, and time, by arithmetic.

    With no option: 1.3 billion parameters on 64 GPUs. Peak and utilisation are assumptions, stated
    beside the answer; the rest is counted from the model's own definition.
    """

    name: ClassVar[str] = "plan"
    example: ClassVar[str] = "unrolled plan --gpus 64 --gpu-memory 80"

    model: ModelConfig = field(default_factory=large)
    scale: Annotated[Scale, tyro.conf.arg(name="")] = field(default_factory=Scale)
    json: bool = False
    """Print the plan as JSON, memory in bytes."""

    def run(self) -> int:
        """Print the plan."""
        plan = make_plan(self.model, self.scale)
        if self.json:
            print_json(as_json(plan, self.scale))
        else:
            report(plan, self.scale)
        return 0


def as_json(plan: Plan, scale: Scale) -> dict[str, object]:
    """What `--json` prints."""
    totals = {way: plan.total(way) for way in ("ddp", "fsdp")}
    fits = {way: total <= scale.gpu_memory * GB for way, total in totals.items()}
    assumed = {f.name: getattr(scale, f.name) for f in fields(scale)}
    return {**asdict(plan), "total": totals, "fits": fits, "assumed": assumed}


def report(plan: Plan, scale: Scale) -> None:
    """The plan for a person."""
    flop, six = plan.flop_per_token, 6 * plan.parameters
    print(
        f"parameters N      {plan.parameters:,}\n"
        f"tokens D          {plan.tokens:,} ({plan.tokens / plan.parameters:.3g} a parameter), "
        f"{plan.steps:,} steps of {scale.tokens_per_step:,}\n"
        f"FLOP a token      {flop:,}: 6 a weight of every product + 12 L h T for attention\n"
        f"                  (6 N = {six:,} is {100 * (six / flop - 1):+.1f} %)\n"
        f"FLOP in all       {flop * plan.tokens:.3g}\n"
        f"time              {duration(plan.seconds)} on {scale.gpus} GPUs, if each reaches "
        f"{100 * scale.utilisation:g} % of {scale.gpu_tflops:g} TFLOP/s (assumed)\n"
    )
    table = Table("GB a GPU", "bytes", box=None, pad_edge=False)
    table.add_column("DDP", justify="right")
    table.add_column("FSDP", justify="right")
    for part in plan.memory:
        table.add_row(part.name, part.formula, gb(part.ddp), gb(part.fsdp))
    totals = (plan.total("ddp"), plan.total("fsdp"))
    verdicts = ("fits" if total <= scale.gpu_memory * GB else "too much" for total in totals)
    table.add_row("together", "", *map(gb, totals))
    table.add_row(f"of {scale.gpu_memory:g} GB", "", *verdicts)
    show(table)


def gb(size: float) -> str:
    """Bytes in GB."""
    return f"{size / GB:.2f}"


def duration(seconds: float) -> str:
    """Seconds as people plan: days, hours or minutes."""
    for unit, length in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"
