"""How fast does SmolLM2-135M decode on a processor, in each number format, against every peer?

    python benchmarks/smollm.py convert RUN --models DIR [--converter PYTHON]
    python benchmarks/smollm.py PART... RUN --models DIR --json FILE [--only NAME,...]
    python benchmarks/smollm.py table --json FILE

RUN is the folder of `unrolled import smollm2`. DIR keeps the peers' files, some 4 GB, which
`convert` makes with each peer's own converter (benchmarks/peers/requirements.txt says what must be
installed where; PYTHON is the interpreter that has the converters). A peer that can't be imported
or converted is named and skipped. The parts, each a few minutes, write their numbers into FILE:

    bandwidth   of reading memory, on two threads
    threads     every contender on one thread and on two: the others take the faster
    greedy      32 tokens after each of two short prompts, tokens/s
    beam        the same with beams of 4; a token here is one of the best hypothesis
    rows        16 prompts at once, greedy
    batch       16 prompts at once, beams of 4
    first       the first token of a prompt of 512 tokens
    load        seconds from the process's start to the first token; peak memory
    quality     log-probabilities against float32; changed continuations of 50 real prompts

No contender may end a text early, so that all do the same work. Limits, written down before
optimising: a step reads 538 MB of weights in float32, 143 MB in 8 bits, 76 MB in 4 bits with their
scales, for all rows of a beam once; `bandwidth` says how many of these go into a second.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from peers import measure
from peers.asking import Entrant
from peers.bandwidth import read_speeds
from peers.contender import PEERS, Sources
from peers.table import markdown
from peers.texts import Texts

PARTS = ("bandwidth", "threads", *measure.WORKLOADS, "load", "quality")


def main() -> None:
    """Run what was named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="+", metavar="PART... RUN", help=", ".join(PARTS))
    parser.add_argument("--models", type=Path, help="where the peers' files are kept")
    parser.add_argument("--converter", default=sys.executable, help="the converters' Python")
    parser.add_argument("--json", type=Path, help="where numbers are kept")
    parser.add_argument("--only", default="", help="names of peers or contenders, with commas")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    if options.words == ["table"] and options.json:
        print(markdown(json.loads(options.json.read_text("utf-8"))))
        return
    *parts, run = options.words
    options.models = options.models and options.models.resolve()  # workers run elsewhere
    if not options.models or not Path(run).is_dir() or not parts:
        parser.error("expected PART... RUN --models DIR")
    if parts == ["convert"]:
        convert(Path(run), options.models, options.converter, options.only)
        return
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    if not options.json:
        parser.error("--json FILE says where the numbers go")
    for part in parts:
        measure.say(f"== {part}")
        numbers = read(options.json)
        found = run_part(part, Path(run), options, numbers)
        numbers = read(options.json) | {part: found, "machine": machine()}
        numbers["config"] = json.loads((options.models / "hf" / "config.json").read_text("utf-8"))
        options.json.write_text(json.dumps(numbers, indent=1), "utf-8")


def read(path: Path) -> dict[str, Any]:
    """What earlier parts found."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def run_part(part: str, run: Path, options: Any, numbers: dict[str, Any]) -> Any:
    """One part's numbers."""
    if part == "bandwidth":
        return read_speeds()
    texts = Texts(run)
    given = entrants(options.models, options.only, part, numbers.get("threads", {}))
    if part in measure.WORKLOADS:
        return measure.speed(part, given, options.models, texts, options.rounds)
    if part == "load":
        return measure.load(given, options.models, texts, options.rounds)
    return getattr(measure, part)(given, options.models, texts)


def entrants(models: Path, only: str, part: str, known: dict[str, Any]) -> list[Entrant]:
    """Who takes part, each on the number of threads that was faster; the others are named."""
    found = []
    for peer in PEERS:
        named = only.split(",")
        if only and not any(name.startswith(peer.name) for name in named):
            continue
        if missing := peer.missing():
            measure.say(f"  {peer.name}: skipped, {missing} is not installed")
            continue
        for weights in peer.weights:
            one = Entrant(peer, weights, 2)
            if only and not {peer.name, one.name} & {*named}:
                continue
            if not peer.folder(models, weights).exists():
                measure.say(f"  {one.name}: skipped, it isn't converted")
                continue
            rates = known.get(one.name, {})
            tried = rates.get(measure.CHOSEN_BY.get(part, ""), {})
            best = max(tried, key=tried.__getitem__, default="2")
            found.append(Entrant(peer, weights, int(best)))
    return found


def convert(run: Path, models: Path, python: str, only: str) -> None:
    """Make what the peers read, and that is not there yet."""
    from unrolled.tasks.weights import find

    sources = Sources(run, models / "hf", find("smollm2"))
    if not sources.hf.exists():
        command = [sys.executable, "-m", "unrolled", "export", str(run), "--format", "hf"]
        subprocess.run([*command, "--out", str(sources.hf)], check=True)
    for peer in PEERS:
        for weights in peer.weights:
            folder = peer.folder(models, weights)
            if folder.exists() or (only and peer.name not in only.split(",")):
                continue
            try:
                peer.code().convert(sources, weights, folder, python)
            except (subprocess.CalledProcessError, ImportError, OSError) as error:
                measure.say(f"  {peer.name} in {weights}: not converted, {error}")
                shutil.rmtree(folder, ignore_errors=True)


def machine() -> dict[str, str]:
    """What the numbers belong to."""
    from unrolled.training.run import processor

    found = {"processor": processor(), "Python": platform.python_version()}
    packages = dict.fromkeys(package for peer in PEERS for package in (*peer.packages, "torch"))
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
