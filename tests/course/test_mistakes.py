"""Does each mistake of a student cost exactly its points, and is its part named?"""

from __future__ import annotations

from collections import Counter

import pytest

from course.mistakes import MISTAKES, Mistake
from unrolled.course.grade import POINTS, TESTS, Report, grade
from unrolled.course.session import Server


def lost(report: Report) -> dict[str, int]:
    return dict(Counter(o.test.part for o in report.outcomes if not o.passed))


def test_there_are_eleven_points_and_no_two_tests_of_one_name():
    assert POINTS == 11
    assert len({(test.part, test.name) for test in TESTS}) == len(TESTS)


@pytest.mark.parametrize("student", ["ann", "bob", "Zoë", "12"])
def test_the_solution_gets_every_point_whoever_hands_it_in(solution, server: Server, student: str):
    assert lost(grade(solution, student, server)) == {}


def test_the_student_version_gets_none(blank, server: Server):
    report = grade(blank, "ann", server)
    assert report.score == 0
    assert "NotImplementedError: fill this in (line " in report.outcomes[0].output


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_costs_what_it_should_and_its_part_is_named(
    solution, server: Server, mistake: Mistake
):
    assert solution.count(mistake.right) == 1
    report = grade(solution.replace(mistake.right, mistake.wrong), "ann", server)
    assert lost(report) == mistake.lost
    for outcome in report.outcomes:
        if not outcome.passed:
            hint = outcome.output.partition("Hint: ")[2]
            assert any(part in hint for part in outcome.test.part.split(" and "))


def test_grading_again_gives_the_same_numbers(solution, server: Server):
    wrong = solution.replace(" / math.sqrt(size)", "")
    once, again = (grade(wrong, "ann", server) for _ in range(2))
    assert [o.output for o in once.outcomes] == [o.output for o in again.outcomes]
    assert "index [" in once.outcomes[2].output


def test_another_student_or_key_gets_other_numbers(solution, server: Server):
    wrong = solution.replace(" / math.sqrt(size)", "")
    told = {
        grade(wrong, who, server, secret=key).outcomes[2].output
        for who, key in (("ann", b"1"), ("bob", b"1"), ("ann", b"2"))
    }
    assert len(told) == 3


def test_hidden_tests_say_nothing_but_their_hint(blank, server: Server):
    for outcome in grade(blank, "ann", server).outcomes:
        if not outcome.test.public:
            assert outcome.output == f"Hint: {outcome.test.hint}"


def test_a_crash_in_one_part_costs_that_part_alone(solution, server: Server):
    right = "weights = self.attn_dropout"
    crash = solution.replace(right, f"import os; os._exit(0)\n        {right}")
    assert lost(grade(crash, "ann", server)) == {"GenericSelfAttention": 4}
