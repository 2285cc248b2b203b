"""The form of an answer: its sections, its JSON, its length. Each closes on its own fault."""

import pytest

from fine_tune_assets.judging.contestants.answer_checks import format_faults, is_within, length_bounds
from fine_tune_assets.recipes.schema import CheckSettings, OutputFormat

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
def test_every_section_must_be_there_with_text_in_it(answer: str, faults: int) -> None:
    """A heading without anything under it is what a model writes that ran out of words."""
    assert format_faults(answer, SECTIONS) == faults


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
def test_the_whole_answer_must_be_json_that_the_schema_allows(answer: str, faults: int) -> None:
    """A program reads it: a sentence before it is a fault as a wrong value is."""
    assert format_faults(answer, SCHEMA) == faults


def test_an_answer_is_as_long_as_approved_ones_are() -> None:
    """Half of the shortest and twice the longest, but for one in twenty at each end."""
    approved = [("plan", "word " * words) for words in range(10, 31)] + [("rare", "word")] * 9
    bounds = length_bounds(approved, CheckSettings(shortest=0.5, longest=2.0))
    assert bounds["plan"] == pytest.approx((5.5, 58.0), abs=1e-9)
    assert [is_within("word " * words, bounds["plan"]) for words in (0, 5, 6, 58, 59)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert "rare" not in bounds
    assert not is_within("", (0.0, 10.0))
