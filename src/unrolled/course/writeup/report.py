"""What did tuning gain? Read from the records of its runs, and counted again from their answers.

A record is a folder: config.json, environment.json and metrics.jsonl of a run, scores.json and
answers.json as `unrolled evaluate --json --receipt` gives them, and why.txt. The folders' order is
that of the runs, the one before tuning first. BLEU: Papineni et al. 2002, by `sacrebleu` (Post
2018). The interval of a share is Wilson's (1927, J. Am. Stat. Assoc. 22).
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import sacrebleu

from unrolled.errors import BadInput
from unrolled.receipts import Receipt
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.piglatin_rule import translate
from unrolled.training.config import RunConfig
from unrolled.training.draw import compare_losses
from unrolled.training.log import read_metrics
from unrolled.training.run import load_config

Facts = dict[str, Any]
COMMON = (
    "task", "data.corpus", "architecture", "model.hidden_size", "model.num_layers",
    "data.tokens_per_batch", "training.max_steps", "seed",
)  # fmt: skip
"""Settings that are told even if no run changes them."""
EXAMPLES, SHORT = 3, 40
"""How many sentences are shown, and of how many letters at most."""
CHANCE = 0.05
"""A split of the sentences as likely as this, or likelier, tells of no difference."""
NORMAL = 1.959963984540054
"""Standard deviations on each side that hold 95 % of a normal distribution."""


class Recorded(NamedTuple):
    """One run."""

    name: str
    folder: Path
    config: RunConfig
    environment: Mapping[str, Any]
    receipt: Receipt
    references: list[str]
    bleu: float
    """0…100."""
    loss: float
    """The last on held-out sentences, nats a target token."""
    why: str

    @property
    def predictions(self) -> list[str]:
        """The answers, in the order of the sources."""
        return list(self.receipt.evidence["predictions"])

    @property
    def right(self) -> list[bool]:
        """Which of the answers match."""
        return list(map(str.__eq__, self.predictions, self.references))


def report(folder: Path, pictures: Path, found: dict[str, Receipt]) -> Facts:
    """All that the report states, as text; its receipts go to `found`, its picture to `pictures`.

    Raises `BadInput` if there are fewer than two records, or one is not whole, or says what its
    answers don't.
    """
    runs = [recorded(path.parent) for path in sorted(folder.glob("*/config.json"))]
    if len(runs) < 2:
        raise BadInput(f"{folder}: expected the records of two runs or more, got {len(runs)}")
    if any(run.receipt.given != runs[0].receipt.given for run in runs):
        raise BadInput(f"{folder}: the runs answered different sentences and can't be compared")
    for kind in ("svg", "png"):  # the page takes the one, the slides the other
        compare_losses({run.name: run.folder for run in runs}, pictures / f"losses.{kind}")
    found |= {f"report-{run.folder.name}": run.receipt for run in runs}
    settings = [flat(asdict(run.config)) for run in runs]
    return {
        "runs": [told(run) for run in runs],
        "changes": [differences(*two) for two in pairwise(settings)],
        "common": [[key, shown(settings[0][key])] for key in COMMON if same(settings, key)],
        "steps": [against(*two) for two in pairwise(runs)],
        "whole": against(runs[0], runs[-1]),
        "examples": examples(runs[0], runs[-1]),
    }


def recorded(folder: Path) -> Recorded:
    """Read a record, and count again. Raises `BadInput`, with the file, for what isn't so."""
    receipt = Receipt.load(folder / "answers.json")
    scores, environment = (read(folder / name) for name in ("scores.json", "environment.json"))
    try:
        receipt.check()
        sources = receipt.given["sources"]
        references = receipt.given.get("references") or list(map(translate, sources))
        bleu = sacrebleu.corpus_bleu(
            receipt.evidence["predictions"], [references], tokenize=PairJob.bleu_words
        ).score
        share = receipt.answer["matches"] / receipt.answer["of"]
        said = {name: float(scores[name]) for name in ("exact_match", "bleu")}
        why = (folder / "why.txt").read_text("utf-8")
        losses = [
            row["validation_loss"] for row in read_metrics(folder) if "validation_loss" in row
        ]
        command = environment["command"]
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise BadInput(f"{folder} is no whole record of a run: {error!r}") from None
    for name, counted in (("exact_match", share), ("bleu", bleu)):
        if not math.isclose(said[name], counted, rel_tol=1e-9):
            raise BadInput(
                f"{folder / 'scores.json'}: says {name} {said[name]}; the answers give {counted}"
            )
    if not losses or not isinstance(command, str):
        raise BadInput(f"{folder}: no held-out loss in metrics.jsonl, or no command")
    name = folder.name.partition("-")[2] or folder.name
    config = load_config(folder)
    return Recorded(
        name, folder, config, environment, receipt, references, bleu, losses[-1], prose(why)
    )


def read(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `BadInput` for what is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected an object, got {type(content).__name__}")
    return content


def prose(text: str) -> str:
    """Lines as one paragraph."""
    return " ".join(text.split())


def told(run: Recorded) -> Facts:
    """One run's row, as both the page and the slides say it."""
    matches, of = run.receipt.answer["matches"], run.receipt.answer["of"]
    low, high = wilson(matches, of)
    words = shlex.split(run.environment["command"])
    folder = words[words.index("--out") + 1] if "--out" in words[:-1] else "RUN"
    return {
        "name": run.name,
        "receipt": f"report-{run.folder.name}",
        "exact": f"{100 * matches / of:.1f} %",
        "interval": f"{100 * low:.1f} to {100 * high:.1f} %",
        "of": f"{of:,}",
        "bleu": f"{run.bleu:.1f}",
        "loss": f"{run.loss:.2g}",
        "why": run.why,
        "train": run.environment["command"],
        "evaluate": f"unrolled evaluate {shlex.quote(folder)} --json --receipt answers.json",
    }


def against(before: Recorded, after: Recorded) -> Facts:
    """Sentences that one run gets right and the other wrong, and whether that could be chance."""
    pairs = list(zip(before.right, after.right, strict=True))
    mended, broken = pairs.count((False, True)), pairs.count((True, False))
    p = sign_test(mended, broken)
    return {
        "mended": mended,
        "broken": broken,
        "p": "p < 0.001" if p < 0.001 else f"p = {p:.2g}",
        "told": "a difference" if p < CHANCE else "no difference that these sentences can tell",
    }


def sign_test(mended: int, broken: int) -> float:
    """How likely so uneven a split is, or a more uneven one, where either way is as likely.

    McNemar's test (1947), exact: twice the tail of a binomial distribution, at most 1.
    """
    tail = sum(math.comb(mended + broken, k) for k in range(min(mended, broken) + 1))
    return min(1.0, 2 * tail / (1 << (mended + broken)))


def wilson(matches: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share: the p at which |matches/of - p| is NORMAL of its deviations."""
    centre = (matches + NORMAL**2 / 2) / (of + NORMAL**2)
    half = NORMAL / (of + NORMAL**2) * math.sqrt(matches * (of - matches) / of + NORMAL**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings by their path, as the command line names them."""
    return dict(leaves(settings, before))


def leaves(settings: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Path and value of each."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[list[str]]:
    """[setting, what it was, what it is] of each that changed."""
    keys = dict.fromkeys((*before, *after))
    pairs = [(key, before.get(key), after.get(key)) for key in keys]
    return [[key, shown(old), shown(new)] for key, old, new in pairs if old != new]


def same(settings: list[dict[str, Any]], key: str) -> bool:
    """Whether all runs have it, and alike."""
    return all(own.get(key) == settings[0].get(key) for own in settings) and key in settings[0]


def shown(value: Any) -> str:
    """A setting for a reader."""
    return f"{value:,}" if type(value) is int else str(value)


def examples(first: Recorded, last: Recorded) -> list[Facts]:
    """The first short sentences that the first run gets wrong and the last one right."""
    rows = zip(
        first.receipt.given["sources"], first.predictions, last.predictions,
        first.right, last.right, strict=True,
    )  # fmt: skip
    mended = [
        {"source": source, "first": was, "last": now}
        for source, was, now, right_then, right_now in rows
        if right_now and not right_then and len(source) <= SHORT
    ]
    return mended[:EXAMPLES]
