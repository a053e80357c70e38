"""How are a user's files read, whatever their size? In parts, with a count of what is unusable.

.txt holds one document, .jsonl one document or pair a line, .tsv one pair a line; each may be
compressed as .gz. Nothing is ever silently altered or dropped, but for three things: blank lines
between records, a byte order mark, and the carriage return of a line end.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from unrolled.data.corpus import Skip
from unrolled.errors import BadInput

ENDINGS = (".txt", ".jsonl", ".tsv")
LONGEST_LINE = 1 << 26
"""Bytes of a .jsonl or .tsv line beyond which it is skipped: bounds the memory of reading."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NOT_UTF8 = "not UTF-8"
GZIP_RATIO = 4
"""How much longer compressed text is assumed to be than its file."""
Record = str | tuple[str, str]


def ending(path: Path) -> str:
    """The ending that says how to read the file: ".txt" of "a.TXT.gz"; "" if it is none of ours."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    return suffixes[-1] if suffixes and suffixes[-1] in ENDINGS else ""


def check(path: Path) -> None:
    """Raise `BadInput` if the file is missing, empty or binary."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    with opened(path) as file:
        head = file.read(8192)
    if not head:
        raise BadInput(f"{path}: the file is empty")
    if b"\0" in head:
        raise BadInput(f"{path}: a binary file, or text in UTF-16; expected text in UTF-8")


def size_of(path: Path) -> int:
    """Bytes of text in the file; an estimate if it is compressed."""
    return path.stat().st_size * (GZIP_RATIO if path.suffix.lower() == ".gz" else 1)


def part_size(total: int) -> int:
    """Bytes of the parts that a corpus of `total` bytes is divided into: at least 40 parts, unless
    that makes them shorter than 512 bytes, and none longer than 32 KiB.
    """
    return min(max(total // 40, 512), 32768)


def sha256(path: Path) -> str:
    """SHA-256 of the file as it lies on the disk."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed; what goes wrong on the way is `BadInput`."""
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as file:
                yield cast(BinaryIO, file)
        else:
            with path.open("rb") as file:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None


def text_parts(path: Path, most: int, skip: Skip) -> Iterator[str]:
    """The text of a file in parts of at most `most` bytes."""
    with opened(path) as file:
        yield from cut(file.read, most, skip)


def cut(read: Callable[[int], bytes], most: int, skip: Skip) -> Iterator[str]:
    """Text in parts of at most `most` bytes that end at line ends; a longer line is cut inside.

    `read(n)` gives the next n bytes, fewer only at the end.
    """
    rest = read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
    while block := rest + read(most - len(rest)):
        stop = len(block)
        if stop == most:
            stop = block.rfind(b"\n") + 1 or _whole_characters(block)
        if text := _decode(block[:stop], skip):
            yield text
        rest = block[stop:]


def pair_rows(path: Path, skip: Skip) -> Iterator[tuple[str, str]]:
    """The pairs of a .tsv file."""
    for line in lines(path, skip):
        match line.split("\t"):
            case [source, target] if source.strip() and target.strip():
                yield source, target
            case [_, _]:
                skip("with an empty side")
            case [_]:
                skip("without a tab")
            case _:
                skip("with more than one tab")


def records(path: Path, skip: Skip) -> Iterator[Record]:
    """The documents and pairs of a .jsonl file."""
    for line in lines(path, skip):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        match found:
            case {"text": str(text)}:
                if _usable(skip, text):
                    yield text
            case {"source": str(source), "target": str(target)}:
                if _usable(skip, source, target):
                    yield source, target
            case _:
                skip('without {"text": …} or {"source": …, "target": …} in JSON')


def lines(path: Path, skip: Skip) -> Iterator[str]:
    """The lines of a file that are not blank, without their ends."""
    with opened(path) as file:
        first = True
        while line := file.readline(LONGEST_LINE):
            if first:
                line, first = line.removeprefix(BYTE_ORDER_MARK), False
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                skip(f"longer than {LONGEST_LINE >> 20} MiB")
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                continue
            try:
                text = line.decode().removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError:
                skip(NOT_UTF8)
                continue
            if text.strip():
                yield text


def _unreadable(path: Path, error: Exception) -> BadInput:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return BadInput(f"{path}: can't be read to its end: {reason}")


def _usable(skip: Skip, *texts: str) -> bool:
    """Whether every text says something and is Unicode (JSON can spell half a character)."""
    if not all(text.strip() for text in texts):
        skip("with an empty text")
        return False
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        skip("not Unicode")
        return False
    return True


def _whole_characters(block: bytes) -> int:
    """Length of `block` without the character that its end cuts in two, if it cuts one."""
    for back in range(1, min(4, len(block))):
        byte = block[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(block) - back if length > back else len(block)
        if byte < 0x80:
            break
    return len(block)


def _decode(block: bytes, skip: Skip) -> str:
    """The text of whole lines, without the lines that are not UTF-8."""
    try:
        return block.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        pass
    good = []
    for line in block.splitlines(keepends=True):
        try:
            good.append(line.decode())
        except UnicodeDecodeError:
            skip(NOT_UTF8)
    return "".join(good).replace("\r\n", "\n")
