"""Does `unrolled check` give its verdicts and its exit codes?"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from unrolled.cli import main
from unrolled.receipts import Receipt


@pytest.fixture
def files(tmp_path):
    """A receipt that holds, one that doesn't, and a file that is no receipt."""
    question = {"inputs": 1, "table": "01"}
    good = Receipt.prove("neuron.separable", question, {"weights": [1], "bias": -1}, {})
    good.save(tmp_path / "good.json")
    text = good.to_json().replace('"bias":-1', '"bias":0')
    (tmp_path / "false.json").write_text(text, "utf-8")
    (tmp_path / "broken.json").write_bytes(b"\xff\xfe")
    return {name: str(tmp_path / f"{name}.json") for name in ("good", "false", "broken")}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["good"], 0),
        (["good", "good"], 0),
        (["false"], 1),
        (["good", "false"], 1),
        (["broken"], 2),
        (["false", "broken"], 2),
        (["broken", "good"], 2),
    ],
)
def test_exit_codes(files, names, code, capsys):
    chosen = [files[name] for name in names]
    assert main(["check", *chosen]) == code
    words = {"good": "holds", "false": "refuted", "broken": "unreadable"}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [words[name] for name in names]
    assert main(["check", *chosen, "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert [entry["status"] for entry in answer] == [words[name] for name in names]
    assert [entry["file"] for entry in answer] == chosen


def test_no_file_is_bad_input(capsys):
    assert main(["check"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_starts_without_numpy(files):
    code = (
        f"import sys; from unrolled.cli import main; main(['check', {files['good']!r}]);"
        "assert not {'numpy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
