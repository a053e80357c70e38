import os
import shlex
import subprocess
import sys

import pytest

from unrolled.cli import COMMANDS, main
from unrolled.tasks import TASKS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_exits_0_and_shows_an_example_of_the_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr()
    assert f"Example: unrolled {command}" in shown.out
    assert not shown.err


@pytest.mark.parametrize("task", TASKS)
def test_the_help_of_a_task_has_its_own_example_and_no_python_words(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", task, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: unrolled train {task} --out runs/{task}" in shown
    assert "{None}" not in shown


def test_the_example_of_a_command_parses(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("evaluate", "generate", "resume", "translate"):
        assert main([name, "--help"]) == 0
        line = capsys.readouterr().out.partition("Example: ")[2].splitlines()[0]
        words = shlex.split(line)[1:]
        words[1] = "no-such-run"
        assert main(words) == 2
        assert "no run folder" in capsys.readouterr().err


def test_without_arguments_it_shows_what_help_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    first = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == first
    assert all(name in first for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("trian", "did you mean 'train'"),
        ("nonsense", "lists the commands"),
        ("train srt", "did you mean sort"),
        ("train --seed 1", "the task comes first"),
        ("train sort --modle.num-layers 2", "--model.num-layers"),
        ("train sort --model.num-layers two", "--model.num-layers"),
        ("train sort --architecture lstm", "encoder-decoder or decoder"),
        ("train text --data.corpus pydcs", "did you mean pydocs"),
        ("train sort --seed 99999999999999999999", "seed is a whole number"),
        ("train sort --model.hidden-size 10 --model.num-heads 3", "model.num_heads"),
        ("train sort --training.max-steps 0", "training.max_steps"),
        ("evaluate no-such-run", "no run folder"),
        ("evaluate x --jsn", "--json"),
        ("translate", "RUN"),
        ("generate x hi --seed -1", "--seed"),
        ("generate x hi --max-tokens 0", "--max-tokens"),
        ("tasks more", "more"),
    ],
)
def test_bad_words_are_one_line_and_exit_2(
    words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert hint in shown.err
    assert not shown.out


@pytest.mark.parametrize("words", [["--help"], ["tasks"]])
def test_a_reader_that_has_gone_is_no_error(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "unrolled", *words]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_a_start_makes_is_never_searched_for_garbage() -> None:
    words = "import gc; from unrolled.cli import command_of; before = gc.get_stats()[2]; "
    words += "command_of('generate'); assert gc.isenabled(); assert gc.get_stats()[2] == before; "
    words += "assert gc.get_freeze_count() > 100_000"
    subprocess.run([sys.executable, "-c", words], check=True)


def test_what_answers_does_not_wait_for_what_only_others_need() -> None:
    words = "import sys, unrolled.cli.answer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True)
    assert {"torch", "tokenizers"} <= {*done.stdout.split()}
    unneeded = {"flint", "matplotlib", "numba", "sacrebleu", "scipy", "sympy", "tensorboard"}
    assert unneeded & {*done.stdout.split()} == set()
