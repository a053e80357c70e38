"""Are files that are no receipts refused, soon and in one line?"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.receipts.examples import AND, CHECKER, LEAST, NET, XOR, changed, uninstrumented

from unrolled.receipts import check

TEXTS = {
    "nothing": ("", "empty"),
    "a blank": (" \n", "empty"),
    "no JSON": ("receipt", "not JSON: Expecting value at line 1 column 1"),
    "two documents": (json.dumps(AND) * 2, "not JSON: Extra data"),
    "a list": ("[]", "a receipt is a JSON object, not a list"),
    "null": ("null", "not null"),
    "a byte order mark": ("\ufeff" + json.dumps(AND), "not JSON"),
    "a duplicate key": (
        json.dumps(AND)[:-1] + ', "kind": "neuron.separable"}',
        "'kind' appears more",
    ),
    "a duplicate key far inside": (
        json.dumps(XOR).replace('"1": 1', '"1": 1, "1": 1'),
        "evidence.true: the key '1' appears more than once",
    ),
    "NaN": (json.dumps(AND).replace("-2", "NaN"), "answer.bias: NaN is not a number"),
    "infinity": (json.dumps(AND).replace("-2", "-Infinity"), "answer.bias: -Infinity"),
    "beyond binary64": (json.dumps(AND).replace("-2", "1e999"), "answer.bias: 1e999 is beyond"),
    "a number of 100,000 digits": (
        json.dumps(AND).replace("-2", "-" + "9" * 10**5),
        "100,001 characters",
    ),
    "a float of 100,000 digits": (
        json.dumps(AND).replace("-2", "0." + "9" * 10**5),
        "100,002 characters",
    ),
    "half a surrogate pair": (
        json.dumps(AND).replace('"0001"', r'"000\ud800"'),
        "given.table: half a",
    ),
    "half a surrogate pair in a key": (
        json.dumps(AND).replace('"table"', r'"tabl\udfff"'),
        "half a",
    ),
    "100 lists within lists": (json.dumps(AND).replace("-2", "[" * 100 + "]" * 100), "32 deep"),
    "100,000 lists within lists": (
        json.dumps(AND).replace("-2", "[" * 10**5 + "]" * 10**5),
        "32 deep",
    ),
    "100,000 objects within objects": ('{"a":' * 10**5, "32 deep"),
    "a million values": (
        json.dumps(AND).replace("[1, 1]", "[" + "1," * 10**6 + "1]"),
        "500,000 values",
    ),
}

SECONDS = 20
"""A bound that a busy machine keeps: what is meant takes less than one, what is not, hours."""


def refused_in_seconds(text: str) -> None:
    plain = uninstrumented()
    started = time.process_time()
    with pytest.raises((plain.Refuted, plain.Malformed)):
        plain.check(plain.parse(text))
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_is_no_receipt_is_refused_in_seconds(name):
    text, reason = TEXTS[name]
    plain = uninstrumented()
    started = time.process_time()
    with pytest.raises(plain.Malformed, match=re.escape(reason)):
        plain.parse(text)
    assert time.process_time() - started < SECONDS


def test_the_largest_receipts_within_budget_are_refused_in_seconds():
    many = "[" + "1.5," * 400_000 + "1]"
    rows = {str(row): 1 for row in range(4096)}
    big = {"inputs": 20, "table": "0" * (2**20 - 1) + "1"}
    leaf = {"true": {"3": "9/7"}, "false": {"1": f"1/{10**59 + 1}"}}
    hostile = [
        json.dumps(AND).replace("[1, 1]", many),
        json.dumps(changed(AND, ("given", big), ("answer.weights", [2**62] * 20))),
        json.dumps(changed(XOR, ("given", big), ("evidence", {"true": rows, "false": rows}))),
        json.dumps(
            changed(LEAST, ("evidence.minimal", [{"input": 1, "at_most": k} for k in range(10**5)]))
        ),
        json.dumps(changed(LEAST, ("evidence.minimal", [leaf] * 50_000))),
        json.dumps(
            changed(
                AND,
                ("given", big),
                ("answer", {"weights": [1] * 20, "bias": -20}),
                ("evidence", {"minimal": [{"input": 1, "at_most": -k} for k in range(10**5)]}),
            )
        ),
        json.dumps(
            changed(
                NET,
                ("given", {"inputs": 17, "table": "1" * 2**17}),
                ("answer.hidden", [{"weights": [2**61] * 17, "bias": -1}] * 63),
                ("answer.output.weights", [-1] * 63),
            )
        ),
    ]
    for text in hostile:
        refused_in_seconds(text)


def long_trace(steps: int, objective: str, *, ties: bool) -> str:
    """Step after step completes a hypothesis; with `ties`, all score nearly the same."""
    rows, s = [], 0
    for n in range(1, steps + 1):
        target = -round(2**40 * n**1.001) if ties else -n
        rows.append(
            {"kept": [[0, 1, (target - s) / 2**36], [0, 2, (target - s) / 2**36]], "rejected": None}
        )
        s = target
        if s < -(2**52) + 2**42:
            break
    given = {"vocab_size": 9, "end_token": 2, "beam_size": 2, "max_length": 100_000, "source": []}
    evidence = {"steps": rows, "bound": None}
    answer = {"tokens": [2], "score": -1.0}
    document = {"receipt": 1, "kind": "beam.stop", "claim": "", "given": given, "answer": answer}
    return json.dumps(
        {**document, "given": {**given, "objective": objective}, "evidence": evidence}
    )


def test_the_largest_maps_are_refused_in_seconds():
    """A chain of single children, and a star; every sum is taken before the answer is looked at."""
    given = {"vocab_size": 2, "end_token": 1, "max_length": 100_000, "source": []}
    document = {"receipt": 1, "kind": "beam.map", "claim": "", "answer": {}}
    most = 20_000
    chain = [[n, 0, -(2.0**-20)] for n in range(most)]
    star = [[0, n, -12.0] for n in range(most)]
    rows = [[n, -14.0, -13.862943611198906] for n in range(most)]
    for prefixes, rejected, vocab in ((chain, rows, 2), (star, rows[:1], 2**24)):
        for objective in ("length-normalised:9.999", "word-reward:0.999"):
            asked = {**given, "objective": objective, "vocab_size": vocab}
            evidence = {"prefixes": prefixes, "rejected": rejected, "tolerance": 0.001}
            text = json.dumps({**document, "given": asked, "evidence": evidence})
            refused_in_seconds(text)


def test_the_largest_traces_are_refused_in_seconds():
    hostile = [
        long_trace(33_000, "length-normalised:9.999", ties=False),
        long_trace(33_000, "length-normalised:1.001", ties=True),
        long_trace(33_000, "gnmt:-9.999", ties=False),
        long_trace(33_000, "bounded-reward:0.999:5", ties=False),
    ]
    for text in hostile:
        refused_in_seconds(text)


def test_files_are_read_or_refused_in_one_line(tmp_path):
    good, binary, big = tmp_path / "and.json", tmp_path / "binary", tmp_path / "big"
    good.write_text(json.dumps(AND), "utf-8")
    binary.write_bytes(bytes(range(256)))
    with big.open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    expected = {
        good: ("holds", AND["claim"]),
        binary: ("unreadable", "not UTF-8 text (byte 129)"),
        big: (
            "unreadable",
            "1,000,000,000 bytes; a receipt has at most 16,777,216 "
            "(more with --large, if you trust where it comes from)",
        ),
        tmp_path / "empty": ("unreadable", "empty; a receipt is a JSON object"),
        tmp_path / "pipe": ("unreadable", "not a regular file"),
        tmp_path: ("unreadable", "not a regular file"),
        tmp_path / "none": ("unreadable", "can't be opened (No such file or directory)"),
        tmp_path / "a\0b": ("unreadable", "can't be opened (embedded null byte)"),
        Path("/dev/zero"): ("unreadable", "not a regular file"),
    }
    if Path("/proc/self/mem").exists():  # a regular file whose first byte can't be read
        expected[Path("/proc/self/mem")] = ("unreadable", "can't be read (Input/output error)")
    started = time.perf_counter()
    for path, (status, text) in expected.items():
        verdict = check.check_file(path)
        assert (verdict.status, verdict.text) == (status, text)
    assert time.perf_counter() - started < 5


@pytest.fixture
def alone(tmp_path):
    """The checker copied out of the package, run by an interpreter that sees nothing else."""
    shutil.copy(CHECKER, tmp_path / "check.py")

    def run(*files):
        command = [sys.executable, "-I", "-W", "error", tmp_path / "check.py", *files]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    return run


def test_the_checker_runs_alone_and_its_exit_code_tells(alone, tmp_path):
    (tmp_path / "and.json").write_text(json.dumps(AND), "utf-8")
    (tmp_path / "false.json").write_text(json.dumps(changed(AND, ("answer.bias", 0))), "utf-8")
    (tmp_path / "text").write_text("hello", "utf-8")
    result = alone("and.json")
    assert result.returncode == 0
    assert result.stdout == f"holds: and.json: {AND['claim']}\n"
    assert alone("and.json", "false.json").returncode == 1
    result = alone("and.json", "false.json", "text")
    assert result.returncode == 2
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "holds",
        "refuted",
        "unreadable",
    ]
    assert result.stderr == ""
    assert alone().returncode == 2
    assert alone("--help").returncode == 0


def test_the_checker_imports_the_standard_library_alone():
    names = set()
    for line in CHECKER.read_text("utf-8").splitlines():
        if line.startswith(("import ", "from ")):
            names.add(line.split()[1].split(".")[0])
    assert names <= set(sys.stdlib_module_names)


def test_nothing_in_a_file_reaches_the_terminal_raw(tmp_path):
    path = tmp_path / "evil.json"
    path.write_text(json.dumps({**AND, "\x1b[31mred\n": 1, "kind": "\x1b]0;title\x07"}), "utf-8")
    verdict = check.check_file(path)
    assert verdict.status == "unreadable"
    assert verdict.text.isprintable()
