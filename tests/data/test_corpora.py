"""Is a user's file read whole, divided cleanly, and is what can't be used counted and said?"""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import files
from unrolled.data.corpora import open_corpus
from unrolled.data.corpus import PairCorpus, TextCorpus, by_hash
from unrolled.errors import BadInput

SPLITS = ("train", "validation", "all")


def write(path: Path, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def prose(size: int, seed: int = 0) -> str:
    """Lines of random words, all different."""
    draw, lines, length = random.Random(seed), [], 0
    while length < size:
        words = ["".join(draw.choices("etaoinshrdlé", k=draw.randint(1, 9))) for _ in range(12)]
        lines.append(" ".join(words) + "\n")
        length += len(lines[-1].encode())
    return "".join(lines)


@pytest.mark.parametrize("file", ["a.txt", "a.txt.gz", "A.TXT"])
@pytest.mark.parametrize("size", [600, 30_000, 3_000_000])
def test_a_text_file_is_divided_without_loss_and_without_overlap(file, size, tmp_path):
    text = prose(size)
    corpus = open_corpus(write(tmp_path / file, text))
    assert isinstance(corpus, TextCorpus)
    train, validation, everything = (list(corpus.documents(s)) for s in SPLITS)
    assert "".join(everything) == text
    lines = text.splitlines(keepends=True)
    ours, theirs = (
        [x for d in side for x in d.splitlines(keepends=True)] for side in (train, validation)
    )
    assert sorted(ours + theirs) == sorted(lines)
    assert set(ours).isdisjoint(theirs)
    assert all(d in text for d in (*train, *validation)), "documents are stretches of the text"
    assert validation
    assert train
    if size > 1000:
        assert 0.01 < len("".join(validation)) / len(text) < 0.2
    assert corpus.report() == ""


def test_a_long_document_is_cut_only_at_what_is_held_out(tmp_path):
    text = prose(300_000)
    corpus = open_corpus(write(tmp_path / "a.txt", text))
    train, validation = (list(corpus.documents(s)) for s in ("train", "validation"))
    assert len(train) <= len(validation) + 1
    assert max(map(len, train)) > 10 * max(map(len, validation))


@pytest.mark.parametrize("file", ["a.jsonl", "a.jsonl.gz"])
def test_short_documents_of_a_jsonl_stay_whole(file, tmp_path):
    texts = [f"document {i}\nits second line" for i in range(4000)] * 2
    corpus = open_corpus(write(tmp_path / file, "\n".join(json.dumps({"text": t}) for t in texts)))
    train, validation, everything = (list(corpus.documents(s)) for s in SPLITS)
    assert everything == texts
    assert sorted(train + validation) == sorted(texts)
    assert set(train).isdisjoint(validation), "though every document occurs twice"
    assert 0.04 < len(validation) / len(texts) < 0.06


@pytest.mark.parametrize("file", ["p.tsv", "p.tsv.gz", "p.jsonl"])
def test_pairs_with_the_same_source_are_on_the_same_side(file, tmp_path):
    pairs = [(f"source {i % 3000}", f"target {i}") for i in range(6000)]
    rows = (
        [json.dumps({"source": s, "target": t}) for s, t in pairs]
        if file.endswith("jsonl")
        else [f"{s}\t{t}" for s, t in pairs]
    )
    corpus = open_corpus(write(tmp_path / file, "\r\n".join(rows)))
    assert isinstance(corpus, PairCorpus)
    train, validation, everything = (list(corpus.pairs(s)) for s in SPLITS)
    assert everything == pairs
    assert sorted(train + validation) == sorted(pairs)
    assert {s for s, _ in train}.isdisjoint(s for s, _ in validation)
    assert 0.04 < len(validation) / len(pairs) < 0.06
    assert list(corpus.pairs("train")) == train


@pytest.mark.parametrize("number", [2, 3, 7])
def test_the_smallest_corpora_have_both_sides(number: int, tmp_path):
    pairs = open_corpus(write(tmp_path / "p.tsv", "".join(f"s{i}\tt\n" for i in range(number))))
    assert next(pairs.pairs("train"))[0] == "s0"
    assert next(pairs.pairs("validation"))[0] == "s1"
    lines = "".join(f'{{"text": "{i}"}}\n' for i in range(number))
    texts = open_corpus(write(tmp_path / "t.jsonl", lines))
    assert next(texts.documents("train")) == "0"
    assert next(texts.documents("validation")) == "1"


def test_a_single_text_is_trained_on(tmp_path):
    corpus = open_corpus(write(tmp_path / "a.txt", "alone"))
    assert list(corpus.documents("train")) == ["alone"]
    assert list(corpus.documents("validation")) == []


def test_one_in_holdout_is_held_out(tmp_path):
    rows = "".join(f"s{i}\tt\n" for i in range(8000))
    for holdout in (2, 10, 50):
        corpus = open_corpus(write(tmp_path / "p.tsv", rows), holdout=holdout)
        share = len(list(corpus.pairs("validation"))) / 8000
        assert abs(share - 1 / holdout) < 5 * (1 / holdout / 8000) ** 0.5
    with pytest.raises(BadInput, match="2 or more, got 1"):
        open_corpus(str(tmp_path / "p.tsv"), holdout=1)


@given(texts=st.lists(st.text("ab \n"), max_size=30))
def test_the_division_depends_on_the_text_alone_and_is_refused_only_if_all_is_blank(texts):
    rule = by_hash(iter(texts), 20)
    distinct = list(dict.fromkeys(t for t in texts if t.strip()))
    if not distinct:
        assert rule is None
    else:
        assert not rule(distinct[0])
        assert len(distinct) == 1 or rule(distinct[1])


@given(
    text=st.text(st.sampled_from("aé€😀\n"), max_size=80),
    most=st.integers(4, 30),
)
def test_parts_join_to_the_text_and_end_at_line_ends_where_they_can(text: str, most: int):
    data = text.encode()
    place = 0

    def read(n: int) -> bytes:
        nonlocal place
        place += n
        return data[place - n : place]

    skipped: list[str] = []
    parts = list(files.cut(read, most, skipped.append))
    assert "".join(parts) == text
    assert not skipped
    assert all(len(p.encode()) <= most for p in parts)
    assert all(p.endswith("\n") or "\n" not in p for p in parts[:-1])


def test_lines_that_are_not_utf8_are_skipped_counted_and_never_replaced(tmp_path):
    good, bad = "naïve\n".encode(), "naïve\n".encode("latin-1")
    text = open_corpus(write(tmp_path / "a.txt", good + bad + good * 200 + bad))
    for _ in range(2):
        assert "".join(text.documents("all")) == "naïve\n" * 201
    assert text.skipped == {"not UTF-8": 2}
    assert text.report() == "read 1 document; skipped 2 lines not UTF-8"

    pairs = open_corpus(write(tmp_path / "p.tsv", b"a\tb\n\xff\xfe\tc\nd\te\n"))
    assert list(pairs.pairs("all")) == [("a", "b"), ("d", "e")]
    assert pairs.report() == "read 2 pairs; skipped 1 line not UTF-8"


def test_malformed_pairs_are_skipped_and_counted_by_reason_once(tmp_path):
    content = "a\tb\nno tab\n\tc\nc\t \nx\ty\tz\n\nalso none\ne\tf\n"
    corpus = open_corpus(write(tmp_path / "p.tsv", content))
    for split in ("all", "train", "all"):
        list(corpus.pairs(split))
    assert list(corpus.pairs("all")) == [("a", "b"), ("e", "f")]
    assert corpus.skipped == {
        "without a tab": 2,
        "with an empty side": 2,
        "with more than one tab": 1,
    }
    assert corpus.report() == (
        "read 2 pairs; skipped 5 lines: "
        "2 without a tab, 2 with an empty side, 1 with more than one tab"
    )


def test_a_reading_that_was_broken_off_leaves_the_count_of_the_whole(tmp_path):
    corpus = open_corpus(write(tmp_path / "p.tsv", "bad\na\tb\nbad\nc\td\nbad\n"))
    next(corpus.pairs("all"))
    assert corpus.skipped == {"without a tab": 2}, "as far as opening read"
    list(corpus.pairs("all"))
    next(corpus.pairs("all"))
    assert corpus.skipped == {"without a tab": 3}


DOCUMENT, PAIR = '{"text": "t"}', '{"source": "s", "target": "t"}'


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "in JSON"),
        ("[1]", "in JSON"),
        ("[" * 100_000, "in JSON"),
        ('{"text": 3}', "in JSON"),
        ('{"source": "s"}', "in JSON"),
        ('{"text": " "}', "with an empty text"),
        ('{"source": "s", "target": ""}', "with an empty text"),
        (r'{"text": "\ud800"}', "not Unicode"),
    ],
)
@pytest.mark.parametrize("good", [DOCUMENT, PAIR])
def test_malformed_json_lines_are_skipped_and_counted(good, bad, reason, tmp_path):
    corpus = open_corpus(write(tmp_path / "a.jsonl", f"{bad}\n{good}\n{bad}\n"))
    if good is PAIR:
        assert list(corpus.pairs("all")) == [("s", "t")]
    else:
        assert list(corpus.documents("all")) == ["t"]
    ((found, count),) = corpus.skipped.items()
    assert found.endswith(reason)
    assert count == 2


def test_the_first_good_line_of_a_jsonl_decides_its_kind(tmp_path):
    texts = open_corpus(write(tmp_path / "a.jsonl", f"nonsense\n{DOCUMENT}\n{PAIR}\n"))
    assert list(texts.documents("all")) == ["t"]
    assert texts.skipped["with a pair, where the first line has a text"] == 1
    pairs = open_corpus(write(tmp_path / "b.jsonl", f"{PAIR}\n{DOCUMENT}\n"))
    assert list(pairs.pairs("all")) == [("s", "t")]
    assert pairs.skipped["with a text, where the first line has a pair"] == 1


def test_a_byte_order_mark_and_carriage_returns_are_not_text(tmp_path):
    mark = "\ufeff"
    assert list(open_corpus(write(tmp_path / "a.txt", f"{mark}a\r\nb")).documents("all")) == [
        "a\nb"
    ]
    pairs = open_corpus(write(tmp_path / "p.tsv", f"{mark}a\tb\r\nc\td\r\n"))
    assert list(pairs.pairs("all")) == [("a", "b"), ("c", "d")]
    texts = open_corpus(write(tmp_path / "j.jsonl", mark + DOCUMENT))
    assert list(texts.documents("all")) == ["t"]


def test_a_record_line_beyond_the_limit_is_skipped_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 20)
    content = "a\tb\n" + "x" * (5 << 20) + "\nc\td\n"
    corpus = open_corpus(write(tmp_path / "p.tsv", content))
    assert list(corpus.pairs("all")) == [("a", "b"), ("c", "d")]
    assert corpus.skipped == {"longer than 1 MiB": 1}


@pytest.mark.parametrize("line_length", [80, 50_000_000], ids=["lines", "no line end at all"])
def test_a_large_document_is_streamed(line_length: int, tmp_path):
    path = tmp_path / "large.txt"
    with path.open("w") as file:
        for i in range(50):
            block = f"{i:05d} {i * 7919 % 10007:05d} " * 83_334
            step = min(line_length, len(block))
            end = "\n" if line_length == 80 else ""
            file.writelines(block[k : k + step] + end for k in range(0, len(block), step))
    size = path.stat().st_size
    assert size > 49_000_000
    tracemalloc.start()
    corpus = open_corpus(str(path))
    read = sum(len(d) for split in ("train", "validation") for d in corpus.documents(split))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == size
    assert peak < 10_000_000


def test_a_folder_is_one_document_a_text_file_in_order(tmp_path):
    (tmp_path / "deeper").mkdir()
    for name, text in [("b.txt", "two"), ("a.txt", "one"), ("deeper/c.txt.gz", "three")]:
        write(tmp_path / name, text)
    write(tmp_path / "empty.txt", "")
    write(tmp_path / "other.csv", "no")
    corpus = open_corpus(str(tmp_path))
    assert list(corpus.documents("all")) == ["one", "two", "three"]
    assert len(corpus.fingerprint()) == 3


def test_the_fingerprint_is_the_hash_of_the_file_and_changes_with_it(tmp_path):
    name = write(tmp_path / "a.txt", "abc")
    first = open_corpus(name).fingerprint()
    assert first == {"a.txt": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    write(tmp_path / "a.txt", "abd")
    assert open_corpus(name).fingerprint() != first


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.txt", b"", "a.txt: the file is empty"),
        ("a.txt", b" \n\n", "a.txt: no usable document"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00", "a.txt: a binary file"),
        ("a.txt", "text".encode("utf-16"), "a.txt: a binary file, or text in UTF-16"),
        ("a.txt", b"\xe9\n\xe8\n", "a.txt: no usable document: 2 lines not UTF-8"),
        ("a.tsv", b"one\ntwo\n", "a.tsv: no usable pair: 2 lines without a tab"),
        ("a.jsonl", b"{}\n", "a.jsonl: no usable document: 1 line without"),
        ("a.pdf", b"%PDF", r"a.pdf: a corpus is a file ending in .txt, .jsonl, .tsv"),
        ("a.txt.gz", None, "a.txt.gz: can't be read to its end: Not a gzipped file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(file, content, message, tmp_path):
    path = tmp_path / file
    path.write_bytes(b"not compressed" if content is None else content)
    with pytest.raises(BadInput, match=message) as caught:
        open_corpus(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [100, 400_000])
@pytest.mark.parametrize("file", ["a.txt.gz", "p.tsv.gz", "j.jsonl.gz"])
def test_a_truncated_gz_is_one_clear_line_when_its_end_is_reached(file, size, tmp_path):
    line = {"a": "some text {}\n", "p": "a{}\tb\n", "j": '{{"text": "{}"}}\n'}[file[0]]
    content = "".join(line.format(i * 7919 % 99991) for i in range(size // 10))
    whole = gzip.compress(content.encode())
    (tmp_path / file).write_bytes(whole[: len(whole) * 2 // 3])

    def read() -> None:
        corpus = open_corpus(str(tmp_path / file))
        list(corpus.documents("all") if isinstance(corpus, TextCorpus) else corpus.pairs("all"))

    with pytest.raises(BadInput, match="can't be read to its end") as caught:
        read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pydoc", r"no corpus 'pydoc' \(did you mean pydocs\?\): built in are pydocs, stdlib"),
        ("mine", r"no corpus 'mine': built in .* ending in .txt, .jsonl, .tsv"),
        ("no/such.txt", "no/such.txt: no such file"),
        ("verses:web", "expected verses:SOURCE-TARGET"),
    ],
)
def test_an_unknown_name_says_what_there_is(name: str, message: str):
    with pytest.raises(BadInput, match=message):
        open_corpus(name)


def test_a_folder_without_text_files_is_refused(tmp_path):
    with pytest.raises(BadInput, match="it holds none"):
        open_corpus(str(tmp_path))
    write(tmp_path / "a.txt", "")
    with pytest.raises(BadInput, match="is empty"):
        open_corpus(str(tmp_path))


def test_pydocs_is_the_text_of_python_s_help_topics():
    corpus = open_corpus("pydocs")
    documents = list(corpus.documents("all"))
    assert {line for text in documents for line in text.splitlines()} == {
        line.rstrip() if not line.strip() else line
        for text in topics.values()
        for line in text.splitlines()
    }
    assert 0.7 < sum(map(len, documents)) / sum(map(len, topics.values())) < 0.95
    train, validation = (list(corpus.documents(s)) for s in ("train", "validation"))
    assert set(train).isdisjoint(validation)
    assert 0.01 < sum(map(len, validation)) / sum(map(len, documents)) < 0.15
    assert corpus.fingerprint() == open_corpus("pydocs").fingerprint()


def test_what_pydocs_holds_out_is_not_repeated_in_what_is_trained_on():
    """Topics quote each other: of the lines held out, half would else be trained on as well."""
    corpus = open_corpus("pydocs")
    train = {line for text in corpus.documents("train") for line in text.splitlines()}
    lines = [line for text in corpus.documents("validation") for line in text.splitlines()]
    long = [line for line in lines if len(line) > 40]
    assert len(long) > 100
    assert sum(line in train for line in long) < 0.02 * len(long)


def test_stdlib_is_python_source_without_its_tests():
    corpus = open_corpus("stdlib")
    text = list(corpus.documents("all"))
    assert sum(map(len, text)) > 5_000_000
    assert any("class BlockFinder:" in d and "def getsource(" in d for d in text), "inspect.py"
    ((name, digest),) = corpus.fingerprint().items()
    assert name.startswith("stdlib of Python 3.")
    assert len(digest) == 64
