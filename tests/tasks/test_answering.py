"""A whole file translated: its lines, its errors, and what is left when something is amiss."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.errors import BadInput
from unrolled.models import ModelConfig
from unrolled.tasks import TASKS
from unrolled.tasks.answering import open_run, read_lines, translate
from unrolled.tasks.running import train
from unrolled.training import TrainingConfig
from unrolled.training.config import RunConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sort"
    task = TASKS["sort"].defaults("decoder")
    model = ModelConfig(num_layers=1, hidden_size=16, num_heads=2, max_positions=16)
    config = RunConfig("sort", "decoder", 0, model, task.data, TrainingConfig(max_steps=2))
    train(config, folder)
    return folder


def test_a_line_is_answered_by_a_line_and_a_blank_one_by_a_blank_one(
    run: Path, tmp_path: Path
) -> None:
    lines = ["201102", "", "0 0 1 1 2 2", "  ", "201102"]
    source, output = tmp_path / "in", tmp_path / "out"
    source.write_text("\r\n".join(lines))
    told: list[tuple[int, int]] = []
    _, made = translate(
        run, [], lambda *progress: told.append(progress), source=source, output=output
    )
    rows = [(line, answer.text) for line, answer in made]
    job, model = open_run(run)
    first, second = job.translate(model, ["201102", "001122"])  # type: ignore[attr-defined]
    assert rows == list(zip(lines, [first, "", second, "", first], strict=True))
    assert output.read_text() == f"{first}\n\n{second}\n\n{first}\n"
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_line_is_what_ends_in_a_newline_whatever_else_unicode_breaks_at(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes("\ufeffa\u2028b\x0bc\nd\r\n\n".encode())
    assert read_lines(path) == ["a\u2028b\x0bc", "d", ""]
    path.write_bytes(b"")
    assert read_lines(path) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"201102\n\n20110\n", "line 3: sort takes 6 digits"),
        (b"201102\nx\xff\n", "not UTF-8 in line 2"),
        (None, "No such file"),
    ],
)
def test_a_file_that_can_not_be_translated_is_refused_and_nothing_is_written(
    content: bytes | None, said: str, run: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "in").write_bytes(content)
    (tmp_path / "out").write_text("before")
    with pytest.raises(BadInput, match=said):
        translate(run, [], source=tmp_path / "in", output=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"


def test_a_folder_that_is_not_there_is_told_before_the_work(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no folder"):
        translate(run, ["201102"], output=tmp_path / "none" / "out")
