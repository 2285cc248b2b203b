"""Format checks of an answer: sections, JSON and length."""

import pytest

from fine_tune_assets.judging.evaluation.deterministic_checks import (
    count_format_errors,
    is_length_within,
    length_bounds,
)
from fine_tune_assets.recipes.schema import CheckSettings, OutputFormat
from fine_tune_assets_tests.clinical_domain import SECTION_NAMES

SECTIONS = OutputFormat(headings=("ASSESSMENT", ("PLAN", "/PLAN OF CARE.*/")))
SCHEMA = OutputFormat(
    json_schema={
        "type": "object",
        "properties": {"side": {"enum": ["left", "right"]}, "days": {"type": "integer"}},
        "required": ["side", "days"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        ("ASSESSMENT\nSprain.\n\nPLAN:\nRest.", 0),
        ("Assessment:\nSprain.\nPLAN OF CARE TODAY\nRest.", 0),
        ("ASSESSMENT\nSprain.\nPLAN\n", 1),
        ("The assessment is a sprain, the plan is rest.", 2),
        ("", 2),
    ],
)
def test_every_section_must_exist_and_contain_text(answer: str, faults: int) -> None:
    """A model that is cut off writes a heading without text."""
    assert count_format_errors(answer, SECTIONS, SECTION_NAMES) == faults


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        ('{"side": "left", "days": 3}', 0),
        ('  {"days": 3, "side": "right"}\n', 0),
        ('{"side": "both", "days": 3}', 1),
        ('{"side": "both", "days": "3", "more": 1}', 3),
        ('{"side": "left", "days": NaN}', 1),
        ('Here you are: {"side": "left", "days": 3}', 1),
        ('{"side": "left", "days": 3', 1),
        ("[" * 100_000, 1),
        ("", 1),
    ],
)
def test_the_entire_answer_must_be_json_that_matches_the_schema(answer: str, faults: int) -> None:
    """A program reads the answer, so that a sentence before the JSON is an error too."""
    assert count_format_errors(answer, SCHEMA, SECTION_NAMES) == faults


def test_length_bounds_follow_the_approved_answers() -> None:
    """Half of the 5th and twice the 95th percentile."""
    approved = [("plan", "word " * words) for words in range(10, 31)] + [("rare", "word")] * 9
    bounds = length_bounds(approved, CheckSettings(minimum_length_ratio=0.5, maximum_length_ratio=2.0))
    assert bounds["plan"] == pytest.approx((5.5, 58.0), abs=1e-9)
    assert [is_length_within("word " * words, bounds["plan"]) for words in (0, 5, 6, 58, 59)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert "rare" not in bounds
    assert not is_length_within("", (0.0, 10.0))
