"""How fast is decoding? Against `transformers` on the same weights, and where a step's time goes.

    python benchmarks/decoding.py greedy RUN     sentences/s of a Pig Latin run, both in turns
    python benchmarks/decoding.py reorder RUN    milliseconds of a step: rows reordered, model, rest

RUN is the folder of a run of `unrolled train piglatin`. Limits, written down before optimising: a
step of that model is 0.2 M weights, 0.4 MFLOP a row, which at 100 GFLOP/s (one core) is 1.3 ms for
320 rows; reordering all of a cache of 40 columns moves 2 × 26 MB there and back, 10 ms at 10 GB/s,
and of one column a fortieth of that.
"""

from __future__ import annotations

import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from timing import interleaved, spread
from unrolled.decoding import sample
from unrolled.models.export_hf import export_hf
from unrolled.tasks.answering import open_run
from unrolled.training.memory import keep_freed_memory
from unrolled.training.run import processor

SENTENCES, BEAMS = 1_000, 5


def greedy(run: Path, rounds: int = 3) -> None:
    """The likeliest token each time: 1,000 held-out sentences, end to end."""
    job, model = open_run(run)
    job_: Any = job
    sources = job_.sources([source for source, _ in job_.data.held_out[:SENTENCES]])
    theirs = opened_by_transformers(model)
    end = job.tokenizer.end_id
    longest = max(job_._room(source) for source in sources)
    answers: dict[str, list[list[int]]] = {}

    def unrolled() -> float:
        scorer = job_.scorer(model, longest)
        found = sample(scorer, sources, max_length=[job_._room(s) for s in sources])
        answers["unrolled"] = [answer.tokens for answer in found]
        return len(sources)

    def transformers(batch: int) -> Callable[[], float]:
        def work() -> float:
            order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
            found: dict[int, list[int]] = {}
            for start in range(0, len(order), batch):
                chunk = order[start : start + batch]
                width = max(len(sources[i]) for i in chunk)
                ids = torch.tensor([[0] * (width - len(sources[i])) + sources[i] for i in chunk])
                lengths = torch.tensor([len(sources[i]) for i in chunk])[:, None]
                out = theirs.generate(
                    ids,
                    attention_mask=(torch.arange(width) >= width - lengths).long(),
                    max_new_tokens=256 - width,
                    do_sample=False,
                    eos_token_id=end,
                    pad_token_id=0,
                )
                for i, row in zip(chunk, out[:, width:].tolist(), strict=True):
                    found[i] = row[: row.index(end) + 1] if end in row else row
            answers[f"transformers, {batch}"] = [found[i] for i in range(len(sources))]
            return len(sources)

        return work

    contenders = {"unrolled": unrolled}
    contenders |= {f"transformers, batch {b}": transformers(b) for b in (64, 256)}
    rates = interleaved(contenders, rounds=rounds)
    print(f"\ngreedy, {len(sources)} sentences (median and quartiles of {rounds} rounds)")
    first = max(median(v) for k, v in rates.items() if k != "unrolled")
    for name, values in rates.items():
        print(f"  {name:<26} {spread(values):>20} sentences/s   {median(values) / first:.2f} ×")
    ours = answers.pop("unrolled")
    for name, other in answers.items():
        same = sum(a == b for a, b in zip(ours, other, strict=True))
        print(f"  the same tokens as {name}: {same} of {len(ours)}")


def opened_by_transformers(model: Any) -> Any:
    """The same weights in the other library."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        export_hf(model, Path(folder), {})
        return AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def reorder(run: Path, repeats: int = 30) -> None:
    """Beams of five that swap places within their sources, after 1, 10 and 40 tokens."""
    job, model = open_run(run)
    job_: Any = job
    sources = job_.sources([source for source, _ in job_.data.held_out])
    sources = sorted(sources, key=len)
    generator = torch.Generator().manual_seed(0)
    print(
        "\na step of beams of 5, milliseconds (medians): swapping rows, all of the cache and what"
    )
    print("differs; the model's pass")
    for batch in (16, 64):
        scorer = job_.scorer(model, 60)
        state, log_probs = scorer.start(sources[500 : 500 + batch])
        parents = torch.arange(batch).repeat_interleave(BEAMS)
        state, _ = scorer.step(state, parents, log_probs.topk(BEAMS).indices.flatten())
        rows = batch * BEAMS
        swapped = torch.arange(batch)[:, None] * BEAMS
        swapped = (swapped + torch.randint(BEAMS, (batch, BEAMS), generator=generator)).flatten()
        tokens, stay = torch.full((rows,), 7), torch.arange(rows)
        for length in range(1, 41):
            if length in (1, 10, 40):
                descent, state.descent = state.descent, None
                whole = milliseconds(lambda: state.reorder(swapped), repeats)  # noqa: B023
                state.descent = descent
                part = milliseconds(lambda: state.reorder(swapped), repeats)  # noqa: B023
                before = time.perf_counter()
            state, _ = scorer.step(state, stay, tokens)
            if length in (1, 10, 40):
                passed = 1e3 * (time.perf_counter() - before)
                print(
                    f"  {rows:>4} rows, {length:>2} tokens   {whole:6.2f} → {part:5.2f}   "
                    f"model {passed:6.2f}"
                )


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def main() -> None:
    """Run the part that was named, or both."""
    parts = {"greedy": greedy, "reorder": reorder}
    words = sys.argv[1:]
    if not words or (len(words) > 1 and words[0] not in parts):
        sys.exit("usage: python benchmarks/decoding.py [greedy | reorder] RUN")
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    keep_freed_memory()
    for part in words[:-1] or list(parts):
        parts[part](Path(words[-1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process {peak:,.0f} MB")


if __name__ == "__main__":
    main()
