"""What is installed is what was tested, and the continuous check fails where it should."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pinned() -> dict[str, str]:
    rows = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [row.split("==") for row in rows if not row.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def required() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(text for extra in extras for text in extra)]


def built_with() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return list(project["build-system"]["requires"])


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
    for text in [*required(), *built_with()]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text


PASSES = "def test_it(): pass"
SKIPS = 'import pytest\n@pytest.mark.skip(reason="{}")\ndef test_it(): pass'


@pytest.mark.parametrize(
    ("test", "lint", "good"),
    [
        (PASSES, "true", True),
        (PASSES, "false", False),
        ("def test_it(): assert False", "true", False),
        (SKIPS.format("too slow"), "true", False),
        (SKIPS.format("needs a GPU"), "true", True),
    ],
)
def test_the_check_fails_on_lint_on_a_failure_and_on_a_test_left_out(
    tmp_path: Path, test: str, lint: str, good: bool
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "test_one.py").write_text(test)
    runs = f"{sys.executable} -m pytest -ra -c /dev/null test_one.py"
    (tmp_path / "Makefile").write_text(f"lint:\n\t{lint}\ntest:\n\t{runs}\n")
    colourful = {**os.environ, "FORCE_COLOR": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([tmp_path / ".ci/run"], env=colourful, capture_output=True, check=False)
    assert (done.returncode == 0) == good, done.stdout.decode()
