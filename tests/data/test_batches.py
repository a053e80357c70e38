"""By value: what is in a batch, what is predicted, and does a stopped stream go on exactly?"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data.batches import line_batches, masked_batches, pair_batches, text_batches
from unrolled.data.stream import BatchStream
from unrolled.data.tokenizers import ByteTokenizer, SymbolTokenizer
from unrolled.errors import BadInput
from unrolled.models.batch import IGNORED, Batch

BYTES = ByteTokenizer()
WORDS = [
    "a",
    "ab",
    "abc",
    "abcd",
    "abcde",
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
]
PAIRS = [(" ".join(WORDS[i : i + n]), WORDS[-i]) for i in range(1, 13) for n in range(1, 5)]
TEXTS = ["x" * n + "yz" * (n % 5) for n in (3, 40, 1, 18, 9, 77, 2, 30, 16, 5)]
LINES = [("01" * (n % 7) + "1" * (n % 3 + 1), n % 2) for n in range(40)]


def pairs(layout="encoder-decoder", **options) -> BatchStream:
    defaults = {"tokens_per_batch": 200, "max_positions": 40, "seed": 0}
    return pair_batches(lambda: PAIRS, BYTES, layout=layout, **(defaults | options))


def texts(make=text_batches, documents=TEXTS, **options) -> BatchStream:
    defaults = {"length": 16, "tokens_per_batch": 64, "seed": 0}
    return make(lambda: documents, BYTES, **(defaults | options))


def lines(**options) -> BatchStream:
    defaults = {"tokens_per_batch": 64, "max_positions": 40, "seed": 0}
    return line_batches(lambda: LINES, SymbolTokenizer("01"), **(defaults | options))


STREAMS = {
    "pairs": pairs,
    "pairs for a decoder": lambda **o: pairs("decoder", **o),
    "packed": texts,
    "masked": lambda **o: texts(masked_batches, **o),
    "lines": lines,
}


def same(a: Batch, b: Batch) -> bool:
    for field in fields(Batch):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if (x is None) != (y is None) or (x is not None and not torch.equal(x, y)):
            return False
    return True


@pytest.mark.parametrize("window", [None, 60], ids=["in memory", "streamed"])
@pytest.mark.parametrize("kind", STREAMS)
@settings(max_examples=15)
@given(seed=st.integers(0, 3), stop=st.integers(0, 60))
def test_a_stopped_stream_goes_on_with_exactly_the_same_batches(kind, window, seed, stop):
    unbroken = STREAMS[kind](window=window, seed=seed)
    for _ in range(stop):
        next(unbroken)
    state = unbroken.state_dict()
    resumed = STREAMS[kind](window=window, seed=seed)
    resumed.load_state_dict(state)
    for _ in range(25):
        assert same(next(unbroken), next(resumed))
    assert resumed.state_dict() == unbroken.state_dict()
    assert int(resumed.epoch) == int(unbroken.epoch)


@pytest.mark.parametrize("kind", STREAMS)
def test_epochs_differ_and_so_do_seeds(kind: str):
    def some(epoch: int, seed: int) -> list[Batch]:
        stream = STREAMS[kind](seed=seed)
        stream.load_state_dict({**stream.state_dict(), "epoch": epoch, "window": 0, "batch": 0})
        return list(islice(stream, 4))

    first = some(0, 0)
    for other in (some(1, 0), some(0, 1)):
        assert not all(same(a, b) for a, b in zip(first, other, strict=True))
    assert all(same(a, b) for a, b in zip(first, some(0, 0), strict=True))


def expected_pair(layout: str, source: str, target: str) -> tuple[tuple[int, ...], ...]:
    s, t = BYTES.encode(source), BYTES.encode(target)
    if layout == "decoder":
        return (*s, 3, *t), (*[IGNORED] * len(s), *t, 2)
    return (*s, 2), (1, *t), (*t, 2)


def real_rows(matrix: torch.Tensor, mask: torch.Tensor | None) -> list[tuple[int, ...]]:
    keep = torch.ones_like(matrix, dtype=torch.bool) if mask is None else mask
    return [tuple(row[k].tolist()) for row, k in zip(matrix, keep, strict=True)]


@pytest.mark.parametrize("window", [None, 60], ids=["in memory", "streamed"])
@pytest.mark.parametrize("layout", ["encoder-decoder", "decoder"])
def test_an_epoch_of_pairs_is_every_pair_once_value_by_value(layout: str, window: int | None):
    found: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for batch in pairs(layout, window=window).once():
        assert batch.num_tokens <= 200
        assert batch.documents is None
        assert batch.positions is None
        columns = [real_rows(batch.tokens, batch.attention_mask)]
        columns.append(real_rows(batch.targets, batch.attention_mask))
        if layout == "encoder-decoder":
            columns.insert(0, real_rows(batch.source, batch.source_mask))
            if batch.source_mask is not None:
                assert (batch.source[~batch.source_mask] == 0).all()
                assert not batch.source_mask.all()
        if batch.attention_mask is not None:
            assert not batch.attention_mask.all()
            assert (batch.tokens[~batch.attention_mask] == 0).all()
            assert (batch.targets[~batch.attention_mask] == IGNORED).all()
        found.update(zip(*columns, strict=True))
    assert found == Counter(expected_pair(layout, s, t) for s, t in PAIRS)


@pytest.mark.parametrize("window", [None, 30], ids=["in memory", "streamed"])
@pytest.mark.parametrize(("layout", "longest"), [("encoder-decoder", 12), ("decoder", 12)])
def test_pairs_that_are_too_long_are_skipped_counted_once_and_reported(layout, longest, window):
    stream = pairs(layout, max_positions=longest, window=window)
    want = [
        (s, t)
        for s, t in PAIRS
        if (len(s) + len(t) if layout == "decoder" else max(len(s), len(t))) + 1 <= longest
    ]
    left_out = len(set(PAIRS) - set(want))
    for _ in range(2):
        batches = list(stream.once())
        assert sum(len(b.tokens) for b in batches) == len(want)
        assert stream.skipped == {"longer than 12 positions": left_out}
    assert stream.report() == f"skipped {left_out} examples longer than 12 positions"


@pytest.mark.parametrize(("layout", "extra"), [("encoder-decoder", 2), ("decoder", 1)])
def test_a_pair_longer_than_a_whole_batch_is_skipped_and_counted(layout, extra):
    budget = 17 + extra
    stream = pairs(layout, tokens_per_batch=budget)
    want = {(s, t) for s, t in PAIRS if len(s) + len(t) + extra <= budget}
    assert {17, 18} <= {len(s) + len(t) for s, t in PAIRS}, "one fits exactly, one just not"
    assert sum(len(b.tokens) for b in stream.once()) == sum(p in want for p in PAIRS)
    assert stream.skipped == {f"longer than a batch of {budget} positions": len({*PAIRS} - want)}


def predictions(batch: Batch) -> list[tuple[tuple[int, ...], int]]:
    """Every predicted token with the tokens before it in its piece; checks positions."""
    found = []
    shape = batch.tokens.shape
    documents = torch.ones(shape) if batch.documents is None else batch.documents
    for row, (tokens, targets) in enumerate(
        zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True)
    ):
        history: list[int] = []
        for column, (token, target) in enumerate(zip(tokens, targets, strict=True)):
            if column and documents[row, column] != documents[row, column - 1]:
                history = []
            history.append(token)
            if target == IGNORED:
                assert token == 0
                continue
            if batch.positions is not None:
                assert batch.positions[row, column] == len(history) - 1
            found.append((tuple(history), target))
    return found


@pytest.mark.parametrize("window", [None, 60], ids=["in memory", "streamed"])
@settings(max_examples=25)
@given(
    documents=st.lists(st.text("abc", max_size=50), min_size=1, max_size=12),
    length=st.integers(1, 20),
    seed=st.integers(0, 3),
)
def test_an_epoch_predicts_every_token_once_from_its_own_document(window, documents, length, seed):
    stream = texts(
        documents=documents, length=length, tokens_per_batch=3 * length, seed=seed, window=window
    )
    found: Counter[int] = Counter()
    for batch in stream.once():
        assert batch.tokens.shape[1] == length
        assert len(batch.tokens) <= 3
        for history, target in predictions(batch):
            found[target] += 1
            joined = BYTES.decode((*history, target))
            ends = target == BYTES.end_id
            begins = history[0] == BYTES.begin_id
            assert any(
                (d.startswith(joined) if begins else joined in d)
                and (d.endswith(joined) if ends else True)
                for d in documents
            )
    want = Counter(i for d in documents if d for i in (*BYTES.encode(d), BYTES.end_id))
    assert found == want


def test_each_target_is_the_token_that_follows_in_the_document():
    """Documents without a repeated byte: the successor of every token is known."""
    documents = ["abcdefghij", "ABCDE", "0123456789klmnopqrstuvwxyz", "?"]
    follows = {}
    for d in documents:
        ids = [BYTES.begin_id, *BYTES.encode(d), BYTES.end_id]
        follows |= {(d, a): b for a, b in pairwise(ids)}
    batches = list(texts(documents=documents, length=7, tokens_per_batch=14).once())
    seen = Counter()
    for batch in batches:
        real = batch.targets != IGNORED
        for token, target in zip(
            batch.tokens[real].tolist(), batch.targets[real].tolist(), strict=True
        ):
            source = [d for d in documents if follows.get((d, token)) == target]
            assert source, (token, target)
            seen[token] += 1
    assert all(n == 1 for token, n in seen.items() if token != BYTES.begin_id)


def test_full_rows_of_one_piece_take_the_fast_path():
    batches = list(texts(documents=["z" * 1000], tokens_per_batch=32).once())
    plain = [b for b in batches if b.documents is None and b.attention_mask is None]
    assert len(plain) >= 29
    assert all(b.positions is None for b in plain)


def test_packed_rows_number_their_documents_and_restart_positions():
    batch = next(texts(documents=["abc", "defgh", "i"], length=14).once())
    assert batch.tokens.shape == (1, 14)
    assert batch.documents.tolist() == [[1] * 6 + [2] * 4 + [3] * 2 + [0] * 2]
    assert batch.positions.tolist() == [[*range(6), *range(4), *range(2), 0, 0]]
    assert batch.attention_mask.tolist() == [[True] * 12 + [False] * 2]
    assert batch.targets[0, -2:].tolist() == [IGNORED, IGNORED]


def test_an_epoch_of_masked_text_shows_every_token_and_hides_some():
    document = "".join(chr(97 + i % 26) for i in range(20_000))
    hidden = kept = changed = total = 0
    length_of_all = 0
    for batch in texts(masked_batches, [document, "bc", ""], tokens_per_batch=320).once():
        chosen = batch.targets != IGNORED
        assert chosen.any(dim=1).all(), "at least one target a row"
        assert (batch.targets[chosen] >= 5).all(), "special ids and padding are never hidden"
        real = torch.ones_like(chosen) if batch.attention_mask is None else batch.attention_mask
        assert (batch.tokens[chosen] >= 4).all()
        assert (batch.tokens[real & ~chosen] != 0).all()
        hidden += int((batch.tokens[chosen] == 4).sum())
        kept += int((batch.tokens[chosen] == batch.targets[chosen]).sum())
        total += int(chosen.sum())
        length_of_all += int((real & (batch.tokens > 2)).sum())
        changed += int(((batch.tokens != batch.targets) & (batch.tokens != 4) & chosen).sum())
    assert length_of_all == 20_002
    deviation = 5 * np.sqrt(0.15 * 0.85 * 20_002)
    # rows that drew no target get one: (1 - 0.15) ** 16 of the 1,250 rows
    assert abs(total - 0.15 * 20_002 - 0.85**16 * 1250) < deviation
    for count, share in ((hidden, 0.8), (kept, 0.1 + 0.1 / 256), (changed, 0.1)):
        assert abs(count / total - share) < 0.03


def test_a_piece_that_is_a_lone_begin_or_end_is_not_laid_into_masked_rows():
    """Five ids in rows of four: each epoch cuts off one to four of them."""
    stream = texts(masked_batches, ["abc"] * 40, length=4, tokens_per_batch=4)
    for batch in islice(stream, 200):
        assert (batch.targets != IGNORED).any(dim=1).all()


def test_masks_are_drawn_anew_each_epoch():
    stream = texts(masked_batches, ["ab" * 6], length=14)
    assert len({tuple(next(stream).targets.flatten().tolist()) for _ in range(20)}) > 5


def test_lines_keep_their_class():
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for batch in lines().once():
        assert batch.num_tokens <= 64
        rows = real_rows(batch.tokens, batch.attention_mask)
        found.update(zip(rows, batch.targets.tolist(), strict=True))
    assert found == Counter((tuple(5 + int(c) for c in text), label) for text, label in LINES)


def test_progress_is_known_in_memory_and_after_one_epoch_of_a_stream():
    stream = texts()
    count = len(list(stream.once()))
    assert stream.epoch == 0
    seen = []
    for _ in range(count + 1):
        next(stream)
        seen.append(stream.epoch)
    assert seen == pytest.approx([(i + 1) / count for i in range(count + 1)])

    streamed = texts(window=60)
    count = len(list(streamed.once()))
    for _ in range(count):
        next(streamed)
        assert streamed.epoch == 0
    next(streamed)
    assert 1 < streamed.epoch < 2


def test_once_leaves_the_place_of_the_stream():
    stream, twin = texts(), texts()
    next(stream), next(twin)
    list(stream.once())
    assert same(next(stream), next(twin))


@pytest.mark.parametrize("window", [None, 5])
def test_a_source_without_a_usable_example_is_refused_by_next_and_empty_once(window):
    stream = pairs(max_positions=2, window=window)
    assert list(stream.once()) == []
    with pytest.raises(BadInput, match=r"no usable example\. skipped 4\d .* longer than 2 pos"):
        next(stream)


@pytest.mark.parametrize(
    "state", [{}, {"epoch": 0, "window": 0}, {"epoch": 0, "window": -1, "batch": 0}, {"a": 1}]
)
def test_a_place_that_is_none_is_refused(state):
    with pytest.raises(BadInput, match="epoch, window, batch, windows"):
        texts().load_state_dict(state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: texts(length=65), "no room for a row of length 65"),
        (lambda: texts(seed=-1), "seed"),
        (lambda: texts(window=0), "window"),
        (lambda: texts(masked_batches, mask_fraction=1.0), "mask_fraction"),
    ],
)
def test_impossible_settings_are_one_clear_line(make, message):
    # where annotations are enforced, a word that is no choice is refused before the call
    with pytest.raises((BadInput, TypeError), match=message):
        make()
