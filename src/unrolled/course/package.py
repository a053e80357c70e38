"""What does an instructor upload? A .zip with setup.sh, run_autograder and source/."""

from __future__ import annotations

import os
import secrets
import zipfile
from importlib.metadata import version
from pathlib import Path

from unrolled.course import set_folder

PACKAGE = Path(__file__).parents[1]
SETUP = """#!/usr/bin/env bash
# Runs once, when the image is built.
set -euo pipefail
python3 -c 'import sys; assert sys.version_info >= (3, 11), "choose the base image Ubuntu 24.04"'
export PIP_BREAK_SYSTEM_PACKAGES=1  # the image has no other use for its Python
apt-get update && apt-get install -y --no-install-recommends bubblewrap python3-pip
python3 -m pip install --quiet "numpy=={numpy}" "torch=={torch}" \\
    --extra-index-url https://download.pytorch.org/whl/cpu
cd "$(dirname "$0")"
chmod -R go-rwx source
"""
RUN = """#!/usr/bin/env bash
# Runs for each submission, beside submission/, source/ and results/.
set -euo pipefail
base=$(cd "$(dirname "$0")" && pwd)
chmod 700 "$base/source" && mkdir -p "$base/results" && chmod 700 "$base/results"
cd /
PYTHONPATH="$base/source" exec "${PYTHON:-python3}" -m unrolled.course.service "$base"
"""


def build_package(output: Path, secret: bytes | None = None) -> bytes:
    """Write the .zip, by a temporary name, and answer the course's key: `secret`, or a new one."""
    secret = secret or secrets.token_bytes(32)
    torch = version("torch").partition("+")[0]
    files: dict[str, tuple[bytes, int]] = {
        "setup.sh": (SETUP.format(numpy=version("numpy"), torch=torch).encode(), 0o755),
        "run_autograder": (RUN.encode(), 0o755),
        "source/key": (secret, 0o600),
    }
    parts = [PACKAGE / "__init__.py", PACKAGE / "errors.py", *(PACKAGE / "course").glob("*.py")]
    for path in parts:
        files[f"source/unrolled/{path.relative_to(PACKAGE)}"] = (path.read_bytes(), 0o600)
    for path in (set_folder() / "gtgpt").glob("*.py"):
        files[f"source/unrolled/course/ps3/gtgpt/{path.name}"] = (path.read_bytes(), 0o600)
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (text, mode) in sorted(files.items()):
            info = zipfile.ZipInfo(name)  # of a fixed date: the same files make the same archive
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    part.chmod(0o600)  # the key is in it
    part.replace(output)
    return secret
