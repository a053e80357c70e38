"""Runs commands in all processes of one torchrun: `shared_commands.py COMMANDS.json CODES`.

Each process leaves its exit codes in CODES.RANK. "{rank}" in a word is the process's number.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from unrolled.cli import main

rank = os.environ["RANK"]
left = []
for words in json.loads(Path(sys.argv[1]).read_text()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([word.replace("{rank}", rank) for word in words])
    left.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
Path(f"{sys.argv[2]}.{rank}").write_text(json.dumps(left))
