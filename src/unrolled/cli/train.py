"""`unrolled train TASK`: a task's defaults, a TOML file over them, the command line over both."""

from __future__ import annotations

import inspect
import shlex
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from unrolled.cli.command import Command, parse
from unrolled.cli.output import print_json, progress
from unrolled.data.config import DataConfig
from unrolled.errors import BadInput
from unrolled.models import Architecture, ModelConfig
from unrolled.tasks import TASKS
from unrolled.tasks.running import Trained, find_task, train
from unrolled.tasks.starting import starting_config
from unrolled.training import RunConfig, TrainingConfig
from unrolled.training.config import strictly
from unrolled.training.log import in_words
from unrolled.training.parallel import leads


@dataclass(frozen=True)
class Train(Command):
    """Train a model on a task; `unrolled tasks` lists them."""

    name: ClassVar[str] = "train"
    example: ClassVar[str] = "unrolled train piglatin --out runs/piglatin"

    architecture: Architecture
    """Kind of model; the task says which it can use."""
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    seed: int = 0
    """Seed of weights, data order and dropout: the same seed gives the same run."""
    init: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Begin with the weights, the model and the tokenizer of this run, trained here or imported."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Folder of the run; runs/TASK if not given."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """TOML file with any of these options, e.g. `seed = 1` and `[model] num_layers = 2`."""
    overwrite: bool = False
    """Replace the run that stands at --out."""
    json: bool = False
    """Print the scores as JSON."""

    @classmethod
    def main(cls, arguments: Sequence[str]) -> int:
        """The first word is the task: its defaults are what `--help` shows."""
        words = list(arguments)
        if not words or words[0] in ("-h", "--help"):
            print(usage(), file=sys.stdout if words else sys.stderr)
            return 0 if words else 2
        if words[0].startswith("-"):
            raise BadInput(f"the task comes first: `{cls.example}`; `unrolled tasks` lists them")
        task, rest = words[0], words[1:]
        find_task(task)
        file = option(rest, "--config")
        given = {} if file is None else read_toml(Path(file))
        own = own_options(given, file)
        defaults = with_file(
            task, option(rest, "--architecture"), option(rest, "--init"), given, file
        )
        if defaults.init:
            own["init"] = Path(defaults.init)
        name = f"train {task}"
        about = f"{inspect.getdoc(cls)}\n\nExample: unrolled train {task} --out runs/{task}"
        values = {part: getattr(defaults, part) for part in ("architecture", "model", "data")}
        default = cls(**values, training=defaults.training, seed=defaults.seed, **own)
        command = parse(for_task(cls, task), rest, name, about, default)
        return command.train(task)

    def train(self, task: str) -> int:
        """Train, then say how well it went and what to try next."""
        start = "" if self.init is None else str(self.init.resolve())
        config = RunConfig(
            task, self.architecture, self.seed, self.model, self.data, self.training, start
        )
        folder = self.out or Path("runs") / task
        command = ["unrolled", *sys.argv[1:]]
        with progress("scoring") as tell:
            trained = train(
                config, folder, overwrite=self.overwrite, command=command, progress=tell
            )
        return finish(task, trained, self.json)


def finish(task: str, trained: Trained, as_json: bool) -> int:
    """Say how a run ended; returns the exit code."""
    if not leads():
        pass
    elif as_json:
        print_json(summary(trained))
    else:
        report(task, trained)
    return 130 if trained.ended == "interrupted" else 0


def usage() -> str:
    """What `unrolled train --help` shows, before a task is named."""
    width = max(map(len, TASKS))
    rows = "\n".join(f"  {name:<{width}}  {task.summary}" for name, task in TASKS.items())
    return (
        f"usage: unrolled train TASK [options]\n\n{Train.__doc__}\n\n{rows}\n\n"
        f"`unrolled train TASK --help` shows a task's options and defaults.\n"
        f"Example: {Train.example}"
    )


def for_task(command: type[Train], task: str) -> type[Train]:
    """The command with the architectures that the task can use, and no other, to choose from."""
    choice: Any = Literal[find_task(task).architectures]
    own = ("architecture", choice, field(metadata={}))
    return make_dataclass(command.__name__, [own], bases=(command,), frozen=True)


def option(words: Sequence[str], name: str) -> str | None:
    """The value that the command line gives an option, before it is parsed as a whole."""
    for i, word in enumerate(words):
        if word == name and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(name + "="):
            return word.partition("=")[2]
    return None


def own_options(given: dict[str, Any], file: str | None) -> dict[str, Any]:
    """Take from a file's options those that are no part of a run's config."""
    own: dict[str, Any] = {}
    for name, kind in (("out", str), ("overwrite", bool), ("json", bool)):
        if name in given:
            own[name] = given.pop(name)
            if not isinstance(own[name], kind):
                raise BadInput(f"{file}: {name} is a {kind.__name__}, got {own[name]!r}")
    if "out" in own:
        own["out"] = Path(own["out"])
    return own


def with_file(
    task_name: str,
    architecture: str | None,
    init: str | None,
    given: dict[str, Any],
    file: str | None,
) -> RunConfig:
    """A task's defaults for an architecture or a run to begin with, a TOML file's over them."""
    task = find_task(task_name)
    chosen: Any = architecture or given.get("architecture")
    start = init or given.pop("init", "")
    if start:
        defaults = starting_config(task, Path(str(start)).expanduser())
        chosen = chosen or defaults.architecture
    else:
        chosen = str(chosen or task.architectures[0])
        task.check(chosen)
        defaults = task.defaults(chosen)
    base: dict[str, Any] = asdict(defaults)
    for key, value in given.items():
        if isinstance(base.get(key), dict) and isinstance(value, dict):
            base[key] = {**base[key], **value}
        else:
            base[key] = value
    if base["task"] != task_name:
        raise BadInput(f"{file} is for the task {base['task']!r}, not {task_name!r}")
    return replace(strictly(RunConfig, base, file or task_name), architecture=chosen)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's content. Raises `BadInput` with the place of a mistake."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"--config {path}: {error}") from None


def summary(trained: Trained) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "run": str(trained.folder),
        "ended": trained.ended,
        "steps": trained.steps,
        "seconds": round(trained.seconds, 1),
        "scores": dict(trained.scores),
    }


def report(task: str, trained: Trained) -> None:
    """The end of a run, for a person."""
    print(f"\n{trained.ended}: {trained.steps:,} steps in {in_words(trained.seconds)}")
    for name, value in trained.scores.items():
        print(f"  {name.replace('_', ' '):<22} {shown(name, value)}")
    if trained.samples:
        print(f"\nheld-out samples:\n{trained.samples}")
    print(f"\nrun folder   {trained.folder}\nloss curve   {trained.folder / 'loss.png'}")
    print("\ntry next:")
    for line in suggestions(task, trained):
        print(f"  {line}")


def shown(name: str, value: float) -> str:
    """A score as people read it: shares in percent, counts whole."""
    if "exact_match" in name or "accuracy" in name:
        return f"{100 * value:.2f} %"
    if name.endswith("_change"):
        return f"{100 * value:+.3f} %"
    if "log_prob_error" in name:
        return f"{value:.5f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def suggestions(task: str, trained: Trained) -> list[str]:
    """Commands that make sense with a run that has just ended."""
    folder = shlex.quote(str(trained.folder))
    again = f"unrolled evaluate {folder}"
    ask = {
        "piglatin": f'unrolled translate {folder} "the quick brown fox"',
        "sort": f"unrolled translate {folder} 201102",
        "verses": f'unrolled translate {folder} "And God seide, Liyt be maad"',
        "pairs": f'unrolled translate {folder} "…"',
        "text": f'unrolled generate {folder} "The class"',
    }
    on = f"unrolled resume {folder}" if trained.ended == "interrupted" else None
    # A masked model has no sample of its text, for it writes none.
    return [line for line in (on, ask.get(task) if trained.samples else None, again) if line]
