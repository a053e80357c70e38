"""What is installed is what was tested: every package the install resolves to has a pinned version."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pinned() -> dict[str, str]:
    rows = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [row.split("==") for row in rows if not row.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def required() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["dependencies"] + sum(project["optional-dependencies"].values(), [])


def test_every_package_that_is_installed_is_pinned() -> None:
    names: set[str] = set()
    waiting = required()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        marker = requirement.marker
        if name in names or (marker and not marker.evaluate({"extra": ""})):
            continue
        # NVIDIA's libraries come with PyTorch for Linux, which pins them itself.
        if re.match(r"nvidia-|cuda-|triton$", name):
            continue
        names.add(name)
        try:
            waiting += requires(name) or []
        except PackageNotFoundError:
            continue  # not needed on this system
    assert names - pinned().keys() == set()


def test_what_is_pinned_lies_in_the_ranges_that_are_allowed() -> None:
    versions = pinned()
    for text in required():
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text
