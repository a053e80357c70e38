"""What the tests of the problem set share: the two versions' exported files, and fork servers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext

import pytest

from unrolled.course import batch, building, set_folder
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
def servers() -> Iterator[Callable[[str], Server]]:
    """The fork server of a level, started when it is first asked for: it imports PyTorch."""
    with ExitStack() as stack:
        yield functools.cache(lambda level: stack.enter_context(Server(level, QUICK)))


@pytest.fixture(scope="session")
def server(servers: Callable[[str], Server]) -> Server:
    """Isolated as well as this machine can."""
    return servers(available()[0])


@pytest.fixture(scope="session", params=available())
def any_server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    return servers(request.param)


@pytest.fixture
def lent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would start a server of its own gets the one that there is."""
    for module in (batch, building):
        monkeypatch.setattr(module, "Server", lambda *_: nullcontext(server))
