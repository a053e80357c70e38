"""Does a run say what a receipt of a search says it said? The model is asked again.

`receipts.check` shows that the answer follows from the numbers; here the numbers themselves are
computed again, teacher-forced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from unrolled.decoding import Scorer
from unrolled.decoding.forced import forced
from unrolled.decoding.rescore import longest, rescore
from unrolled.errors import BadInput
from unrolled.models.packs import Tell, check_format, load_packed
from unrolled.models.packs import silent as untold
from unrolled.receipts import check
from unrolled.receipts.check import Verdict
from unrolled.tasks.answering import open_job
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.text import MaskedJob, TextJob


def rescorer(
    folder: Path, *, large: bool = False, weights: str | None = None, tell: Tell = untold
) -> Callable[[str], Verdict]:
    """Gives the verdict on a file: does it hold, and does the run's model say the same?

    The model has its weights in the format `weights`, or in the one that the file names. Where that
    is not float32, float32 is asked as well, and the answer's log-probability told in both.
    "refuted" also names the first number that differs; "unreadable" also says why this model can't
    be asked: the receipt is no search's, or another model's. `tell` is told as by `load_packed`.
    Raises `BadInput` for a run that writes nothing, and for an unknown format.
    """
    check_format(weights or "float32")
    job = open_job(folder)
    if not isinstance(job, PairJob | TextJob) or isinstance(job, MaskedJob):
        raise BadInput(f"{folder} is a run of {job.config.task}: it scores no sequences")
    writes: PairJob | TextJob = job
    model = cache(lambda format: load_packed(folder, format, tell))

    def scorer(format: str, length: int) -> Scorer:
        return writes.scorer(model(format), length)

    def asked(document: dict[str, Any]) -> tuple[str, str]:
        """What differs, and which model says the same where nothing does."""
        if document["kind"] not in ("beam.stop", "beam.map"):
            raise BadInput(f"a model can't re-score a receipt of kind {document['kind']!r}")
        source, vocab_size = document["given"]["source"], writes.config.model.vocab_size
        if not source or not all(0 <= token < vocab_size for token in source):
            raise BadInput("its source is empty or has tokens of another model")
        length, room = longest(document), writes.room(source)
        if length > room:
            raise BadInput(
                f"its source and {length} tokens don't fit into the model's max_positions "
                f"{writes.config.model.max_positions}: it is another model's"
            )
        format = weights or document["given"].get("weights", "float32")
        found = rescore(scorer(format, length), document, decode=writes.tokenizer.decode_bytes)
        if format == "float32":
            return found, f"The model of {folder} gives the same log-probabilities."
        same = f"The model of {folder} gives the same log-probabilities in {format}"
        # As the model has them, without any rule.
        row = [(source, document["answer"].get("tokens", []))]
        packed, exact = (next(forced(scorer(name, length), row)) for name in (format, "float32"))
        worst = max((abs(a - b) for a, b in zip(packed, exact, strict=True)), default=0.0)
        return found, (
            f"{same}; to the answer it gives {sum(packed):.6f} in {format} and {sum(exact):.6f} in "
            f"float32, and no token of it differs by more than {worst:.6f}."
        )

    def verdict_on(file: str) -> Verdict:
        name = ascii(file)[1:-1]
        try:
            document = check.parse(check.read(file, large), large)
            claim = check.check(document)
            found, same = asked(document)
        except check.Refuted as error:
            return Verdict(name, "refuted", str(error))
        except (check.Malformed, BadInput) as error:
            return Verdict(name, "unreadable", str(error))
        if found:
            return Verdict(name, "refuted", found)
        return Verdict(name, "holds", f"{claim} {same}")

    return verdict_on
