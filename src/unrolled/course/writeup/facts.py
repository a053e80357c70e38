"""Which numbers, tables and pictures do the answers state? Each computed here, and left a
receipt.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from unrolled.automata import explain as automata_explain
from unrolled.automata import parity
from unrolled.course.writeup.report import report
from unrolled.decoding import beam_search
from unrolled.decoding import draw as decoding_draw
from unrolled.decoding.scorers.table import TableScorer
from unrolled.errors import WorkFailed
from unrolled.graphs import Graph, GraphAttention, equivalent, exercise
from unrolled.neurons import draw as neurons_draw
from unrolled.neurons.explain import explain as explain_neuron
from unrolled.neurons.separate import separate
from unrolled.neurons.truth_table import TruthTable
from unrolled.receipts import Receipt, check
from unrolled.recurrences import draw as recurrences_draw
from unrolled.recurrences import explain as recurrences_explain
from unrolled.recurrences import verdict
from unrolled.recurrences.files import read
from unrolled.scaling import PUBLISHED, Fit, Published, allocate, find_law, fit, read_runs
from unrolled.scaling import draw as scaling_draw

Facts = dict[str, Any]
RECURRENCES = {
    "vanishing": "[[0.9, 1], [0, 0.9]]",
    "exploding": "[[1.1, 0.2], [0, 0.8]]",
    "defective": "[[1, 1], [0, 1]]",
}
BIGRAMS = (
    (0.10, 0.60, 0.05, 0.25),
    (0.05, 0.05, 0.10, 0.80),
    (0.30, 0.30, 0.20, 0.20),
    (0.60, 0.30, 0.05, 0.05),
)
"""Chances of a, b, c and the end after each of them; the last row is also how a sequence begins."""
WORDS = "I eat red apples"
TIMES = 10
"""How much larger the second budget is by which laws are compared."""
WIDTH = 8
"""Of the words' vectors in the example of attention."""
STRING = "010110"


def collect(folder: Path, records: Path) -> Facts:
    """Compute everything, and write `pictures/` and `receipts/` into the folder.

    `records` has those of the report's runs. Raises `WorkFailed` if a receipt, read back from its
    file, doesn't hold.
    """
    pictures, receipts = folder / "pictures", folder / "receipts"
    for made in (pictures, receipts):
        made.mkdir(parents=True, exist_ok=True)
    found: dict[str, Receipt] = {}
    facts = {
        "neurons": neurons(pictures, found),
        "parity": parity_lstm(found),
        "beam": beam(pictures, found),
        "recurrences": recurrences(pictures, found),
        "graph": graph(found),
        "scaling": scaling(pictures, found),
        "report": report(records, pictures, found),
    }
    keep(found, receipts)
    return {**facts, "receipts": {name: receipt.claim for name, receipt in found.items()}}


def keep(found: dict[str, Receipt], folder: Path) -> None:
    """Write the receipts, and check what was written. Raises `WorkFailed` for one that's wrong."""
    for name, receipt in found.items():
        receipt.save(folder / f"{name}.json")
        told = check.check_file(folder / f"{name}.json")
        if told.exit_code:
            raise WorkFailed(f"the receipt {name} doesn't hold: {told.text}")


def neurons(pictures: Path, found: dict[str, Receipt]) -> Facts:
    """AND and OR with their neurons, XOR with its refutation."""
    told = {}
    for name in ("and", "or", "xor"):
        answer = separate(TruthTable.parse(f"x1 {name} x2", ("x1", "x2")))
        neurons_draw.draw(answer, pictures / f"{name}.svg")
        found[name], told[name] = answer.receipt(), explain_neuron(answer)
    return told


def parity_lstm(found: dict[str, Receipt]) -> Facts:
    """The LSTM of one unit, and its gates on a string."""
    answer = parity("hard")
    found["parity"] = answer.receipt()
    return {
        "weights": automata_explain.explain(answer),
        "table": automata_explain.table(answer, STRING),
        "string": STRING,
    }


def beam(pictures: Path, found: dict[str, Receipt]) -> Facts:
    """A search that goes on after its first completed hypothesis, and then stops early."""
    letters = ("a", "b", "c", "end")
    size = 2
    # The source's last token is the table's row of the first step: "end" also begins.
    scorer = TableScorer(torch.tensor(BIGRAMS), end_token=3)
    answer = beam_search(scorer, [[3]], beam_size=size, max_length=8)[0]
    best = answer.hypotheses[0]
    decoding_draw.draw(answer, pictures / "beam.svg", text=letters.__getitem__)
    found["beam"] = answer.receipt()
    return {
        "size": size,
        "answer": " ".join(letters[token] for token in best.tokens),
        "probability": f"{math.exp(best.log_prob):.4g}",
        "reason": f"It stopped after step {answer.steps}: {answer.reason}.",
    }


def recurrences(pictures: Path, found: dict[str, Receipt]) -> Facts:
    """What three recurrences do, each with its proof."""
    told: Facts = {}
    for name, text in RECURRENCES.items():
        answer = verdict(read(text))
        recurrences_draw.draw(answer, pictures / f"{name}.svg")
        found[name] = answer.receipt()
        first, *rest = recurrences_explain.explain(answer).splitlines()
        radius = next(line.strip() for line in rest if "spectral radius:" in line)
        told[name] = {"matrix": text, "says": f"{first} ({radius.capitalize()}.)"}
    return told


def graph(found: dict[str, Receipt]) -> Facts:
    """One update on the four-node graph, in exact fractions, and the attention of a sentence."""
    worked, words = exercise.worked(), len(WORDS.split())
    found["aggregate"] = exercise.receipt()
    complete = Graph.complete(words)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = GraphAttention(WIDTH, 1, bias=False)
    answer = equivalent(layer, complete)
    found["attention"] = answer.receipt()
    return {
        "own": exercise.vector(exercise.H[0]),
        "messages": [exercise.vector(message) for message in worked.messages],
        "aggregate": exercise.vector(worked.total),
        "positive": exercise.vector(worked.heard),
        "product": exercise.decimal(worked.own),
        "result": exercise.vector(worked.result),
        "words": words,
        "edges": Graph.complete(words, self_loops=False).num_edges,
        "with_loops": complete.num_edges,
        "width": WIDTH,
        "difference": f"{answer.difference:.1e}",
    }


def scaling(pictures: Path, found: dict[str, Receipt]) -> Facts:
    """A law fitted to the shipped sweep, and what others' constants say."""
    runs = read_runs("shipped")
    fitted = fit(find_law("hoffmann"), runs, bootstraps=1000)
    budget = float(runs.compute.max())
    scaling_draw.draw(fitted, pictures / "scaling.svg", "loss")
    found["scaling"] = fitted.receipt((budget, TIMES * budget))
    low, high = fitted.intervals()["alpha"]
    cited = [PUBLISHED[name] for name in ("kaplan-n", "kaplan-d", "kaplan-nd", "hoffmann")]
    kaplan_n, kaplan_d, kaplan, hoffmann = cited
    return {
        "times": TIMES,
        "runs": len(runs),
        "alpha": f"{fitted.parameters['alpha']:.2f}",
        "low": f"{low:.2f}",
        "high": f"{high:.2f}",
        "theirs": f"{hoffmann.parameters['alpha']:.2f}",
        "alpha_N": f"{kaplan_n.parameters['alpha_N']:g}",
        "alpha_D": f"{kaplan_d.parameters['alpha_D']:g}",
        "ours": growth(fitted, budget),
        "kaplan": growth(kaplan, budget),
        "hoffmann": growth(hoffmann, budget),
        "sources": [law.source for law in cited],
    }


def growth(law: Fit | Published, budget: float) -> str:
    """How many times the parameters a law asks for where the budget is TIMES as large."""
    return f"{allocate(law, TIMES * budget).parameters / allocate(law, budget).parameters:.1f}"
