"""How is a model trained? `TrainingConfig` says it; `RunConfig` is a whole run, as config.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from dacite import Config as DaciteConfig
from dacite import DaciteError, UnexpectedDataError, WrongTypeError, from_dict

from unrolled.data.config import DataConfig
from unrolled.errors import BadInput
from unrolled.models.config import Architecture, ModelConfig, check_types
from unrolled.models.store import FORMAT

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingConfig:
    """The optimizer, its schedule, and what is written down on the way."""

    max_steps: int = 1000
    """Steps of the optimizer; the learning rate has fallen to its end by then."""
    max_minutes: float = 0.0
    """Stop after so many minutes, with the learning rate falling to its end by then; 0: no limit.
    A run that ends by the clock is not repeatable to the bit."""
    learning_rate: float = 3e-3
    """Learning rate that the warm-up rises towards; the fall has begun by then, so the highest that
    is used is a little below it."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019), or Muon (Jordan et al. 2024) for the matrices inside the
    blocks and AdamW for the rest."""
    schedule: Literal["linear", "cosine"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises from 0."""
    final_fraction: float = 0.0
    """Learning rate at the end, as a share of learning_rate."""
    weight_decay: float = 0.1
    """Decay of matrices (not of norms, biases and embeddings)."""
    beta2: float = 0.98
    """AdamW's decay of the squared gradient's mean."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    accumulate: int = 1
    """Batches whose gradients are summed for one step."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Number format of the products; auto times both once and takes the faster."""
    compile: bool = False
    """Compile with torch.compile; where that can't run, a warning says so and training goes on."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: ddp holds the whole model in every process, fsdp a share in each."""
    device: str = "auto"
    """cpu, cuda, mps; auto takes a GPU where there is one."""
    log_every: int = 10
    """Steps between two lines of metrics.jsonl."""
    probe: bool = False
    """Also write gradient norms and update-to-weight ratios of each part of the model, to
    metrics.jsonl and TensorBoard."""
    probe_every: int = 50
    """Steps between two of these."""
    evaluate_every: int = 100
    """Steps between two validations, each with a sample of what the model does."""

    save_every: int = 200
    """Steps between two checkpoints, from which `unrolled resume` goes on; the last two and the
    best are kept."""

    def __post_init__(self) -> None:
        """Refuse what can't be trained with."""
        check_types(self, "training")
        for name in (
            "max_steps",
            "accumulate",
            "log_every",
            "probe_every",
            "evaluate_every",
            "save_every",
        ):
            if getattr(self, name) < 1:
                raise BadInput(f"training.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_minutes", "warmup_steps", "weight_decay", "clip_norm", "final_fraction"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BadInput(f"training.{name} must be 0 or more, not {getattr(self, name)}")
        if self.probe and self.parallel == "fsdp":
            raise BadInput(
                "training.probe needs the whole model in a process: --training.parallel ddp"
            )
        if self.final_fraction > 1.0:
            raise BadInput(f"training.final_fraction is a share, at most 1: {self.final_fraction}")
        if not 0.0 < self.learning_rate < float("inf"):
            raise BadInput(f"training.learning_rate must be positive, not {self.learning_rate}")
        if self.compile and self.parallel == "fsdp":
            raise BadInput("training.compile works with training.parallel ddp, not with fsdp")
        if not 0.0 <= self.beta2 < 1.0:
            raise BadInput(f"training.beta2 must lie in [0, 1), not {self.beta2}")


@dataclass(frozen=True)
class RunConfig:
    """All that a run depends on, besides the data and the versions of the software."""

    task: str
    architecture: Architecture
    seed: int
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    init: str = ""
    """Folder of the run whose weights and tokenizer this one began with; "": none."""

    def __post_init__(self) -> None:
        """Refuse a seed that the generators can't take."""
        if not 0 <= self.seed < 1 << 63:
            raise BadInput(f"seed is a whole number from 0 to 2^63 - 1, got {self.seed}")

    def to_json(self) -> dict[str, Any]:
        """What config.json holds."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any], where: object) -> RunConfig:
        """The reverse; an unknown or missing key, or a wrong type, is `BadInput` by its path."""
        values = {key: value for key, value in content.items() if key != "format"}
        return strictly(cls, values, where)


def strictly(cls: type[T], values: dict[str, Any], where: object) -> T:
    """Build a dataclass from what JSON or TOML held: nothing unknown, nothing of a wrong type."""
    try:
        # A whole number is a float too; text and truth values are not.
        whole = {float: lambda value: float(value) if type(value) is int else value}
        return from_dict(cls, values, DaciteConfig(strict=True, type_hooks=whole))
    except UnexpectedDataError as error:
        key = sorted(map(str, error.keys))[0]
        close = get_close_matches(key, field_names(cls), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise BadInput(f"{where}: unknown key {key!r}{hint}") from None
    except WrongTypeError as error:
        wanted = " or ".join(map(str, get_args(error.field_type))) or error.field_type.__name__
        raise BadInput(f"{where}: {error.field_path} is {wanted}, got {error.value!r}") from None
    except DaciteError as error:
        raise BadInput(f"{where}: {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"{where}: {error}") from None


def field_names(cls: Any) -> list[str]:
    """The names of a dataclass's fields, and of the dataclasses' that it holds."""
    names: list[str] = []
    for name, kind in get_type_hints(cls).items():
        names += [name, *(field_names(kind) if is_dataclass(kind) else [])]
    return names
