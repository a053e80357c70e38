"""Which text is meant by a name? A built-in corpus, or a file of the user's.

Built in and offline: `pydocs`, the English of Python's own documentation, and `stdlib`, the source
of its standard library. `verses` comes with optional packages; see `unrolled.data.verses`.
"""

from __future__ import annotations

import hashlib
import io
import platform
import re
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from unrolled.data import files
from unrolled.data.corpus import PairCorpus, Skip, TextCorpus
from unrolled.data.verses import open_verses
from unrolled.errors import BadInput

BLANK_LINES = re.compile(r"\n\s*\n")
SHORT = 24
"""Characters; a shorter paragraph ("For example:") is no repetition."""
NOT_SOURCE = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
"""Folders of the standard library that hold no part of it, or only its tests."""


def open_corpus(name: str, *, holdout: int = 20) -> TextCorpus | PairCorpus:
    """The corpus called `name`, of which about one part or source in `holdout` is held out.

    `name` is "pydocs", "stdlib", "verses" (or "verses:SOURCE-TARGET"), a file .txt, .jsonl or
    .tsv, each also with .gz, or a folder of .txt files. Raises `BadInput` for a name or a file
    that is none of these, is missing, empty or binary, or holds nothing usable.
    """
    if name in BUILT_IN:
        return _built_in(name, holdout)
    if name == "verses" or name.startswith("verses:"):
        versions = name.removeprefix("verses").removeprefix(":") or "wycliffe-web"
        source, dash, target = versions.partition("-")
        if not (source and dash and target):
            raise BadInput(f"expected verses:SOURCE-TARGET, as verses:wycliffe-web; got {name!r}")
        return open_verses(source, target, holdout=holdout)
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(path, holdout)
    kind = files.ending(path)
    if not kind:
        raise _unknown(name, path)
    files.check(path)
    if kind == ".tsv":
        return PairCorpus(
            name, partial(files.pair_rows, path), partial(_hashes, [path]), holdout=holdout
        )
    if kind == ".jsonl":
        return _json_lines(name, path, holdout)
    return _texts(name, [path], holdout)


def absolute(name: str) -> str:
    """The same corpus by a name that means it from everywhere: for a file, its whole path."""
    path = Path(name).expanduser()
    built_in = name in BUILT_IN or name == "verses" or name.startswith("verses:")
    return name if built_in or not path.exists() else str(path.resolve())


def is_missing(name: str) -> bool:
    """Whether a corpus is a file or folder that is not there."""
    return Path(name).is_absolute() and not Path(name).exists()


def _texts(name: str, paths: list[Path], holdout: int, folder: Path | None = None) -> TextCorpus:
    """One document a file."""
    most = files.part_size(sum(map(files.size_of, paths)))

    def parts(skip: Skip) -> Iterator[Iterable[str]]:
        return (files.text_parts(path, most, skip) for path in paths)

    return TextCorpus(name, parts, partial(_hashes, paths, folder), holdout=holdout)


def _folder(path: Path, holdout: int) -> TextCorpus:
    paths = sorted(p for p in path.rglob("*") if p.is_file() and files.ending(p) == ".txt")
    if not paths:
        raise BadInput(f"{path}: expected a folder of .txt files; it holds none")
    filled = [p for p in paths if p.stat().st_size]
    for p in filled:
        files.check(p)
    if not filled:
        raise BadInput(f"{path}: every .txt file in this folder is empty")
    return _texts(str(path), filled, holdout, path)


def _json_lines(name: str, path: Path, holdout: int) -> TextCorpus | PairCorpus:
    """Documents or pairs: what the first good line is."""
    most = files.part_size(files.size_of(path))
    reasons: list[str] = []
    first = next(files.records(path, reasons.append), None)
    fingerprint = partial(_hashes, [path])

    def documents(skip: Skip) -> Iterator[Iterable[str]]:
        for record in files.records(path, skip):
            if isinstance(record, str):
                yield _cut(record, most, skip)
            else:
                skip("with a pair, where the first line has a text")

    def rows(skip: Skip) -> Iterator[tuple[str, str]]:
        for record in files.records(path, skip):
            if isinstance(record, str):
                skip("with a text, where the first line has a pair")
            else:
                yield record

    if isinstance(first, tuple):
        return PairCorpus(name, rows, fingerprint, holdout=holdout)
    return TextCorpus(name, documents, fingerprint, holdout=holdout)


def _pydocs(_: Skip) -> Iterator[str]:
    """One document a topic of `help()`, by name, without the paragraphs of an earlier topic.

    A fifth of the topics' text is repeated from others: it would be held out in name alone.
    """
    from pydoc_data.topics import topics

    seen: set[str] = set()
    for name in sorted(topics):
        fresh = []
        for paragraph in BLANK_LINES.split(topics[name]):
            words = " ".join(paragraph.split())
            if len(words) < SHORT or words not in seen:
                fresh.append(paragraph)
            seen.add(words)
        yield "\n\n".join(fresh)


def _stdlib(skip: Skip) -> Iterator[str]:
    """One document a module of the standard library, by path."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if NOT_SOURCE.isdisjoint(path.relative_to(root).parts):
            try:
                yield path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                skip(files.NOT_UTF8)


BUILT_IN: dict[str, Callable[[Skip], Iterator[str]]] = {"pydocs": _pydocs, "stdlib": _stdlib}


def _built_in(name: str, holdout: int) -> TextCorpus:
    texts = BUILT_IN[name]
    most = files.part_size(sum(len(text.encode()) for text in texts(lambda _: None)))

    def parts(skip: Skip) -> Iterator[Iterable[str]]:
        return (_cut(text, most, skip) for text in texts(skip) if text.strip())

    def fingerprint() -> dict[str, str]:
        whole = hashlib.sha256()
        for text in texts(lambda _: None):
            whole.update(hashlib.sha256(text.encode()).digest())
        return {f"{name} of Python {platform.python_version()}": whole.hexdigest()}

    return TextCorpus(name, parts, fingerprint, holdout=holdout, unit="file")


def _cut(text: str, most: int, skip: Skip) -> Iterable[str]:
    encoded = text.encode()
    return [text] if len(encoded) <= most else files.cut(io.BytesIO(encoded).read, most, skip)


def _hashes(paths: list[Path], folder: Path | None = None) -> dict[str, str]:
    """By names that stay the same where the file, or the folder, is moved."""
    names = [path.name if folder is None else path.relative_to(folder).as_posix() for path in paths]
    return {name: files.sha256(path) for name, path in zip(names, paths, strict=True)}


def _unknown(name: str, path: Path) -> BadInput:
    known = [*BUILT_IN, "verses"]
    endings = ", ".join(files.ENDINGS)
    accepted = f"a file ending in {endings} (or these with .gz), or a folder of .txt files"
    if path.is_file():
        return BadInput(f"{name}: a corpus is {accepted}")
    close = get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return BadInput(f"no corpus {name!r}{hint}: built in are {', '.join(known)}; else {accepted}")
