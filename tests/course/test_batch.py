"""Is a folder graded once, in parallel, whatever is in it; and does the archive work by itself?"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from course.conftest import QUICK
from unrolled.course import batch
from unrolled.course.batch import as_csv, grade_folder
from unrolled.course.export import NAME
from unrolled.course.grade import read_submission
from unrolled.course.isolation import available
from unrolled.course.package import build_package
from unrolled.errors import BadInput

LEVEL = available()[0]


@pytest.fixture
def folder(tmp_path: Path, solution: str, blank: str) -> Path:
    made = tmp_path / "handed in"
    (made / "dora").mkdir(parents=True)
    (made / "ann.py").write_text(solution)
    (made / "bob.py").write_text(blank)
    (made / "hangs.py").write_text("while True: pass")
    (made / "crashes.py").write_text("import os; os.kill(os.getpid(), 9)")
    (made / "dora" / NAME).write_text(solution.replace("/ math.sqrt(size)", ""))
    (made / "=link.py").symlink_to(made / "ann.py")
    (made / "empty").mkdir()
    with zipfile.ZipFile(made / "zoe.zip", "w") as archive:
        archive.writestr(f"ps3/{NAME}", solution)
    with zipfile.ZipFile(made / "slip.zip", "w") as archive:
        archive.writestr(f"../{NAME}", solution)
    return made


SCORES = {
    "=link": 0, "ann": 11, "bob": 0, "crashes": 0, "dora": 9.5, "empty": 0, "hangs": 0, "slip": 0,
    "zoe": 11,
}  # fmt: skip


def scores(found: list[dict]) -> dict[str, float]:
    return {result["extra_data"]["student"]: result["score"] for result in found}


def test_a_folder_is_graded_whatever_is_in_it_and_only_once(folder, tmp_path, monkeypatch):
    results, told = tmp_path / "results", []
    found = grade_folder(
        folder, results, LEVEL, limits=QUICK, tell=lambda done, total: told.append((done, total))
    )
    assert scores(found) == SCORES
    assert told[-1] == (9, 9)
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert {row["student"]: float(row["score"]) for row in rows} == {
        "'=link" if name == "=link" else name: score for name, score in SCORES.items()
    }
    monkeypatch.setattr(batch, "Server", lambda *_: pytest.fail("nothing is left to grade"))
    assert grade_folder(folder, results, LEVEL, limits=QUICK) == found


@pytest.mark.usefixtures("lent")
def test_what_was_interrupted_goes_on_and_what_changed_is_graded_again(
    folder, tmp_path, solution, blank, monkeypatch
):
    for name in ("hangs.py", "crashes.py", "=link.py", "slip.zip"):
        (folder / name).unlink()
    results, real, calls = tmp_path / "results", batch.grade, []

    def stops(source, student, *rest, **named):
        calls.append(student)
        if student == "bob":
            raise KeyboardInterrupt
        return real(source, student, *rest, **named)

    monkeypatch.setattr(batch, "grade", stops)
    with pytest.raises(KeyboardInterrupt):
        grade_folder(folder, results, LEVEL, jobs=1, limits=QUICK)
    kept = {p.name.partition("-")[0] for p in results.iterdir()}
    assert "ann" in kept
    assert "bob" not in kept
    (folder / "zoe.zip").unlink()
    (folder / "zoe.py").write_text(blank)
    calls.clear()
    monkeypatch.setattr(batch, "grade", lambda s, *a, **k: calls.append(a[0]) or real(s, *a, **k))
    found = scores(grade_folder(folder, results, LEVEL, jobs=1, limits=QUICK))
    assert found == {"ann": 11, "bob": 0, "dora": 9.5, "empty": 0, "zoe": 0}
    assert set(calls) == {"bob", "dora", "zoe"} - kept | {"zoe"}
    calls.clear()
    (folder / "bob.py").write_text(solution)
    next(results.glob("dora-*")).write_text('{"half')
    grade_folder(folder, results, LEVEL, jobs=1, limits=QUICK)
    assert sorted(calls) == ["bob", "dora"]
    calls.clear()
    grade_folder(folder, results, LEVEL, jobs=1, limits=QUICK, secret=b"another key")
    assert sorted(calls) == ["ann", "bob", "dora", "zoe"]


def test_two_of_one_name_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no submission in it"):
        grade_folder(tmp_path, tmp_path / "r", LEVEL)
    (tmp_path / "ann.py").write_text("")
    (tmp_path / "ann").mkdir()
    with pytest.raises(BadInput, match="two submissions of ann"):
        grade_folder(tmp_path, tmp_path / "r", LEVEL)


def test_archives_with_links_or_without_the_file_and_large_files_are_refused(tmp_path):
    link = zipfile.ZipInfo(NAME)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for name, entries in (
        ("link.zip", [link]),
        ("none.zip", ["x.py"]),
        ("two.zip", [f"a/{NAME}", f"b/{NAME}"]),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for entry in entries:
                archive.writestr(entry, "/etc/passwd")
        with pytest.raises(BadInput, match=r"leads out|expected one"):
            read_submission(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, b" " * (1 << 26))
    (tmp_path / "large.py").write_bytes(b" " * (1 << 20))
    for name in ("bomb.zip", "large.py"):
        with pytest.raises(BadInput, match="larger than 512 KiB"):
            read_submission(tmp_path / name)
    (tmp_path / "bad.zip").write_bytes(b"PK")
    (tmp_path / "latin.py").write_bytes(b"\xe4")
    for name, message in (("bad.zip", "can't be read"), ("latin.py", "not text in UTF-8")):
        with pytest.raises(BadInput, match=message):
            read_submission(tmp_path / name)


def writes_at_exit(path: Path) -> str:
    """Code that leaves a result of its own when the process ends, and when its objects do."""
    return f"""
import atexit

def all_points(write=open):
    with write({str(path)!r}, "w") as file:
        file.write('{{"score": 11, "tests": []}}')

class Last:
    def __del__(self, write=all_points):
        write()

atexit.register(all_points)
last = Last()
"""


def test_the_archive_unpacks_and_grades_as_the_service_would(tmp_path, solution):
    archive, base = tmp_path / "autograder.zip", tmp_path / "autograder"
    assert build_package(archive, b"the key") == b"the key"
    with zipfile.ZipFile(archive) as opened:
        assert {n.partition("/")[0] for n in opened.namelist()} == {
            "setup.sh", "run_autograder", "source",
        }  # fmt: skip
        opened.extractall(base)
    subprocess.run(["bash", "-n", base / "setup.sh"], check=True)
    (base / "submission").mkdir()
    (base / "results").mkdir()
    wrong = solution.replace("full_attention_mask.tril()", "full_attention_mask")
    (base / "submission" / NAME).write_text(wrong + writes_at_exit(base / "results/results.json"))
    who = {"users": [{"email": "zoe@example.org"}, {"email": "ann@example.org"}]}
    (base / "submission_metadata.json").write_text(json.dumps(who))
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", base / "run_autograder"], env=environment, capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((base / "results/results.json").read_text())
    assert results["score"] == 10.5
    assert results["stdout_visibility"] == "hidden"
    assert results["extra_data"]["student"] == "ann@example.org,zoe@example.org"
    assert results["extra_data"]["isolation"] == LEVEL
    failed = [test for test in results["tests"] if test["status"] == "failed"]
    assert [test["name"] for test in failed] == ["Encoder and Decoder: the decoder's mask"]
    assert {"name", "score", "max_score", "output", "visibility", "status"} == failed[0].keys()
    assert sum(test["max_score"] for test in results["tests"]) == 11
    for name in ("source", "results"):
        assert stat.S_IMODE((base / name).stat().st_mode) == 0o700


def test_each_archive_has_a_key_of_its_own_and_the_same_key_makes_the_same_archive(tmp_path):
    keys = {build_package(tmp_path / "a.zip") for _ in range(2)}
    assert len(keys) == 2
    texts = set()
    for name in ("b.zip", "c.zip"):
        build_package(tmp_path / name, b"k")
        texts.add((tmp_path / name).read_bytes())
    assert len(texts) == 1
    assert stat.S_IMODE((tmp_path / "b.zip").stat().st_mode) == 0o600
