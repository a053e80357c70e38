"""What the tests of the problem set share: the two versions' exported files, and fork servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unrolled.course import set_folder
from unrolled.course.definitions import export
from unrolled.course.isolation import available
from unrolled.course.regions import solved_source, student_source
from unrolled.course.session import Limits, Server

QUICK = Limits(load=1.5, call=1.5, total=30.0)


def cells(source: str) -> list[str]:
    return [cell.partition("\n")[2] for cell in ("\n" + source).split("\n# %%")]


@pytest.fixture(scope="session")
def source() -> str:
    return (set_folder() / "Transformer_Architectures.py").read_text("utf-8")


@pytest.fixture(scope="session")
def solution(source: str) -> str:
    return export(cells(solved_source(source))).text


@pytest.fixture(scope="session")
def blank(source: str) -> str:
    return export(cells(student_source(source))).text


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Isolated as well as this machine can."""
    with Server(available()[0], QUICK) as started:
        yield started


@pytest.fixture(scope="session", params=available())
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param, QUICK) as started:
        yield started
