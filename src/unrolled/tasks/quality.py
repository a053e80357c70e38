"""What does a format of weights cost? The same held-out data twice: packed, and in float32.

Both models are asked as decoding asks them, by their scorers, so what is measured is what decoding
meets: of the packed model the compiled step's own arithmetic, where that is what runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count

from unrolled.decoding import sample
from unrolled.decoding.forced import Row, forced
from unrolled.errors import BadInput
from unrolled.models import Model
from unrolled.models.batch import segments
from unrolled.models.packs import Loaded
from unrolled.tasks.pairs import PairJob
from unrolled.tasks.task import Job, Progress, Scores, silent
from unrolled.tasks.text import MaskedJob, TextJob
from unrolled.training.parallel import first

TOKENS = 10_240
"""Held-out tokens whose log-probabilities are compared."""
LENGTH = 160
"""Tokens of a row of text, at most."""
CONTINUED, PROMPT, NEW = 50, 16, 32
"""Greedy continuations that are compared, tokens of their prompts and of themselves."""


def against_float32(
    job: Job,
    exact: Model,
    packed: Loaded,
    answers: Sequence[str] = (),
    progress: Progress = silent,
) -> Scores:
    """What the `packed` model of a run has lost against the `exact` one, its float32 original.

    For a run that writes: log_prob_error_mean and log_prob_error_largest, of
    |log p packed - log p float32| in nats, over `compared_tokens` tokens of the held-out text
    (at most `TOKENS`), each behind the true ones before it. For text also bits_per_byte_compared,
    of those tokens, bits_per_byte_float32 and bits_per_byte_change, the share that is lost
    (negative: won); continuations_changed, how many of the `continuations`, greedy ones of `NEW`
    tokens, are not the same. For pairs, whose packed model gave these `answers` to what is held
    out: exact_match_float32 and answers_changed. For other runs the scores in float32. Under
    torchrun all processes must call it.
    """
    if isinstance(job, MaskedJob) or not isinstance(job, TextJob | PairJob):
        return {f"{name}_float32": value for name, value in job.score(exact, progress).items()}
    if isinstance(job, PairJob):
        pairs = job
        before = pairs.predictions(exact, progress)
        changed = sum(a != b for a, b in zip(before, answers, strict=True))
        match = pairs.scores_of(before)["exact_match"]
        errors, _ = first(lambda: _errors(pairs, exact, packed, pair_rows(pairs), progress))
        return {"exact_match_float32": match, "answers_changed": changed, **errors}
    writes: TextJob = job

    def compare() -> Scores:
        rows = text_rows(writes)
        errors, nats = _errors(writes, exact, packed, rows, progress)
        size = sum(len(writes.tokenizer.decode_bytes(tokens)) for _, tokens in rows)
        bits = [value / math.log(2) / size for value in nats]
        prompts = prompts_of(rows)
        before, after = (continuations(writes, model, prompts) for model in (exact, packed))
        return {
            "bits_per_byte_compared": bits[1],
            "bits_per_byte_float32": bits[0],
            "bits_per_byte_change": nats[1] / nats[0] - 1.0,
            **errors,
            "continuations_changed": sum(a != b for a, b in zip(before, after, strict=True)),
            "continuations": len(prompts),
        }

    return first(compare)


def _errors(
    job: TextJob | PairJob, exact: Model, packed: Loaded, rows: Sequence[Row], progress: Progress
) -> tuple[Scores, tuple[float, float]]:
    """Differences of log-probabilities over the rows' tokens, and each model's nats."""
    longest, done = max((len(tokens) for _, tokens in rows), default=1), count(1)

    def values(model: Loaded) -> Iterator[float]:
        for row in forced(job.scorer(model, longest), rows):
            progress(next(done), 2 * len(rows))
            yield from row

    before, after = list(values(exact)), list(values(packed))
    errors = [abs(a - b) for a, b in zip(before, after, strict=True)]
    found = {
        "log_prob_error_mean": math.fsum(errors) / max(1, len(errors)),
        "log_prob_error_largest": max(errors, default=0.0),
        "compared_tokens": len(errors),
    }
    return found, (-math.fsum(before), -math.fsum(after))


def text_rows(job: TextJob) -> list[Row]:
    """The beginning of the held-out text in rows, as it is laid out for scoring."""
    return cut(
        (
            (tokens[i : i + 1], targets[i : i + LENGTH])
            for batch in job.held_out()
            for tokens, targets in segments(batch)
            for i in range(0, len(tokens), LENGTH)
        ),
        TOKENS,
    )


def prompts_of(rows: Sequence[Row]) -> list[list[int]]:
    """Pieces of the rows, at even distances, to be continued."""
    texts = [[*source, *tokens] for source, tokens in rows]
    starts = ((text, i) for text in texts for i in range(0, max(1, len(text) - PROMPT), PROMPT))
    pieces = [text[i : i + PROMPT] for text, i in starts]
    count = min(CONTINUED, len(pieces))
    return [pieces[i * len(pieces) // count] for i in range(count)]


def pair_rows(job: PairJob) -> list[Row]:
    """Held-out sources with the translations that would be right."""
    end = job.tokenizer.end_id

    def fitting() -> Iterator[Row]:
        for sentence, translation in job.data.held_out:
            with suppress(BadInput):  # too long for the model
                source, tokens = job.encode(sentence), [*job.tokenizer.encode(translation), end]
                if len(tokens) <= job.room(source):
                    yield source, tokens

    return cut(fitting(), TOKENS)


def cut(rows: Iterator[Row], wanted: int) -> list[Row]:
    """The first rows of so many tokens together."""
    found: list[Row] = []
    for source, tokens in rows:
        found.append((source, tokens[:wanted]))
        wanted -= len(tokens)
        if wanted <= 0:
            break
    return found


def continuations(job: TextJob, model: Loaded, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """What each prompt is followed by, the likeliest token at a time."""
    limits = [min(NEW, job.room(prompt)) for prompt in prompts]
    scorer = job.scorer(model, NEW)
    return [answer.tokens for answer in sample(scorer, prompts, max_length=limits)]
