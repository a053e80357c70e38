"""Text as it comes: nothing of a stop string is ever shown, however the tokens cut it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.decoding import TextStream
from unrolled.errors import BadInput

short = st.text("abé", max_size=12)
stops = st.lists(st.text("abé", min_size=1, max_size=3), max_size=3)


def whole(text: str, stop_strings: list[str]) -> tuple[str, bool]:
    """Character by character over the whole text: before the stop that is complete first."""
    for end in range(len(text) + 1):
        matches = [s for s in stop_strings if text[:end].endswith(s)]
        if matches:
            return text[: end - max(map(len, matches))], True
    return text, False


@given(short, stops, st.data())
def test_the_text_ends_before_the_first_stop_string_however_it_is_cut(
    text: str, stop_strings: list[str], data: st.DataObject
) -> None:
    shown: list[str] = []
    stream = TextStream(stop_strings, shown.append)
    rest = text.encode()
    expected, stopped = whole(text, stop_strings)
    while rest and not stream.stopped:
        size = data.draw(st.integers(0, min(4, len(rest))))
        assert stream.feed(rest[:size]) == stream.stopped
        rest = rest[size:]
        assert expected.startswith("".join(shown))
    assert stream.close() == "".join(shown) == expected
    assert stream.stopped == stopped


@given(short)
def test_without_stop_strings_every_whole_character_is_shown_at_once(text: str) -> None:
    stream = TextStream()
    for i, letter in enumerate(text):
        for byte in letter.encode():
            assert stream.text == text[:i]
            assert not stream.feed(bytes([byte]))
    assert stream.close() == text


def test_what_turns_out_to_be_no_stop_string_is_shown_after_all() -> None:
    stream = TextStream(["END"])
    stream.feed(b"the EN")
    assert stream.text == "the "
    stream.feed(b"TRY")
    assert stream.text == "the ENTRY"
    stream.feed(b" E")
    assert stream.close() == "the ENTRY E"


def test_nothing_comes_behind_the_end() -> None:
    stream = TextStream(["b"])
    assert stream.feed(b"abc")
    assert stream.feed(b"more")
    assert stream.close() == "a"


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    stream = TextStream()
    stream.feed(b"a\xff\xc3")
    assert stream.close() == "a\ufffd\ufffd"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one character"):
        TextStream(["x", ""])
