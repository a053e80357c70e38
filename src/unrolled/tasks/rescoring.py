"""Does a run say what a receipt of a search says it said? The model is asked again.

`receipts.check` shows that the answer follows from the numbers; here the numbers themselves are
computed again, teacher-forced.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from unrolled.decoding.rescore import longest, rescore
from unrolled.errors import BadInput
from unrolled.receipts import check
from unrolled.receipts.check import Verdict
from unrolled.tasks.answering import open_run
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.text import MaskedJob, TextJob


def rescorer(folder: Path, *, large: bool = False) -> Callable[[str], Verdict]:
    """Gives the verdict on a file: does it hold, and does the run's model say the same?

    "refuted" also names the first number that differs; "unreadable" also says why this model can't
    be asked: the receipt is no search's, or another model's. Raises `BadInput` for a run that
    writes nothing.
    """
    job, model = open_run(folder)
    if not isinstance(job, PairJob | TextJob) or isinstance(job, MaskedJob):
        raise BadInput(f"{folder} is a run of {job.config.task}: it scores no sequences")
    writes: PairJob | TextJob = job

    def differs(document: dict[str, Any]) -> str:
        if document["kind"] not in ("beam.stop", "beam.map"):
            raise BadInput(f"a model can't re-score a receipt of kind {document['kind']!r}")
        source = document["given"]["source"]
        if not source or not all(0 <= token < model.config.vocab_size for token in source):
            raise BadInput("its source is empty or has tokens of another model")
        length, room = longest(document), writes.room(source)
        if length > room:
            raise BadInput(
                f"its source and {length} tokens don't fit into the model's max_positions "
                f"{writes.config.model.max_positions}: it is another model's"
            )
        decode = writes.tokenizer.decode_bytes
        return rescore(writes.scorer(model, length), document, decode=decode)

    def verdict_on(file: str) -> Verdict:
        name = ascii(file)[1:-1]
        try:
            document = check.parse(check.read(file, large), large)
            claim = check.check(document)
            found = differs(document)
        except check.Refuted as error:
            return Verdict(name, "refuted", str(error))
        except (check.Malformed, BadInput) as error:
            return Verdict(name, "unreadable", str(error))
        if found:
            return Verdict(name, "refuted", found)
        same = f"{claim} The model of {folder} gives the same log-probabilities."
        return Verdict(name, "holds", same)

    return verdict_on
