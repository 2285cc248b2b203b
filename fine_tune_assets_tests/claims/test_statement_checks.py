"""One planted error for each check of an answer, and the same answer without it."""

import time

import pytest

from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS, check_answer
from fine_tune_assets_tests.clinical_domain import CHECKS

INPUT = (
    "Seen on March 4, 2024. Pain in the right knee for 3 weeks. Denies fever. Takes ibuprofen 600 mg three times a day. "
    "Blood pressure 130/80. Age 61."
)
RIGHT = "61 years old. Seen 3/4/2024 for right knee pain of 3 weeks, no fever. Ibuprofen 600 mg tid."


@pytest.mark.parametrize(
    ("check", "output", "found"),
    [
        ("numbers", RIGHT.replace("61 years", "67 years"), ["67 years"]),
        ("units", RIGHT.replace("600 mg", "600 mcg"), ["600 mcg"]),
        ("dates", RIGHT.replace("3/4/2024", "3/9/2024"), ["3/9/2024"]),
        ("sides", RIGHT.replace("right", "left"), ["left knee"]),
        ("negations", RIGHT.replace("no fever", "with fever"), ["fever"]),
        ("medications", RIGHT.replace("tid", "bid"), ["Ibuprofen 600 mg bid"]),
        ("medications", RIGHT.replace("Ibuprofen", "Naproxen"), ["Naproxen 600 mg"]),
    ],
)
def test_planted_error_is_found_only_by_its_check(check: str, output: str, found: list[str]) -> None:
    """Each check is a separate measure: if another one also fired, the error would count twice."""
    assert check_answer(output, INPUT, CHECKS) == {name: found if name == check else [] for name in GROUNDING_CHECKS}


def test_correct_answer_passes_every_check() -> None:
    """The findings above mean nothing unless a correct answer passes."""
    assert check_answer(RIGHT, INPUT, CHECKS) == {name: [] for name in GROUNDING_CHECKS}


def test_findings_are_quoted_from_the_answer() -> None:
    """The answer is shown with the finding marked in place."""
    answer = "Start  Naproxen\n500 mg on 5/6/2024 for the left hip, 12 weeks, with fever."
    folded = " ".join(answer.split())
    found = [written for details in check_answer(answer, INPUT, CHECKS).values() for written in details]
    assert len(found) >= 4
    assert [written for written in found if written not in folded] == []


def test_long_runs_of_blanks_or_digits_are_fast() -> None:
    """A degenerate answer repeats itself: no pattern may take seconds for it."""
    began = time.process_time()
    for run in (" " * 4000, "1 " * 2000, "aspirin " * 500, "mg" * 2000, "every " * 800, "two " * 1000):
        check_answer(f"aspirin {run}", f"aspirin 81 mg {run}", CHECKS)
    assert time.process_time() - began < 20
