"""How fast is decoding? Against `transformers` on the same weights, and where a step's time goes.

    python benchmarks/decoding.py greedy RUN    sentences/s of a Pig Latin run, both in turns
    python benchmarks/decoding.py beams RUN     the same with beams of 5; the model's steps and rows
    python benchmarks/decoding.py smollm RUN    SmolLM2-135M, beams of 1 and 4, a prompt at a time
    python benchmarks/decoding.py outside       milliseconds of a step outside the model

RUN is the folder of a run of `unrolled train piglatin`, or of `unrolled import smollm2`. Limits,
written down before optimising: a step of the Pig Latin model is 0.2 M weights, 0.4 MFLOP a row,
which at 100 GFLOP/s (one core) is 1.3 ms for 320 rows; reordering all of a cache of 40 columns
moves 2 × 26 MB there and back, 10 ms at 10 GB/s. A step of SmolLM2 reads 540 MB of weights in
float32: 16 ms at 34 GB/s, whatever the number of beams.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from timing import interleaved, peak_megabytes, spread
from unrolled.decoding import beam_search, sample
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
    longest = max(job_.room(source) for source in sources)
    answers: dict[str, list[list[int]]] = {}

    def unrolled() -> float:
        scorer = job_.scorer(model, longest)
        found = sample(scorer, sources, max_length=[job_.room(s) for s in sources])
        answers["unrolled"] = [answer.tokens for answer in found]
        return len(sources)

    contenders = {"unrolled": unrolled}
    for batch in (64, 256):
        name = f"transformers, batches of {batch}"
        contenders[name] = generated(theirs, sources, batch, end, name, answers)
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


def beams(run: Path, rounds: int = 3) -> None:
    """Beam search of five on the same sentences: the same answers, model steps, sentences/s."""
    job, model = open_run(run)
    job_: Any = job
    sources = job_.sources([source for source, _ in job_.data.held_out[:SENTENCES]])
    rooms = [job_.room(source) for source in sources]
    theirs = opened_by_transformers(model)
    answers: dict[str, list[list[int]]] = {}
    steps: dict[str, float] = {}

    def unrolled(name: str, **options: Any) -> Callable[[], float]:
        def work() -> float:
            scorer = Counted(job_.scorer(model, max(rooms)))
            found = beam_search(scorer, sources, beam_size=BEAMS, max_length=rooms, **options)
            answers[name] = [one.hypotheses[0].tokens for one in found]
            steps[name] = sum(one.steps for one in found) / len(found)
            rows[name] = scorer.rows / len(found)
            return len(sources)

        return work

    rows: dict[str, float] = {}
    contenders = {
        "unrolled": unrolled("unrolled"),
        "unrolled, whole beams": unrolled("unrolled, whole beams", narrow_first=False),
    }
    for batch in (16, 64):
        name = f"transformers, batches of {batch}"
        contenders[name] = generated(
            theirs, sources, batch, job.tokenizer.end_id, name, answers, num_beams=BEAMS,
            length_penalty=0.0,
        )  # fmt: skip
    rates = interleaved(contenders, rounds=rounds)
    print(f"\nbeams of {BEAMS}, {len(sources)} sentences (median and quartiles of {rounds} rounds)")
    first = max(median(v) for k, v in rates.items() if k.startswith("transformers"))
    for name, values in rates.items():
        print(f"  {name:<28} {spread(values):>20} sentences/s   {median(values) / first:.2f} ×")
    for stop in ("hf:false", "hf:never", "optimal"):
        unrolled(stop, stop=stop, narrow_first=False)()
        print(f"  stop {stop:<10} {steps[stop]:6.2f} steps, {rows[stop]:6.1f} rows a sentence")
    print(f"  narrow first    {steps['unrolled']:6.2f} steps, {rows['unrolled']:6.1f} rows")
    ours = answers.pop("unrolled")
    for name, other in answers.items():
        same = sum(a == b for a, b in zip(ours, other, strict=True))
        print(f"  the same tokens as {name}: {same} of {len(ours)}")


class Counted:
    """A scorer that counts the rows it is asked for."""

    def __init__(self, scorer: Any) -> None:
        self.scorer, self.rows = scorer, 0
        self.vocab_size, self.end_token = scorer.vocab_size, scorer.end_token

    def start(self, sources: Any) -> Any:
        """As the scorer does."""
        self.rows += len(sources)
        return self.scorer.start(sources)

    def step(self, state: Any, parents: Any, tokens: Any) -> Any:
        """As the scorer does."""
        self.rows += len(parents)
        return self.scorer.step(state, parents, tokens)


def generated(
    theirs: Any,
    sources: list[list[int]],
    batch: int,
    end: int,
    name: str,
    answers: dict[str, list[list[int]]],
    **options: Any,
) -> Callable[[], float]:
    """A contender: `generate` in batches of equal lengths, padded on the left."""

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
                **options,
            )
            for i, row in zip(chunk, out[:, width:].tolist(), strict=True):
                found[i] = row[: row.index(end) + 1] if end in row else row
        answers[name] = [found[i] for i in range(len(sources))]
        return len(sources)

    return work


def outside(repeats: int = 20) -> None:
    """A step's cost outside the model: vocabulary 50,000, beam 8, 16 sources, 20 steps."""
    vocab, size, batch, length = 50_000, 8, 16, 20
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, batch * size, vocab, generator=generator) * 2
    log_probs = logits.log_softmax(-1)
    log_probs[:, :, 0] = -50.0  # nothing ends

    class Fixed:
        vocab_size, end_token = vocab, 0

        def start(self, sources: Any) -> Any:
            return None, log_probs[0, : len(sources)]

        def step(self, state: Any, parents: Any, tokens: Any) -> Any:
            return state, log_probs[1, : len(parents)]

    def search() -> None:
        beam_search(Fixed(), [[1]] * batch, beam_size=size, max_length=length, stop="exhaustive")

    hidden, head = torch.randn(batch * size, 576), torch.randn(vocab, 576)
    spent = milliseconds(search, repeats) / length
    least = milliseconds(lambda: (hidden @ head.T).log_softmax(-1), repeats)
    print(f"\na step outside the model (50k vocabulary, beam 8, 16 sources): {spent:.2f} ms;")
    print(f"  the model's last layer and softmax alone at hidden 576: {least:.1f} ms")


PROMPTS = (
    "The history of the bicycle begins",
    "To make a good cup of coffee, first",
    "Question: Why is the sky blue? Answer:",
    "Once upon a time, in a small village,",
)


def smollm(run: Path, rounds: int = 3, length: int = 32) -> None:
    """SmolLM2-135M (`unrolled import smollm2 --out RUN`), float32, a prompt at a time."""
    job, model = open_run(run)
    theirs = opened_by_transformers(model)
    prompts = [job.tokenizer.encode(prompt) for prompt in PROMPTS]
    for size in (1, BEAMS - 1):
        compare_on_prompts(job, model, theirs, prompts, size, length, rounds)


def compare_on_prompts(
    job: Any, model: Any, theirs: Any, prompts: list[list[int]], size: int, length: int, rounds: int
) -> None:
    """Steps a second of both libraries by the same rule, and whether the tokens are the same."""
    answers: dict[str, list[list[int]]] = {}

    def unrolled() -> float:
        scorer, found, steps = job.scorer(model, length), [], 0
        for prompt in prompts:
            (one,) = beam_search(
                scorer,
                [prompt],
                beam_size=size,
                max_length=length,
                stop="hf:false",
                objective="length-normalised:1",
            )
            found.append(one.hypotheses[0].tokens)
            steps += one.steps
        answers["unrolled"] = found
        return steps

    def transformers() -> float:
        found = []
        for prompt in prompts:
            out = theirs.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=length,
                num_beams=size,
                do_sample=False,
                length_penalty=1.0,
                eos_token_id=job.tokenizer.end_id,
                pad_token_id=0,
            )
            found.append(out[0, len(prompt) :].tolist())
        answers["transformers"] = found
        return sum(map(len, found))

    rates = interleaved({"unrolled": unrolled, "transformers": transformers}, rounds=rounds)
    print(f"\nSmolLM2-135M, {length} new tokens, beams of {size} (steps/s, {rounds} rounds)")
    first = median(rates["transformers"])
    for name, values in rates.items():
        print(f"  {name:<28} {spread(values):>20} steps/s   {median(values) / first:.2f} ×")
    pairs = zip(answers["unrolled"], answers["transformers"], strict=True)
    print(f"  the same tokens: {sum(a == b for a, b in pairs)} of {len(prompts)}")


@torch.no_grad()
def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def main() -> None:
    """Run the part that was named."""
    parts = {"greedy": greedy, "beams": beams, "smollm": smollm}
    words = sys.argv[1:]
    if words[:1] != ["outside"] and (len(words) != 2 or words[0] not in parts):
        sys.exit("usage: python benchmarks/decoding.py [outside | (greedy | beams | smollm) RUN]")
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    keep_freed_memory()
    if words[0] == "outside":
        outside()
    else:
        parts[words[0]](Path(words[1]))
    print(f"\npeak memory of this process {peak_megabytes():,.0f} MB")


if __name__ == "__main__":
    main()
