"""Is what the report says what its records say, and is a record that is wrong refused?"""

from __future__ import annotations

import io
import itertools
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pptx
import pytest
from scipy.stats import binomtest

from unrolled.course import set_folder
from unrolled.course.writeup.report import differences, flat, recorded, report, sign_test, wilson
from unrolled.course.writeup.slides import slides
from unrolled.errors import BadInput
from unrolled.receipts import Receipt
from unrolled.tasks.piglatin_rule import translate

RECORDS = set_folder() / "report"
RUNS = sorted(path for path in RECORDS.iterdir() if path.is_dir())
SOURCES = ["the fox", "a quick fox", "my cat", "it is", "we eat red apples every day"]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two runs of few sentences: right in 2 and in 4 of 5, one of them lost on the way."""
    right = [translate(source) for source in SOURCES]
    answers = ([*right[:2], "?", "", "way"], ["?", *right[1:]])
    for number, (real, predictions) in enumerate(zip((RUNS[0], RUNS[-1]), answers, strict=True)):
        folder = tmp_path / "records" / f"{number}-{'ab'[number]}"
        shutil.copytree(real, folder)
        matches = sum(map(str.__eq__, predictions, right))
        Receipt.prove(
            "evaluation.exact_match",
            {"sources": SOURCES, "task": "piglatin"},
            {"matches": matches, "of": 5},
            {"predictions": predictions},
        ).save(folder / "answers.json")
        scores = {"exact_match": matches / 5, "bleu": bleu(predictions, right)}
        (folder / "scores.json").write_text(json.dumps(scores))
    return tmp_path / "records"


def bleu(answers: list[str], references: list[str]) -> float:
    """By the paper; a precision of 0 is halved for each order that has none, as sacrebleu does."""
    logs, halved = 0.0, 1
    for n in range(1, 5):
        hits = total = 0
        for pair in zip(answers, references, strict=True):
            words = [text.split() for text in pair]
            made, known = (
                Counter(tuple(w[i : i + n]) for i in range(len(w) - n + 1)) for w in words
            )
            hits += (made & known).total()
            total += made.total()
        if not total:
            return 0.0
        if not hits:
            halved *= 2
        logs += math.log(hits / total if hits else 1 / (halved * total)) / 4
    sizes = [sum(len(text.split()) for text in texts) for texts in (answers, references)]
    return 100 * math.exp(min(0.0, 1 - sizes[1] / sizes[0]) + logs)


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_a_recorded_run_says_what_its_answers_give(folder: Path):
    run = recorded(folder)
    assert run.references == [translate(source) for source in run.receipt.given["sources"]]
    assert sum(run.right) == run.receipt.answer["matches"]
    assert run.bleu == pytest.approx(bleu(run.predictions, run.references), rel=1e-9)
    assert json.loads((folder / "scores.json").read_text())["sentences"] == len(run.right)
    command = (RECORDS / "record.sh").read_text()
    own = next(line for line in command.splitlines() if f"{folder.name}) record" in line)
    options = own.partition('"$name" ')[2].removesuffix(" ;;")
    assert options in run.environment["command"]


def test_the_runs_differ_in_what_the_report_says_and_tuning_helped(tmp_path):
    told = report(RECORDS, tmp_path, {})
    assert told["whole"]["told"] == told["steps"][0]["told"] == "a difference"
    names = [[key for key, _, _ in changed] for changed in told["changes"]]
    assert names == [["training.learning_rate", "training.optimizer"], ["model.num_heads"]]
    first, last = told["runs"][0], told["runs"][-1]
    assert float(first["bleu"]) < float(last["bleu"])
    assert float(first["exact"].split()[0]) < float(last["exact"].split()[0])


def test_what_tuning_mended_and_broke_is_counted(records, tmp_path):
    found: dict[str, Receipt] = {}
    told = report(records, tmp_path, found)
    assert told["steps"] == [told["whole"]]
    assert told["whole"] == {
        "mended": 3,
        "broken": 1,
        "p": "p = 0.62",  # (1 + 4) / 16, twice
        "told": "no difference that these sentences can tell",
    }
    assert [run["exact"] for run in told["runs"]] == ["40.0 %", "80.0 %"]
    assert [run["name"] for run in told["runs"]] == ["a", "b"]
    assert told["examples"][0] == {"source": "my cat", "first": "?", "last": "y-may at-cay"}
    assert list(found) == ["report-0-a", "report-1-b"]
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert "<!-- b -->" in (tmp_path / "losses.svg").read_text()


def change(folder: Path, name: str, **values: object) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


def test_records_that_are_not_whole_or_not_true_are_refused(records, tmp_path):
    first = records / "0-a"
    spare = tmp_path / "spare"
    shutil.copytree(first, spare)

    def again(file: str, text: str | None, message: str) -> None:
        if text is None:
            (first / file).unlink()
        else:
            (first / file).write_text(text)
        with pytest.raises(BadInput, match=message):
            report(records, tmp_path, {})
        shutil.copy(spare / file, first / file)

    scores = json.loads((first / "scores.json").read_text())
    again("scores.json", json.dumps(scores | {"bleu": 99.0}), "says bleu 99.0; the answers give")
    again("scores.json", json.dumps(scores | {"exact_match": 1}), r"says exact_match 1.0; .* 0\.4")
    again("scores.json", "{}", "no whole record of a run: KeyError")
    again("scores.json", "[]", "expected an object, got list")
    again("scores.json", None, r"scores\.json: .*No such file")
    again("environment.json", "{}", "no whole record of a run: KeyError")
    again("metrics.jsonl", '{"format": 1}\n', "no held-out loss")
    again("why.txt", None, "no whole record")
    receipt = (first / "answers.json").read_text()
    again("answers.json", receipt.replace('"matches":2', '"matches":3'), "no whole record")
    again("config.json", "{", "config.json")
    (records / "1-b/answers.json").write_text(receipt.replace("the fox", "the ox"))
    with pytest.raises(BadInput, match=r"1-b is no whole record.*says 2; 1"):
        report(records, tmp_path, {})
    shutil.rmtree(records / "1-b")
    with pytest.raises(BadInput, match="two runs or more, got 1"):
        report(records, tmp_path, {})


def test_runs_of_different_sentences_are_not_compared(records, tmp_path):
    other = Receipt.prove(
        "evaluation.exact_match",
        {"sources": SOURCES, "references": ["x"] * 5},
        {"matches": 0, "of": 5},
        {"predictions": ["y"] * 5},
    )
    other.save(records / "1-b/answers.json")
    change(records / "1-b", "scores.json", exact_match=0, bleu=bleu(["y"] * 5, ["x"] * 5))
    with pytest.raises(BadInput, match="different sentences"):
        report(records, tmp_path, {})


@pytest.mark.parametrize(("matches", "of"), [(0, 7), (7, 7), (3, 10), (618, 1000), (1, 1)])
def test_the_interval_is_scipys(matches: int, of: int):
    expected = binomtest(matches, of).proportion_ci(method="wilson")
    assert wilson(matches, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("split", [(0, 0), (3, 1), (5, 5), (0, 9), (571, 5), (14, 12)])
def test_the_test_of_signs_is_scipys(split: tuple[int, int]):
    expected = binomtest(split[0], sum(split)).pvalue if any(split) else 1.0
    assert sign_test(*split) == pytest.approx(expected, rel=1e-9)


def test_settings_differ_by_their_paths():
    before = flat({"a": {"b": 1, "c": 2000}, "d": "x"})
    assert before == {"a.b": 1, "a.c": 2000, "d": "x"}
    assert differences(before, {"a.b": 1, "a.c": 0.5, "e": True}) == [
        ["a.c", "2,000", "0.5"],
        ["d", "x", "None"],
        ["e", "None", "True"],
    ]


def height(frame, width: float) -> float:
    """About how high its text is in inches: letters half as wide as high, lines of 1.2."""
    high = 0.1
    for paragraph in frame.paragraphs:
        size = max((run.font.size.inches for run in paragraph.runs), default=0.0)
        lines = math.ceil(0.5 * size * len(paragraph.text) / (width - 0.2))
        high += 1.2 * size * lines + size / 3
    return high


def bottom(shape) -> float:
    """How far down a shape's text reaches, in inches."""
    if not shape.has_table:
        text = height(shape.text_frame, shape.width.inches) if shape.has_text_frame else 0.0
        return shape.top.inches + text
    widths = [column.width.inches for column in shape.table.columns]
    return shape.top.inches + sum(
        max(height(cell.text_frame, width) for cell, width in zip(row.cells, widths, strict=True))
        for row in shape.table.rows
    )


def test_the_slides_say_it_and_nothing_stands_outside_them(tmp_path):
    told = report(RECORDS, tmp_path, {})
    deck = pptx.Presentation(io.BytesIO(slides(told, tmp_path, "Zoë")))
    texts, pictures = [], 0
    for slide in deck.slides:
        in_order = sorted(slide.shapes, key=lambda shape: shape.top)
        for above, below in itertools.pairwise(in_order):
            assert bottom(above) <= below.top.inches
        assert bottom(in_order[-1]) <= 7.5
        for shape in slide.shapes:
            assert min(shape.left, shape.top) >= 0
            assert shape.left + shape.width <= deck.slide_width
            assert shape.top + shape.height <= deck.slide_height
            pictures += shape.shape_type == pptx.enum.shapes.MSO_SHAPE_TYPE.PICTURE
            if shape.has_text_frame:
                texts.append(shape.text_frame.text)
            if shape.has_table:
                assert sum(c.width for c in shape.table.columns) <= deck.slide_width - shape.left
                texts += [cell.text for cell in shape.table.iter_cells()]
    said = "\n".join(texts)
    assert "Zoë" in said
    assert pictures == 1
    for run in told["runs"]:
        assert {run["name"], run["exact"], run["bleu"], run["loss"], run["why"]} <= set(texts)
    for changed in told["changes"]:
        for key, old, new in changed:
            assert f"{key} {old} → {new}" in said
    assert deck.core_properties.author == "Zoë"
