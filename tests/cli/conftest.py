"""Tiny trained runs, made once through the command line itself."""

from pathlib import Path

import pytest

from unrolled.cli import main

TINY = [
    "--model.num-layers=1",
    "--model.hidden-size=16",
    "--model.num-heads=2",
    "--training.max-steps=4",
]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "mine.txt"
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    lines = (f"{a} {b} {c} and {a} again.\n" for a in words for b in words for c in words)
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="session")
def sort_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sort"
    assert main(["train", "sort", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "text"
    words = ["train", "text", "--out", str(folder), "--data.corpus", str(corpus), *TINY]
    assert main([*words, "--data.tokenizer=bytes", "--model.max-positions=64"]) == 0
    return folder
