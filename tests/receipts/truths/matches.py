"""Is a receipt true? Exact matches: counted one by one, Pig Latin by the task's own rule."""

from __future__ import annotations

from hypothesis import strategies as st
from tests.receipts.truths.common import Document, whole

from unrolled.receipts import Receipt
from unrolled.tasks.piglatin_rule import translate


def matches_hold(document: Document) -> bool:
    given, evidence = document["given"], document["evidence"]
    sources = given["sources"]
    by_rule = set(given) - {"weights"} == {"sources", "task"}
    if by_rule:
        assert given["task"] == "piglatin"
        references = [translate(source) for source in sources]
    else:
        assert set(given) - {"weights"} == {"sources", "references"}
        references = given["references"]
    assert set(evidence) == {"predictions"}
    predictions = evidence["predictions"]
    assert all(isinstance(column, list) for column in (sources, references, predictions))
    assert all(isinstance(text, str) for text in (*sources, *references, *predictions))
    count = 0
    for i in range(len(sources)):
        count += references[i] == predictions[i]
    assert len(references) == len(predictions) == len(sources) > 0
    assert document["answer"] == {"matches": count, "of": len(sources)}
    assert whole(*document["answer"].values())
    what = "the Pig Latin of their sources" if by_rule else "their references"
    said = ""
    if "weights" in given:
        assert given["weights"] in ("bfloat16", "int8", "int4")
        said = f", said to be of {given['weights']} weights,"
    return document["claim"] == (
        f"{count} of {len(sources)} predictions{said} are letter for letter {what}."
    )


def evaluated(question: tuple[bool, list[tuple[str, int]]]) -> Document:
    """Sentences, each translated rightly, by a neighbour of the right answer, or not at all."""
    by_rule, rows = question
    sources = [source for source, _ in rows]
    references = [translate(source) for source in sources]
    predictions = [(r, r + "y", "", s)[way] for r, (s, way) in zip(references, rows, strict=True)]
    count = sum(way == 0 for _, way in rows)
    rest = {"task": "piglatin"} if by_rule else {"references": references}
    if count % 2:
        rest = {**rest, "weights": "int8"}
    answer = {"matches": count, "of": len(rows)}
    evidence = {"predictions": predictions}
    receipt = Receipt.prove(
        "evaluation.exact_match", {"sources": sources, **rest}, answer, evidence
    )
    return receipt.document()


def sentences() -> st.SearchStrategy[str]:
    words = st.text("aeyquxst", min_size=1, max_size=5)
    return st.lists(words, min_size=1, max_size=3).map(" ".join)
