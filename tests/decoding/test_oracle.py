"""Every kind of scorer, objective and stop rule against all sequences of a tiny vocabulary.

The oracle asks the same model in the plainest way (one row, no cache, no padding), writes down
every sequence up to a length, and takes the best by the objective's definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.decoding.test_beam import plain_beam
from tests.decoding.test_rows import made
from tests.decoding.test_rows import scorer as own_scorer
from tests.decoding.test_scorers import BEGIN, causal, export, seq2seq
from tests.decoding.tiny import OBJECTIVES, sequences
from tests.models.test_values import random_model, tiny

from unrolled.decoding import Scorer, beam_search, exact_search, rescore
from unrolled.decoding.beam import STOPS
from unrolled.decoding.objectives import parse_objective
from unrolled.decoding.scorers import (
    CausalScorer,
    FunctionScorer,
    GraphScorer,
    Seq2SeqScorer,
    TableScorer,
)

LONGEST = 3
SOURCES = [[3, 4, 1], [2], [1, 5]]
END = 2
WIDE = 1000
COMPLETE = OBJECTIVES[:3]
KINDS = [
    "decoder", "learned positions", "lstm", "encoder-decoder", "prefix memory", "gpt2", "llama",
    "t5", "bart", "table", "function", "graph",
]  # fmt: skip
Row = Callable[[Sequence[int], Sequence[int]], torch.Tensor]


@torch.no_grad()
def behind(model: Any, source: Sequence[int], tokens: Sequence[int], kind: str) -> torch.Tensor:
    """The log-probabilities of what follows, by one call of the model."""
    if kind in ("t5", "bart"):
        ids = torch.tensor([list(source)])
        target = torch.tensor([[BEGIN, *tokens]])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        logits = model(**given, decoder_input_ids=target).logits
    elif hasattr(model, "encode"):
        logits = model(torch.tensor([list(source)]), torch.tensor([[BEGIN, *tokens]]))
    else:
        logits = model(torch.tensor([[*source, *tokens]]))
        logits = getattr(logits, "logits", logits)
    found: torch.Tensor = logits[0, -1].float().log_softmax(-1)
    return found


def sharper(model: Any) -> Any:
    """Far from uniform, so that scores lie apart."""
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 3.0
    return model


def favours(source: tuple[int, ...], tokens: tuple[int, ...]) -> list[float]:
    weights = [1.0 + (7 * sum(source) + (i + 2) * (sum(tokens) + 3) + i * i) % 11 for i in range(6)]
    return torch.tensor(weights).div(sum(weights)).log().tolist()


@pytest.fixture(scope="module", params=KINDS)
def kind(request: Any, tmp_path_factory: Any) -> tuple[Scorer, Row]:
    """A scorer, and the plain way to its numbers."""
    name = request.param
    if name == "function":
        scorer: Scorer = FunctionScorer(favours, vocab_size=6, end_token=END)
        return scorer, lambda s, t: torch.tensor(favours(tuple(s), tuple(t)))
    if name == "table":
        draw = torch.Generator().manual_seed(5)
        table = (torch.randn(6, 6, generator=draw) * 1.5).softmax(-1)
        return TableScorer(table, end_token=END), lambda s, t: table[[*s, *t][-1]].log()
    if name == "graph":
        folder: Path = tmp_path_factory.mktemp("graph")
        export(folder, "encoder-decoder")
        model: Any = random_model("encoder-decoder", tiny())
        path = folder / "encoder-decoder/model.onnx"
        scorer = GraphScorer(path, end_token=END, begin_token=BEGIN, threads=1)
    elif name in ("gpt2", "llama"):
        model = sharper(causal(name))
        scorer = CausalScorer(model, end_token=END)
    elif name in ("t5", "bart"):
        model = sharper(seq2seq(name))
        scorer = Seq2SeqScorer(model, begin_token=BEGIN, end_token=END)
    else:
        shapes: dict[str, tuple[str, dict[str, Any]]] = {
            "learned positions": ("decoder", {"positions": "learned"}),
            "prefix memory": ("encoder-decoder", {"memory": "prefix"}),
        }
        model = made(*shapes.get(name, (name, {})), seed=4)
        scorer = own_scorer(model, END, max_length=8)
    known = cache(lambda s, t: behind(model, s, t, name))
    return scorer, lambda s, t: known(tuple(s), tuple(t))


@cache
def every(row: Row, source: tuple[int, ...]) -> list[tuple[float, int]]:
    """Log-probability and length of all completed sequences: one list for all objectives."""
    return [(total, len(tokens)) for tokens, total in sequences(row, source, END, LONGEST)]


def best_scores(row: Row, source: list[int], objective: str) -> list[float]:
    """All completed sequences' scores, best first."""
    score = parse_objective(objective).score
    return sorted((score(*pair) for pair in every(row, tuple(source))), reverse=True)


def near(value: Any) -> Any:
    return pytest.approx(value, abs=2e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_beam_as_wide_as_the_tree_and_the_exact_search_find_the_best_of_all(
    kind: tuple[Scorer, Row], objective: str
) -> None:
    scorer, row = kind
    for stop in ("optimal", "nth", "exhaustive")[: 3 if objective in COMPLETE else 1]:
        answers = beam_search(
            scorer, SOURCES, beam_size=WIDE, max_length=LONGEST, stop=stop, n_best=4,
            objective=objective,
        )  # fmt: skip
        for source, answer in zip(SOURCES, answers, strict=True):
            wanted = best_scores(row, source, objective)[: 1 if stop == "optimal" else 4]
            assert [h.score for h in answer.hypotheses[: len(wanted)]] == near(wanted)
            assert answer.optimal
            assert answer.receipt().kind == "beam.stop"  # it is made only if the checker agrees
    for source in SOURCES:
        exact = exact_search(scorer, source, max_length=LONGEST, objective=objective, beam_size=2)
        assert exact.optimal
        assert exact.best is not None
        assert exact.best.score == near(best_scores(row, source, objective)[0])
        assert rescore(scorer, exact.receipt().document()) == ""


@pytest.mark.parametrize("objective", ["log-probability", "length-normalised:1", "word-reward:0.7"])
@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_narrow_beams_are_the_definition_in_lists(
    kind: tuple[Scorer, Row], objective: str, beam_size: int
) -> None:
    scorer, row = kind

    class Plain:
        end_token = END

        def row(self, source: Any, tokens: Any) -> torch.Tensor:
            return row(source, tokens)

    for stop in ("optimal", "nth", "exhaustive"):
        options: dict[str, Any] = {
            "beam_size": beam_size, "max_length": LONGEST + 1, "objective": objective, "stop": stop
        }  # fmt: skip
        together = beam_search(scorer, SOURCES, **options)
        for source, answer in zip(SOURCES, together, strict=True):
            oracle: Any = Plain()
            plain = plain_beam(oracle, source, beam_size, LONGEST + 1, objective)
            assert [h.score for h in answer.hypotheses] == near([s for _, s in plain[:1]])
            assert [h.tokens for h in answer.hypotheses] == [list(t) for t, _ in plain[:1]]
            assert rescore(scorer, answer.receipt().document()) == ""
        alone = [beam_search(scorer, [source], **options)[0] for source in SOURCES]
        for one, other in zip(together, alone, strict=True):
            assert [h.tokens for h in one.hypotheses] == [h.tokens for h in other.hypotheses]
            assert one.steps == other.steps
        assert beam_search(scorer, SOURCES, **options) == together


@pytest.mark.parametrize("stop", [stop for stop in STOPS if stop.startswith("hf:")])
def test_under_hugging_faces_rules_what_is_cut_competes(
    kind: tuple[Scorer, Row], stop: str
) -> None:
    """A beam wider than the tree never has enough completed hypotheses to stop early."""
    scorer, row = kind
    for alpha in ("0", "1"):
        objective = f"length-normalised:{alpha}"
        score = parse_objective(objective).score
        for source in SOURCES:
            (answer,) = beam_search(
                scorer, [source], beam_size=WIDE, max_length=2, stop=stop, objective=objective
            )
            first = row(source, ()).tolist()
            done = [score(first[END], 1)]
            for token in range(scorer.vocab_size):
                if token != END:
                    logs = (first[token] + row(source, (token,))).tolist()
                    done += [score(log, 2) for log in logs]
            assert answer.hypotheses[0].score == near(max(done))
            assert answer.steps == 2
