"""How is an answer searched for instead of drawn? The options of a search, and what it found.

One dataclass serves every command that answers; the searches themselves are in `decoding`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.decoding import Decoded, Exact, Hypothesis, Scorer, beam_search, exact_search
from unrolled.decoding.beam import STOPS
from unrolled.decoding.exact import BUDGET
from unrolled.decoding.explain import explain, verdict
from unrolled.decoding.objectives import parse_objective
from unrolled.decoding.processors import LogitProcessor
from unrolled.decoding.search import OnPrefix
from unrolled.errors import BadInput
from unrolled.receipts import Receipt

BEAM_SIZE = 5


@dataclass(frozen=True)
class SearchConfig:
    """Beam search, turned on by any of these options."""

    beam_size: int | None = None
    """Prefixes that beam search keeps; 5 where another option turns it on."""
    stop: str | None = None
    """When it stops: optimal (no later step can be better; the default), nth (the same of the n
    best; the default with --n-best), exhaustive, or hf:false, hf:true, hf:never, the rules of
    Hugging Face."""
    objective: str = "log-probability"
    """What is best: log-probability, length-normalised:0.6, gnmt:0.6, word-reward:0.5 or
    bounded-reward:0.5:20 (reward:length)."""
    n_best: int = 1
    """So many answers, best first."""
    exact: bool = False
    """Search on until the answer is the best of all sequences, or the budget is used up."""
    budget: int | None = None
    """Prefixes that --exact may score beside the beam's; 10,000 if not given."""
    receipt: Path | None = None
    """Write the proof here, for `unrolled check`; of several sentences FILE.1.json, FILE.2.json…"""
    explain: bool = False
    """Show the steps, and why the search stopped."""
    plot: Path | None = None
    """Draw the search tree, .svg or .png; of several sentences as --receipt."""

    def __post_init__(self) -> None:
        """Refuse what can't be, before a model is read."""
        for name in ("beam_size", "n_best", "budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        if self.stop is not None and self.stop not in STOPS:
            raise BadInput(f"unknown stop rule {self.stop!r}: choose one of {', '.join(STOPS)}")
        parse_objective(self.objective)
        if self.budget is not None and not self.exact:
            raise BadInput("--budget is for --exact: leave it out, or add --exact")
        if self.exact and (self.stop is not None or self.n_best != 1):
            raise BadInput("--exact finds the one best answer: leave out --stop and --n-best")
        if self.receipt is not None and self.rule.startswith("hf:"):
            raise BadInput(
                f"--stop {self.stop} proves nothing: --receipt needs optimal, nth or exhaustive"
            )
        if self.plot is not None and self.plot.suffix.lower() not in (".svg", ".png"):
            raise BadInput(f"--plot draws a .svg or .png file, not {self.plot.name!r}")
        for file in (self.receipt, self.plot):
            if file is not None and not file.parent.is_dir():
                raise BadInput(f"there is no folder {file.parent} to write {file.name} into")

    @property
    def on(self) -> bool:
        """Whether there is anything to search for."""
        return self != SearchConfig()

    @property
    def rule(self) -> str:
        """The stop rule."""
        return self.stop or ("optimal" if self.n_best == 1 else "nth")

    @property
    def width(self) -> int:
        """The beam's size."""
        return self.beam_size or BEAM_SIZE


@dataclass(frozen=True)
class Found:
    """What was found for one source: by beam search, and by exact search if it went on."""

    beam: Decoded
    exact: Exact | None = None

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """Best first; empty if none was completed."""
        if self.exact is None:
            return self.beam.hypotheses
        return [self.exact.best] if self.exact.best else []

    @property
    def tokens(self) -> list[int]:
        """The answer's; the best live prefix's where nothing was completed."""
        if self.hypotheses:
            return self.hypotheses[0].tokens
        return self.beam.live[0][0] if self.beam.live else []

    @property
    def reason(self) -> str:
        """Why the search stopped."""
        if self.exact is None:
            return self.beam.reason
        return self.exact.reason if self.hypotheses else "no hypothesis completed"

    @property
    def verdict(self) -> str:
        """How good the answer is among all sequences."""
        return verdict(self.exact or self.beam)

    def receipt(self) -> Receipt:
        """Of an exact search `beam.map`, else `beam.stop`; raises `BadInput` for none."""
        return (self.exact or self.beam).receipt()

    def told(self, spell: Callable[[Sequence[int]], str]) -> dict[str, Any]:
        """The search as JSON takes it; `spell` makes a text of tokens."""
        which = self.exact or self.beam
        best = [
            {
                "text": spell(h.tokens),
                "tokens": h.tokens,
                "log_prob": h.log_prob,
                "score": h.score,
                "completed": h.completed,
            }
            for h in self.hypotheses
        ]
        return {
            "hypotheses": best,
            "optimal": which.optimal,
            "upper_bound": finite(which.upper_bound),
            "gap": finite(which.gap),
            "steps": self.beam.steps,
            "reason": self.reason,
        }

    def trace(self, text: Callable[[int], str]) -> list[dict[str, Any]]:
        """The beam's steps as JSON takes them."""
        return [line._asdict() for line in explain(self.beam, text)]


def finite(value: float) -> float | None:
    """The number, or nothing where there is none."""
    return value if math.isfinite(value) else None


def search(
    scorer: Scorer,
    sources: Sequence[Sequence[int]],
    limits: Sequence[int],
    config: SearchConfig,
    processors: Sequence[LogitProcessor] = (),
    *,
    on_prefix: OnPrefix | None = None,
    on_finished: Callable[[int], None] | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> list[Found]:
    """The answer for each source, of at most its limit of tokens.

    Steps that are to be seen are those of the whole beam: a sure answer is not followed alone.
    `on_rows(rows used, budget)` follows an exact search. Raises `BadInput` as the searches do.
    """
    if not config.exact:
        found = beam_search(
            scorer,
            sources,
            beam_size=config.width,
            max_length=limits,
            stop=config.rule,
            objective=config.objective,
            n_best=config.n_best,
            processors=processors,
            on_prefix=on_prefix,
            on_finished=on_finished,
            narrow_first=not config.explain and config.plot is None,
        )
        return [Found(decoded) for decoded in found]
    answers, budget = [], config.budget or BUDGET

    def tell(used: int, *_: float) -> None:
        if on_rows is not None:
            on_rows(used, budget)

    for number, (source, limit) in enumerate(zip(sources, limits, strict=True)):
        exact = exact_search(
            scorer,
            source,
            max_length=limit,
            objective=config.objective,
            budget=budget,
            beam_size=config.width,
            processors=processors,
            on_progress=tell,
        )
        answers.append(Found(exact.first, exact))
        if on_finished is not None:
            on_finished(number)
    return answers


def leave(
    found: Sequence[Found | None], config: SearchConfig, spell: Callable[[int], str]
) -> list[Path]:
    """Write the receipts and pictures that were asked for; the files, in the sources' order.

    Of one source they are called as asked; of several, the source's number stands before the
    ending, and a source without a search (a blank line) has none.
    """
    receipts = [(i, f.receipt()) for i, f in enumerate(found, 1) if f and config.receipt]
    files = []
    for number, receipt in receipts:
        assert config.receipt is not None
        files.append(numbered(config.receipt, number, len(found)))
        receipt.save(files[-1])
    if config.plot is not None:
        from unrolled.decoding.draw import draw  # what draws takes longer to load than to search

        for number, one in enumerate(found, 1):
            if one is not None:
                files.append(numbered(config.plot, number, len(found)))
                end = one.beam.end_token
                draw(one.beam, files[-1], text=partial(label, spell=spell, end=end))
    return files


def label(token: int, *, spell: Callable[[int], str], end: int) -> str:
    """A token in a picture, where a space has to be seen."""
    return "end" if token == end else spell(token).replace(" ", "␣")


def numbered(path: Path, number: int, of: int) -> Path:
    """The file of one of several: answer.json is answer.3.json for the third."""
    return path if of == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
