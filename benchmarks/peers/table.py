"""The numbers as Markdown, for docs/."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from peers.bandwidth import BITS, step_bytes

Numbers = dict[str, Any]
SPEEDS = {
    "greedy": "greedy",
    "beam": "beam 4",
    "rows": "16 prompts, greedy",
    "batch": "16 prompts × beam 4",
}


def markdown(numbers: Numbers) -> str:
    """All tables that there are numbers for."""
    found = [line for table in (speeds, others, quality, reading) for line in table(numbers)]
    machine = ", ".join(f"{name} {version}" for name, version in numbers["machine"].items())
    return "\n".join([*found, f"Measured on: {machine}."])


def names(numbers: Numbers, parts: Any) -> list[str]:
    """Contenders of these parts, by number format, then as they were measured."""
    seen = dict.fromkeys(name for part in parts for name in numbers.get(part, {}))
    return sorted(seen, key=lambda name: list(BITS).index(split(name)[1]))


def split(name: str) -> tuple[str, str]:
    """Peer and number format."""
    peer, _, weights = name.partition(" | ")
    return peer, weights


def speeds(numbers: Numbers) -> Iterator[str]:
    """Tokens a second."""
    parts = [part for part in SPEEDS if part in numbers]
    yield f"| tokens/s | weights | {' | '.join(SPEEDS[part] for part in parts)} |"
    yield f"|---|---|{'---|' * len(parts)}"
    for name in names(numbers, parts):
        cells = [rate(numbers[part].get(name)) for part in parts]
        yield f"| {' | '.join([*split(name), *cells])} |"
    yield ""


def rate(one: Numbers | None) -> str:
    """Median, quartiles and threads, or that there is none."""
    if one is None:
        return "–"
    values = sorted(one["rates"] or [one["warm_up"]])
    low, high = values[len(values) // 4], values[-1 - len(values) // 4]
    return f"{median(values):.1f} ({low:.1f}–{high:.1f}), {one['threads']} t"


def others(numbers: Numbers) -> Iterator[str]:
    """First token of a long prompt, load time, memory."""
    yield "| | weights | 512 tokens to the first, s | load, s | with its process, s | peak, MB |"
    yield "|---|---|---|---|---|---|"
    for name in names(numbers, ("first", "load")):
        first, load = numbers.get("first", {}).get(name), numbers.get("load", {}).get(name)
        cells = [f"{1 / median(first['rates'] or [first['warm_up']]):.2f}" if first else "–"]
        cells += [f"{median(load[key]):.2f}" if load else "–" for key in ("load", "process")]
        cells += [f"{median(load['megabytes']):,.0f}" if load else "–"]
        yield f"| {' | '.join([*split(name), *cells])} |"
    yield ""


def quality(numbers: Numbers) -> Iterator[str]:
    """What a format costs."""
    if "quality" not in numbers:
        return
    yield "| | weights | largest error, nats | mean | loss, nats a token | changed of 50 |"
    yield "|---|---|---|---|---|---|"
    for name in names(numbers, ("quality",)):
        one = numbers["quality"][name]
        errors = [f"{one[key]:.2g}" for key in ("largest", "mean")]
        cells = [*errors, f"{one['loss']:+.4f}", str(one["changed"])]
        yield f"| {' | '.join([*split(name), *cells])} |"
    yield ""


def reading(numbers: Numbers) -> Iterator[str]:
    """What a step must read, how often that goes into a second, and how near the fastest are."""
    speeds = numbers.get("bandwidth", {})
    if not speeds:
        return
    yield "| weights | read a step, MB | steps/s that memory allows | fastest greedy | beam 4 |"
    yield "|---|---|---|---|---|"
    for weights in BITS:
        need = step_bytes(numbers["config"], weights, 4, 24)
        size = need["weights"] + need["cache"]
        nearest = min(speeds, key=lambda name: abs(float(name.split()[0]) - size))
        allowed = speeds[nearest] * 1e3 / size
        cells = [f"{size:.0f}", f"{allowed:.0f} ({speeds[nearest]:.0f} GB/s of {nearest})"]
        for part in ("greedy", "beam"):
            rates = {
                split(name)[0]: median(one["rates"] or [one["warm_up"]])
                for name, one in numbers.get(part, {}).items()
                if split(name)[1] == weights
            }
            best = max(rates, key=rates.__getitem__, default="")
            cells.append(f"{best} {rates[best]:.0f}" if best else "–")
        yield f"| {weights} | {' | '.join(cells)} |"
    yield ""
